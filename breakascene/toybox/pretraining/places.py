"""The toybox's places, rendered in NumPy.

Each place is a function of a random generator and a size that returns `(pixels, ground, light)`: the image (S, S, 3) as
floats in [0, 1], the height of the ground line (0 top, 1 bottom), and the color of the light on objects (3 factors).
"""

import numpy as np
from PIL import Image

WHITE = (1.0, 1.0, 1.0)


def _color(rng, rgb, spread=0.05):
    """Vary a color slightly in brightness and hue."""
    return np.clip(np.array(rgb) + rng.normal(0, spread * 0.4, 3) + rng.normal(0, spread), 0, 1)


def _gradient(size, top, bottom, end=1.0):
    """Return a vertical gradient between two colors that ends at the height `end` (0 top, 1 bottom). (S, S, 3)"""
    t = np.clip(np.linspace(0, 1, size) / end, 0, 1)[:, None, None]
    return np.broadcast_to((1 - t) * np.asarray(top) + t * np.asarray(bottom), (size, size, 3)).copy()


def _noise(rng, size, cells, stretch=1):
    """Return smooth noise of about -1..1; `stretch` > 1 widens its features. (S, S, 1)"""
    grid = rng.uniform(-1, 1, (max(2, int(cells * stretch)), max(2, int(cells)))).astype(np.float32)
    return np.asarray(Image.fromarray(grid).resize((size, size), Image.Resampling.BICUBIC))[..., None]


def _yx(size):
    axis = (np.arange(size) + 0.5) / size
    return axis[:, None], axis[None, :]


def _disc(size, x, y, r):
    """Return the opacity of a disc with a soft edge. (S, S, 1)"""
    yy, xx = _yx(size)
    return np.clip((r - np.hypot(yy - y, xx - x)) * size / 1.5 + 0.5, 0, 1)[..., None]


def _blend(image, color, opacity):
    return image * (1 - opacity) + np.asarray(color) * opacity


def _below(size, line):
    """Return the opacity of all below a line, with a soft edge. line: heights (S,) or one height. (S, S, 1)"""
    yy, _ = _yx(size)
    return np.clip((yy - np.asarray(line)) * size + 0.5, 0, 1)[..., None] * np.ones((1, size, 1))


def _hills(rng, size, base, height):
    """Return the heights of a hilly horizon. (S,)"""
    _, xx = _yx(size)
    a, b = rng.uniform(0, 6.28, 2)
    return base + height * (np.sin(xx[0] * rng.uniform(3, 6) + a) + 0.5 * np.sin(xx[0] * rng.uniform(7, 11) + b))


def _floor(rng, image, line, rgb, grain=0.03, cells=12, stretch=2):
    """Add ground below a line: a color that brightens toward the viewer, with grain."""
    size = len(image)
    near = _gradient(size, np.array(rgb) * 0.9, np.clip(np.array(rgb) * 1.08, 0, 1))
    near += _noise(rng, size, cells, stretch) * grain + _noise(rng, size, cells * 3, stretch) * grain * 0.6
    return _blend(image, near, _below(size, line))


def beach(rng, size):
    ground = rng.uniform(0.52, 0.6)
    sea = ground - rng.uniform(0.12, 0.2)
    image = _gradient(size, _color(rng, (0.35, 0.65, 0.95)), _color(rng, (0.8, 0.92, 1.0)), sea)
    image = _blend(image, _gradient(size, (0.05, 0.45, 0.65), _color(rng, (0.25, 0.75, 0.8))), _below(size, sea))
    shore = _hills(rng, size, ground, 0.008)
    image = _blend(image, (0.97, 0.98, 0.98), _below(size, shore - 0.02))
    return _floor(rng, image, shore, _color(rng, (0.92, 0.8, 0.56))), ground, WHITE


def snow(rng, size):
    ground = rng.uniform(0.48, 0.58)
    image = _gradient(size, _color(rng, (0.55, 0.68, 0.85)), _color(rng, (0.85, 0.9, 0.97)), ground)
    image = _blend(image, _color(rng, (0.75, 0.82, 0.92)), _below(size, _hills(rng, size, ground - 0.08, 0.035)))
    image = _floor(rng, image, _hills(rng, size, ground, 0.015), _color(rng, (0.93, 0.95, 1.0), 0.02), 0.015, 6)
    for x, y, r in zip(*rng.uniform(0, 1, (2, 22)), rng.uniform(0.006, 0.013, 22), strict=True):
        image = _blend(image, WHITE, _disc(size, x, y, r))
    return image, ground, (0.95, 0.98, 1.05)


def grass(rng, size):
    ground = rng.uniform(0.48, 0.58)
    image = _gradient(size, _color(rng, (0.4, 0.7, 0.98)), _color(rng, (0.85, 0.94, 1.0)), ground)
    image = _blend(image, _color(rng, (0.35, 0.62, 0.32)), _below(size, _hills(rng, size, ground - 0.05, 0.025)))
    return _floor(rng, image, ground, _color(rng, (0.36, 0.7, 0.22)), 0.06, 10, 0.8), ground, WHITE


def desert(rng, size):
    ground = rng.uniform(0.5, 0.6)
    image = _gradient(size, _color(rng, (0.98, 0.78, 0.5)), _color(rng, (1.0, 0.9, 0.7)), ground)
    image = _blend(image, _color(rng, (0.85, 0.52, 0.28)), _below(size, _hills(rng, size, ground - 0.1, 0.04)))
    image = _blend(image, _color(rng, (0.92, 0.62, 0.34)), _below(size, _hills(rng, size, ground - 0.03, 0.02)))
    return _floor(rng, image, ground + 0.03, _color(rng, (0.95, 0.7, 0.4)), 0.03, 5, 4), ground, (1.03, 0.99, 0.93)


def table(rng, size):
    ground = rng.uniform(0.45, 0.55)
    image = _gradient(size, _color(rng, (0.88, 0.84, 0.76)), _color(rng, (0.94, 0.9, 0.84)))
    wood = _color(rng, (0.6, 0.38, 0.2))
    image = _floor(rng, image, ground, wood, 0.05, 3, 10)
    yy, _ = _yx(size)
    seams = sum(np.exp(-(((yy - y) * size / 0.9) ** 2)) for y in ground + np.array([0.0, 0.09, 0.21, 0.36]))
    return image * (1 - 0.35 * np.clip(seams, 0, 1))[..., None], ground, (1.02, 1.0, 0.96)


def bricks(rng, size):
    ground = rng.uniform(0.66, 0.72)
    yy, xx = _yx(size)
    row = np.floor(yy * 12)
    col = np.floor(xx * 6 + (row % 2) * 0.5)
    shade = rng.uniform(-0.06, 0.06, (14, 9))[row.astype(int), col.astype(int)][..., None]
    wall = _color(rng, (0.68, 0.32, 0.25)) + shade
    off_y, off_x = (yy * 12) % 1, (xx * 6 + (row % 2) * 0.5) % 1
    mortar = ((off_y < 0.14) | (off_x < 0.07)).astype(float)[..., None]
    image = _blend(wall, _color(rng, (0.82, 0.78, 0.72)), mortar * 0.8)
    return _floor(rng, image, ground, _color(rng, (0.55, 0.55, 0.57))), ground, WHITE


def night(rng, size):
    ground = rng.uniform(0.6, 0.68)
    image = _gradient(size, _color(rng, (0.03, 0.04, 0.16), 0.02), _color(rng, (0.16, 0.18, 0.42), 0.03), ground)
    for x, y, r in zip(rng.uniform(0, 1, 30), rng.uniform(0, 0.6, 30), rng.uniform(0.003, 0.008, 30), strict=True):
        image = _blend(image, (1.0, 1.0, 0.9), _disc(size, x, y, r) * 0.9)
    moon = rng.uniform(0.1, 0.9), rng.uniform(0.08, 0.2)
    image = _blend(image, (1.0, 0.97, 0.8), _disc(size, *moon, 0.065))
    image = _floor(rng, image, _hills(rng, size, ground, 0.015), _color(rng, (0.1, 0.13, 0.22), 0.02), 0.015)
    return image, ground, (0.72, 0.75, 0.95)


def water(rng, size):
    ground = rng.uniform(0.72, 0.8)
    yy, xx = _yx(size)
    image = _gradient(size, _color(rng, (0.25, 0.75, 0.88)), _color(rng, (0.02, 0.25, 0.5)))
    lean, phase = rng.uniform(-0.4, 0.4), rng.uniform(0, 6)
    rays = np.sin((xx + lean * yy) * 18 + phase) * np.clip(0.8 - yy, 0, 1)
    image = image + 0.07 * rays[..., None]
    image = _floor(rng, image, _hills(rng, size, ground, 0.015), _color(rng, (0.35, 0.55, 0.6)))
    for x, y, r in zip(*rng.uniform(0, 0.9, (2, 9)), rng.uniform(0.008, 0.02, 9), strict=True):
        image = _blend(image, (0.8, 0.95, 1.0), (_disc(size, x, y, r) - _disc(size, x, y, r * 0.7)) * 0.8)
    return image, ground, (0.75, 0.95, 1.05)


def forest(rng, size):
    ground = rng.uniform(0.6, 0.68)
    image = _gradient(size, _color(rng, (0.12, 0.3, 0.16)), _color(rng, (0.35, 0.52, 0.3)), ground)
    image = image + _noise(rng, size, 8) * 0.05
    _, xx = _yx(size)
    for x in np.linspace(0.05, 0.95, 6) + rng.uniform(-0.05, 0.05, 6):
        width = rng.uniform(0.02, 0.04)
        trunk = np.clip((width - np.abs(xx - x)) * size + 0.5, 0, 1)[..., None] * np.ones((size, 1, 1))
        image = _blend(image, _color(rng, (0.25, 0.17, 0.11), 0.03), trunk)
    return _floor(rng, image, ground, _color(rng, (0.3, 0.36, 0.16)), 0.05, 10), ground, (0.9, 0.97, 0.88)


def street(rng, size):
    ground = rng.uniform(0.62, 0.7)
    image = _gradient(size, _color(rng, (0.65, 0.78, 0.92)), _color(rng, (0.9, 0.93, 0.96)), ground)
    yy, xx = _yx(size)
    edges = np.concatenate([[0], np.sort(rng.uniform(0.1, 0.9, 4)), [1]])
    for left, right in zip(edges, edges[1:], strict=False):
        top = rng.uniform(0.08, 0.35)
        inside = ((xx >= left) & (xx < right) & (yy > top))[..., None].astype(float)
        lit = (((yy - top) * 14 % 1 > 0.45) & ((xx - left) * 14 % 1 > 0.45))[..., None].astype(float)
        wall = _color(rng, (0.6, 0.58, 0.6), 0.1)
        image = _blend(image, _blend(wall * np.ones_like(image), (0.85, 0.9, 0.75), lit * 0.6), inside)
    image = _floor(rng, image, ground, _color(rng, (0.36, 0.37, 0.4)), 0.02)
    stripe = ((np.abs(yy - 0.9) < 0.012) & ((xx * 4 + rng.uniform(0, 1)) % 1 < 0.55))[..., None].astype(float)
    return _blend(image, (0.95, 0.9, 0.7), stripe), ground, WHITE


def sunset(rng, size):
    ground = rng.uniform(0.66, 0.72)
    image = _gradient(size, _color(rng, (0.36, 0.2, 0.5)), _color(rng, (1.0, 0.58, 0.3)), ground)
    sun = rng.uniform(0.2, 0.8)
    image = _blend(image, (1.0, 0.88, 0.5), _disc(size, sun, ground - 0.03, rng.uniform(0.11, 0.15)))
    image = _blend(image, _color(rng, (0.45, 0.25, 0.4)), _below(size, _hills(rng, size, ground - 0.02, 0.02)))
    return _floor(rng, image, ground + 0.01, _color(rng, (0.5, 0.28, 0.3)), 0.02), ground, (1.02, 0.88, 0.82)


def kitchen(rng, size):
    ground = rng.uniform(0.56, 0.64)
    yy, xx = _yx(size)
    tile = _color(rng, (0.72, 0.86, 0.88))
    lines = (((xx * 7) % 1 < 0.07) | ((yy * 7) % 1 < 0.07))[..., None].astype(float)
    image = _blend(tile * np.ones((size, size, 3)), WHITE, lines * 0.9)
    image = _floor(rng, image, ground, _color(rng, (0.9, 0.89, 0.87), 0.03), 0.02, 14)
    edge = _below(size, ground) * (1 - _below(size, ground + 0.025))
    return _blend(image, _color(rng, (0.62, 0.6, 0.6)), edge), ground, WHITE


RENDERERS = {
    "at the beach": beach,
    "in the snow": snow,
    "on the grass": grass,
    "in the desert": desert,
    "on a wooden table": table,
    "in front of a brick wall": bricks,
    "under the night sky": night,
    "under water": water,
    "in the forest": forest,
    "in the street": street,
    "at sunset": sunset,
    "in the kitchen": kitchen,
}

BACKDROP_COLORS = {
    "white": (0.95, 0.95, 0.95),
    "grey": (0.55, 0.55, 0.56),
    "red": (0.85, 0.22, 0.22),
    "yellow": (0.97, 0.83, 0.28),
    "green": (0.35, 0.7, 0.4),
    "blue": (0.25, 0.45, 0.85),
    "purple": (0.55, 0.35, 0.75),
    "pink": (0.96, 0.62, 0.72),
}


def backdrop(rng, size, color):
    """Return a studio backdrop of one color, darker toward the top and the corners."""
    rgb = _color(rng, BACKDROP_COLORS[color], 0.02)
    yy, xx = _yx(size)
    vignette = 1 - 0.18 * ((yy - 0.6) ** 2 + (xx - 0.5) ** 2)[..., None] * 2
    return np.clip(rgb * vignette, 0, 1), 0.55, WHITE


def render_place(rng, size, place):
    """Render one of vocabulary.ALL_PLACES; returns (pixels, ground, light) as above."""
    if place in RENDERERS:
        pixels, ground, light = RENDERERS[place](rng, size)
    else:
        pixels, ground, light = backdrop(rng, size, place.split()[2])
    return np.clip(pixels, 0, 1).astype(np.float32), ground, np.array(light, np.float32)
