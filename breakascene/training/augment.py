"""The images that a run trains on: each photo, its mirror image, and compositions of the cut-outs."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

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
        rng, images = np.random.default_rng(seed), []
        cutouts: list[list[Image.Image]] = [[] for _ in scene.handles]  # of each concept in all photos
        for photo, concept_ids in scene.photos():
            crop = photo.square_crop(base.image_size)
            masks = np.zeros((len(scene.handles), *crop.masks.shape[1:]), bool)
            masks[concept_ids] = crop.masks
            images += [(crop.pixels, masks), (crop.pixels[:, ::-1], masks[..., ::-1])]
            for index, k in zip(range(len(photo.concepts)), concept_ids, strict=False):
                cutouts[k].append(cutout(photo, index))
        for _ in range(num_compositions):
            chosen = [some[int(rng.integers(len(some))) if len(some) > 1 else 0] for some in cutouts if some]
            pixels, masks = compose(chosen, base.image_size, rng)
            if flip and rng.random() < 0.5:
                pixels, masks = pixels[:, ::-1], masks[..., ::-1]
            background = np.zeros((int(scene.background), *masks.shape[1:]), bool)  # not part of a composition
            images.append((pixels, np.concatenate([masks, background])))
        pixels = np.stack([pixels for pixels, _ in images])
        batch = max(1, PIXELS_PER_BATCH // base.image_size**2)
        latents = [base.encode(pixels[start : start + batch]) for start in range(0, len(pixels), batch)]
        mean, std = (torch.cat(parts) for parts in zip(*latents, strict=True))
        masks = [torch.tensor(masks.copy(), dtype=torch.float32, device=base.device) for _, masks in images]
        attention_masks = [losses.downsample(one, base.attention_size, mask_resize) for one in masks]
        return cls(
            mean,
            std,
            torch.stack([losses.downsample(one, base.latent_size, mask_resize) for one in masks]),
            torch.stack([losses.normalize_peak(one) for one in attention_masks]),
            torch.stack([losses.downsample(one, base.latent_size) for one in masks]),
            tuple(tuple(np.flatnonzero(masks.any((1, 2))).tolist()) for _, masks in images),
            len(scene.other_photos) + 1,
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
