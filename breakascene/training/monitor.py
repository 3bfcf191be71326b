"""Reports of a run besides its losses: previews, attention maps and leak of its handles, time left."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from breakascene.models.attention import AttentionStore, token_maps
from breakascene.models.base import Base
from breakascene.models.handles import token_positions, training_prompt
from breakascene.training import losses
from breakascene.training.augment import TrainingData
from breakascene.training.memory import offload_vae
from breakascene.training.settings import Settings

PREVIEW_STEPS = 8
PHASE_2_COST = 3.0  # a step of phase 2 in steps of phase 1, for the estimate until one has been timed


def attention_maps(base: Base, latents: torch.Tensor, handles: Sequence[str]) -> dict[str, np.ndarray]:
    """Attention of each handle over a photo, (s, s) float32 with peak 1.

    Args:
        base: The base, to which the handles have been added.
        latents: The photo's latents, (1, C, h, w).
        handles: The handles.
    """
    maps = losses.normalize_peak(_photo_maps(base, latents, handles))
    return dict(zip(handles, maps.cpu().numpy(), strict=True))


def attention_leak(base: Base, data: TrainingData, handles: Sequence[str]) -> dict[str, float]:
    """The share of each handle's attention that falls outside its mask in the photo, 0..1."""
    leak = losses.leak(_photo_maps(base, data.latent_mean[:1], handles), data.attention_masks[0])
    return dict(zip(handles, leak.tolist(), strict=True))


@torch.no_grad()
def _photo_maps(base: Base, latents: torch.Tensor, handles: Sequence[str]) -> torch.Tensor:
    """Attention maps (K, s, s) of one prompt with all handles, at a third of the timesteps and with fixed noise."""
    timesteps = torch.tensor([base.scheduler.config.num_train_timesteps // 3], device=base.device)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0)).to(base.device)
    noisy_latents, _ = base.add_noise(latents, noise, timesteps)
    prompt = training_prompt(handles)
    with base.lock.held(), AttentionStore(base.unet, base.attention_layers) as store:
        base.predict(noisy_latents, timesteps, [prompt])
    return token_maps(store.mean()[0].float(), token_positions(base, prompt, handles))


@torch.no_grad()
def draw_previews(base: Base, handles: Sequence[str], settings: Settings) -> dict[str, Image.Image]:
    """An image of each handle, always from the same noise, so that differences are due to the training."""
    images = {}
    with base.lock.held(), base.autocast():
        pipeline = base.pipeline()
        for handle in handles:  # one at a time: nine at once would need more memory than a step
            output = pipeline(
                training_prompt([handle]),
                num_inference_steps=PREVIEW_STEPS,
                guidance_scale=base.default_guidance_scale,
                generator=torch.Generator().manual_seed(settings.seed),  # the run's own generator must not advance
            )
            images[handle] = output.images[0]
        offload_vae(base)
    return images


class TimeEstimator:
    """Estimates the time left from the steps so far of each phase."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.times: dict[int, list[float]] = {1: [], 2: []}

    def step(self, phase: int, step: int, seconds: float) -> float:
        """Note the time of a step; return the seconds left."""
        self.times[phase].append(seconds)
        pace = float(np.median(self.times[phase][-20:]))  # the first step is slow, and so is one on a busy machine
        left = (self.settings.steps[0] - step if phase == 1 else self.settings.total - step) * pace
        if phase == 1:
            left += self.settings.steps[1] * pace * PHASE_2_COST
        return left
