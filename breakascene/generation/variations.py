"""Generation that starts from a photo (image-to-image), and the prompts of its variations and of its background."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps

from breakascene.data.handle_names import BACKGROUND
from breakascene.data.scene import MAX_TOGETHER, Scene, photo_hash
from breakascene.errors import UserError
from breakascene.generation.generate import check_size, image_shapes
from breakascene.generation.start import Start
from breakascene.models.base import Base
from breakascene.models.handles import training_prompt

STRENGTH = 0.7  # the default


def start_from(
    base: Base, image: Image.Image, size: tuple[int, int] | None = None, strength: float = STRENGTH
) -> Start:
    """Return the start of images like this one, for `generate`.

    Args:
        base: The base model.
        image: Of any size and mode; it is scaled to cover `size`, and what juts out is cropped.
        size: Width and height in pixels of the images to generate; by default the base's native square.
        strength: Share of the denoising steps that are done, above 0 and up to 1: the higher, the freer the result.

    Raises:
        UserError: For a strength out of range, or a size that the base cannot generate.
    """
    check_strength(strength)
    size = size or image_shapes(base)["square"]
    check_size(base, *size)
    latents = base.encode(np.asarray(fitted(image, size))[None])[0]
    return Start(latents, strength, metadata={"start": photo_hash(image.convert("RGB"))})


def check_strength(strength: float) -> None:
    """Raise UserError unless the strength is above 0 and up to 1."""
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
