"""Sprites of the toybox's objects.

`assets/sprites/objects.json` lists the objects: name, code point, held out or not. `unlabeled.json` lists the code
points of further objects without a name, which show the generator what objects can look like. The sprites lie in two
sheets beside the lists (WebP, 128 px RGBA cells, row by row), so pretraining needs no npm package. The sheets are made
once from the unpacked package @lobehub/fluent-emoji-3d 1.1.0:

    python -m breakascene.toybox.pretraining.sprites FOLDER_WITH_THE_PACKAGE
"""

import functools
import json
from pathlib import Path

import typer
from PIL import Image

from breakascene.paths import SPRITES
from breakascene.toybox.vocabulary import toy_objects

SHEET, UNLABELED_SHEET = SPRITES / "sheet.webp", SPRITES / "unlabeled.webp"
CELL = 128  # pixels
COLUMNS = 20


def load_sprite(name: str) -> Image.Image:
    """Return the RGBA image of an object, cropped to its visible part (at most 128 × 128 px)."""
    return _sprites()[name]


@functools.cache
def unlabeled_sprites() -> tuple[Image.Image, ...]:
    """Return the sprites of the objects without a name; none resembles a held-out object."""
    return _read_sheet(UNLABELED_SHEET, len(_unlabeled_codes()))


@functools.cache
def _sprites() -> dict[str, Image.Image]:
    names = [toy.name for toy in toy_objects()]
    return dict(zip(names, _read_sheet(SHEET, len(names)), strict=True))


def _unlabeled_codes() -> list[str]:
    return json.loads((SPRITES / "unlabeled.json").read_text())


def _read_sheet(file: Path, count: int) -> tuple[Image.Image, ...]:
    sheet = Image.open(file).convert("RGBA")
    boxes = [(i % COLUMNS * CELL, i // COLUMNS * CELL) for i in range(count)]
    cells = [sheet.crop((x, y, x + CELL, y + CELL)) for x, y in boxes]
    return tuple(cell.crop(cell.getbbox()) for cell in cells)


def make_sheets(package: Path) -> None:
    """Write both sheets from the package's files `assets/<code point>.webp` (256 px RGBA)."""
    _make_sheet(package, [toy.code for toy in toy_objects()], SHEET)
    _make_sheet(package, _unlabeled_codes(), UNLABELED_SHEET)


def _make_sheet(package: Path, codes: list[str], file: Path) -> None:
    sheet = Image.new("RGBA", (COLUMNS * CELL, -(-len(codes) // COLUMNS) * CELL))
    for i, code in enumerate(codes):
        image = Image.open(package / "assets" / f"{code}.webp").convert("RGBA")
        # Premultiplied alpha keeps the color of transparent pixels from bleeding into the edges.
        small = image.convert("RGBa").resize((CELL, CELL), Image.Resampling.LANCZOS).convert("RGBA")
        sheet.paste(small, (i % COLUMNS * CELL, i // COLUMNS * CELL))
    sheet.save(file, quality=92, method=6, alpha_quality=100)


if __name__ == "__main__":
    typer.run(make_sheets)
