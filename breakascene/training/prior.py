"""Pictures that the base draws of generic prompts, once, so that phase 2 can hold it to them (section 3.1)."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from breakascene.files import atomic_file
from breakascene.models.base import Base
from breakascene.paths import cache_folder

# Prior pictures keep the base from forgetting (section 3.1): plain scenes that both the toybox and SD know.
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
DRAW_STEPS = 12  # enough for DPM-Solver++, and on a CPU the wait counts
BATCH = 8


@dataclass(frozen=True)
class Prior:
    """Latents of drawn pictures, (N, C, h, w), with their N prompts."""

    latents: torch.Tensor
    prompts: tuple[str, ...]


def prior_latents(base: Base, count: int, stop: Callable[[], bool] = lambda: False) -> Prior | None:
    """Draw `count` pictures of PRIOR_PROMPTS with the base as it is, or read them from the cache.

    They depend on the base, the prompts and the count only. None if `stop` said so before the end.
    """
    prompts = [PRIOR_PROMPTS[i % len(PRIOR_PROMPTS)] for i in range(count)]
    key = hashlib.sha256(
        repr((base.fingerprint, prompts, DRAW_STEPS, base.default_guidance_scale)).encode()
    ).hexdigest()[:16]
    path = cache_folder() / f"prior-{key}.safetensors"
    try:
        return Prior(load_file(path)["latents"].to(base.device), tuple(prompts))
    except (OSError, SafetensorError, KeyError):
        pass  # not there yet, or not whole: draw them
    pipeline, drawn = base.pipeline(), []
    for start in range(0, count, BATCH):
        if stop():
            return None
        batch = prompts[start : start + BATCH]
        generators = [torch.Generator().manual_seed(start + i) for i in range(len(batch))]
        with base.autocast():
            latents = pipeline(
                batch,
                num_inference_steps=DRAW_STEPS,
                guidance_scale=base.default_guidance_scale,
                generator=generators,
                output_type="latent",
            ).images
        drawn.append(latents.float())
    latents = torch.cat(drawn)  # (N, C, h, w)
    try:
        with atomic_file(path) as draft:
            save_file({"latents": latents.cpu().contiguous()}, draft)
    except (OSError, SafetensorError):
        pass  # without a place to keep them they are drawn again next time
    return Prior(latents, tuple(prompts))
