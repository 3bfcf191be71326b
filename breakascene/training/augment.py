"""What the steps of a run look at: each photo, its mirror image, and the cut-outs arranged anew."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from PIL import Image

from breakascene.data.scene import Scene, cutout
from breakascene.models.base import Base
from breakascene.training import losses

NUM_COMPOSITIONS = 48  # made once for a run
# The longer side of a cut-out as a share of the picture, with 1 to 3 of them, and where its feet stand: as the toybox
# draws things. Other sizes and places made the handles fit what that base cannot draw, patches instead of the thing;
# a little play about these, a tenth of the size or a cell of the latents, took the thing's details.
SIZES, FEET = (0.6, 0.46, 0.34), 0.86
PIXELS_AT_ONCE = 8 * 128**2  # encoded in one go; the VAE's memory would set the peak of a whole run


@dataclass(frozen=True, eq=False)
class TrainingData:
    """N pictures as the model sees them: each photo and its mirror image, then arrangements. K concepts."""

    mean: torch.Tensor  # (N, C, h, w) of the VAE's posterior
    std: torch.Tensor  # (N, C, h, w)
    masks: torch.Tensor  # (N, K, h, w) in 0..1, at latent size
    cells: torch.Tensor  # (N, K, s, s) in 0..1, at the size of the attention maps, each with peak 1
    shown: tuple[tuple[int, ...], ...]  # for each picture the concepts in it
    photos: int = 1  # the photo with number i is picture 2i, its mirror image 2i + 1

    @classmethod
    def of(cls, scene: Scene, base: Base, arrangements: int = 0, seed: int = 0, flip: bool = False) -> "TrainingData":
        """Encode the photos, their mirror images and so many arrangements; half of these are mirrored with `flip`."""
        rng, pictures = np.random.default_rng(seed), []
        cutouts: list[list[Image.Image]] = [[] for _ in scene.handles]  # of each concept in all photos
        for photo, where in scene.photos():
            square = photo.square_crop(base.image_size)
            masks = np.zeros((len(scene.handles), *square.masks.shape[1:]), bool)
            masks[where] = square.masks
            pictures += [(square.pixels, masks), (square.pixels[:, ::-1], masks[..., ::-1])]
            for index, k in zip(range(len(photo.concepts)), where, strict=False):
                cutouts[k].append(cutout(photo, index))
        for _ in range(arrangements):
            things = [some[int(rng.integers(len(some))) if len(some) > 1 else 0] for some in cutouts if some]
            pixels, masks = arrange(things, base.image_size, rng)
            if flip and rng.random() < 0.5:
                pixels, masks = pixels[:, ::-1], masks[..., ::-1]
            unseen = np.zeros((int(scene.background), *masks.shape[1:]), bool)  # the photo's background is not there
            pictures.append((pixels, np.concatenate([masks, unseen])))
        pixels = np.stack([pixels for pixels, _ in pictures])
        batch = max(1, PIXELS_AT_ONCE // base.image_size**2)
        latents = [base.encode(pixels[start : start + batch]) for start in range(0, len(pixels), batch)]
        mean, std = (torch.cat(parts) for parts in zip(*latents, strict=True))
        solid = [torch.tensor(masks.copy(), dtype=torch.float32, device=base.device) for _, masks in pictures]
        return cls(
            mean,
            std,
            torch.stack([losses.shrink(masks, base.latent_size) for masks in solid]),
            torch.stack([losses.to_peak(losses.shrink(masks, base.attention_size)) for masks in solid]),
            tuple(tuple(np.flatnonzero(masks.any((1, 2))).tolist()) for _, masks in pictures),
            len(scene.other_photos) + 1,
        )

    @cached_property
    def power(self) -> torch.Tensor:
        """The mean square of each channel of the latents where the concepts are, (1, C, 1, 1)."""
        shares = self.masks.amax(1, keepdim=True)  # (N, 1, h, w)
        return (self.mean.square() * shares).sum((0, 2, 3), keepdim=True) / shares.sum()

    @cached_property
    def middles(self) -> list[list[float]]:
        """Where each concept stands in each picture: its mean column, (N, K); NaN where it is not."""
        columns = self.masks.sum(2)  # (N, K, w)
        across = torch.arange(columns.shape[-1], device=columns.device)
        return ((columns * across).sum(-1) / columns.sum(-1)).tolist()

    @property
    def areas(self) -> torch.Tensor:
        """The share of each picture that each concept covers, (N, K)."""
        return self.masks.mean((2, 3))


def arrange(cutouts: Sequence[Image.Image], size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Set one to three cut-outs side by side on a plain colour (after Seg-Mix of MuDI, arXiv 2404.04243).

    Returns pixels (size, size, 3) uint8 and what can be seen of each cut-out, (N, size, size) bool.
    """
    count = int(rng.integers(1, min(len(cutouts), len(SIZES)) + 1))
    picture = Image.new("RGB", (size, size), tuple(rng.integers(30, 240, 3).tolist()))
    masks = np.zeros((len(cutouts), size, size), bool)
    for slot, k in enumerate(rng.permutation(len(cutouts))[:count]):
        scale = size * SIZES[count - 1] / max(cutouts[k].size)
        thing = cutouts[k].resize([max(2, round(side * scale)) for side in cutouts[k].size], Image.Resampling.LANCZOS)
        middle = size * (slot + 0.5) / count
        corner = round(middle - thing.width / 2), round(size * FEET - thing.height)
        cover = Image.new("L", (size, size))
        cover.paste(thing.getchannel("A"), corner)
        picture.paste(thing, corner, thing)
        masks &= np.asarray(cover) < 128
        masks[k] = np.asarray(cover) >= 128
    return np.asarray(picture), masks
