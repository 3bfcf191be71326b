"""Objects without a name, from which the generator learns to read image codes (see breakascene.models.image_codes).

A run's concept has an image code that the generator has never seen. Novel objects fill the space between the codes of
the named objects.
"""

import functools
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image, ImageOps

from breakascene.models.image_codes import ImageCodes, canvases, features, vae_scale_factor
from breakascene.toybox.pretraining.sprites import load_sprite, unlabeled_sprites
from breakascene.toybox.vocabulary import TRAINING

NOVEL_OBJECTS = 1500  # for fitting the map, besides the sprites


def load_or_fit_image_codes(folder: Path, vae: AutoencoderKL, dim: int) -> ImageCodes:
    """Load the map from a toybox folder, or fit it to sprites that are not held out and save it there.

    Args:
        folder: The toybox's folder.
        vae: Its VAE.
        dim: Dimension of the token embeddings.
    """
    if (image_codes := ImageCodes.load(folder)) is None:
        rng = np.random.default_rng(0)
        images = [*_sprites(), *(novel_object(rng) for _ in range(NOVEL_OBJECTS))]
        canvas = canvases(images, vae_scale_factor(vae))
        batches = [features(canvas[start : start + 64], vae) for start in range(0, len(canvas), 64)]
        image_codes = ImageCodes.fit(torch.cat(batches).cpu(), dim)
        image_codes.save(folder)
    return image_codes


def novel_object(rng: np.random.Generator) -> Image.Image:
    """Make an RGBA sprite without a name from training and unlabeled sprites.

    Colors, proportions, outline or upper part may be changed.
    """
    sprites = _sprites()
    sprite, other = (sprites[i] for i in rng.integers(len(sprites), size=2))
    kind = rng.random()
    if kind < 0.3:  # the colors of one in the outline of the other
        sprite = sprite.resize(other.size, Image.Resampling.BICUBIC)
        ground = Image.new("RGBA", sprite.size, _mean_color(sprite))
        sprite = Image.alpha_composite(ground, sprite)
        sprite.putalpha(other.getchannel("A"))
    elif kind < 0.6:  # the upper part of one on the lower part of the other
        other = other.resize(sprite.size, Image.Resampling.BICUBIC)
        cut = int(sprite.height * rng.uniform(0.3, 0.7))
        sprite = sprite.copy()
        sprite.paste(other.crop((0, cut, *sprite.size)), (0, cut))
    if rng.random() < 0.7:
        sprite = _recolor(rng, sprite)
    if rng.random() < 0.5:
        stretch = rng.uniform(-0.3, 0.3)
        exponents = (stretch, -stretch)
        sprite = sprite.resize([max(8, round(s * np.exp(e))) for s, e in zip(sprite.size, exponents, strict=True)])
    if rng.random() < 0.5:
        sprite = ImageOps.mirror(sprite)
    return sprite.crop(sprite.getbbox())


def augment_cutout(rng: np.random.Generator, sprite: Image.Image) -> Image.Image:
    """Make a sprite look like a cut-out from a photo: rotated, differently lit, partly occluded."""
    if rng.random() < 0.5:
        sprite = sprite.rotate(rng.uniform(-10, 10), Image.Resampling.BICUBIC, expand=True)
        sprite = sprite.crop(sprite.getbbox())
    if rng.random() < 0.5:
        alpha, light = sprite.getchannel("A"), rng.uniform(0.75, 1.1) * (1 + rng.normal(0, 0.04, 3))
        pixels = np.asarray(sprite.convert("RGB")) * light
        sprite = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
        sprite.putalpha(alpha)
    if rng.random() < 0.2:
        left, cut = rng.random() < 0.5, int(sprite.width * rng.uniform(0, 0.15))
        sprite = sprite.crop((cut * left, 0, sprite.width - cut * (not left), sprite.height))
    return sprite


@functools.cache
def _sprites() -> tuple[Image.Image, ...]:
    """Return all sprites that are not held out."""
    return (*(load_sprite(name) for name in TRAINING), *unlabeled_sprites())


def _mean_color(sprite: Image.Image) -> tuple[int, ...]:
    pixels = np.asarray(sprite, np.float32).reshape(-1, 4)
    return (*(np.average(pixels[:, :3], axis=0, weights=pixels[:, 3] + 1e-3).astype(int).tolist()), 255)


def _recolor(rng, sprite: Image.Image) -> Image.Image:
    """Rotate the hues and scale saturation and brightness."""
    hue, saturation, value = sprite.convert("RGB").convert("HSV").split()
    rotation, strength, light = int(rng.integers(256)), rng.uniform(0.3, 1.3), rng.uniform(0.6, 1.2)
    channels = [
        hue.point(lambda x: (x + rotation) % 256),
        saturation.point(lambda x: min(255, int(x * strength))),
        value.point(lambda x: min(255, int(x * light))),
    ]
    recolored = Image.merge("HSV", channels).convert("RGB")
    recolored.putalpha(sprite.getchannel("A"))
    return recolored
