"""Scenes that resemble photos, for the segmenter: textured grounds, clutter, depth of field, light, noise, JPEG.

A third of them show an object that fills 20 to 60 % of the frame and may be cut by its edge.
"""

import cv2
import numpy as np

from breakascene.toybox.pretraining.photo_objects import photo_object
from breakascene.toybox.pretraining.places import render_place
from breakascene.toybox.pretraining.textures import noise, random_color, texture
from breakascene.toybox.pretraining.world import RenderedScene
from breakascene.toybox.vocabulary import ALL_PLACES

LARGE_PROB = 0.4  # of a scene: its first object is large
ON_TOP_PROB = 0.35  # of a further object: it covers part of the previous one
CAMOUFLAGE_PROB = 0.2  # of an object: its main color is the ground's
MIN_VISIBLE = 30  # pixels of an object; with fewer it is not marked


def photo_scene(rng: np.random.Generator, size: int) -> RenderedScene:
    """Render a scene of 1 to 4 objects, with masks of their visible pixels."""
    pixels = _ground(rng, size)
    light = rng.normal(0, 1, 3) * [1, 0.7, 0.4] + [0, -0.6, 1.2]
    light = light / np.linalg.norm(light)
    count = int(rng.choice(4, p=(0.35, 0.3, 0.2, 0.15))) + 1
    masks = np.zeros((count, size, size), np.float32)
    center = np.zeros(2)
    for i in range(count):
        on_top = i > 0 and rng.random() < ON_TOP_PROB
        center = center + rng.normal(0, 0.12, 2) if on_top else rng.uniform(0.1, 0.9, 2)
        if i == 0 and rng.random() < LARGE_PROB:
            extent, center = rng.uniform(0.6, 1.2), rng.uniform(0.25, 0.75, 2)
        else:
            extent = np.exp(rng.uniform(np.log(0.14), np.log(0.7)))
        color = None
        if rng.random() < CAMOUFLAGE_PROB:
            x, y = np.clip(center * size, 0, size - 1).astype(int)
            color = pixels[max(0, y - 8) : y + 8, max(0, x - 8) : x + 8].mean((0, 1)) + rng.normal(0, 18)
        opacity, colors = photo_object(rng, size, center, extent, light, color)
        pixels = _cast_shadow(rng, pixels, opacity, light, extent)
        soft = rng.uniform(0.4, 1.2)
        opacity = cv2.GaussianBlur(opacity, (0, 0), soft) if rng.random() < 0.3 else opacity
        pixels += (colors - pixels) * opacity[..., None]
        masks[:i] *= 1 - opacity
        masks[i] = opacity
    if rng.random() < 0.12:  # something thin in front, such as a twig or a string
        front = _scribble(rng, size)
        pixels += (random_color(rng).astype(np.float32) - pixels) * front[..., None]
        masks *= 1 - front
    masks = masks > 0.5
    masks = masks[masks.sum((1, 2)) >= MIN_VISIBLE]
    if not len(masks):
        return photo_scene(rng, size)
    return RenderedScene(_photograph(rng, pixels), masks, ("object",) * len(masks), "")


def _ground(rng, size) -> np.ndarray:
    """Return a background with clutter and depth of field. (S, S, 3), float32 in 0..255"""
    kind = rng.random()
    if kind < 0.25:
        pixels = render_place(rng, size, str(rng.choice(ALL_PLACES)))[0] * 255
        return _blurred(rng, _clutter(rng, pixels, int(rng.integers(0, 5))), 0.5)
    if kind < 0.5:
        return _blurred(rng, _clutter(rng, texture(rng, size), int(rng.integers(0, 5))), 0.3)
    # A wall or a landscape behind a table or a floor
    far = _clutter(rng, texture(rng, size), int(rng.integers(0, 14)))
    far = _blurred(rng, far, 0.8, deepest=0.05)
    near = texture(rng, size)
    if rng.random() < 0.4:  # perspective: the texture is finer toward the horizon
        rows = (np.linspace(0, 1, size) ** rng.uniform(1.2, 2.5) * (size - 1)).astype(int)
        near = near[rows]
    horizon = rng.uniform(0.05, 0.7) * size
    xx = np.arange(size)
    line = horizon + (xx - size / 2) * rng.normal(0, 0.2) + noise(rng, size, 2, 0.4)[0] * rng.choice([0, 0, 0, 2, 5])
    share = np.clip(np.arange(size)[:, None] - line + 0.5, 0, 1).astype(np.float32)
    share = cv2.GaussianBlur(share, (0, 0), rng.uniform(0.3, 2.0))
    return far + (near - far) * share[..., None]


def _clutter(rng, pixels, count) -> np.ndarray:
    """Draw shapes on a background that are not marked as objects."""
    size = len(pixels)
    pixels = np.ascontiguousarray(pixels, np.float32)
    for _ in range(count):
        color, corner = tuple(float(c) for c in random_color(rng)), rng.integers(0, size, 2)
        length = int(size * np.exp(rng.uniform(np.log(0.03), np.log(0.5))))
        kind = rng.random()
        if kind < 0.4:
            axes = (max(1, length // 2), max(1, int(length * rng.uniform(0.1, 0.5))))
            cv2.ellipse(pixels, corner.tolist(), axes, float(rng.uniform(0, 180)), 0, 360, color, -1, cv2.LINE_AA)
        elif kind < 0.75:
            points = corner + rng.integers(-length, length + 1, (int(rng.integers(3, 6)), 2))
            cv2.fillPoly(pixels, [points.astype(np.int32)], color, cv2.LINE_AA)
        else:
            end = corner + rng.integers(-2 * length, 2 * length + 1, 2)
            cv2.line(pixels, corner.tolist(), end.tolist(), color, int(rng.integers(1, 7)), cv2.LINE_AA)
    return pixels


def _blurred(rng, pixels, probability, deepest=0.03) -> np.ndarray:
    """Blur with a probability, by a standard deviation of up to a share of the side."""
    pixels = pixels.astype(np.float32)
    if rng.random() > probability:
        return pixels
    return cv2.GaussianBlur(pixels, (0, 0), max(0.5, rng.uniform(0, deepest) * len(pixels)))


def _cast_shadow(rng, pixels, opacity, light, extent) -> np.ndarray:
    """Darken what is below and beside an object."""
    size = len(pixels)
    strength = rng.uniform(0, 0.7)
    shift = extent * size * rng.uniform(0, 0.12)
    matrix = np.array([[1, 0, -light[0] * shift], [0, 1, abs(light[1]) * shift]])
    shadow = cv2.warpAffine(opacity, matrix, (size, size))
    shadow = cv2.GaussianBlur(shadow, (0, 0), max(0.8, extent * size * rng.uniform(0.01, 0.08)))
    return pixels * (1 - np.float32(strength) * shadow)[..., None]


def _scribble(rng, size) -> np.ndarray:
    """Return the opacity (S, S) of a bent line across the image."""
    canvas = np.zeros((size, size), np.float32)
    points = np.cumsum(rng.normal(0, 0.15, (8, 2)), 0) * size + rng.uniform(0, size, 2)
    cv2.polylines(canvas, [points.astype(np.int32)[:, None]], False, 1.0, int(rng.integers(1, 5)), cv2.LINE_AA)
    return np.clip(canvas, 0, 1)


def _photograph(rng, pixels: np.ndarray) -> np.ndarray:
    """Apply light and camera: gradients, shadows, vignette, white balance, exposure, blur, noise, JPEG. uint8"""
    size = len(pixels)
    yy, xx = np.mgrid[:size, :size].astype(np.float32) / size - 0.5
    factor = np.ones((size, size), np.float32)
    if rng.random() < 0.5:
        angle = rng.uniform(0, 2 * np.pi)
        factor += np.float32(rng.uniform(0, 0.7)) * (np.cos(angle) * xx + np.sin(angle) * yy)
    if rng.random() < 0.25:  # shadows of trees or window frames
        factor *= 1 - rng.uniform(0.1, 0.5) / (1 + np.exp(-6 * noise(rng, size, 3, 0.4)))
    if rng.random() < 0.35:
        factor *= 1 - np.float32(rng.uniform(0, 0.9)) * (xx**2 + yy**2)
    if rng.random() < 0.1:  # a lamp or the sun nearby
        x, y = rng.uniform(-0.5, 0.5, 2)
        factor += np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / rng.uniform(0.01, 0.1)) * rng.uniform(0, 1.2)
    pixels = np.clip(pixels, 0, 255) * factor[..., None] * (1 + rng.normal(0, 0.06, 3))
    if rng.random() < 0.5:
        gray = pixels.mean(2, keepdims=True)
        pixels = gray + (pixels - gray) * rng.uniform(0.2, 1.3)
    if rng.random() < 0.6:
        pixels = 255 * (np.clip(pixels, 0, 255) / 255) ** np.exp(rng.normal(0, 0.3))
        pixels = (pixels - 128) * rng.uniform(0.7, 1.25) + 128 + rng.normal(0, 18)
    pixels = pixels.astype(np.float32)
    if rng.random() < 0.35:
        pixels = cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.3, 1.2))
    if rng.random() < 0.3:  # sharpened by the camera or by the reduction of a large photo
        pixels += (pixels - cv2.GaussianBlur(pixels, (0, 0), 1.0)) * np.float32(rng.uniform(0.2, 1.0))
    if rng.random() < 0.5:
        grain = rng.standard_normal(pixels.shape, np.float32) * np.float32(rng.uniform(1, 12))
        pixels += cv2.GaussianBlur(grain, (0, 0), 0.6) if rng.random() < 0.4 else grain
    pixels = np.clip(pixels, 0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        quality = int(rng.integers(25, 95))
        pixels = cv2.imdecode(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)
    return pixels
