"""The toybox's objects: their names and their pictures.

`assets/sprites/objects.json` is the list, chosen by hand: plain name, code point, held out or not. `nameless.json` has
the code points of more objects, which get no word: from them the generator learns what things can look like. The
pictures lie in two sheets beside the lists (WebP, one 128 px RGBA cell an object, row by row), so training needs no npm
package. The sheets are made once from the unpacked package @lobehub/fluent-emoji-3d 1.1.0:

    python -m breakascene.toybox.pretraining.sprites FOLDER_WITH_THE_PACKAGE
"""

import functools
import json
from pathlib import Path

import typer
from PIL import Image

from breakascene.paths import SPRITES
from breakascene.toybox.vocabulary import things

SHEET, NAMELESS_SHEET = SPRITES / "sheet.webp", SPRITES / "nameless.webp"
CELL = 128
COLUMNS = 20


def picture(name: str) -> Image.Image:
    """The object's RGBA picture, cut to its visible part (at most 128 px a side)."""
    return _pictures()[name]


@functools.cache
def nameless() -> tuple[Image.Image, ...]:
    """The pictures of the objects without a word; none of them looks like a held-out thing."""
    return _cells(NAMELESS_SHEET, len(_nameless_codes()))


@functools.cache
def _pictures() -> dict[str, Image.Image]:
    return dict(zip([thing.name for thing in things()], _cells(SHEET, len(things())), strict=True))


def _nameless_codes() -> list[str]:
    return json.loads((SPRITES / "nameless.json").read_text())


def _cells(file: Path, count: int) -> tuple[Image.Image, ...]:
    sheet = Image.open(file).convert("RGBA")
    boxes = [(i % COLUMNS * CELL, i // COLUMNS * CELL) for i in range(count)]
    cells = [sheet.crop((x, y, x + CELL, y + CELL)) for x, y in boxes]
    return tuple(cell.crop(cell.getbbox()) for cell in cells)


def make_sheets(package: Path) -> None:
    """Write the sheets from the package's `assets/<code point>.webp` (256 px RGBA)."""
    _make_sheet(package, [thing.code for thing in things()], SHEET)
    _make_sheet(package, _nameless_codes(), NAMELESS_SHEET)


def _make_sheet(package: Path, codes: list[str], file: Path) -> None:
    sheet = Image.new("RGBA", (COLUMNS * CELL, -(-len(codes) // COLUMNS) * CELL))
    for i, code in enumerate(codes):
        image = Image.open(package / "assets" / f"{code}.webp").convert("RGBA")
        # Premultiplied, so that the colour of transparent pixels doesn't bleed into the edges.
        small = image.convert("RGBa").resize((CELL, CELL), Image.Resampling.LANCZOS).convert("RGBA")
        sheet.paste(small, (i % COLUMNS * CELL, i // COLUMNS * CELL))
    sheet.save(file, quality=92, method=6, alpha_quality=100)


if __name__ == "__main__":
    typer.run(make_sheets)
