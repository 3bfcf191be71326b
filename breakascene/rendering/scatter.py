"""Scatter plots with error bars."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from breakascene.rendering.palette import FAINT, INK, color_of

AXES_SIZE = (640, 480)  # width and height in pixels, without the legend
LEGEND_WIDTH = 190  # pixels
LEFT, TOP, RIGHT, BOTTOM = 60, 30, 15, 45  # margins in pixels
SUPERSAMPLING = 2  # the plot is drawn this much larger and reduced, for smooth lines


@dataclass(frozen=True)
class ScatterPoint:
    """A marker with error bars.

    Args:
        name: Text in the legend.
        group: Points of one group share a marker shape.
        x: Mean, lower and upper end on the horizontal axis.
        y: Mean, lower and upper end on the vertical axis.
    """

    name: str
    group: str
    x: tuple[float, float, float]
    y: tuple[float, float, float]


def scatter(points: Sequence[ScatterPoint], x_label: str, y_label: str) -> Image.Image:
    """Plot points with error bars and a legend, on axes that just hold them."""
    width, height = AXES_SIZE
    image = Image.new("RGB", ((width + LEGEND_WIDTH) * SUPERSAMPLING, height * SUPERSAMPLING), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(13 * SUPERSAMPLING)
    x_ticks, y_ticks = _ticks([point.x for point in points]), _ticks([point.y for point in points])
    groups = list(dict.fromkeys(point.group for point in points))

    def to_pixels(x: float, y: float) -> tuple[float, float]:
        right, up = ((value - ticks[0]) / (ticks[-1] - ticks[0]) for value, ticks in ((x, x_ticks), (y, y_ticks)))
        pixel_x = LEFT + (width - LEFT - RIGHT) * right
        pixel_y = height - BOTTOM - (height - TOP - BOTTOM) * up
        return pixel_x * SUPERSAMPLING, pixel_y * SUPERSAMPLING

    for x in x_ticks:
        draw.line([to_pixels(x, y_ticks[0]), to_pixels(x, y_ticks[-1])], FAINT, SUPERSAMPLING)
        draw.text((to_pixels(x, 0)[0], (height - 38) * SUPERSAMPLING), f"{x:.4g}", INK, font, anchor="mt")
    for y in y_ticks:
        draw.line([to_pixels(x_ticks[0], y), to_pixels(x_ticks[-1], y)], FAINT, SUPERSAMPLING)
        draw.text(((LEFT - 8) * SUPERSAMPLING, to_pixels(0, y)[1]), f"{y:.4g}", INK, font, anchor="rm")
    draw.text((to_pixels(x_ticks[-1], 0)[0], (height - 8) * SUPERSAMPLING), x_label, INK, font, anchor="rs")
    draw.text((LEFT * SUPERSAMPLING, 4 * SUPERSAMPLING), y_label, INK, font)
    for i, point in enumerate(points):
        color, shape = color_of(i), groups.index(point.group)
        (x, x_low, x_high), (y, y_low, y_high) = point.x, point.y
        draw.line([to_pixels(x_low, y), to_pixels(x_high, y)], color, SUPERSAMPLING)
        draw.line([to_pixels(x, y_low), to_pixels(x, y_high)], color, SUPERSAMPLING)
        _draw_marker(draw, to_pixels(x, y), shape, color)
        legend = (width + 8) * SUPERSAMPLING, (25 + 22 * i) * SUPERSAMPLING
        _draw_marker(draw, legend, shape, color)
        draw.text((legend[0] + 14 * SUPERSAMPLING, legend[1]), point.name, INK, font, anchor="lm")
    return image.resize((width + LEGEND_WIDTH, height), Image.Resampling.LANCZOS)


def _ticks(intervals: Sequence[tuple[float, float, float]]) -> list[float]:
    """Choose about five round values that enclose all intervals (mean, low, high)."""
    low, high = min(low for _, low, _ in intervals), max(high for _, _, high in intervals)
    target_step = max(high - low, 1e-3) / 5
    magnitude = 10.0 ** np.floor(np.log10(target_step))
    step = magnitude * next(factor for factor in (1, 2, 5, 10) if factor * magnitude >= target_step)
    first, last = int(np.floor(low / step)), int(np.ceil(high / step))
    return [float(step * k) for k in range(first, max(last, first + 1) + 1)]


def _draw_marker(draw: ImageDraw.ImageDraw, center: tuple[float, float], shape: int, color: str) -> None:
    """Draw a disc for shape 0, then polygons of 4, 3, 5 and 6 corners."""
    radius = 6 * SUPERSAMPLING
    if shape == 0:
        draw.circle(center, radius, fill=color, outline=INK)
    else:
        corners = (4, 3, 5, 6)[(shape - 1) % 4]
        draw.regular_polygon((*center, radius * 1.25), corners, fill=color, outline=INK)
