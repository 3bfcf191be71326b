"""Scenes of the toybox: objects in a place, rendered from sprites with captions and exact masks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from breakascene.toybox.pretraining.places import render_place
from breakascene.toybox.pretraining.sprites import load_sprite
from breakascene.toybox.vocabulary import BACKDROPS, PLACES, TRAINING, join, with_article

# Longer side of an object as a share of the image, for scenes of 1, 2, … objects. Pretraining has up to 4, tests 8.
OBJECT_SIZES = (0.58, 0.44, 0.34, 0.28, 0.24, 0.2, 0.18, 0.16)
FIXED_SIZES = (0.6, 0.46, 0.34, 0.28)  # the same with a fixed layout


@dataclass(frozen=True)
class RenderedScene:
    """A rendered scene.

    Args:
        pixels: Image of shape (S, S, 3), uint8.
        masks: Visible pixels of each object, (K, S, S), bool.
        names: Names of the K objects.
        place: Place or backdrop, such as "at the beach".
    """

    pixels: np.ndarray
    masks: np.ndarray
    names: tuple[str, ...]
    place: str


@dataclass(frozen=True)
class Pose:
    """How a sprite is drawn.

    Args:
        mirrored: Whether left and right are swapped.
        angle: Rotation in degrees, counterclockwise; 0 for none.
        brightness: Factor of the colors.
        side_light: Added to this factor at the right edge and subtracted at the left one.
    """

    mirrored: bool
    angle: float
    brightness: float
    side_light: float


@dataclass(frozen=True)
class Placement:
    """An object's place in a layout. Lengths and positions are shares of the image's side.

    Args:
        index: Index of the object in the scene's names.
        side: Longer side of the sprite before its rotation.
        center: Horizontal center.
        bottom: Lower edge.
        pose: Its pose.
    """

    index: int
    side: float
    center: float
    bottom: float
    pose: Pose


def render_scene(
    rng: np.random.Generator,
    size: int,
    names: Sequence[str],
    place: str,
    fixed_layout: bool = False,
    sprites: Sequence[Image.Image] | None = None,
) -> RenderedScene:
    """Render objects side by side on the ground of a place, with soft shadows, from back to front.

    Args:
        rng: Source of all variation.
        size: Side of the image in pixels.
        names: Names of the objects; may be empty.
        place: One of vocabulary.ALL_PLACES.
        fixed_layout: Give the objects one size, pose and row, in order from left to right. Easier to learn.
        sprites: RGBA images of the objects; by default those of their names.
    """
    pixels, ground, light = render_place(rng, size, place)
    placements = sample_placements(rng, len(names), ground, fixed_layout)
    image, masks = draw_scene(pixels, light, sprites or [load_sprite(name) for name in names], placements)
    return RenderedScene(image, masks, tuple(names), place)


def sample_placements(
    rng: np.random.Generator, count: int, ground: float, fixed_layout: bool = False
) -> list[Placement]:
    """Sample a layout, from back to front.

    Args:
        rng: Source of all variation.
        count: Number of objects.
        ground: Height of the ground line as a share of the image (0 top, 1 bottom).
        fixed_layout: As in `render_scene`.
    """
    slots = np.arange(count) if fixed_layout else rng.permutation(count)
    # Bottom edges lie between the ground line and the lower border; the higher ones are farther away.
    bottoms = np.full(count, 0.86) if fixed_layout else rng.uniform(max(ground + 0.12, 0.74), 0.93, count)
    placements = []
    for i in np.argsort(bottoms):
        side = FIXED_SIZES[count - 1] if fixed_layout else OBJECT_SIZES[count - 1] * rng.uniform(0.85, 1.1)
        pose = sample_pose(rng, fixed_layout)
        offset = 0 if fixed_layout else rng.uniform(-0.16, 0.16) if count > 1 else rng.uniform(-0.12, 0.12)
        placements.append(Placement(int(i), side, (slots[i] + 0.5 + offset) / count, bottoms[i], pose))
    return placements


def sample_pose(rng: np.random.Generator, fixed_layout: bool = False) -> Pose:
    """Sample a pose; with `fixed_layout` only the light varies."""
    mirrored = not fixed_layout and rng.random() < 0.5
    angle = rng.uniform(-10, 10) if not fixed_layout and rng.random() < 0.5 else 0.0
    side_light = rng.uniform(-0.08, 0.08)
    return Pose(mirrored, angle, rng.uniform(0.92, 1.06), side_light)


def draw_scene(
    pixels: np.ndarray, light: np.ndarray, sprites: Sequence[Image.Image], placements: Sequence[Placement]
) -> tuple[np.ndarray, np.ndarray]:
    """Draw sprites into a place. `drawing.draw_scenes` does the same for many scenes at once, on any device.

    Args:
        pixels: The place, (S, S, 3), floats in [0, 1].
        light: Color of its light on objects, (3,).
        sprites: RGBA images of the K objects.
        placements: Their layout, from back to front.

    Returns:
        The image, (S, S, 3), uint8, and the visible pixels of each object, (K, S, S), bool.
    """
    pixels, size = pixels.copy(), len(pixels)
    masks = np.zeros((len(sprites), size, size), np.float32)
    for placement in placements:
        alpha, colors = transform_sprite(sprites[placement.index], size * placement.side, placement.pose)
        height, width = alpha.shape
        x = int(np.clip(placement.center * size - width / 2, 1 - 0.06 * width, size - 0.94 * width))
        y = int(max(0.02 * size, placement.bottom * size - height))
        pixels *= 1 - _shadow(alpha, x, y, size)[..., None]
        box = np.s_[max(y, 0) : min(y + height, size), max(x, 0) : min(x + width, size)]
        visible = np.s_[box[0].start - y : box[0].stop - y, box[1].start - x : box[1].stop - x]
        opacity = alpha[visible][..., None]
        pixels[box] = pixels[box] * (1 - opacity) + colors[visible] * light * opacity
        masks[(slice(None), *box)] *= 1 - opacity[..., 0]
        masks[(placement.index, *box)] = opacity[..., 0]
    return (np.clip(pixels, 0, 1) * 255 + 0.5).astype(np.uint8), masks > 0.5


def transform_sprite(sprite: Image.Image, side: float, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
    """Scale, mirror, rotate and light a sprite.

    Args:
        sprite: RGBA image.
        side: Longer side in pixels, before the rotation.
        pose: Its pose.

    Returns:
        Alpha (h, w) and colors (h, w, 3), floats in [0, 1].
    """
    scale = side / max(sprite.size)
    small = sprite.convert("RGBa").resize([max(4, round(s * scale)) for s in sprite.size], Image.Resampling.BICUBIC)
    if pose.mirrored:
        small = small.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if pose.angle:
        small = small.rotate(pose.angle, Image.Resampling.BICUBIC, expand=True)
    pixels = np.asarray(small.convert("RGBA"), np.float32) / 255
    side_light = np.linspace(-1, 1, pixels.shape[1])[None, :, None] * pose.side_light
    return pixels[..., 3], np.clip(pixels[..., :3] * (pose.brightness + side_light), 0, 1)


def _shadow(alpha: np.ndarray, x: int, y: int, size: int) -> np.ndarray:
    """Return the darkening by an object's shadow: its outline flattened at its bottom and blurred. (S, S), 0..0.45"""
    height, width = alpha.shape
    flat = Image.fromarray((alpha * 255).astype(np.uint8)).resize((width, max(3, height // 6)))
    layer = Image.new("L", (size, size))
    layer.paste(flat, (x + width // 20, y + height - flat.height + max(1, height // 30)))
    return np.asarray(layer.filter(ImageFilter.GaussianBlur(size / 45)), np.float32) / 255 * 0.45


def sample_content(
    rng: np.random.Generator,
    names: Sequence[str] = TRAINING,
    counts: Sequence[float] = (0.4, 0.4, 0.15, 0.05),
) -> tuple[tuple[str, ...], str]:
    """Sample 1 to 4 different objects and a place, which is a plain backdrop one time in five.

    Args:
        rng: Source of all variation.
        names: Names to choose from.
        counts: Probabilities of 1, 2, 3 and 4 objects.
    """
    count = rng.choice(4, p=counts) + 1
    place = rng.choice(BACKDROPS) if rng.random() < 0.2 else rng.choice(tuple(PLACES))
    return tuple(str(name) for name in rng.choice(names, count, replace=False)), str(place)


def random_scene(rng: np.random.Generator, size: int, names: Sequence[str] = TRAINING) -> RenderedScene:
    """Render a scene of random objects in a random place."""
    return render_scene(rng, size, *sample_content(rng, names))


def random_caption(
    rng: np.random.Generator, names: Sequence[str], place: str, keep_order: bool = False, style: str = ""
) -> str:
    """Sample a caption as people write them: with or without articles and an opening, objects in any order.

    Args:
        rng: Source of all variation.
        names: Names of the objects; may be empty.
        place: Place or backdrop.
        keep_order: Keep the order of `names`.
        style: One of vocabulary.STYLES, or "" for a photo.
    """
    names = names if keep_order else [str(name) for name in rng.permutation(names)]
    phrases = names if rng.random() < 0.35 else [with_article(name) for name in names]
    opening = rng.choice(["a photo of ", "a picture of ", "photo of ", ""], p=[0.7, 0.1, 0.05, 0.15])
    opening = f"{style} of " if style else opening
    opening = opening if len(names) else opening.removesuffix("of ")  # an empty place
    return f"{opening}{join(phrases)} {place}".replace("  ", " ").strip()
