"""Previews of an image while it is generated: the clean image that the model predicts after a step, decoded cheaply."""

import time
from collections.abc import Callable

import torch
from PIL import Image
from torch.nn import functional as F

from breakascene.models.base import Base

MAX_CELLS = 32  # of the latents that are decoded, along the longer side; larger ones are averaged first
MIN_SECONDS = 0.7  # between two previews
MAX_SHARE = 0.1  # of the time that may be spent on previews


class LivePreview:
    """A `callback_on_step_end` of a diffusers pipeline that shows the first image of the batch now and then.

    Args:
        show: Called with each preview.
        clock: Seconds, as time.perf_counter.
    """

    def __init__(self, base: Base, show: Callable[[Image.Image], None], clock: Callable[[], float] = time.perf_counter):
        self.base, self.show, self.clock = base, show, clock
        self.next_time = clock() + MIN_SECONDS

    @torch.no_grad()
    def __call__(self, pipeline, step: int, timestep: torch.Tensor, tensors: dict) -> dict:
        started = self.clock()
        if started >= self.next_time and step < pipeline.num_timesteps - 1:
            clean_latents = pipeline.scheduler.model_outputs[-1]  # DPM-Solver++ predicts them; (B, C, h, w)
            self.show(decode_preview(self.base, clean_latents[:1]))
            finished = self.clock()
            self.next_time = finished + max(MIN_SECONDS, (finished - started) / MAX_SHARE)
        return tensors


def decode_preview(base: Base, latents: torch.Tensor) -> Image.Image:
    """Decode latents (1, C, h, w) to an RGB image of at most MAX_CELLS cells a side."""
    side = max(latents.shape[-2:])
    if side > MAX_CELLS:
        size = [max(1, round(length * MAX_CELLS / side)) for length in latents.shape[-2:]]
        latents = F.adaptive_avg_pool2d(latents, size)
    config = base.vae.config
    latents = latents / config.scaling_factor + (getattr(config, "shift_factor", None) or 0)
    pixels = base.vae.decode(latents.to(base.vae.dtype)).sample[0]  # (3, H, W), -1..1
    values = (pixels.float().nan_to_num().clamp(-1, 1) * 127.5 + 127.5).round().byte()
    return Image.fromarray(values.permute(1, 2, 0).cpu().numpy())
