"""Prior images, generated once by the base against forgetting in phase 2 (as in DreamBooth and the public code)."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

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

    They depend on the base, the prompts and the count only. Returns None if `stop` became true before the end.
    """
    prompts = [prompts[i % len(prompts)] for i in range(count)]
    key = hashlib.sha256(
        repr((base.fingerprint, prompts, NUM_INFERENCE_STEPS, base.default_guidance_scale)).encode()
    ).hexdigest()[:16]
    path = cache_folder() / f"prior-{key}.safetensors"
    try:
        return Prior(load_file(path)["latents"].to(base.device), tuple(prompts))
    except (OSError, SafetensorError, KeyError):
        pass  # not there, or incomplete: generate them
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
