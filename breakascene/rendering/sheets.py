"""Contact sheets: many images with captions on one page."""

from collections.abc import Sequence
from itertools import accumulate

from PIL import Image, ImageDraw

from breakascene.rendering.fonts import font_for, wrap
from breakascene.rendering.palette import INK

FONT_SIZE = 15  # pixels
LINE_HEIGHT = FONT_SIZE + 5
GAP = 10  # pixels between cells


def contact_sheet(images: Sequence[Image.Image], captions: Sequence[str], columns: int, side: int = 256) -> Image.Image:
    """Lay out images row by row, each fitted undistorted into a square above its wrapped caption.

    Args:
        images: Images of any size and mode.
        captions: One caption for each image; may be empty.
        columns: Images in a row.
        side: Side of the squares in pixels.

    Returns:
        An RGB image on white.
    """
    font = font_for(captions, FONT_SIZE)
    wrapped = [wrap(caption, font, side) for caption in captions]
    columns = min(columns, len(images))
    lines_per_row = (max(map(len, wrapped[first : first + columns])) for first in range(0, len(wrapped), columns))
    tops = list(accumulate((side + count * LINE_HEIGHT + 8 + GAP for count in lines_per_row), initial=GAP))
    sheet = Image.new("RGB", (GAP + columns * (side + GAP), tops[-1]), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (image, lines) in enumerate(zip(images, wrapped, strict=True)):
        x, y = GAP + i % columns * (side + GAP), tops[i // columns]
        scale = side / max(image.size)
        fitted_size = [max(1, round(length * scale)) for length in image.size]
        fitted = image.convert("RGB").resize(fitted_size, Image.Resampling.LANCZOS)
        sheet.paste(fitted, (x + (side - fitted.width) // 2, y + (side - fitted.height) // 2))
        for j, line in enumerate(lines):
            draw.text((x, y + side + 3 + j * LINE_HEIGHT), line, INK, font)
    return sheet
