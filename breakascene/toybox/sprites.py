"""The toybox's objects: their names and their pictures.

`assets/sprites/objects.json` is the list, chosen by hand: plain name, code point, held out or not. The pictures of all
objects lie in one sheet beside it (WebP, one 128 px RGBA cell an object, row by row), so training needs no npm package.
The sheet is made once from the unpacked package @lobehub/fluent-emoji-3d 1.1.0:

    python -m breakascene.toybox.sprites FOLDER_WITH_THE_PACKAGE
"""

import functools
import json
from dataclasses import dataclass
from pathlib import Path

import typer
from PIL import Image

SPRITES = Path(__file__).parent.parent.parent / "assets" / "sprites"
SHEET = SPRITES / "sheet.webp"
CELL = 128
COLUMNS = 20


@dataclass(frozen=True)
class Thing:
    """One object of the world. `held_out` things never enter the generator's training."""

    name: str
    code: str
    held_out: bool


@functools.cache
def things() -> tuple[Thing, ...]:
    """All objects, in the order of the sheet."""
    return tuple(Thing(**row) for row in json.loads((SPRITES / "objects.json").read_text()))


@functools.cache
def _pictures() -> dict[str, Image.Image]:
    sheet = Image.open(SHEET).convert("RGBA")
    boxes = [(i % COLUMNS * CELL, i // COLUMNS * CELL) for i in range(len(things()))]
    cells = [sheet.crop((x, y, x + CELL, y + CELL)) for x, y in boxes]
    return {thing.name: cell.crop(cell.getbbox()) for thing, cell in zip(things(), cells, strict=True)}


def picture(name: str) -> Image.Image:
    """The object's RGBA picture, cut to its visible part (at most 128 px a side)."""
    return _pictures()[name]


def make_sheet(package: Path) -> None:
    """Write the sheet from the package's `assets/<code point>.webp` (256 px RGBA)."""
    rows = -(-len(things()) // COLUMNS)
    sheet = Image.new("RGBA", (COLUMNS * CELL, rows * CELL))
    for i, thing in enumerate(things()):
        image = Image.open(package / "assets" / f"{thing.code}.webp").convert("RGBA")
        # Premultiplied, so that the colour of transparent pixels doesn't bleed into the edges.
        small = image.convert("RGBa").resize((CELL, CELL), Image.Resampling.LANCZOS).convert("RGBA")
        sheet.paste(small, (i % COLUMNS * CELL, i // COLUMNS * CELL))
    sheet.save(SHEET, quality=92, method=6, alpha_quality=100)


if __name__ == "__main__":
    typer.run(make_sheet)
