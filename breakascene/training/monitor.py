"""What a run shows of itself while it works: pictures of its handles, where they look, how far they leak, time left."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from breakascene.data.scene import Scene
from breakascene.models.attention import AttentionStore, token_maps
from breakascene.models.base import Base
from breakascene.models.handles import token_positions, training_prompt
from breakascene.training import losses
from breakascene.training.augment import TrainingData
from breakascene.training.memory import offload_vae
from breakascene.training.settings import Settings

PREVIEW_STEPS = 8
PHASE_2_COST = 3.0  # a step of phase 2 in steps of phase 1, to foretell the time left until one has been measured


def attention_maps(base: Base, views: TrainingData | Scene, handles: Sequence[str]) -> dict[str, np.ndarray]:
    """Where each handle looks in the photo: (s, s) float32 with peak 1. The base must know the handles."""
    views = TrainingData.of(views, base) if isinstance(views, Scene) else views
    maps = losses.to_peak(_photo_maps(base, views, handles))
    return dict(zip(handles, maps.cpu().numpy(), strict=True))


def attention_leak(base: Base, views: TrainingData, handles: Sequence[str]) -> dict[str, float]:
    """The share of each handle's attention that falls outside its mask in the photo, 0..1, on the same maps."""
    shares = losses.leak(_photo_maps(base, views, handles), views.cells[0])
    return dict(zip(handles, shares.tolist(), strict=True))


@torch.no_grad()
def _photo_maps(base: Base, views: TrainingData, handles: Sequence[str]) -> torch.Tensor:
    """(K, s, s): all handles stand in one prompt; the photo is noised to a third of the way, where it still shows."""
    timesteps = torch.tensor([base.scheduler.config.num_train_timesteps // 3], device=base.device)
    noise = torch.randn(views.mean[:1].shape, generator=torch.Generator().manual_seed(0)).to(base.device)
    noisy, _ = base.add_noise(views.mean[:1], noise, timesteps)
    prompt = training_prompt(handles)
    with AttentionStore(base.unet, base.attention_layers) as seen:
        base.predict(noisy, timesteps, [prompt])
    return token_maps(seen.mean()[0].float(), token_positions(base, prompt, handles))


@torch.no_grad()
def draw_previews(base: Base, handles: Sequence[str], settings: Settings) -> dict[str, Image.Image]:
    """A picture of each handle, always of the same noise, so that one sees what the steps change."""
    pipeline, pictures = base.pipeline(), {}
    for handle in handles:  # one by one: nine pictures at once would want more memory than the steps
        generator = torch.Generator().manual_seed(settings.seed)  # the run's own must not move
        with base.autocast():
            drawn = pipeline(
                training_prompt([handle]),
                num_inference_steps=PREVIEW_STEPS,
                guidance_scale=base.default_guidance_scale,
                generator=generator,
            )
        pictures[handle] = drawn.images[0]
    offload_vae(base)
    return pictures


class TimeEstimator:
    """Foretells the time left from the steps so far of each phase."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.times: dict[int, list[float]] = {1: [], 2: []}

    def step(self, phase: int, step: int, seconds: float) -> tuple[float, float]:
        self.times[phase].append(seconds)
        pace = float(np.median(self.times[phase][-20:]))  # the first step is slow, and so is one with a busy machine
        left = (self.settings.steps[0] - step if phase == 1 else self.settings.total - step) * pace
        if phase == 1:
            left += self.settings.steps[1] * pace * PHASE_2_COST
        return seconds, left
