"""The images that a run trains on: each photo, its mirror image, and compositions of the cut-outs."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from breakascene.data.scene import Scene, cutout
from breakascene.models.base import Base
from breakascene.training import losses
from breakascene.training.settings import FEW_CONCEPTS, Settings

NUM_COMPOSITIONS = 48  # made once for a run
# Longer side of a cut-out as a share of the image, for 1 to 3 of them, and the height at which they stand: as the
# toybox places objects. With other sizes and positions the handles learned patches instead of the object; jitter of a
# tenth of the size or one latent cell lost its details.
SIZES, GROUND = (0.6, 0.46, 0.34), 0.86
PIXELS_PER_BATCH = 8 * 128**2  # encoded at once: the VAE's memory would set the peak of the whole run


@dataclass(frozen=True, eq=False)
class TrainingData:
    """N images in latent space with the masks of K concepts: each photo and its mirror image, then compositions."""

    latent_mean: torch.Tensor  # (N, C, h, w), of the VAE's posterior
    latent_std: torch.Tensor  # (N, C, h, w)
    masks: torch.Tensor  # (N, K, h, w) in 0..1, at latent size
    attention_masks: torch.Tensor  # (N, K, s, s) in 0..1, at the size of the attention maps, each with peak 1
    coverage: torch.Tensor  # (N, K, h, w), share of each cell that a mask covers, however small its object
    visible: tuple[tuple[int, ...], ...]  # for each image the concepts in it
    num_photos: int = 1  # photo i is image 2i, its mirror image 2i + 1

    @classmethod
    def for_run(cls, scene: Scene, base: Base, settings: Settings) -> "TrainingData":
        """Encode the images for a run with these settings, with more compositions for more concepts."""
        count = round(NUM_COMPOSITIONS * max(1, len(scene.concepts) / FEW_CONCEPTS)) if settings.composition_prob else 0
        return cls.encode(scene, base, count, settings.seed, settings.flip_compositions, settings.mask_resize)

    @classmethod
    def encode(
        cls,
        scene: Scene,
        base: Base,
        num_compositions: int = 0,
        seed: int = 0,
        flip: bool = False,
        mask_resize: str = "area",
    ) -> "TrainingData":
        """Encode the photos, their mirror images and compositions, half of which are mirrored with `flip`."""
        photos, cutouts = photo_images(scene, base.image_size)
        rng = np.random.default_rng(seed)
        compositions = composition_images(cutouts, scene.background, base.image_size, num_compositions, flip, rng)
        images = [*photos, *compositions]
        mean, std = encode_in_batches(base, np.stack([image.pixels for image in images]))
        masks = [torch.tensor(image.masks.copy(), dtype=torch.float32, device=base.device) for image in images]
        attention_masks = [losses.downsample(one, base.attention_size, mask_resize) for one in masks]
        return cls(
            latent_mean=mean,
            latent_std=std,
            masks=torch.stack([losses.downsample(one, base.latent_size, mask_resize) for one in masks]),
            attention_masks=torch.stack([losses.normalize_peak(one) for one in attention_masks]),
            coverage=torch.stack([losses.downsample(one, base.latent_size) for one in masks]),
            visible=tuple(tuple(np.flatnonzero(image.masks.any((1, 2))).tolist()) for image in images),
            num_photos=len(scene.other_photos) + 1,
        )

    @cached_property
    def channel_power(self) -> torch.Tensor:
        """The mean square of each latent channel inside the masks, (1, C, 1, 1)."""
        weights = self.masks.amax(1, keepdim=True)  # (N, 1, h, w)
        return (self.latent_mean.square() * weights).sum((0, 2, 3), keepdim=True) / weights.sum()

    @cached_property
    def center_columns(self) -> list[list[float]]:
        """The mean column of each concept in each image, (N, K); NaN where it is not visible."""
        columns = self.coverage.sum(2)  # (N, K, w)
        indices = torch.arange(columns.shape[-1], device=columns.device)
        return ((columns * indices).sum(-1) / columns.sum(-1)).tolist()

    @cached_property
    def areas(self) -> torch.Tensor:
        """The share of each image that each concept covers, (N, K), on the CPU."""
        return self.coverage.mean((2, 3)).cpu()


class TrainingImage(NamedTuple):
    """Pixels (size, size, 3) uint8 and the masks of all concepts, (K, size, size) bool."""

    pixels: np.ndarray
    masks: np.ndarray

    def mirrored(self) -> "TrainingImage":
        return TrainingImage(self.pixels[:, ::-1], self.masks[..., ::-1])


def photo_images(scene: Scene, size: int) -> tuple[list[TrainingImage], list[list[Image.Image]]]:
    """Crop each photo of a scene to a square of `size` pixels.

    Returns:
        Each photo followed by its mirror image, and for each concept its cut-outs from all photos.
    """
    images, cutouts = [], [[] for _ in scene.handles]
    for photo, concept_ids in scene.photos():
        crop = photo.square_crop(size)
        masks = np.zeros((len(scene.handles), *crop.masks.shape[1:]), bool)
        masks[concept_ids] = crop.masks
        image = TrainingImage(crop.pixels, masks)
        images += [image, image.mirrored()]
        for index, k in zip(range(len(photo.concepts)), concept_ids, strict=False):
            cutouts[k].append(cutout(photo, index))
    return images, cutouts


def composition_images(
    cutouts: Sequence[Sequence[Image.Image]], background: bool, size: int, count: int, flip: bool,
    rng: np.random.Generator,
) -> list[TrainingImage]:  # fmt: skip
    """Compose `count` images, each from one cut-out of every concept; mirror half of them with `flip`.

    Args:
        cutouts: For each concept its cut-outs; none for the background, which is not part of a composition.
        background: Whether the last concept is the background.
        size: Side of the images in pixels.
        count: Number of images.
        flip: Whether half of them are mirrored.
        rng: The source of all random choices.
    """
    images = []
    for _ in range(count):
        chosen = [some[int(rng.integers(len(some))) if len(some) > 1 else 0] for some in cutouts if some]
        pixels, masks = compose(chosen, size, rng)
        no_background = np.zeros((int(background), *masks.shape[1:]), bool)
        image = TrainingImage(pixels, np.concatenate([masks, no_background]))
        images.append(image.mirrored() if flip and rng.random() < 0.5 else image)
    return images


def encode_in_batches(base: Base, pixels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Encode images (N, size, size, 3) as Base.encode does, a few at a time."""
    size = max(1, PIXELS_PER_BATCH // base.image_size**2)
    latents = [base.encode(pixels[start : start + size]) for start in range(0, len(pixels), size)]
    mean, std = (torch.cat(parts) for parts in zip(*latents, strict=True))
    return mean, std


def compose(cutouts: Sequence[Image.Image], size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Place one to three cut-outs side by side on a plain color (after Seg-Mix of MuDI, arXiv 2404.04243).

    Returns pixels (size, size, 3) uint8 and the visible part of each cut-out, (K, size, size) bool.
    """
    count = int(rng.integers(1, min(len(cutouts), len(SIZES)) + 1))
    image = Image.new("RGB", (size, size), tuple(rng.integers(30, 240, 3).tolist()))
    masks = np.zeros((len(cutouts), size, size), bool)
    for slot, k in enumerate(rng.permutation(len(cutouts))[:count]):
        scale = size * SIZES[count - 1] / max(cutouts[k].size)
        resized = cutouts[k].resize([max(2, round(side * scale)) for side in cutouts[k].size], Image.Resampling.LANCZOS)
        center = size * (slot + 0.5) / count
        corner = round(center - resized.width / 2), round(size * GROUND - resized.height)
        alpha = Image.new("L", (size, size))
        alpha.paste(resized.getchannel("A"), corner)
        image.paste(resized, corner, resized)
        masks &= np.asarray(alpha) < 128
        masks[k] = np.asarray(alpha) >= 128
    return np.asarray(image), masks
