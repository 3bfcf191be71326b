"""The loop that pretrains each part of the toybox: a time budget, a warm-up and a cosine, averaged weights, resume."""

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

from breakascene.paths import SPRITES

ASSETS = SPRITES.parent
TOYBOX = ASSETS / "toybox"
STATES = ASSETS.parent / ".pretrain"  # training states: large, not in git


@dataclass
class Part:
    """What differs between the parts.

    `loss(model, rng)` draws a batch of its own and returns the loss and figures worth a line in the log (numbers or
    tensors of one, which are read when the line is written: a GPU need not be waited for at every step);
    `export(model, folder)` writes the weights that the package uses into the toybox's folder, `shipped(folder)` reads
    them back as a state dict.
    """

    name: str
    model: nn.Module
    loss: Callable[[nn.Module, np.random.Generator], tuple[torch.Tensor, dict[str, float | torch.Tensor]]]
    export: Callable[[nn.Module, Path], None]
    shipped: Callable[[Path], dict[str, torch.Tensor]]
    rate: float = 1e-3
    decay: float = 0.01
    average: float = 0.999  # how slowly the exported mean of the weights follows


def pick_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def half_is_fast(device: torch.device) -> bool:
    """Whether bfloat16 pays: on a GPU, and on a CPU with AMX; on others it is many times slower than float32."""
    return device.type == "cuda" or any(torch.cpu.get_capabilities().get(kind) for kind in ("amx_bf16", "avx512_bf16"))


def train(
    part: Part, minutes: float, out: Path, states: Path, seed: int = 0, from_shipped: bool = False, fuse: bool = False
) -> None:
    """Train for `minutes`, from the last state of this part where there is one; save, export and log on the way.

    Without a state it begins from zero, or with `from_shipped` from the weights in `out`, with a fresh optimizer. The
    learning rate warms up and falls along a cosine within each call, so a later call goes on with a fresh cycle.
    `fuse` compiles the networks first (torch.compile): minutes, a C++ compiler, then faster steps.
    """
    device = pick_device()
    torch.set_flush_denormal(True)  # tiny gradients of weights that begin at zero would slow a CPU many times
    state_file = states / f"{part.name}.pt"
    if from_shipped and not state_file.exists():
        part.model.load_state_dict(part.shipped(out))
    model = part.model.to(device, memory_format=torch.channels_last)
    if fuse:
        for network in model.children():
            network.compile(dynamic=False)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=part.rate, weight_decay=part.decay, betas=(0.9, 0.99), fused=True
    )
    mean = {name: value.detach().clone() for name, value in model.named_parameters()}
    step = 0
    if state_file.exists():
        state = torch.load(state_file, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        mean, step = state["mean"], state["step"]
    rng = np.random.default_rng([seed, step])
    torch.manual_seed(seed + step)
    begun = saved = spoke = time.monotonic()
    first, figures = step, {}
    while (gone := (time.monotonic() - begun) / 60 / minutes) < 1:
        rate = part.rate * min(1, (step - first + 1) / 100) * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * gone)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss, now = part.loss(model, rng)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        keep = min(part.average, step / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(mean.values()), list(model.parameters()), 1 - keep)
        for name, value in now.items():
            figures[name] = 0.98 * figures.get(name, value) + 0.02 * value
        if time.monotonic() - spoke > 20:
            spoke = time.monotonic()
            line = {"step": step, "minutes": round((spoke - begun) / 60, 1), "rate": round(rate, 6)}
            print(json.dumps(line | {k: round(float(v), 4) for k, v in figures.items()}), flush=True)
        if time.monotonic() - saved > 300:
            saved = time.monotonic()
            _save(part, model, optimizer, mean, step, state_file, out)
    _save(part, model, optimizer, mean, step, state_file, out)


def _save(part, model, optimizer, mean, step, state_file, out):
    """The state for resuming, in one atomic write, then the averaged weights through the part's own export."""
    state_file.parent.mkdir(parents=True, exist_ok=True)
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "mean": mean, "step": step}
    torch.save(state, state_file.with_suffix(".tmp"))
    os.replace(state_file.with_suffix(".tmp"), state_file)
    own = {name: value.detach().clone() for name, value in model.named_parameters()}
    model.load_state_dict(mean, strict=False)
    part.export(model, out)
    model.load_state_dict(own, strict=False)


def drawing(draw: Callable[[np.random.Generator], object]) -> Callable[[np.random.Generator], object]:
    """`draw`, a function of a generator of random numbers, made quick.

    On a CPU it is as it was. Beside a GPU processes draw ahead on the machine's other cores, from random numbers of
    their own, so there a training is not the same twice.
    """
    if not torch.cuda.is_available():
        return draw
    context = multiprocessing.get_context("fork")  # draw may then be any function; it does without the GPU
    queue = context.Queue(maxsize=64)
    for seed in np.random.SeedSequence().spawn(max(1, os.cpu_count() - 2)):
        context.Process(target=_draw_worker, args=(draw, queue, seed), daemon=True).start()
    return lambda rng: queue.get()


def _draw_worker(draw, queue, seed) -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    while True:
        queue.put(draw(rng))


def to_tensor(pixels: np.ndarray, device) -> torch.Tensor:
    """(B, S, S, 3) uint8 -> (B, 3, S, S) float in -1..1"""
    return torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
