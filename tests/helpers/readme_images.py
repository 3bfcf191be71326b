"""Make the images of the README and docs/studio.md anew: PYTHONPATH=.:tests python -m helpers.readme_images

Extracts the objects of a sample with the preset "light" in a real studio on the toybox, which takes about three minutes
on two CPU cores, and writes assets/readme/demo.png, studio.png and studio-dark.png.
"""

import io
import tempfile
from pathlib import Path

from PIL import Image

from breakascene.data.scene import Scene
from breakascene.generation.generate import generate
from breakascene.models.concepts import Concepts
from breakascene.studio import engine
from breakascene.studio.screens.select_actions import samples
from helpers.browser import LONG, expect, open_browser, open_sample, sync_api, use_sample_masks, visitor
from helpers.studio import running_studio

OUT = Path(__file__).parents[2] / "assets" / "readme"
SAMPLE = "teapot-and-owl"
PROMPTS = (
    "a photo of <asset0> in the snow",
    "a photo of <asset1> on the grass",
    "a photo of <asset0> and <asset1> on a wooden table",
    "a photo of <asset0> and <asset1> in the desert",
)
GAP = 8  # pixels between two images of demo.png


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as data,
        running_studio(Path(data)) as address,
        sync_api.sync_playwright() as api,
    ):
        browser = open_browser(api)
        with visitor(browser, address) as page:
            scene = open_sample(page, [folder.name for folder in samples()].index(SAMPLE))
            use_sample_masks(page)
            page.locator("#to-extract").click()
            page.locator("#preset").get_by_label("Light").check()
            page.locator("#extract").click()
            expect(page.locator("#status")).to_contain_text("Done.", timeout=LONG)
            save_page(page, "studio.png")
            token = page.locator("#address :is(input, textarea)").input_value().split("session=")[1]
        with visitor(browser, address, 1440, "dark", start=f"/?session={token}") as page:
            page.get_by_role("tab", name="3 · Generate").click()
            page.locator("#generate").click()
            expect(page.locator("#gallery .grid-container img")).to_have_count(4, timeout=LONG)
            expect(page.locator("#generation-status")).to_contain_text("4 of 4 generated", timeout=LONG)
            save_page(page, "studio-dark.png")
        browser.close()
        (run,) = (Path(data) / token / "runs").glob("*/manifest.json")
        save_demo(scene, Concepts.load(run.parent))


def save_page(page, name: str) -> None:
    """Save the whole page in 256 colors, which suffice for a screen and take a third of the space."""
    page.evaluate("Promise.all([...document.images].map((image) => image.decode()))")
    image = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
    image.quantize(256, dither=Image.Dither.NONE).save(OUT / name, optimize=True)


def save_demo(scene: Scene, concepts: Concepts) -> None:
    """Save the photo and, beside it, images generated with the handles extracted from it."""
    base = engine.base()
    images = [generated.image for generated in generate(base, concepts, PROMPTS, seed=0)]
    images.insert(0, scene.photo.resize(images[0].size, Image.Resampling.LANCZOS))
    side = base.image_size
    row = Image.new("RGB", (len(images) * (side + GAP) - GAP, side), "white")
    for i, image in enumerate(images):
        row.paste(image, (i * (side + GAP), 0))
    row.save(OUT / "demo.png", optimize=True)


if __name__ == "__main__":
    main()
