"""An image that generation starts from, in place of noise alone (SDEdit, Meng et al. 2022, arXiv 2108.01073)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from diffusers.utils.torch_utils import randn_tensor

from breakascene.models.base import Base
from breakascene.models.image_codes import vae_scale_factor

AfterStep = Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor]


@dataclass(frozen=True, eq=False)
class Start:
    """An image that is noised to the first timestep, and what happens after each step.

    Attributes:
        latents: Its clean latents, (1, C, h, w), as of Base.encode; they decide the size of the generated images. Or
            those of several images, (N, C, h, w): one for each that is generated.
        strength: Share of the denoising steps that are done, above 0 to 1. At 1 little or nothing of the image remains.
        after_step: Called as after_step(latents, start_latents, progress) after each step, and returns the latents to
            go on with. Both are (B, C, h, w); start_latents are those of the image, noised to the same timestep by the
            noise that generation began with, and clean after the last step. Progress is the share of the steps done.
        metadata: Added to the metadata of the images, as JSON.
        noise: That of each image, (N, C, h, w); by default drawn from its seed.
    """

    latents: torch.Tensor
    strength: float = 1.0
    after_step: AfterStep | None = None
    metadata: dict = field(default_factory=dict)
    noise: torch.Tensor | None = None

    def part(self, first: int, count: int) -> "Start":
        """Return the start of `count` of the images, from number `first` on."""
        latents, noise = (
            values if values is None or len(values) == 1 else values[first : first + count]
            for values in (self.latents, self.noise)
        )
        return replace(self, latents=latents, noise=noise)

    def size(self, base: Base) -> tuple[int, int]:
        """Width and height of the images in pixels."""
        height, width = self.latents.shape[2:]
        return width * vae_scale_factor(base.vae), height * vae_scale_factor(base.vae)


class StartCallback:
    """The arguments of a diffusers pipeline that starts from an image, and its `callback_on_step_end`.

    Args:
        start: The image.
        base: The base.
        timesteps: The timesteps of a generation from noise.
        generators: One for each image of the batch.
    """

    def __init__(self, start: Start, base: Base, timesteps: torch.Tensor, generators: Sequence[torch.Generator]):
        skipped = len(timesteps) - max(1, round(len(timesteps) * start.strength))
        self.start, self.base, self.timesteps = start, base, timesteps[skipped:].to(base.device)
        shape = (len(generators), *start.latents.shape[1:])
        if start.noise is not None:
            self.noise = start.noise.to(base.device).expand(shape)
            return
        # As the pipeline draws it
        dtype = base.text_encoder.dtype
        self.noise = randn_tensor(shape, generator=list(generators), device=base.device, dtype=dtype).float()

    @property
    def arguments(self) -> dict:
        """Arguments of the pipeline; `timesteps` takes the place of num_inference_steps."""
        latents = self._noised(self.timesteps[0]).to(self.base.text_encoder.dtype)
        return {"latents": latents, "timesteps": self.timesteps.tolist()}

    def __call__(self, pipeline, step: int, timestep: torch.Tensor, tensors: dict) -> dict:
        if self.start.after_step is not None:
            done, count = step + 1, len(self.timesteps)
            start_latents = self._noised(self.timesteps[done] if done < count else None)
            latents = tensors["latents"]
            tensors["latents"] = self.start.after_step(latents.float(), start_latents, done / count).to(latents.dtype)
        return tensors

    def _noised(self, timestep: torch.Tensor | None) -> torch.Tensor:
        """Return the image's latents for the whole batch, noised to a timestep; clean ones if it is None."""
        latents = self.start.latents.to(self.base.device).expand_as(self.noise)
        return latents if timestep is None else self.base.add_noise(latents, self.noise, timestep.reshape(1))[0]
