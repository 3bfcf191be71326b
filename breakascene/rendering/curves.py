"""Loss curves of a run."""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw

from breakascene.rendering.fonts import font_for, has_glyphs
from breakascene.rendering.palette import FAINT, INK, PALETTE

PANEL_SIZE = (720, 150)  # width and height in pixels
LEFT, TOP, RIGHT, BOTTOM = 60, 30, 15, 22  # margins of a panel in pixels
SUPERSAMPLING = 2  # panels are drawn this much larger and reduced, for smooth lines
LOSSES = ("reconstruction", "attention", "prior", "total")  # in the order of the panels
COLORS = (PALETTE[5], PALETTE[6], PALETTE[2], PALETTE[7])  # of the first panel, the second, …


def loss_curves(
    losses: Sequence[dict[str, float]], phase1_steps: int, labels: Mapping[str, str] | None = None
) -> Image.Image:
    """Plot each loss over the steps in a panel of its own, scaled from 0.

    Dots are single steps, the line is their running mean.

    Args:
        losses: The losses of each step, by name.
        phase1_steps: Number of steps in phase 1, marked by a dashed line.
        labels: Titles of the panels by the names of their losses, where they differ and there is a font for them.
    """
    labels = labels or {}
    names = [name for name in LOSSES if any(name in step_losses for step_losses in losses)]
    width, height = PANEL_SIZE
    image = Image.new("RGB", (width * SUPERSAMPLING, height * SUPERSAMPLING * max(1, len(names))), "white")
    for i, name in enumerate(names):
        steps = [step for step, values in enumerate(losses, 1) if name in values]
        values = np.array([losses[step - 1][name] for step in steps])
        label = labels.get(name, name)
        title = label if has_glyphs(label) else name
        _draw_panel(image, i * height * SUPERSAMPLING, title, steps, values, len(losses), phase1_steps, COLORS[i])
    return image.resize((width, height * max(1, len(names))), Image.Resampling.LANCZOS)


def smooth(values: np.ndarray, window: int = 25) -> np.ndarray:
    """Return the mean of the last `window` values at each step, of fewer at the start. (N,) -> (N,)"""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - window)
    return (sums[ends] - sums[starts]) / (ends - starts)


def _draw_panel(
    image: Image.Image,
    y0: int,
    title: str,
    steps: list[int],
    values: np.ndarray,
    total_steps: int,
    phase1_steps: int,
    color: str,
) -> None:
    width, height = PANEL_SIZE
    font = font_for([title], 13 * SUPERSAMPLING)
    draw = ImageDraw.Draw(image)
    mean = smooth(values)
    # Outliers may leave the panel, the running mean may not.
    top = max(float(np.quantile(values, 0.98)), float(mean.max()), 1e-9)

    def to_pixels(step: float, value: float) -> tuple[float, float]:
        x = LEFT + (width - LEFT - RIGHT) * (step - 1) / max(1, total_steps - 1)
        y = height - BOTTOM - (height - TOP - BOTTOM) * min(value / top, 1.04)
        return x * SUPERSAMPLING, y0 + y * SUPERSAMPLING

    for tick in (0.0, 0.5 * top, top):
        left = to_pixels(1, tick)
        draw.line([left, to_pixels(total_steps, tick)], FAINT, SUPERSAMPLING)
        draw.text((left[0] - 8 * SUPERSAMPLING, left[1]), f"{tick:.3g}", INK, font, anchor="rm")
    for step in sorted({1, phase1_steps, total_steps} & set(range(1, total_steps + 1))):
        anchor = "ls" if step == 1 else "rs" if step == total_steps else "ms"
        draw.text((to_pixels(step, 0)[0], y0 + (height - 6) * SUPERSAMPLING), str(step), INK, font, anchor=anchor)
    if 0 < phase1_steps < total_steps:
        x, bottom = to_pixels(phase1_steps, 0)
        for y in range(int(to_pixels(phase1_steps, top)[1]), int(bottom), 10 * SUPERSAMPLING):
            draw.line([x, y, x, y + 5 * SUPERSAMPLING], "#888888", SUPERSAMPLING)
    draw.text((LEFT * SUPERSAMPLING, y0 + 6 * SUPERSAMPLING), f"{title}  {mean[-1]:.3f}", color, font)
    for step, value in zip(steps, values, strict=True):
        x, y = to_pixels(step, value)
        draw.ellipse((x - 1, y - 1, x + 1, y + 1), fill=color)
    line = [to_pixels(step, value) for step, value in zip(steps, mean, strict=True)]
    draw.line(line, color, 2 * SUPERSAMPLING, joint="curve")
