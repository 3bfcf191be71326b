"""The toybox's world: scenes of 1 to 4 things (to 8, for tests) somewhere, with captions and exact masks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from breakascene.toybox.pretraining.places import draw_place
from breakascene.toybox.pretraining.sprites import picture
from breakascene.toybox.vocabulary import BACKDROPS, PLACES, TRAINING, join, thing_words

# The longer side of a thing, as a share of the picture, in a scene of 1, 2, …
HEIGHTS = (0.58, 0.44, 0.34, 0.28, 0.24, 0.2, 0.18, 0.16)
TIDY_HEIGHTS = (0.6, 0.46, 0.34, 0.28)


@dataclass(frozen=True)
class Drawn:
    """A drawn scene. pixels (S, S, 3) uint8; masks (K, S, S) bool, what is visible of each thing; names (K,)."""

    pixels: np.ndarray
    masks: np.ndarray
    names: tuple[str, ...]
    place: str


def draw_scene(
    rng: np.random.Generator,
    size: int,
    names: Sequence[str],
    place: str,
    tidy: bool = False,
    pictures: Sequence[Image.Image] | None = None,
) -> Drawn:
    """Set the things (or none) side by side on the ground of the place, with soft shadows, the back ones first.

    pictures: how the things look (RGBA), if not as their names say. In a tidy scene size, pose and place of the things
    are always the same, from left to right: easier to learn first.
    """
    pixels, ground, light = draw_place(rng, size, place)
    count, pictures = len(names), pictures or [picture(name) for name in names]
    masks = np.zeros((count, size, size), np.float32)
    slots = np.arange(count) if tidy else rng.permutation(count)
    # Feet stand between a little below the ground line and the lower edge; the higher ones are farther away.
    feet = np.full(count, 0.86) if tidy else rng.uniform(max(ground + 0.12, 0.74), 0.93, count)
    for i in np.argsort(feet):
        side = size * (TIDY_HEIGHTS[count - 1] if tidy else HEIGHTS[count - 1] * rng.uniform(0.85, 1.1))
        alpha, colours = place_thing(rng, pictures[i], side, tidy)
        height, width = alpha.shape
        astray = 0 if tidy else rng.uniform(-0.16, 0.16) if count > 1 else rng.uniform(-0.12, 0.12)
        centre = (slots[i] + 0.5 + astray) / count
        x = int(np.clip(centre * size - width / 2, 1 - 0.06 * width, size - 0.94 * width))
        y = int(max(0.02 * size, feet[i] * size - height))
        pixels *= 1 - _shadow(alpha, x, y, size)[..., None]
        box = np.s_[max(y, 0) : min(y + height, size), max(x, 0) : min(x + width, size)]
        part = np.s_[box[0].start - y : box[0].stop - y, box[1].start - x : box[1].stop - x]
        cover = alpha[part][..., None]
        pixels[box] = pixels[box] * (1 - cover) + colours[part] * light * cover
        masks[(slice(None), *box)] *= 1 - cover[..., 0]
        masks[(i, *box)] = cover[..., 0]
    image = (np.clip(pixels, 0, 1) * 255 + 0.5).astype(np.uint8)
    return Drawn(image, masks > 0.5, tuple(names), place)


def place_thing(rng, sprite: Image.Image, side: float, tidy: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Scale, lean (unless tidy) and light a sprite: alpha (h, w) and colours (h, w, 3), floats 0..1."""
    scale = side / max(sprite.size)
    small = sprite.convert("RGBa").resize([max(4, round(s * scale)) for s in sprite.size], Image.Resampling.BICUBIC)
    if not tidy and rng.random() < 0.5:
        small = small.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if not tidy and rng.random() < 0.5:
        small = small.rotate(rng.uniform(-10, 10), Image.Resampling.BICUBIC, expand=True)
    pixels = np.asarray(small.convert("RGBA"), np.float32) / 255
    lit_from = np.linspace(-1, 1, pixels.shape[1])[None, :, None] * rng.uniform(-0.08, 0.08)
    return pixels[..., 3], np.clip(pixels[..., :3] * (rng.uniform(0.92, 1.06) + lit_from), 0, 1)


def _shadow(alpha: np.ndarray, x: int, y: int, size: int) -> np.ndarray:
    """How much light the thing's shadow takes: its outline laid flat at its feet and blurred. (S, S), 0..0.45"""
    height, width = alpha.shape
    flat = Image.fromarray((alpha * 255).astype(np.uint8)).resize((width, max(3, height // 6)))
    layer = Image.new("L", (size, size))
    layer.paste(flat, (x + width // 20, y + height - flat.height + max(1, height // 30)))
    return np.asarray(layer.filter(ImageFilter.GaussianBlur(size / 45)), np.float32) / 255 * 0.45


def random_words(
    rng, names: Sequence[str] = TRAINING, counts: Sequence[float] = (0.4, 0.4, 0.15, 0.05)
) -> tuple[tuple[str, ...], str]:
    """1 to 4 different things (shares `counts`) and a place, a plain backdrop one time in five."""
    count = rng.choice(4, p=counts) + 1
    place = rng.choice(BACKDROPS) if rng.random() < 0.2 else rng.choice(tuple(PLACES))
    return tuple(str(name) for name in rng.choice(names, count, replace=False)), str(place)


def random_scene(rng, size: int, names: Sequence[str] = TRAINING) -> Drawn:
    """A scene of random words."""
    return draw_scene(rng, size, *random_words(rng, names))


def varied_caption(rng, names: Sequence[str], place: str, tidy: bool = False, style: str = "") -> str:
    """A caption as people write them: any order (unless tidy), with and without articles and opening words."""
    names = names if tidy else [str(name) for name in rng.permutation(names)]
    words = names if rng.random() < 0.35 else [thing_words(name) for name in names]
    opening = rng.choice(["a photo of ", "a picture of ", "photo of ", ""], p=[0.7, 0.1, 0.05, 0.15])
    opening = f"{style} of " if style else opening
    opening = opening if len(names) else opening.removesuffix("of ")  # an empty place
    return f"{opening}{join(words)} {place}".replace("  ", " ").strip()


def sheet(count: int = 40, size: int = 128, seed: int = 0, columns: int = 8) -> Image.Image:
    """A contact sheet of random scenes, to be looked at."""
    rng = np.random.default_rng(seed)
    page = Image.new("RGB", (columns * size, -(-count // columns) * size))
    for i in range(count):
        page.paste(Image.fromarray(random_scene(rng, size).pixels), (i % columns * size, i // columns * size))
    return page
