"""Objects without a name, from which the generator learns to read image codes (see breakascene.models.image_codes).

A run's concept has an image code that the generator has never seen. Novel objects fill the space between the codes of
the named objects.
"""

import functools
from dataclasses import dataclass
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
        images = [*source_sprites(), *(novel_object(rng) for _ in range(NOVEL_OBJECTS))]
        canvas = canvases(images, vae_scale_factor(vae))
        batches = [features(canvas[start : start + 64], vae) for start in range(0, len(canvas), 64)]
        image_codes = ImageCodes.fit(torch.cat(batches).cpu(), dim)
        image_codes.save(folder)
    return image_codes


@dataclass(frozen=True)
class Recipe:
    """How a novel object is made of two sprites of `source_sprites`.

    Args:
        first, second: Indices of the sprites.
        outline: Give the first the outline of the second.
        cut: Share of the first's height from which on the second is pasted; 1 for none.
        hue: Rotation of the hues, 0 to 255.
        saturation, value: Factors.
        stretch: Logarithm of the factor of the width, and of the divisor of the height.
        mirrored: Whether left and right are swapped.
    """

    first: int
    second: int
    outline: bool = False
    cut: float = 1.0
    hue: int = 0
    saturation: float = 1.0
    value: float = 1.0
    stretch: float = 0.0
    mirrored: bool = False


@dataclass(frozen=True)
class CutoutPose:
    """How a sprite is changed to look like a cut-out from a photo.

    Args:
        angle: Rotation in degrees, counterclockwise; 0 for none.
        light: Factors of red, green and blue.
        crop: Share of the width that is missing.
        crop_left: Whether it is missing at the left.
    """

    angle: float = 0.0
    light: tuple[float, float, float] = (1.0, 1.0, 1.0)
    crop: float = 0.0
    crop_left: bool = False


def sample_recipe(rng: np.random.Generator) -> Recipe:
    """Sample a novel object: colors, proportions, outline or upper part of a sprite may be changed."""
    first, second = (int(i) for i in rng.integers(len(source_sprites()), size=2))
    kind = rng.random()
    changes: dict = {"outline": kind < 0.3}
    if 0.3 <= kind < 0.6:
        changes["cut"] = rng.uniform(0.3, 0.7)
    if rng.random() < 0.7:
        changes |= {"hue": int(rng.integers(256)), "saturation": rng.uniform(0.3, 1.3), "value": rng.uniform(0.6, 1.2)}
    if rng.random() < 0.5:
        changes["stretch"] = rng.uniform(-0.3, 0.3)
    return Recipe(first, second, **changes, mirrored=rng.random() < 0.5)


def make_object(recipe: Recipe) -> Image.Image:
    """Make the RGBA sprite of a recipe. `drawing.novel_cells` does the same for many at once, on any device."""
    sprite, other = (source_sprites()[i] for i in (recipe.first, recipe.second))
    if recipe.outline:
        sprite = sprite.resize(other.size, Image.Resampling.BICUBIC)
        ground = Image.new("RGBA", sprite.size, _mean_color(sprite))
        sprite = Image.alpha_composite(ground, sprite)
        sprite.putalpha(other.getchannel("A"))
    elif recipe.cut < 1:
        other = other.resize(sprite.size, Image.Resampling.BICUBIC)
        cut = int(sprite.height * recipe.cut)
        sprite = sprite.copy()
        sprite.paste(other.crop((0, cut, *sprite.size)), (0, cut))
    if (recipe.hue, recipe.saturation, recipe.value) != (0, 1, 1):
        sprite = _recolor(sprite, recipe)
    if recipe.stretch:
        exponents = (recipe.stretch, -recipe.stretch)
        sprite = sprite.resize([max(8, round(s * np.exp(e))) for s, e in zip(sprite.size, exponents, strict=True)])
    if recipe.mirrored:
        sprite = ImageOps.mirror(sprite)
    return sprite.crop(sprite.getbbox())


def novel_object(rng: np.random.Generator) -> Image.Image:
    """Make an RGBA sprite without a name from training and unlabeled sprites."""
    return make_object(sample_recipe(rng))


def sample_cutout_pose(rng: np.random.Generator) -> CutoutPose:
    """Sample a rotation, a light and an occlusion from one side."""
    changes: dict = {"angle": rng.uniform(-10, 10)} if rng.random() < 0.5 else {}
    if rng.random() < 0.5:
        changes["light"] = tuple(rng.uniform(0.75, 1.1) * (1 + rng.normal(0, 0.04, 3)))
    if rng.random() < 0.2:
        changes |= {"crop_left": rng.random() < 0.5, "crop": rng.uniform(0, 0.15)}
    return CutoutPose(**changes)


def make_cutout(sprite: Image.Image, pose: CutoutPose) -> Image.Image:
    """Change a sprite by a pose. `drawing.cutout_canvases` does the same for many at once."""
    if pose.angle:
        sprite = sprite.rotate(pose.angle, Image.Resampling.BICUBIC, expand=True)
        sprite = sprite.crop(sprite.getbbox())
    if pose.light != (1, 1, 1):
        alpha = sprite.getchannel("A")
        pixels = np.asarray(sprite.convert("RGB")) * np.array(pose.light)
        sprite = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
        sprite.putalpha(alpha)
    cut = int(sprite.width * pose.crop)
    return sprite.crop((cut * pose.crop_left, 0, sprite.width - cut * (not pose.crop_left), sprite.height))


@functools.cache
def source_sprites() -> tuple[Image.Image, ...]:
    """Return all sprites that are not held out."""
    return (*(load_sprite(name) for name in TRAINING), *unlabeled_sprites())


def _mean_color(sprite: Image.Image) -> tuple[int, ...]:
    pixels = np.asarray(sprite, np.float32).reshape(-1, 4)
    return (*(np.average(pixels[:, :3], axis=0, weights=pixels[:, 3] + 1e-3).astype(int).tolist()), 255)


def _recolor(sprite: Image.Image, recipe: Recipe) -> Image.Image:
    """Rotate the hues and scale saturation and value."""
    hue, saturation, value = sprite.convert("RGB").convert("HSV").split()
    channels = [
        hue.point(lambda x: (x + recipe.hue) % 256),
        saturation.point(lambda x: min(255, int(x * recipe.saturation))),
        value.point(lambda x: min(255, int(x * recipe.value))),
    ]
    recolored = Image.merge("HSV", channels).convert("RGB")
    recolored.putalpha(sprite.getchannel("A"))
    return recolored
