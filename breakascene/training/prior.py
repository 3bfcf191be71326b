"""Prior images, generated once by the base against forgetting in phase 2 (as in DreamBooth and the public code)."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from breakascene.data import validation
from breakascene.files import atomic_file
from breakascene.models.base import Base
from breakascene.paths import cache_folder
from breakascene.training.settings import PRIOR_PROMPTS

NUM_INFERENCE_STEPS = 12  # enough for DPM-Solver++, and quick on a CPU
BATCH_SIZE = 8


@dataclass(frozen=True)
class Prior:
    """Latents of prior images, (N, C, h, w), and their N prompts."""

    latents: torch.Tensor
    prompts: tuple[str, ...]


def prior_latents(
    base: Base,
    count: int,
    prompts: Sequence[str] = PRIOR_PROMPTS,
    stop: Callable[[], bool] = lambda: False,
) -> Prior | None:
    """Generate `count` prior images of the prompts in turn with the unchanged base, or read them from the cache.

    They depend on the base and the prompts only, and are the first ones of any larger number. Returns None if `stop`
    became true before the end; the batches generated until then are in the cache.
    """
    key = hashlib.sha256(
        repr((base.fingerprint, tuple(prompts), NUM_INFERENCE_STEPS, base.default_guidance_scale)).encode()
    ).hexdigest()[:16]
    path = cache_folder() / f"prior-{key}.safetensors"
    latents = _read(path, base)  # (n, C, h, w)
    done = len(latents)  # whole batches: a part of one would differ in rounding
    try:
        while len(latents) < count and not stop():
            start = len(latents)
            batch = [prompts[i % len(prompts)] for i in range(start, start + BATCH_SIZE)]
            latents = torch.cat([latents, _generate(base, batch, start, stop)])
    finally:
        if len(latents) > done:
            _write(path, latents)
    if len(latents) < count:
        return None
    return Prior(latents[:count], tuple(prompts[i % len(prompts)] for i in range(count)))


def _generate(base: Base, prompts: Sequence[str], seed: int, stop: Callable[[], bool]) -> torch.Tensor:
    """Latents (n, C, h, w) of images of the prompts, with seeds from `seed` on; none if `stop` became true."""

    def interrupt(pipeline, step, timestep, values):
        pipeline._interrupt = pipeline._interrupt or stop()  # diffusers then skips the other steps
        return values

    with base.lock.held(), base.autocast():
        pipeline = base.pipeline()
        latents = pipeline(
            list(prompts),
            num_inference_steps=NUM_INFERENCE_STEPS,
            guidance_scale=base.default_guidance_scale,
            generator=[torch.Generator().manual_seed(seed + i) for i in range(len(prompts))],
            output_type="latent",
            callback_on_step_end=interrupt,
        ).images.float()
    return latents[:0] if pipeline._interrupt else latents


def _read(path: Path, base: Base) -> torch.Tensor:
    """The whole batches in a file of the cache, none if it is missing or damaged."""
    shape = base.unet.config.in_channels, base.latent_size, base.latent_size
    try:
        latents = validation.read_tensors(path)[0]["latents"]
    except (OSError, ValueError, KeyError):
        latents = torch.empty(0, *shape)
    fits = latents.shape[1:] == shape and latents.dtype == torch.float32 and len(latents) % BATCH_SIZE == 0
    if not fits or not latents.isfinite().all():
        latents = torch.empty(0, *shape)
    return latents.to(base.device)


def _write(path: Path, latents: torch.Tensor) -> None:
    try:
        with atomic_file(path) as draft:
            save_file({"latents": latents.cpu().contiguous()}, draft)
    except (OSError, SafetensorError):
        pass  # without a cache they are generated again by the next run
