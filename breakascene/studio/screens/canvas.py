"""The photo as the picking table shows it: coloured masks with labels over it, and the clicks that made them."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from breakascene.rendering.fonts import font_for, has_glyphs
from breakascene.rendering.palette import PALETTE
from breakascene.studio.state.selection import Board

SMALLEST, LARGEST = 768, 1024  # long side of what is shown; labels stay crisp on a small photo
FILL = 0.5  # of the colour over the photo


def view_size(photo: Image.Image) -> tuple[int, int]:
    """Width and height at which a photo is shown; clicks come back in these pixels."""
    long = max(photo.size)
    scale = min(max(long, SMALLEST), LARGEST) / long
    return max(1, round(photo.width * scale)), max(1, round(photo.height * scale))


def to_photo(photo: Image.Image, x: int, y: int) -> tuple[int, int]:
    """A click on the view in pixels of the photo."""
    width, height = view_size(photo)
    return min(x * photo.width // width, photo.width - 1), min(y * photo.height // height, photo.height - 1)


def draw(board: Board) -> Image.Image:
    # With the gap a large photo is first brought down by whole numbers, which is quicker.
    view = board.photo.resize(view_size(board.photo), Image.Resampling.BILINEAR, reducing_gap=2.0)
    sx, sy = view.width / board.photo.width, view.height / board.photo.height
    for i, thing in enumerate(board.things):
        if not thing.empty:
            view = _tint(view, thing.mask, PALETTE[i % len(PALETTE)], strong=i == board.active)
    pen = ImageDraw.Draw(view)
    for i, thing in enumerate(board.things):
        if not thing.empty:
            x, y = _inside(thing.mask)
            _label(pen, view.size, x * sx, y * sy, f"{i + 1} {thing.name}", PALETTE[i % len(PALETTE)])
    active = board.things[board.active]
    if active.box:
        pen.rectangle([c * s for c, s in zip(active.box, (sx, sy, sx, sy), strict=True)], outline="white", width=2)
    for x, y, include in active.points:
        _dot(pen, (x + 0.5) * sx, (y + 0.5) * sy, include)
    if board.corner:
        _dot(pen, (board.corner[0] + 0.5) * sx, (board.corner[1] + 0.5) * sy, True)
    return view


def _tint(view: Image.Image, mask: np.ndarray, colour: str, strong: bool) -> Image.Image:
    step = max(1, mask.shape[1] // view.width)  # of a large one some points will do
    area = Image.fromarray(mask[::step, ::step].astype(np.uint8) * 255).resize(view.size, Image.Resampling.BILINEAR)
    area = area.point(lambda v: 255 * (v > 127))
    # What is full in a square of 7 pixels: as MinFilter(7) has it, six times as fast.
    inner = area.filter(ImageFilter.BoxBlur(3)).point(lambda v: 255 * (v == 255))
    edge = ImageChops.subtract(area, inner)
    flat = Image.new("RGB", view.size, colour)
    view = Image.composite(flat, view, area.point(lambda v: int(v * (FILL if strong else FILL * 0.7))))
    return Image.composite(Image.new("RGB", view.size, "white") if strong else flat, view, edge)


def _inside(mask: np.ndarray) -> tuple[float, float]:
    """A point of the mask near its middle, where a label sits well."""
    step = max(1, min(max(mask.shape) // 512, int(mask.sum() ** 0.5) // 16))
    ys, xs = np.nonzero(mask[::step, ::step])
    if not len(xs):  # thinner than a step
        step, (ys, xs) = 1, np.nonzero(mask)
    nearest = np.argmin((xs - xs.mean()) ** 2 + (ys - ys.mean()) ** 2)
    return float(step * xs[nearest]), float(step * ys[nearest])


def _label(pen: ImageDraw.ImageDraw, size: Sequence[int], x: float, y: float, text: str, colour: str) -> None:
    text = text.strip()
    if not has_glyphs(text):
        text = text.split(" ")[0]
    font = font_for([text], 22)
    x0, y0, x1, y1 = pen.textbbox((0, 0), text, font=font)
    width, height = x1 - x0, y1 - y0
    x = min(max(x - width / 2, 12), size[0] - width - 12)
    y = min(max(y - height / 2, 10), size[1] - height - 10)
    pen.rounded_rectangle([x - 10, y - 8, x + width + 10, y + height + 8], 8, fill=colour, outline="#111111")
    pen.text((x - x0, y - y0), text, font=font, fill="white" if colour == "#0072B2" else "#111111")


def _dot(pen: ImageDraw.ImageDraw, x: float, y: float, include: bool) -> None:
    """A plus for what to include, a minus for what to leave out: told apart by shape, not by colour alone."""
    pen.ellipse([x - 9, y - 9, x + 9, y + 9], fill="#1a7f37" if include else "#b3261e", outline="white", width=2)
    pen.line([x - 4, y, x + 4, y], fill="white", width=2)
    if include:
        pen.line([x, y - 4, x, y + 4], fill="white", width=2)
