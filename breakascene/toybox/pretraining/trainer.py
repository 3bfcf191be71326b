"""The training loop of all components of the toybox.

A run has a time budget. The learning rate warms up and decays along a cosine, an exponential moving average (EMA) of
the weights is exported, and training resumes from its last state.
"""

import copy
import json
import math
import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from breakascene.paths import ASSETS
from breakascene.toybox.pretraining.shards import write_shards

STATES = ASSETS.parent / ".pretrain"  # training states: large, not in git
WARMUP_STEPS = 100
LOG_SECONDS, SAVE_SECONDS, SHARD_SECONDS = 10, 300, 60
WORKER_SECONDS = 60  # without a batch: the workers have failed, and have printed why
EAGER_STEPS = 3  # before a step is captured: libraries choose kernels and the optimizer allocates its state


@dataclass
class Component:
    """A trainable component of the toybox.

    Args:
        name: Name of its training state.
        model: The module that is trained.
        loss: Takes the model and a random generator, samples a batch, and returns the loss and values for the log.
            These may be tensors of one element, which are read only when a line is logged, so that the GPU is not
            synchronized in every step.
        export: Writes the weights that the package uses to the toybox's folder.
        load_exported: Reads them back as a state dict of `model`.
        lr: Peak learning rate.
        weight_decay: Weight decay of AdamW.
        ema_decay: Decay of the moving average of the weights.
        draw: Draws new data before each step, and enough of them before the first, and returns the number of images.
            With it, `loss` must not use the generator or wait for the device: on a GPU a step is captured as a graph.
        dtype: dtype of the weights that compute loss and gradients.
        batch: Number of images in a step, for the log.
    """

    name: str
    model: nn.Module
    loss: Callable[[nn.Module, np.random.Generator], tuple[torch.Tensor, dict[str, float | torch.Tensor]]]
    export: Callable[[nn.Module, Path], None]
    load_exported: Callable[[Path], dict[str, torch.Tensor]]
    lr: float = 1e-3
    weight_decay: float = 0.01
    ema_decay: float = 0.999
    draw: Callable[[np.random.Generator], int] | None = None
    dtype: torch.dtype = torch.float32
    batch: int = 0


def default_device() -> torch.device:
    """Return the CUDA device if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def bf16_is_fast(device: torch.device) -> bool:
    """Return whether bfloat16 is fast: on GPUs and CPUs with AMX or AVX-512 BF16. On others it is many times slower."""
    return device.type == "cuda" or any(torch.cpu.get_capabilities().get(kind) for kind in ("amx_bf16", "avx512_bf16"))


def train(
    component: Component,
    deadline: float,
    out: Path,
    states: Path,
    seed: int = 0,
    from_exported: bool = False,
    compile_model: bool = False,
    shards: Path | None = None,
) -> None:
    """Train a component until a point in time; resume from its state if there is one.

    Each call starts a new cycle of the learning rate, which is zero at the deadline. State and exported weights are
    saved every five minutes and at the end.

    Args:
        component: What to train.
        deadline: End of the training, in time.monotonic()'s seconds. At least one step is taken.
        out: The toybox's folder, for the export.
        states: Folder of the training states.
        seed: Seed of batches and noise; combined with the step that training resumes from.
        from_exported: Without a state, start from the weights in `out`, with a new optimizer.
        compile_model: Compile the networks first (torch.compile). Takes minutes and a C++ compiler.
        shards: Write only the averaged weights, here, once a minute and at the end (shards.write_shards).
    """
    device = default_device()
    torch.set_flush_denormal(True)  # tiny gradients of zero-initialized weights would slow a CPU many times
    torch.set_float32_matmul_precision("high")
    state_file = states / f"{component.name}.pt"
    if from_exported and not state_file.exists():
        component.model.load_state_dict(component.load_exported(out))
    model = component.model.to(device, memory_format=torch.channels_last)
    lr = torch.tensor(component.lr, device=device)  # tensors, so that a captured step reads new values
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=lr, weight_decay=component.weight_decay, betas=(0.9, 0.99), fused=True
    )
    ema = {name: value.detach().clone() for name, value in model.named_parameters()}
    step = 0
    if state_file.exists():
        state = torch.load(state_file, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        ema, step = state["mean"], state["step"]
    for group in optimizer.param_groups:
        group |= {"lr": lr, "capturable": device.type == "cuda"}
    rng = np.random.default_rng([seed, step])
    torch.manual_seed(seed + step)
    ema_weight = torch.ones((), device=device)
    update = _Update(component, model, optimizer, ema, ema_weight, rng)
    if compile_model:
        for network in update.network.children():
            network.compile(dynamic=False)
    run_step = CapturedStep(update) if component.draw and device.type == "cuda" else update
    drawn = 0
    if component.draw:
        before = time.monotonic()
        count = component.draw(rng)
        print(json.dumps({"drawn": count, "seconds": round(time.monotonic() - before, 1)}), flush=True)

    def save() -> None:
        if shards:
            write_shards(model.state_dict() | ema, shards)
        else:
            _save(component, model, optimizer, ema, step, state_file, out)

    start = last_save = last_log = time.monotonic()
    first_step, logged_step, log, running = step, step, {}, []
    while (now := time.monotonic()) < deadline or step == first_step:
        warmup = min(1, (step - first_step + 1) / WARMUP_STEPS)
        progress = min(1, (now - start) / max(deadline - start, 1e-3))
        lr.fill_(component.lr * warmup * 0.5 * (1 + math.cos(math.pi * progress)))
        ema_weight.fill_(1 - min(component.ema_decay, (step + 1) / (step + 11)))
        values = run_step()
        step += 1
        if component.draw:
            drawn += component.draw(rng)
        for name, value in values.items():
            log[name] = 0.98 * log.get(name, value) + 0.02 * value
        if device.type == "cuda":  # stay at most two steps ahead, or the learning rate and the end would come too late
            running.append(torch.cuda.Event())
            running[-1].record()
            if len(running) > 2:
                running.pop(0).synchronize()
        if now - last_log > LOG_SECONDS:
            line = {"step": step, "minutes": round((now - start) / 60, 2), "lr": round(float(lr), 6)}
            if component.draw:
                seconds = now - last_log
                line["images/s"] = round((step - logged_step) * component.batch / seconds)
                line["drawn/s"] = round(drawn / seconds)
            print(json.dumps(line | {k: round(float(v), 4) for k, v in log.items()}), flush=True)
            last_log, logged_step, drawn = now, step, 0
        if now - last_save > (SHARD_SECONDS if shards else SAVE_SECONDS):
            last_save = now
            save()
    save()
    print(json.dumps({"steps": step - first_step, "images": (step - first_step) * component.batch}), flush=True)


class _Update:
    """A step of training: loss, gradients, optimizer, moving average. Nothing in it waits for the device.

    With a `dtype` other than float32, a copy of the model in that dtype computes loss and gradients, which halves the
    memory traffic; the optimizer keeps float32 weights.
    """

    def __init__(self, component: Component, model: nn.Module, optimizer, ema: dict, ema_weight: torch.Tensor, rng):
        self.component, self.model, self.optimizer, self.rng = component, model, optimizer, rng
        self.network = model
        if component.dtype != torch.float32:
            self.network = copy.deepcopy(model).to(component.dtype)
            for parameter in model.parameters():
                parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
        self.ema, self.ema_weights = list(ema.values()), [ema_weight] * len(ema)

    def __call__(self) -> dict[str, float | torch.Tensor]:
        self.network.zero_grad(set_to_none=True)
        loss, values = self.component.loss(self.network, self.rng)
        loss.backward()
        weights = list(self.model.parameters())
        if self.network is not self.model:
            pairs = zip(weights, self.network.parameters(), strict=True)
            grads = [(w.grad, x.grad) for w, x in pairs if x.grad is not None]
            torch._foreach_copy_(*map(list, zip(*grads, strict=True)))
        nn.utils.clip_grad_norm_(weights, 1.0)
        self.optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(self.ema, weights, self.ema_weights)
            if self.network is not self.model:
                torch._foreach_copy_(list(self.network.parameters()), weights)
        return values


class CapturedStep:
    """Runs a step without arguments: the first times eagerly on a side stream, later by replaying a captured graph.

    Where capture fails, all steps run eagerly.
    """

    def __init__(self, run_step: Callable[[], dict]):
        self.run_step, self.graph, self.eager_left = run_step, None, EAGER_STEPS
        self.stream = torch.cuda.Stream()

    def __call__(self) -> dict:
        if self.graph is None and self.eager_left == 0:
            self._capture()
        if self.graph is not None:
            self.graph.replay()
            return self.values
        self.eager_left -= 1
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            values = self.run_step()
        torch.cuda.current_stream().wait_stream(self.stream)
        return values

    def _capture(self) -> None:
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
                self.values = self.run_step()
        except RuntimeError as error:
            print(f"Steps run without a CUDA graph, which is slower: {error}", flush=True)
            return
        self.graph = graph


def _save(component, model, optimizer, ema, step, state_file, out):
    """Write the state in one atomic step, then export the averaged weights."""
    state_file.parent.mkdir(parents=True, exist_ok=True)
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "mean": ema, "step": step}
    torch.save(state, state_file.with_suffix(".tmp"))
    os.replace(state_file.with_suffix(".tmp"), state_file)
    weights = {name: value.detach().clone() for name, value in model.named_parameters()}
    model.load_state_dict(ema, strict=False)
    component.export(model, out)
    model.load_state_dict(weights, strict=False)


def prefetch(sample: Callable[[np.random.Generator], object]) -> Callable[[np.random.Generator], object]:
    """Sample batches ahead in worker processes where there is a GPU; without one return `sample` unchanged.

    Each worker has its own random state and the batches arrive in any order, so training on a GPU is not reproducible.
    """
    if not torch.cuda.is_available():
        return sample
    context = multiprocessing.get_context("fork")  # allows any function as `sample`; workers never touch the GPU
    queue = context.Queue(maxsize=64)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # before the workers are forked: they would wait for threads that they do not have
    for seed in np.random.SeedSequence().spawn(max(1, os.cpu_count() - 2)):
        context.Process(target=_worker, args=(sample, queue, seed), daemon=True).start()
    cv2.setNumThreads(threads)
    return lambda rng: queue.get(timeout=WORKER_SECONDS)


def _worker(sample, queue, seed) -> None:
    torch.set_num_threads(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    rng = np.random.default_rng(seed)
    while True:
        queue.put(sample(rng))


def to_tensor(pixels: np.ndarray, device) -> torch.Tensor:
    """Convert uint8 images (B, S, S, 3) to floats in [-1, 1], (B, 3, S, S)."""
    return torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
