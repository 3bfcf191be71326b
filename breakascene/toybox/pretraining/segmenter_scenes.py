"""The segmenter's scenes: toys in their places, random shapes, and scenes that resemble photos."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from breakascene.toybox.pretraining.image_codes import novel_object
from breakascene.toybox.pretraining.photo_scenes import photo_scene
from breakascene.toybox.pretraining.world import RenderedScene, random_scene, render_scene, sample_content

PHOTO_PROB = 0.6  # of a scene that the VAE does not reconstruct: one that resembles a photo
SHAPES_PROB, NOVEL_PROB = 0.25, 0.4  # of another scene: random shapes, novel objects
RECONSTRUCTED = 0.25  # share of the scenes that the VAE reconstructs, so that they look like generated images
MAX_OBJECTS = 4  # in a scene


@dataclass(frozen=True)
class SegmenterBatch:
    """Scenes for training.

    Args:
        pixels: Images, (B, S, S, 3) uint8.
        labels: The object that each pixel belongs to, from 1; 0 outside all objects; (B, S, S) uint8.
        reconstructed: Number of the first scenes that the VAE is to reconstruct.
    """

    pixels: np.ndarray
    labels: np.ndarray
    reconstructed: int


@dataclass(frozen=True)
class SegmenterSampler:
    """Samples batches of `count` scenes of `size` pixels."""

    size: int
    count: int

    def __call__(self, rng: np.random.Generator) -> SegmenterBatch:
        reconstructed = round(RECONSTRUCTED * self.count)
        scenes = [_toy_scene(rng, self.size) for _ in range(reconstructed)]
        scenes += [_scene(rng, self.size) for _ in range(self.count - reconstructed)]
        pixels, labels = np.stack([s.pixels for s in scenes]), np.stack([_labels(s) for s in scenes])
        return SegmenterBatch(pixels, labels, reconstructed)


def _scene(rng, size) -> RenderedScene:
    if rng.random() < PHOTO_PROB:
        return photo_scene(rng, size)
    scene = _toy_scene(rng, size)
    return RenderedScene(_camera_effects(rng, scene.pixels), scene.masks, scene.names, scene.place)


def _toy_scene(rng, size) -> RenderedScene:
    kind = rng.random()
    if kind < SHAPES_PROB:
        return random_shapes(rng, size)
    if kind < SHAPES_PROB + NOVEL_PROB:
        names, place = sample_content(rng)
        return render_scene(rng, size, names, place, sprites=[novel_object(rng) for _ in names])
    return random_scene(rng, size)


def _labels(scene: RenderedScene) -> np.ndarray:
    """Return the object that each pixel belongs to, from 1; 0 outside. (S, S) uint8"""
    labels = np.zeros(scene.pixels.shape[:2], np.uint8)
    for number, mask in enumerate(scene.masks, 1):
        labels[mask] = number
    return labels


def _camera_effects(rng, pixels):
    """Vary contrast and color balance, blur and add noise, each with a probability."""
    x = pixels.astype(np.float32)
    if rng.random() < 0.5:
        x = (x - 128) * rng.uniform(0.6, 1.2) + 128 * rng.uniform(0.75, 1.2, 3)
        x = x[..., rng.permutation(3)]
    if rng.random() < 0.3:
        blurred = Image.fromarray(np.clip(x, 0, 255).astype(np.uint8)).filter(
            ImageFilter.GaussianBlur(rng.uniform(0.3, 1.3))
        )
        x = np.asarray(blurred, np.float32)
    if rng.random() < 0.4:
        x = x + rng.normal(0, rng.uniform(2, 14), x.shape)
    return np.clip(x, 0, 255).astype(np.uint8)


def _texture(rng, size):
    """Return noise of several scales between two colors, sometimes striped. (S, S, 3), floats in [0, 255]"""
    total = np.zeros((size, size), np.float32)
    for cells in (2, 5, 12, 40):
        grid = rng.uniform(-1, 1, (cells, cells)).astype(np.float32)
        total += np.asarray(Image.fromarray(grid).resize((size, size), Image.Resampling.BICUBIC)) * rng.uniform(0, 0.6)
    if rng.random() < 0.3:
        yy, xx = np.mgrid[:size, :size] / size
        angle = rng.uniform(0, np.pi)
        total += np.sin((np.cos(angle) * xx + np.sin(angle) * yy) * rng.uniform(20, 90)) * rng.uniform(0.3, 1)
    first, second = rng.uniform(0, 255, (2, 3))
    share = np.clip(total * rng.uniform(0.2, 1) + 0.5, 0, 1)[..., None]
    return first * share + second * (1 - share)


def random_shapes(rng, size) -> RenderedScene:
    """Render 1 to 4 textured blobs, ellipses and polygons on a textured ground, with masks of their visible pixels."""
    pixels = _texture(rng, size)
    count = int(rng.integers(1, 5))
    masks = np.zeros((count, size, size), bool)
    for i in range(count):
        canvas = Image.new("L", (size * 2, size * 2))
        draw = ImageDraw.Draw(canvas)
        x, y = rng.uniform(0.15, 0.85, 2) * size * 2
        r = size * 2 * rng.uniform(0.08, 0.35)
        kind = rng.integers(3)
        if kind == 0:
            a, b = r * rng.uniform(0.5, 1, 2)
            draw.ellipse((x - a, y - b, x + a, y + b), fill=255)
        else:
            corners = int(rng.integers(3, 8)) if kind == 1 else 40
            angles = np.sort(rng.uniform(0, 2 * np.pi, corners)) if kind == 1 else np.linspace(0, 2 * np.pi, corners)
            waves = sum(rng.uniform(-0.25, 0.25) * np.sin(k * angles + rng.uniform(0, 6)) for k in (2, 3, 4, 5))
            radii = r * (rng.uniform(0.6, 1, corners) if kind == 1 else np.clip(0.75 + waves, 0.15, 1.3))
            draw.polygon(list(zip(x + radii * np.cos(angles), y + radii * np.sin(angles), strict=True)), fill=255)
        opacity = np.asarray(canvas.resize((size, size), Image.Resampling.BOX), np.float32)[..., None] / 255
        pixels = pixels * (1 - opacity) + _texture(rng, size) * opacity
        masks &= opacity[..., 0] < 0.5
        masks[i] = opacity[..., 0] >= 0.5
    return RenderedScene(np.clip(pixels, 0, 255).astype(np.uint8), masks, ("shape",) * count, "")
