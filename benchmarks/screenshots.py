"""The pictures of README.md and docs/studio.md: python -m benchmarks.screenshots

A browser goes from a sample to generated images in a studio on the toybox, as a visitor would. Needs Chromium.
"""

import io
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image, ImageDraw
from playwright.sync_api import Browser, Page, expect, sync_playwright

from breakascene.data.scene import load_scene
from breakascene.generation.edit import edit
from breakascene.generation.generate import generate
from breakascene.generation.region import box_region
from breakascene.models.base import Base
from breakascene.models.concepts import Concepts
from breakascene.paths import ASSETS, SAMPLES
from breakascene.studio import loaded
from breakascene.studio.app import launch

TEAPOT_AND_OWL = 2  # among the samples
PROMPTS = (
    "a photo of <asset0>",
    "a photo of <asset1> on the grass",
    "a photo of <asset0> and <asset1> on a wooden table",
    "a photo of <asset0> and <asset1> in the desert",
)
EDITED, REGION = "flamingo-and-cactus", (136, 76, 252, 216)  # a sample, and a box around its cactus
EDITS = ("a photo of <asset0> on the grass", "a photo of <asset1> on the grass")
WAIT, LONG = 60_000, 600_000  # ms, for an update of the page and for a job
SEED = 1


def open_page(browser: Browser, width: int, theme: str, address: str) -> Page:
    page = browser.new_page(viewport={"width": width, "height": 1300}, color_scheme=theme, locale="en-GB")
    page.set_default_timeout(WAIT)
    page.goto(address)
    return page


def extract_sample(page: Page) -> None:
    """Extract the objects of a sample with the default preset."""
    page.locator("#samples button").nth(TEAPOT_AND_OWL).click()
    page.locator("#sample-masks").click()
    page.locator("#name-1").wait_for()
    page.locator("#to-extract").click()
    page.locator("#extract").click()
    page.locator("#to-generate").wait_for(timeout=LONG)
    page.locator("#status .verdict img").first.wait_for()


def session_link(page: Page) -> str:
    page.locator("#other-device > button").click()
    return page.locator("#address :is(input, textarea)").input_value()


def generate_images(page: Page) -> None:
    """Generate four images of a prompt with both objects."""
    page.get_by_role("tab").nth(1).click()
    page.locator("#to-generate").click()
    page.locator("#generate-advanced > button").click()
    page.locator("#seed input").fill(str(SEED))
    page.get_by_label("Keep this seed").check()
    page.locator("#generate-advanced > button").click()
    page.locator("#generate").click()
    expect(page.locator("#gallery .grid-container img")).to_have_count(4, timeout=LONG)


def save_screen(page: Page, file: Path) -> None:
    """Save the whole page with 256 colors, a fifth of the size."""
    Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB").quantize(256).save(file, optimize=True)


def row(images: Sequence[Image.Image], gap: int = 8) -> Image.Image:
    """Put images of one size side by side on white."""
    width, height = images[0].size
    sheet = Image.new("RGB", (len(images) * (width + gap) - gap, height), "white")
    for i, image in enumerate(images):
        sheet.paste(image, (i * (width + gap), 0))
    return sheet


def edited_photo(base: Base, concepts: Concepts) -> Image.Image:
    """Put a sample with a box around the region beside its edits."""
    photo = load_scene(SAMPLES / EDITED).photo
    region = box_region(photo.size, REGION)
    edits = [next(edit(base, concepts, photo, region, prompt, seed=SEED)).image for prompt in EDITS]
    ImageDraw.Draw(photo).rectangle(REGION, outline="white", width=2)
    return row([photo, *edits])


def take(out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = ASSETS / "readme") -> None:
    """Write studio.png (step 2, light), studio-dark.png (step 3), demo.png (the photo and four images) and edit.png."""
    with tempfile.TemporaryDirectory() as data, sync_playwright() as playwright:
        os.environ["BREAKASCENE_DATA"] = data
        demo = launch(base="toybox", wait=False)
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = open_page(chromium, 1280, "light", demo.local_url)
        extract_sample(page)
        save_screen(page, out / "studio.png")
        dark = open_page(chromium, 1440, "dark", session_link(page))
        generate_images(dark)
        save_screen(dark, out / "studio-dark.png")
        chromium.close()
        demo.close()
        demo.job_queue.close()
        (run,) = (manifest.parent for manifest in Path(data).glob("*/runs/*/manifest.json"))
        base = loaded.base()
        images = [generated.image for generated in generate(base, Concepts.load(run), PROMPTS, seed=SEED)]
        photo = load_scene(SAMPLES / "teapot-and-owl").photo.resize(images[0].size)
        row([photo, *images]).save(out / "demo.png", optimize=True)
        edited_photo(base, Concepts.load(run)).save(out / "edit.png", optimize=True)


if __name__ == "__main__":
    typer.run(take)
