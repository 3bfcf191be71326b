"""The pictures of docs/studio.md that its commands make: python -m benchmarks.pictures

Runs COMMANDS, as that page shows them, in a temporary folder, and joins their images. Takes some minutes on a CPU.
"""

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from breakascene.data.image_io import read_mask
from breakascene.data.scene import load_scene
from breakascene.paths import ASSETS
from breakascene.rendering.overlay import overlay

SAMPLE, OWL = "assets/samples/flamingo-and-cactus", "assets/samples/teapot-and-owl"
IMAGE = "images/000-a-photo-of-cactus-at-the-beach.png"
COMMANDS = (
    f"extract {SAMPLE}/img.png --mask {SAMPLE} --background --out run",
    "generate run --variations --strength 0.7 --count 4 --seed 1 --out variations",
    "generate run --background-only --count 3 --seed 1 --out background",
    'generate run "a photo of <asset1> at the beach" --seed 1 --out images',
    f"crop {IMAGE} --format 4:5 --format shop --format story --format banner --format cutout --out listing",
    'sheet run --place "at the beach" --place "in the snow" --style "a photo" --style "a painting" --out sheet',
    f"segment {OWL}/img.png --box 174,163,241,226 --out belly.png",
    f"extract {OWL}/img.png --mask {OWL}/mask1.png:owl --mask belly.png:belly --innermost-on-top --out entangled",
    'generate entangled "a photo of <asset0> and <asset1> in the snow" --count 2 --seed 1 --out entangled-images',
)
HEIGHT = 256  # pixels
SQUARE = 12  # of the board behind transparent pixels


def take(out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = ASSETS / "readme") -> None:
    """Write variations.jpg, background.jpg, formats.jpg, sheet.jpg and entangled.jpg."""
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        (folder / "assets").symlink_to(ASSETS)
        environment = {**os.environ, "PYTHONPATH": str(ASSETS.parent)}
        for command in COMMANDS:
            print(f"python -m breakascene {command}", flush=True)
            program = [sys.executable, "-m", "breakascene"]
            subprocess.run([*program, *shlex.split(command)], cwd=folder, env=environment, check=True)
        photo = load_scene(folder / SAMPLE).photo
        pictures = {
            "variations": row([photo, *images_in(folder / "variations")]),
            "background": row([photo, *images_in(folder / "background")]),
            "formats": row([fitted(image) for image in images_in(folder / "listing")]),
            "sheet": Image.open(folder / "sheet" / "contact-sheet.png").convert("RGB"),
            "entangled": row([*entangled(folder), *images_in(folder / "entangled-images")]),
        }
        for name, picture in pictures.items():
            picture.save(out / f"{name}.jpg", quality=85, optimize=True)


def row(images: Sequence[Image.Image], gap: int = 8) -> Image.Image:
    """Put images of one height side by side on white."""
    sheet = Image.new("RGB", (sum(image.width + gap for image in images) - gap, images[0].height), "white")
    left = 0
    for image in images:
        sheet.paste(image, (left, 0))
        left += image.width + gap
    return sheet


def images_in(folder: Path) -> list[Image.Image]:
    return [Image.open(file) for file in sorted(folder.glob("*.png"))]


def fitted(image: Image.Image) -> Image.Image:
    """Scale an image to HEIGHT, on a board of gray squares where it is transparent."""
    image = image.convert("RGBA").resize((round(image.width * HEIGHT / image.height), HEIGHT))
    y, x = np.indices((HEIGHT, image.width)) // SQUARE
    board = np.where((x + y) % 2, 235, 210).astype(np.uint8)
    return Image.alpha_composite(Image.fromarray(board).convert("RGBA"), image).convert("RGB")


def entangled(folder: Path) -> Sequence[Image.Image]:
    """Show the overlapping masks over the photo, and those that were extracted."""
    scene = load_scene(folder / "entangled" / "scene")
    before = [read_mask(file, scene.photo.size) for file in (folder / OWL / "mask1.png", folder / "belly.png")]
    return [overlay(scene.photo, masks) for masks in (before, scene.masks())]


if __name__ == "__main__":
    typer.run(take)
