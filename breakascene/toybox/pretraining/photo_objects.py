"""Objects for scenes that resemble photos: figures, vessels and other things of several parts, shaded in relief.

A real thing has parts of different colors, a texture, highlights and reflections, and all of it is one object.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from breakascene.toybox.pretraining.image_codes import novel_object
from breakascene.toybox.pretraining.textures import noise, pattern, random_color

SPRITE_PROB = 0.35  # of an object: a sprite
OVERSAMPLING = 2  # of outlines


@dataclass(frozen=True)
class Part:
    """A part of an object: a filled outline, or a stroke if it has a width. Lengths are shares of the image's side.

    Args:
        points: Outline, or center line of the stroke, as x, y; (M, 2).
        material: Index of the object's material.
        width: Width of the stroke; 0 for a filled outline.
        flat: Whether it is painted on the parts below it, only where they are, without a relief of its own.
        hollow: Whether its relief points inward.
    """

    points: np.ndarray
    material: int
    width: float = 0.0
    flat: bool = False
    hollow: bool = False


def photo_object(
    rng: np.random.Generator, size: int, center: np.ndarray, extent: float, light: np.ndarray, color: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Draw an object.

    Args:
        rng: Source of all variation.
        size: Side of the image in pixels.
        center: Its center as x, y, in shares of the side.
        extent: Its length, in shares of the side, roughly.
        light: Direction of the light, a unit vector (3,); z points at the viewer.
        color: Color of its main material, (3,) in 0..255; by default a random one.

    Returns:
        Its opacity (S, S) in 0..1 and colors (S, S, 3) in 0..255, float32.
    """
    if rng.random() < SPRITE_PROB:
        return _sprite(rng, size, center, extent)
    make = (_figure, _figure, _vessel, _cluster, _solid, _solid)[rng.integers(6)]
    parts = make(rng)
    scale, angle = extent / 2, rng.normal(0, 0.35)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    stretch = np.exp(rng.normal(0, 0.12, 2))
    placed = [
        Part((p.points * stretch) @ turn * scale + center, p.material, p.width * scale, p.flat, p.hollow) for p in parts
    ]
    return _draw(rng, size, placed, extent, light, color)


def _blob(rng, x, y, radius, aspect=1.0, wobble=0.12) -> np.ndarray:
    """Return a smooth outline (M, 2) around a point."""
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    waves = sum(rng.normal(0, wobble / k) * np.sin(k * angles + rng.uniform(0, 6.3)) for k in (2, 3, 4, 6))
    radii = radius * np.clip(1 + waves, 0.3, 1.6)
    return np.stack([x + radii * np.cos(angles) * aspect, y + radii * np.sin(angles) / aspect], 1)


def _polygon(rng, x, y, radius) -> np.ndarray:
    """Return an outline with corners: a box, a star or another polygon."""
    corners = int(rng.integers(3, 9))
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False) + rng.uniform(0, 6.3)
    radii = radius * rng.uniform(0.75, 1.1, corners)
    if corners > 5 and rng.random() < 0.5:
        radii[::2] *= 0.5
    return np.stack([x + radii * np.cos(angles), y + radii * np.sin(angles)], 1)


def _stroke(rng, start, angle, length) -> np.ndarray:
    """Return a bent center line of a limb, from its start on."""
    bends = np.cumsum(rng.normal(0, 0.35, 5)) + np.linspace(0, rng.normal(0, 0.8), 5) + angle
    steps = np.stack([np.cos(bends), np.sin(bends)], 1) * length / 5
    return np.concatenate([[start], start + np.cumsum(steps, 0)])


def _decals(rng, count, materials, reach=0.7) -> list[Part]:
    """Return patches that are painted on an object of radius 1."""
    patches = []
    for _ in range(count):
        x, y = rng.normal(0, reach / 2, 2)
        outline = _blob if rng.random() < 0.7 else _polygon
        patches.append(Part(outline(rng, x, y, rng.uniform(0.04, 0.35)), int(rng.integers(materials)), flat=True))
    return patches


def _figure(rng) -> list[Part]:
    """Return an animal, doll or statue: body, head, limbs, ears, face."""
    materials = int(rng.integers(1, 5))

    def material():
        return int(rng.integers(materials))

    body_radius, head_radius = rng.uniform(0.32, 0.55), rng.uniform(0.2, 0.38)
    body = Part(_blob(rng, 0, 0.2, body_radius, rng.uniform(0.75, 1.3)), 0)
    limbs = []
    for _ in range(rng.integers(0, 6)):
        angle = rng.uniform(-0.4, np.pi + 0.4)
        start = np.array([0, 0.2]) + 0.7 * body_radius * np.array([np.cos(angle), np.sin(angle)])
        line = _stroke(rng, start, angle + rng.normal(0, 0.4), rng.uniform(0.3, 0.8))
        limbs.append(Part(line, material(), rng.uniform(0.1, 0.32)))
    head_x, head_y = rng.normal(0, 0.12), 0.2 - body_radius - head_radius * rng.uniform(0.3, 0.8)
    ears = [
        Part(_blob(rng, head_x + side * head_radius * 0.7, head_y - head_radius * 0.8, head_radius * 0.4), material())
        for side in ((-1, 1) if rng.random() < 0.5 else ())
    ]
    head = Part(_blob(rng, head_x, head_y, head_radius, rng.uniform(0.85, 1.15), 0.06), material())
    hat = [Part(_blob(rng, head_x, head_y - head_radius * 0.8, head_radius * 0.8, 1.3), material(), flat=True)]
    face = [
        Part(_blob(rng, head_x + dx * head_radius, head_y + dy * head_radius, head_radius * r), material(), flat=True)
        for dx, dy, r in ((-0.35, -0.1, 0.16), (0.35, -0.1, 0.16), (0, 0.35, 0.25))
    ]
    behind = int(rng.integers(0, len(limbs) + 1))
    clothes = _decals(rng, int(rng.integers(0, 4)), materials)
    return [
        *limbs[:behind], *ears, body, *clothes, *limbs[behind:], head, *(hat if rng.random() < 0.3 else ()), *face,
    ]  # fmt: skip


def _vessel(rng) -> list[Part]:
    """Return a bowl, pot or cup with a view into it, sometimes with a handle."""
    height, tilt = rng.uniform(0.1, 0.9), rng.uniform(0.35, 0.95)  # tilt: height of the opening relative to its width
    rim = _blob(rng, 0, 0, 0.9, 1.0, 0.04) * [1, tilt]
    body = np.concatenate([rim, rim * [rng.uniform(0.6, 1.05), 1] + [0, height]])
    body = cv2.convexHull(body.astype(np.float32))[:, 0]
    inner = rim * rng.uniform(0.72, 0.93)
    parts = [Part(body, 0), *_decals(rng, int(rng.integers(0, 3)), 3), Part(rim, 0), Part(inner, 1, hollow=True)]
    if rng.random() < 0.3:
        side = rng.choice([-1, 1])
        line = _stroke(rng, np.array([side * 0.8, height / 2]), 0 if side > 0 else np.pi, 0.5)
        parts.insert(0, Part(line, 0, rng.uniform(0.08, 0.2)))
    return [Part(p.points - [0, height / 2], p.material, p.width, p.flat, p.hollow) for p in parts]


def _cluster(rng) -> list[Part]:
    """Return two to five bodies that are joined: a plant, a vehicle, a toy of blocks."""
    materials, parts, x, y = int(rng.integers(1, 5)), [], 0.0, 0.0
    for _ in range(rng.integers(2, 6)):
        radius = rng.uniform(0.2, 0.5)
        outline = _blob(rng, x, y, radius, rng.uniform(0.7, 1.4)) if rng.random() < 0.6 else _polygon(rng, x, y, radius)
        parts.append(Part(outline, int(rng.integers(materials))))
        x, y = np.clip(np.array([x, y]) + rng.normal(0, 0.4, 2), -0.6, 0.6)
    return [*parts, *_decals(rng, int(rng.integers(0, 4)), materials)]


def _solid(rng) -> list[Part]:
    """Return one body: a ball, a stone, a fruit, a box, with or without patches."""
    if rng.random() < 0.75:
        outline = _blob(rng, 0, 0, rng.uniform(0.7, 0.95), np.exp(rng.normal(0, 0.2)), rng.choice([0.0, 0.06, 0.2]))
    else:
        outline = _polygon(rng, 0, 0, 0.9)
    materials = int(rng.integers(1, 4))
    return [Part(outline, 0), *_decals(rng, int(rng.integers(0, 8)) if materials > 1 else 0, materials)]


def _draw(rng, size, parts, extent, light, color) -> tuple[np.ndarray, np.ndarray]:
    """Draw parts from back to front and shade them."""
    opacity, height = np.zeros((2, size, size), np.float32)
    material = np.zeros((size, size), np.uint8)
    large = size * OVERSAMPLING
    for part in parts:
        canvas = np.zeros((large, large), np.uint8)
        points = np.round(part.points * large * 16).astype(np.int32)[:, None]
        if part.width:
            cv2.polylines(canvas, [points], False, 255, max(2, round(part.width * large)), cv2.LINE_8, 4)
        else:
            cv2.fillPoly(canvas, [points], 255, cv2.LINE_8, 4)
        covered = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        inside = covered > 0.5
        if part.flat:
            material[inside & (opacity > 0.5)] = part.material
            continue
        material[inside] = part.material
        opacity = np.maximum(opacity, covered)
        depth = cv2.distanceTransform(np.pad(inside, 1, "edge").astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
        reach = min(float(depth.max()), size * 0.25) + 1e-3
        depth = np.minimum(depth, reach)
        relief = np.sqrt(np.maximum(depth * (2 * reach - depth), 0))
        height = np.where(inside, -relief if part.hollow else relief, height)
    return opacity, _shade(rng, _paint(rng, material, color), height, extent, light)


def _paint(rng, material: np.ndarray, color: np.ndarray | None) -> np.ndarray:
    """Return the colors (S, S, 3) of a map of materials, each with a texture of its own strength."""
    size, count = len(material), int(material.max()) + 1
    base = np.array([random_color(rng) for _ in range(count)], np.float32)
    if color is not None:
        base[0] = color
    if rng.random() < 0.3:  # a statue: the parts have nearly the same color
        base[1:] = base[0] + rng.normal(0, 15, (count - 1, 3))
    change = rng.normal(0, 1, (count, 1)) * rng.uniform(2, 40, (count, 1)) + rng.normal(0, 5, (count, 3))
    change[rng.random(count) < 0.3] *= 0.1
    grain = noise(rng, size, int(rng.integers(3, 20)), rng.uniform(0.4, 1.1))
    if rng.random() < 0.25:
        grain = 0.5 * grain + pattern(rng, size) * np.float32(rng.uniform(0.5, 2))
    return base[material] + change.astype(np.float32)[material] * grain[..., None]


def _shade(rng, colors: np.ndarray, height: np.ndarray, extent: float, light: np.ndarray) -> np.ndarray:
    """Light colors (S, S, 3) by a relief (S, S) in pixels: diffuse light, highlights, a mirrored environment."""
    size = len(height)
    height = cv2.GaussianBlur(height, (0, 0), max(0.6, 0.02 * extent * size))
    slope_x, slope_y = (
        cv2.Sobel(height, cv2.CV_32F, 1, 0, scale=1 / 8),
        cv2.Sobel(height, cv2.CV_32F, 0, 1, scale=1 / 8),
    )
    strength = np.float32(rng.uniform(0.3, 1.5))
    length = np.sqrt(1 + strength**2 * (slope_x**2 + slope_y**2))
    normal_x, normal_y, normal_z = -strength * slope_x / length, -strength * slope_y / length, 1 / length
    lit = normal_x * light[0] + normal_y * light[1] + normal_z * light[2]
    ambient = rng.uniform(0.35, 0.85)
    shaded = colors * (ambient + (1 - ambient) * 1.3 * np.clip(lit, 0, 1))[..., None]
    if rng.random() < 0.45:
        highlight = np.clip(lit, 0, 1) ** np.float32(rng.uniform(8, 80)) * np.float32(rng.uniform(40, 220))
        shaded = shaded + highlight[..., None]
    if rng.random() < 0.25:
        environment = noise(rng, 64, int(rng.integers(4, 10)), 0.5)
        mirrored = cv2.remap(environment, normal_x * 31 + 32, normal_y * 31 + 32, cv2.INTER_LINEAR)
        bright = np.clip(mirrored - rng.uniform(0, 1), 0, 1.5) * np.float32(rng.uniform(30, 160))
        shaded = shaded + bright[..., None]
    return shaded.astype(np.float32)


def _sprite(rng, size, center, extent) -> tuple[np.ndarray, np.ndarray]:
    """Draw a sprite of the toybox with other colors, grain and rotation."""
    sprite = novel_object(rng)
    scale = extent * size / max(sprite.size) * rng.uniform(0.9, 1.1)
    angle = rng.normal(0, 15)
    cosine, sine = np.cos(np.radians(angle)) * scale, np.sin(np.radians(angle)) * scale
    middle = np.array(sprite.size) / 2
    turn = np.array([[cosine, sine], [-sine, cosine]])
    matrix = np.concatenate([turn, (center * size - turn @ middle)[:, None]], 1)
    source = np.asarray(sprite.convert("RGBa"), np.float32)
    source = cv2.GaussianBlur(source, (0, 0), 0.5 / scale) if scale < 0.7 else source
    drawn = cv2.warpAffine(source, matrix, (size, size), flags=cv2.INTER_LINEAR)
    opacity = drawn[..., 3] / 255
    colors = drawn[..., :3] / np.maximum(opacity, 0.02)[..., None]
    grain = noise(rng, size, int(rng.integers(3, 30)), rng.uniform(0.5, 1.1)) * np.float32(rng.uniform(0, 22))
    mean = rng.uniform(0.5, 1.1)  # contrast
    return opacity, ((colors - 128) * mean + 128 * rng.uniform(0.6, 1.2) + grain[..., None]).astype(np.float32)
