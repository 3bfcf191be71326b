"""Generation that starts from an image: its latents with the noise of a later timestep (SDEdit, arXiv 2108.01073)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image, ImageOps

from breakascene.data.handle_names import BACKGROUND
from breakascene.data.scene import MAX_TOGETHER, Scene
from breakascene.errors import UserError
from breakascene.models.base import Base
from breakascene.models.handles import training_prompt

STRENGTH = 0.7  # the default


@dataclass(frozen=True, eq=False)
class Start:
    """The image that generated images start from.

    Attributes:
        image: RGB, of any size; it is fitted to the size of the generated images.
        strength: Share of the denoising steps that run, above 0 and up to 1: the higher, the freer the result.
    """

    image: Image.Image
    strength: float = STRENGTH

    def __post_init__(self):
        check_strength(self.strength)

    def encode(self, base: Base, size: tuple[int, int]) -> torch.Tensor:
        """Return the latents (1, C, h, w) of the image, fitted to width and height in pixels."""
        return base.encode(np.asarray(fitted(self.image, size))[None])[0]


def check_strength(strength: float) -> None:
    """Raise UserError unless the strength is in the range of Start."""
    if not 0 < strength <= 1:  # false for NaN as well
        raise UserError(
            "The strength {value} cannot be used: choose a number above 0, which keeps the image, up to 1, which "
            "ignores it.",
            value=strength,
        )  # fmt: skip


def variation_prompt(handles: Sequence[str], scene: Scene) -> str:
    """Return the prompt of variations of a photo: its objects from left to right, and its background.

    Of more than eight objects only the leftmost are named, as the prompt would be too long.
    """
    centers = [np.flatnonzero(concept.mask.any(axis=0)).mean() for concept in scene.concepts]
    objects = [handles[i] for i in np.argsort(centers, kind="stable")]
    return training_prompt([*objects[:MAX_TOGETHER], *handles[len(objects) : len(scene.handles)]])


def background_prompt(handles: Sequence[str]) -> str:
    """Return the prompt of the scene without its objects; raises UserError if the background was not extracted."""
    if BACKGROUND not in handles:
        raise UserError("There is no <background>: extract the photo with its background.")
    return training_prompt([BACKGROUND])


def fitted(image: Image.Image, size: tuple[int, int], center: tuple[float, float] = (0.5, 0.5)) -> Image.Image:
    """Resize an image to cover a size and crop the rest; `center`, in 0..1, is the part that stays in view."""
    return ImageOps.fit(image.convert("RGB"), size, Image.Resampling.LANCZOS, centering=center)


def scene_view(scene: Scene, size: tuple[int, int]) -> Image.Image:
    """Return the photo of a scene at a size: the crop that a model trains on if square, else one around the objects."""
    width, height = size
    if width == height:
        return Image.fromarray(scene.square_crop(width).pixels)
    objects = np.any([concept.mask for concept in scene.concepts], axis=0)  # (H, W)
    center = [float(np.flatnonzero(objects.any(axis)).mean() / objects.shape[1 - axis]) for axis in (0, 1)]
    return fitted(scene.photo, size, tuple(center))


def remaining_timesteps(scheduler: DPMSolverMultistepScheduler, num_inference_steps: int, strength: float) -> list[int]:
    """Return the last timesteps of the schedule: a share `strength` of them, rounded down, but at least one."""
    scheduler.set_timesteps(num_inference_steps)
    return scheduler.timesteps[-max(1, int(num_inference_steps * strength)) :].tolist()


def noisy_start(
    base: Base, latents: torch.Tensor, timestep: int, generators: Sequence[torch.Generator]
) -> torch.Tensor:
    """Return the latents (1, C, h, w) with each generator's noise at a timestep: (B, C, h, w)."""
    shape = (len(generators), *latents.shape[1:])
    noise = randn_tensor(shape, generator=list(generators), device=base.device)
    timesteps = torch.full((len(generators),), timestep, device=base.device)
    return base.add_noise(latents, noise, timesteps)[0].to(base.unet.dtype)
