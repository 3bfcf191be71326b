"""The training loop of all components of the toybox.

A run has a time budget. The learning rate warms up and decays along a cosine, an exponential moving average (EMA) of
the weights is exported, and training resumes from its last state.
"""

import json
import math
import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from breakascene.paths import ASSETS

STATES = ASSETS.parent / ".pretrain"  # training states: large, not in git
WARMUP_STEPS = 100
LOG_SECONDS, SAVE_SECONDS = 20, 300


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
    """

    name: str
    model: nn.Module
    loss: Callable[[nn.Module, np.random.Generator], tuple[torch.Tensor, dict[str, float | torch.Tensor]]]
    export: Callable[[nn.Module, Path], None]
    load_exported: Callable[[Path], dict[str, torch.Tensor]]
    lr: float = 1e-3
    weight_decay: float = 0.01
    ema_decay: float = 0.999


def default_device() -> torch.device:
    """Return the CUDA device if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def bf16_is_fast(device: torch.device) -> bool:
    """Return whether bfloat16 is fast: on GPUs and CPUs with AMX or AVX-512 BF16. On others it is many times slower."""
    return device.type == "cuda" or any(torch.cpu.get_capabilities().get(kind) for kind in ("amx_bf16", "avx512_bf16"))


def train(
    component: Component,
    minutes: float,
    out: Path,
    states: Path,
    seed: int = 0,
    from_exported: bool = False,
    compile_model: bool = False,
) -> None:
    """Train a component within a time budget; resume from its state if there is one.

    Each call starts a new cycle of the learning rate. State and exported weights are saved every five minutes and at
    the end.

    Args:
        component: What to train.
        minutes: Time budget.
        out: The toybox's folder, for the export.
        states: Folder of the training states.
        seed: Seed of batches and noise; combined with the step that training resumes from.
        from_exported: Without a state, start from the weights in `out`, with a new optimizer.
        compile_model: Compile the networks first (torch.compile). Takes minutes and a C++ compiler.
    """
    device = default_device()
    torch.set_flush_denormal(True)  # tiny gradients of zero-initialized weights would slow a CPU many times
    state_file = states / f"{component.name}.pt"
    if from_exported and not state_file.exists():
        component.model.load_state_dict(component.load_exported(out))
    model = component.model.to(device, memory_format=torch.channels_last)
    if compile_model:
        for network in model.children():
            network.compile(dynamic=False)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=component.lr, weight_decay=component.weight_decay, betas=(0.9, 0.99), fused=True
    )
    ema = {name: value.detach().clone() for name, value in model.named_parameters()}
    step = 0
    if state_file.exists():
        state = torch.load(state_file, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        ema, step = state["mean"], state["step"]
    rng = np.random.default_rng([seed, step])
    torch.manual_seed(seed + step)
    start = last_save = last_log = time.monotonic()
    first_step, log = step, {}
    while (progress := (time.monotonic() - start) / 60 / minutes) < 1:
        warmup = min(1, (step - first_step + 1) / WARMUP_STEPS)
        lr = component.lr * warmup * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * progress)))
        for group in optimizer.param_groups:
            group["lr"] = lr
        loss, values = component.loss(model, rng)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        decay = min(component.ema_decay, step / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(ema.values()), list(model.parameters()), 1 - decay)
        for name, value in values.items():
            log[name] = 0.98 * log.get(name, value) + 0.02 * value
        if time.monotonic() - last_log > LOG_SECONDS:
            last_log = time.monotonic()
            line = {"step": step, "minutes": round((last_log - start) / 60, 1), "lr": round(lr, 6)}
            print(json.dumps(line | {k: round(float(v), 4) for k, v in log.items()}), flush=True)
        if time.monotonic() - last_save > SAVE_SECONDS:
            last_save = time.monotonic()
            _save(component, model, optimizer, ema, step, state_file, out)
    _save(component, model, optimizer, ema, step, state_file, out)


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
    for seed in np.random.SeedSequence().spawn(max(1, os.cpu_count() - 2)):
        context.Process(target=_worker, args=(sample, queue, seed), daemon=True).start()
    return lambda rng: queue.get()


def _worker(sample, queue, seed) -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    while True:
        queue.put(sample(rng))


def to_tensor(pixels: np.ndarray, device) -> torch.Tensor:
    """Convert uint8 images (B, S, S, 3) to floats in [-1, 1], (B, 3, S, S)."""
    return torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
