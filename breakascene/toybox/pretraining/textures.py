"""Random textures like those of surfaces in photos: noise of all scales, stripes, checks, dots, spots and tiles."""

import cv2
import numpy as np


def random_color(rng: np.random.Generator) -> np.ndarray:
    """Sample a color (3,) in 0..255; grayish ones are as frequent as vivid ones."""
    saturation = rng.beta(1, 1.2)
    return rng.uniform(8, 247) * (1 - saturation) + rng.uniform(0, 255, 3) * saturation


def noise(rng: np.random.Generator, size: int, cells: int, roughness: float) -> np.ndarray:
    """Return noise (S, S), float32, with mean 0 and standard deviation 1.

    Args:
        rng: Source of all variation.
        size: Side in pixels.
        cells: Number of the largest features along a side; each further octave doubles it.
        roughness: Amplitude of an octave relative to the previous one.
    """
    stretch = np.exp(rng.normal(0, 0.8)) if rng.random() < 0.4 else 1.0
    total, amplitude = np.zeros((size, size), np.float32), 1.0
    while cells <= size and amplitude > 0.02:
        shape = [int(np.clip(cells * factor, 2, size)) for factor in (stretch, 1 / stretch)]
        grid = rng.standard_normal(shape, np.float32)
        total += np.float32(amplitude) * cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC)
        amplitude *= roughness
        cells *= 2
    return (total - total.mean()) / (total.std() + 1e-6)


def pattern(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return stripes, checks, dots, spots or tiles, rotated and warped. (S, S), float32, about -1..1"""
    kind = rng.integers(5)
    if kind == 0:  # spots
        return np.tanh(4 * (noise(rng, size, int(rng.integers(5, 16)), 0.3) - rng.uniform(-0.5, 1)))
    yy, xx = np.mgrid[:size, :size].astype(np.float32) / size
    angle = rng.uniform(0, np.pi)
    if rng.random() < 0.5:
        bend = noise(rng, size, 2, 0.4) * np.float32(rng.uniform(0, 0.06))
        xx, yy = xx + bend, yy - bend
    frequency = np.exp(rng.uniform(np.log(15), np.log(150)))
    u = (np.cos(angle) * xx + np.sin(angle) * yy) * frequency
    v = (np.cos(angle) * yy - np.sin(angle) * xx) * frequency * rng.uniform(0.4, 1)
    if kind == 1:  # stripes
        return np.tanh(np.sin(u) * rng.uniform(0.7, 5))
    if kind == 2:  # checks
        return np.sign(np.sin(u) * np.sin(v))
    if kind == 3:  # dots
        return np.tanh(5 * (np.sin(u) * np.sin(v) - rng.uniform(0.2, 0.7)))
    gap = rng.uniform(0.9, 0.99)  # tiles
    across = np.cos(v / 2 + np.floor(u / 2 / np.pi))
    return np.where(np.maximum(np.cos(u / 2), across) > gap, -1, 0.3).astype(np.float32)


def texture(rng: np.random.Generator, size: int, color: np.ndarray | None = None) -> np.ndarray:
    """Return a texture of two to four colors. (S, S, 3), float32 in 0..255

    Args:
        rng: Source of all variation.
        size: Side in pixels.
        color: Its main color; by default a random one.
    """
    values = noise(rng, size, int(rng.integers(2, 9)), rng.uniform(0.35, 1.05))
    if rng.random() < 0.35:
        values = values * np.float32(rng.uniform(0.1, 0.7)) + pattern(rng, size) * np.float32(rng.uniform(0.5, 2))
    main = random_color(rng) if color is None else color
    if rng.random() < 0.65:  # one material
        spread = rng.uniform(3, 45)
        colors = [main + rng.normal(0, spread) + rng.normal(0, spread * 0.3, 3) for _ in range(3)]
    else:
        colors = [random_color(rng) for _ in range(rng.integers(1, 4))]
    colors = np.array([main, *colors])
    stops = np.linspace(0, 255, len(colors))
    order = rng.permutation(len(colors))
    table = np.stack([np.interp(np.arange(256), stops, colors[order, c]) for c in range(3)], 1).astype(np.float32)
    contrast = rng.uniform(20, 70)
    return np.clip(table[np.clip(values * contrast + 128, 0, 255).astype(np.uint8)], 0, 255)
