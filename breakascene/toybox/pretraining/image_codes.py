"""Things that no word names, for the generator to learn the space between the words: see breakascene/looks.py."""

import functools
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image, ImageOps

from breakascene.models.image_codes import ImageCodes, canvases, features, vae_scale_factor
from breakascene.toybox.pretraining.sprites import nameless, picture
from breakascene.toybox.vocabulary import TRAINING

VARIANTS = 1500  # that the map is made from, beside the things themselves


def toybox_looks(folder: Path, vae: AutoencoderKL, width: int) -> ImageCodes:
    """The map that lies in the toybox's folder; made there on the first call, from all but the held-out things."""
    if (looks := ImageCodes.load(folder)) is None:
        rng = np.random.default_rng(0)
        pictures = [*_things(), *(variant(rng) for _ in range(VARIANTS))]
        shown = canvases(pictures, vae_scale_factor(vae))
        parts = [features(shown[start : start + 64], vae) for start in range(0, len(shown), 64)]
        looks = ImageCodes.of(torch.cat(parts).cpu(), width)
        looks.save(folder)
    return looks


def variant(rng: np.random.Generator) -> Image.Image:
    """A thing that no word names: a nameless or training thing as it is, or in other colours and proportions, or with
    another one's outline or head."""
    things = _things()
    thing, other = (things[i] for i in rng.integers(len(things), size=2))
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


def as_seen(rng: np.random.Generator, thing: Image.Image) -> Image.Image:
    """The thing as the cut-out of a photo may show it: leaning, in another light, a little hidden from one side."""
    if rng.random() < 0.5:
        thing = thing.rotate(rng.uniform(-10, 10), Image.Resampling.BICUBIC, expand=True)
        thing = thing.crop(thing.getbbox())
    if rng.random() < 0.5:
        alpha, light = thing.getchannel("A"), rng.uniform(0.75, 1.1) * (1 + rng.normal(0, 0.04, 3))
        pixels = np.asarray(thing.convert("RGB")) * light
        thing = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
        thing.putalpha(alpha)
    if rng.random() < 0.2:
        left, cut = rng.random() < 0.5, int(thing.width * rng.uniform(0, 0.15))
        thing = thing.crop((cut * left, 0, thing.width - cut * (not left), thing.height))
    return thing


@functools.cache
def _things() -> tuple[Image.Image, ...]:
    """All pictures but those of the held-out things."""
    return (*(picture(name) for name in TRAINING), *nameless())


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
