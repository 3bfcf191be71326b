"""Actions of a visitor in a real browser. Every wait is for a visible change, never for a time."""

import os
import re
import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from breakascene.data.scene import load_scene
from breakascene.studio.screens.select_actions import samples

sync_api = pytest.importorskip("playwright.sync_api")
WAIT = 60_000  # ms, for an update of the page
LONG = 300_000  # ms, for a job on a busy machine
CHROMIUM = shutil.which("chromium-headless-shell") or shutil.which("chromium") or "/usr/bin/chromium"
CHROMIUM_FLAGS = """--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync --use-fake-device-for-media-stream --use-fake-ui-for-media-stream""".split()
SHOTS = Path(__file__).parents[2] / "screenshots"

expect = sync_api.expect
expect.set_options(timeout=WAIT)


def open_browser(playwright) -> sync_api.Browser:
    return playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=CHROMIUM_FLAGS)


@contextmanager
def visitor(browser, address, width=1280, theme="light", locale="en-GB", start="/", touch=False):
    """Open the studio in a browser context of its own.

    Fails on requests to other hosts, on anything that the security policy forbids, and on errors in the page.
    """
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=theme, accept_downloads=True, base_url=address,
        locale=locale, has_touch=touch, reduced_motion="reduce",  # each frame of an animation costs processor time
    )  # fmt: skip
    context.set_default_timeout(WAIT)
    requested, errors = [], []  # by all tabs
    context.on("request", lambda request: requested.append(request.url))
    context.on("weberror", lambda error: errors.append(str(error.error)))
    context.on("console", lambda message: "Content Security Policy" in message.text and errors.append(message.text))
    page = context.new_page()
    page.goto(start)
    yield page
    context.close()
    outside = [url for url in requested if not url.startswith((address, "data:", "blob:"))]
    assert not outside and not errors


def shot(page, name):
    """Take a screenshot of the whole page, unless SCREENSHOTS=0 as in .ci/run."""
    if os.environ.get("SCREENSHOTS") == "0":
        return
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png", full_page=True)


def canvas_source(page):
    return page.locator("#canvas img").get_attribute("src")


# Asked more often than by expect(), which soon waits half a second between two looks
CANVAS_CHANGED_JS = """(before) => {
  const source = document.querySelector("#canvas img")?.getAttribute("src");
  return Boolean(source) && source !== before;
}"""


def act_on_canvas(page, act):
    """Call `act` and wait until the canvas shows another image."""
    before = canvas_source(page)
    act()
    page.wait_for_function(CANVAS_CHANGED_JS, arg=before, polling=50)


def click_on(page, scene, index):
    """Click in the middle of an object of a scene."""
    ys, xs = np.nonzero(scene.concepts[index].mask)
    nearest = np.argmin((xs - xs.mean()) ** 2 + (ys - ys.mean()) ** 2)
    image = page.locator("#canvas img")
    box = image.bounding_box()
    scale = min(box["width"] / scene.photo.width, box["height"] / scene.photo.height)
    left, top = (box["width"] - scene.photo.width * scale) / 2, (box["height"] - scene.photo.height * scale) / 2
    where = {"x": left + (xs[nearest] + 0.5) * scale, "y": top + (ys[nearest] + 0.5) * scale}
    act_on_canvas(page, lambda: image.click(position=where))


def type_in(field, text):
    """Click into a field and replace its text.

    The click waits until the field is painted. Gradio sets all fields of a section that opens once more just before
    that, so text entered earlier may be lost.
    """
    field.click()
    field.fill(text)


def expect_notice(page, text):
    """Expect a notice with this text, and close it: when it expires by itself, it takes a later one with it."""
    expect(page.locator(".toast-body").last).to_contain_text(text)
    # In JavaScript: a mouse click would wait for a notice that may just have expired
    page.evaluate("document.querySelectorAll('.toast-close').forEach((cross) => cross.click())")
    expect(page.locator(".toast-body")).to_have_count(0)


def name_object(page, index, name):
    """Name a selected object, and wait until the studio has the name."""
    type_in(page.locator(f"#name-{index} :is(input, textarea)"), name)
    page.keyboard.press("Tab")
    expect(page.locator("#about")).to_contain_text(f"{index + 1} {name}: ")


def open_sample(page, number=0):
    page.locator("#samples button").nth(number).click()
    expect(page.locator("#canvas img")).to_be_visible()
    return load_scene(samples()[number])


def use_sample_masks(page):
    act_on_canvas(page, page.locator("#sample-masks").click)


def start_extraction(page, first, second):
    """Go to step 2 and start an extraction with this number of steps in each phase."""
    page.locator("#to-extract").click()
    expect(page.locator("#selected-objects .thumbs img").first).to_be_visible()
    page.locator("#extract-advanced > button").click()
    type_in(page.locator("#steps-1 :is(input, textarea)"), str(first))
    type_in(page.locator("#steps-2 :is(input, textarea)"), str(second))
    page.locator("#extract").click()


def set_inference_steps(page, steps):
    """Open "Advanced" in step 3 and set the number of inference steps."""
    page.locator("#generate-advanced > button").click()
    number, slider = (page.locator(f"#inference-steps input[type={kind}]") for kind in ("number", "range"))
    type_in(number, str(steps))
    number.press("Tab")
    expect(slider).to_have_value(str(steps))


def share_of(page, number=1):
    """The displayed share of the photo of an object, in %, once it is there."""
    share, about = re.compile(rf"{number}( [^:]*)?: ([\d.]+)%"), page.locator("#about")
    expect(about).to_contain_text(share)
    return float(share.search(about.inner_text())[2])


def delete(page, name):
    """Delete something with its button, and confirm it."""
    page.locator(f"#delete-{name}").click()
    page.locator(f"#confirm-delete-{name} .confirm").click()
