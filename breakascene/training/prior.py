"""Prior images, generated once by the base against forgetting in phase 2 (as in DreamBooth and the public code)."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from breakascene.data import validation
from breakascene.files import atomic_file
from breakascene.models.base import Base
from breakascene.paths import cache_folder

# Plain scenes that both the toybox and Stable Diffusion know; the public code has one prompt, see docs/method.md.
PRIOR_PROMPTS = (
    "a photo of a dog at the beach",
    "a photo of a car in the snow",
    "a photo of an apple on a wooden table",
    "a photo of a cat on the grass",
    "a photo of a bird and a flower",
    "a photo of a cup and a book",
    "a photo of a boat under water",
    "a photo of a tree in the desert",
)
NUM_INFERENCE_STEPS = 12  # enough for DPM-Solver++, and quick on a CPU
BATCH_SIZE = 8


@dataclass(frozen=True)
class Prior:
    """Latents of prior images, (N, C, h, w), and their N prompts."""

    latents: torch.Tensor
    prompts: tuple[str, ...]


def prior_latents(base: Base, count: int, stop: Callable[[], bool] = lambda: False) -> Prior | None:
    """Generate `count` prior images of PRIOR_PROMPTS with the unchanged base, or read them from the cache.

    They depend on the base, the prompts and the count only. Returns None if `stop` became true before the end.
    """
    prompts = [PRIOR_PROMPTS[i % len(PRIOR_PROMPTS)] for i in range(count)]
    key = hashlib.sha256(
        repr((base.fingerprint, prompts, NUM_INFERENCE_STEPS, base.default_guidance_scale)).encode()
    ).hexdigest()[:16]
    path = cache_folder() / f"prior-{key}.safetensors"
    try:
        return Prior(_cached(path, base, count).to(base.device), tuple(prompts))
    except (OSError, SafetensorError, KeyError, ValueError):
        pass  # not there, or damaged: generate them
    generated = []
    for start in range(0, count, BATCH_SIZE):
        if stop():
            return None
        batch = prompts[start : start + BATCH_SIZE]
        generators = [torch.Generator().manual_seed(start + i) for i in range(len(batch))]
        with base.lock.held(), base.autocast():
            latents = base.pipeline()(
                batch,
                num_inference_steps=NUM_INFERENCE_STEPS,
                guidance_scale=base.default_guidance_scale,
                generator=generators,
                output_type="latent",
            ).images
        generated.append(latents.float())
    latents = torch.cat(generated)  # (N, C, h, w)
    try:
        with atomic_file(path) as draft:
            save_file({"latents": latents.cpu().contiguous()}, draft)
    except (OSError, SafetensorError):
        pass  # without a cache they are generated again by the next run
    return Prior(latents, tuple(prompts))


def _cached(path: Path, base: Base, count: int) -> torch.Tensor:
    latents = load_file(path)["latents"]
    shape = (count, base.unet.config.in_channels, base.latent_size, base.latent_size)
    validation.check_shape(latents, shape, [torch.float32], "the latents")
    if not latents.isfinite().all():
        raise ValueError("the latents are not finite")
    return latents
