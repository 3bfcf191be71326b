"""Words as pictures: where a thing's word begins, and things that no list has, for the generator to learn from.

The code of a picture is made of the principal components of how the training things look as latents. So one map from
words to looks serves all things, and a handle that is learned later finds a place among them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image, ImageOps

from breakascene.toybox.sprites import picture
from breakascene.toybox.training import to_tensor
from breakascene.toybox.world import TRAINING

SIDE = 72  # pixels: nine cells of the latents


@dataclass(frozen=True, eq=False)
class Looks:
    """The map from pictures to codes of `width` numbers, each about 1 in size."""

    vae: AutoencoderKL
    width: int
    mean: torch.Tensor  # (F,) of the features
    axes: torch.Tensor  # (F, C), C at most width: features to code

    @classmethod
    def of(cls, vae: AutoencoderKL, width: int) -> "Looks":
        """From all training things."""
        features = _features([picture(name) for name in TRAINING], vae)  # (N, F)
        mean = features.mean(0)
        u, s, v = torch.linalg.svd(features - mean, full_matrices=False)
        spread = s[:width] ** 0.7
        spread *= width**0.5 / (u[:, :width] * spread).norm(dim=1).mean()
        # Axes that hardly vary among the training things would be mostly noise for another thing: they are shrunk.
        keep = spread.square() / (spread.square() + 1)
        return cls(vae, width, mean, v[:width].T * (spread / s[:width] * keep))

    def codes(self, pictures: Sequence[Image.Image]) -> torch.Tensor:
        """RGBA pictures → (N, width); pictures that look alike have codes that lie near."""
        codes = (_features(pictures, self.vae) - self.mean) @ self.axes
        return torch.nn.functional.pad(codes, (0, self.width - codes.shape[1]))


@torch.no_grad()
def _features(pictures: Sequence[Image.Image], vae: AutoencoderKL) -> torch.Tensor:
    """Latents and share of each cell of the pictures, standing on the lower edge of a grey square. (N, F)"""
    alphas, pixels = [], []
    for sprite in pictures:
        small = ImageOps.contain(sprite, (SIDE, SIDE), Image.Resampling.BICUBIC)
        canvas = Image.new("RGBA", (SIDE, SIDE), (128, 128, 128, 0))
        canvas.paste(small, ((SIDE - small.width) // 2, SIDE - small.height))
        alphas.append(np.asarray(canvas.getchannel("A"), np.float32) / 255)
        grey = Image.new("RGBA", (SIDE, SIDE), (128, 128, 128, 255))
        pixels.append(np.asarray(Image.alpha_composite(grey, canvas).convert("RGB")))
    latents = vae.encode(to_tensor(np.stack(pixels), vae.device)).latent_dist.mean * vae.config.scaling_factor
    cells = SIDE // latents.shape[-1]
    covers = torch.tensor(np.stack(alphas)).unflatten(1, (-1, cells)).unflatten(3, (-1, cells)).mean((2, 4))
    return torch.cat([latents.flatten(1).cpu(), 2 * covers.flatten(1)], 1)


def variant(rng: np.random.Generator) -> Image.Image:
    """A thing of no list: a training thing in other colours and proportions, or with another one's outline or head."""
    thing = picture(str(rng.choice(TRAINING)))
    other = picture(str(rng.choice(TRAINING)))
    kind = rng.random()
    if kind < 0.3:  # the colours of one in the outline of the other
        thing = thing.resize(other.size, Image.Resampling.BICUBIC)
        ground = Image.new("RGBA", thing.size, _mean_colour(thing))
        thing = Image.alpha_composite(ground, thing)
        thing.putalpha(other.getchannel("A"))
    elif kind < 0.6:  # the upper part of one on the lower part of the other
        other = other.resize(thing.size, Image.Resampling.BICUBIC)
        cut = int(thing.height * rng.uniform(0.3, 0.7))
        thing = thing.copy()
        thing.paste(other.crop((0, cut, *thing.size)), (0, cut))
    if rng.random() < 0.7:
        thing = _recoloured(rng, thing)
    if rng.random() < 0.5:
        wide = rng.uniform(-0.3, 0.3)
        thing = thing.resize([max(8, round(s * np.exp(d))) for s, d in zip(thing.size, (wide, -wide), strict=True)])
    if rng.random() < 0.5:
        thing = ImageOps.mirror(thing)
    return thing.crop(thing.getbbox())


def _mean_colour(thing: Image.Image) -> tuple[int, ...]:
    pixels = np.asarray(thing, np.float32).reshape(-1, 4)
    return (*(np.average(pixels[:, :3], axis=0, weights=pixels[:, 3] + 1e-3).astype(int).tolist()), 255)


def _recoloured(rng, thing: Image.Image) -> Image.Image:
    """The hues turned, the colours paler or stronger, darker or brighter."""
    hue, saturation, value = thing.convert("RGB").convert("HSV").split()
    turn, strength, light = int(rng.integers(256)), rng.uniform(0.3, 1.3), rng.uniform(0.6, 1.2)
    parts = [
        hue.point(lambda x: (x + turn) % 256),
        saturation.point(lambda x: min(255, int(x * strength))),
        value.point(lambda x: min(255, int(x * light))),
    ]
    colours = Image.merge("HSV", parts).convert("RGB")
    colours.putalpha(thing.getchannel("A"))
    return colours
