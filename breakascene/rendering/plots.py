"""Pictures about a run, drawn with Pillow: masks over the photo, loss curves, sheets of pictures with captions."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from breakascene.data.scene import Scene
from breakascene.rendering.fonts import font_for, wrap

# Okabe and Ito's colours, told apart with any kind of colour vision.
PALETTE = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#CC79A7", "#0072B2", "#D55E00", "#999999")
INK, FAINT = "#222222", "#dddddd"
CAPTION = 15  # font size in pixels
CURVE = (720, 150)  # width and height of one panel
LEFT, TOP = 60, 30  # room for the numbers and the title of a panel
SQUARE = (640, 480)  # width and height of a scatter plot without its legend
LEGEND = 190  # width of its legend
FINE = 2  # drawn this much larger and shrunk, for smooth lines


def overlay(photo: Image.Image, masks: Sequence[np.ndarray]) -> Image.Image:
    """The photo with each (H, W) bool mask tinted and rimmed in a colour of its own, RGB of the photo's size."""
    view = photo.convert("RGB")
    for i, mask in enumerate(masks):
        inside = Image.fromarray(mask.astype(np.uint8) * 255)
        edge = mask & (np.asarray(inside.filter(ImageFilter.MinFilter(5))) == 0)
        cover = Image.fromarray(np.where(edge, 255, mask * 140).astype(np.uint8))
        view.paste(Image.new("RGB", view.size, PALETTE[i % len(PALETTE)]), mask=cover)
    return view


def scene_overlay(scene: Scene) -> Image.Image:
    """All concepts of the scene in colour, with a legend below: handle and name."""
    view = overlay(scene.photo, [concept.mask for concept in scene.concepts])
    line = CAPTION + 7
    image = Image.new("RGB", (max(view.width, 320), view.height + line * len(scene.concepts) + 6), "white")
    image.paste(view)
    pen = ImageDraw.Draw(image)
    for i, (handle, name) in enumerate(zip(scene.handles, scene.names, strict=True)):
        if i < len(scene.concepts):
            y = view.height + 4 + i * line
            pen.rectangle((4, y + 2, 4 + CAPTION, y + 2 + CAPTION), fill=PALETTE[i % len(PALETTE)])
            pen.text((CAPTION + 12, y), f"{handle}  {name}", INK, font_for(scene.names, CAPTION))
    return image


def contact_sheet(
    pictures: Sequence[Image.Image], captions: Sequence[str], columns: int, side: int = 256
) -> Image.Image:
    """A contact sheet: pictures fitted into squares of `side` pixels, each with its caption below, row by row."""
    font = font_for(captions, CAPTION)
    wrapped = [wrap(caption, font, side) for caption in captions]
    columns, gap = min(columns, len(pictures)), 10
    lines_of_rows = (max(map(len, wrapped[first : first + columns])) for first in range(0, len(wrapped), columns))
    tops = list(accumulate((side + count * (CAPTION + 5) + 8 + gap for count in lines_of_rows), initial=gap))
    image = Image.new("RGB", (gap + columns * (side + gap), tops[-1]), "white")
    pen = ImageDraw.Draw(image)
    for i, (picture, lines) in enumerate(zip(pictures, wrapped, strict=True)):
        x, y = gap + i % columns * (side + gap), tops[i // columns]
        scale = side / max(picture.size)
        fitted_size = [max(1, round(s * scale)) for s in picture.size]
        fitted = picture.convert("RGB").resize(fitted_size, Image.Resampling.LANCZOS)
        image.paste(fitted, (x + (side - fitted.width) // 2, y + (side - fitted.height) // 2))
        for j, line in enumerate(lines):
            pen.text((x, y + side + 3 + j * (CAPTION + 5)), line, INK, font)
    return image


def loss_curves(losses: Sequence[dict[str, float]], turn: int) -> Image.Image:
    """A panel for each loss over the steps, each on a scale of its own from 0: the steps faint, their mean strong.

    losses: one dict a step. turn: steps of phase 1; a dashed line stands there.
    """
    names = [name for name in ("reconstruction", "attention", "prior", "total") if any(name in step for step in losses)]
    width, height = CURVE
    image = Image.new("RGB", (width * FINE, height * FINE * max(1, len(names))), "white")
    for i, name in enumerate(names):
        steps = [step for step, values in enumerate(losses, 1) if name in values]
        values = np.array([losses[step - 1][name] for step in steps])
        _panel(image, i * height * FINE, name, steps, values, len(losses), turn, PALETTE[(5, 6, 2, 7)[i % 4]])
    return image.resize((width, height * max(1, len(names))), Image.Resampling.LANCZOS)


@dataclass(frozen=True)
class ScatterPoint:
    """A mark with error bars in a scatter plot. x, y: (mean, low, high). Dots of a group have one outline."""

    name: str
    group: str
    x: tuple[float, float, float]
    y: tuple[float, float, float]


def scatter(dots: Sequence[ScatterPoint], x_name: str, y_name: str) -> Image.Image:
    """Each dot with bars from its low to its high ends, on axes that just hold them, and a legend beside it."""
    width, height = SQUARE
    image = Image.new("RGB", ((width + LEGEND) * FINE, height * FINE), "white")
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(13 * FINE)
    x_ticks, y_ticks = _ticks([dot.x for dot in dots]), _ticks([dot.y for dot in dots])
    groups = list(dict.fromkeys(dot.group for dot in dots))

    def at(x: float, y: float) -> tuple[float, float]:
        across, up = ((v - t[0]) / (t[-1] - t[0]) for v, t in ((x, x_ticks), (y, y_ticks)))
        return (LEFT + (width - LEFT - 15) * across) * FINE, (height - 45 - (height - 75) * up) * FINE

    for x in x_ticks:
        pen.line([at(x, y_ticks[0]), at(x, y_ticks[-1])], FAINT, FINE)
        pen.text((at(x, 0)[0], (height - 38) * FINE), f"{x:.4g}", INK, font, anchor="mt")
    for y in y_ticks:
        pen.line([at(x_ticks[0], y), at(x_ticks[-1], y)], FAINT, FINE)
        pen.text(((LEFT - 8) * FINE, at(0, y)[1]), f"{y:.4g}", INK, font, anchor="rm")
    pen.text((at(x_ticks[-1], 0)[0], (height - 8) * FINE), x_name, INK, font, anchor="rs")
    pen.text((LEFT * FINE, 4 * FINE), y_name, INK, font)
    for i, dot in enumerate(dots):
        colour, outline = PALETTE[i % len(PALETTE)], groups.index(dot.group)
        pen.line([at(dot.x[1], dot.y[0]), at(dot.x[2], dot.y[0])], colour, FINE)
        pen.line([at(dot.x[0], dot.y[1]), at(dot.x[0], dot.y[2])], colour, FINE)
        _mark(pen, at(dot.x[0], dot.y[0]), outline, colour)
        key = (width + 8) * FINE, (25 + 22 * i) * FINE
        _mark(pen, key, outline, colour)
        pen.text((key[0] + 14 * FINE, key[1]), dot.name, INK, font, anchor="lm")
    return image.resize((width + LEGEND, height), Image.Resampling.LANCZOS)


def _ticks(intervals: Sequence[tuple[float, float, float]]) -> list[float]:
    """Round numbers, a few, from the lowest end or below it to the highest or above it."""
    low, high = min(low for _, low, _ in intervals), max(high for _, _, high in intervals)
    rough = max(high - low, 1e-3) / 5
    unit = 10.0 ** np.floor(np.log10(rough))
    step = unit * next(times for times in (1, 2, 5, 10) if times * unit >= rough)
    first, last = int(np.floor(low / step)), int(np.ceil(high / step))
    return [float(step * k) for k in range(first, max(last, first + 1) + 1)]


def _mark(pen: ImageDraw.ImageDraw, centre: tuple[float, float], outline: int, colour: str) -> None:
    """A disc, then polygons of 4, 3, 5, … corners, by the number of the outline."""
    radius = 6 * FINE
    if outline == 0:
        pen.circle(centre, radius, fill=colour, outline=INK)
    else:
        pen.regular_polygon((*centre, radius * 1.25), (4, 3, 5, 6)[(outline - 1) % 4], fill=colour, outline=INK)


def smooth(values: np.ndarray, window: int = 25) -> np.ndarray:
    """The mean of the last `window` values at each step, of fewer at the start."""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - window)
    return (sums[ends] - sums[starts]) / (ends - starts)


def _panel(
    image: Image.Image, y0: int, name: str, steps: list[int], values: np.ndarray, total: int, turn: int, colour: str
) -> None:
    width, height = CURVE
    font = ImageFont.load_default(13 * FINE)
    pen = ImageDraw.Draw(image)
    mean = smooth(values)
    top = max(float(np.quantile(values, 0.98)), float(mean.max()), 1e-9)  # single steps may jump out of the panel

    def at(step: float, value: float) -> tuple[float, float]:
        x = LEFT + (width - LEFT - 15) * (step - 1) / max(1, total - 1)
        y = height - 22 - (height - TOP - 22) * min(value / top, 1.04)
        return x * FINE, y0 + y * FINE

    for share in (0, 0.5, 1):
        pen.line([at(1, share * top), at(total, share * top)], FAINT, FINE)
        pen.text((at(1, 0)[0] - 8 * FINE, at(1, share * top)[1]), f"{share * top:.3g}", INK, font, anchor="rm")
    for step in sorted({1, turn, total} & set(range(1, total + 1))):
        anchor = "ls" if step == 1 else "rs" if step == total else "ms"
        pen.text((at(step, 0)[0], y0 + (height - 6) * FINE), str(step), INK, font, anchor=anchor)
    if 0 < turn < total:
        x, low = at(turn, 0)
        for y in range(int(at(turn, top)[1]), int(low), 10 * FINE):
            pen.line([x, y, x, y + 5 * FINE], "#888888", FINE)
    pen.text((LEFT * FINE, y0 + 6 * FINE), f"{name}  {mean[-1]:.3f}", colour, font)
    for pair in zip(steps, values, strict=True):
        x, y = at(*pair)
        pen.ellipse((x - 1, y - 1, x + 1, y + 1), fill=colour)
    pen.line([at(*pair) for pair in zip(steps, mean, strict=True)], colour, 2 * FINE, joint="curve")


# A dark-to-light ramp for heat maps (black, violet, red, orange, pale yellow); readable without colour vision.
_RAMP = np.array([(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], np.float32)


def heat_map(pixels: np.ndarray, attention: np.ndarray, strength: float = 0.65) -> Image.Image:
    """Lay a map over a picture. pixels: (H, W, 3) uint8; attention: (h, w) in 0..1; returns an RGB image, W × H."""
    height, width = pixels.shape[:2]
    grid = Image.fromarray(attention.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC)
    heat = np.asarray(grid).clip(0, 1)  # (H, W)
    stops = np.linspace(0, 1, len(_RAMP))
    colour = np.stack([np.interp(heat, stops, _RAMP[:, channel]) for channel in range(3)], axis=-1)
    mixed = (1 - strength) * pixels + strength * colour
    return Image.fromarray(mixed.round().clip(0, 255).astype(np.uint8))
