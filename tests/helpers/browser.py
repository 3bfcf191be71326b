"""What a visitor does in a real browser. Each wait is for something to be seen, not for a time."""

import re
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from breakascene.data.scene import load_scene
from breakascene.studio.screens.select_actions import samples

sync_api = pytest.importorskip("playwright.sync_api")
WAIT = 60_000  # ms, for what takes a moment
LONG = 300_000  # ms, for a job on a busy machine
SHOTS = Path(__file__).parents[2] / "screenshots"

expect = sync_api.expect
expect.set_options(timeout=WAIT)


@contextmanager
def visitor(browser, address, width=1280, theme="light", locale="en-GB", start="/"):
    """A visitor of their own on the open page, who asks no other machine for anything and meets no error."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=theme, accept_downloads=True, base_url=address,
        locale=locale,
    )  # fmt: skip
    context.set_default_timeout(WAIT)
    asked, errors = [], []  # by all tabs
    context.on("request", lambda request: asked.append(request.url))
    context.on("weberror", lambda error: errors.append(str(error.error)))
    page = context.new_page()
    page.goto(start)
    yield page
    context.close()
    outside = [url for url in asked if not url.startswith((address, "data:", "blob:"))]
    assert not outside and not errors


def shot(page, name):
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png", full_page=True)


def canvas_source(page):
    return page.locator("#canvas img").get_attribute("src")


def act_on_canvas(page, act):
    """Do something and wait until the canvas shows another picture."""
    before = canvas_source(page)
    act()
    expect(page.locator("#canvas img")).not_to_have_attribute("src", before)


def click_on(page, scene, index):
    """Click in the middle of a sample's thing."""
    ys, xs = np.nonzero(scene.concepts[index].mask)
    nearest = np.argmin((xs - xs.mean()) ** 2 + (ys - ys.mean()) ** 2)
    image = page.locator("#canvas img")
    box = image.bounding_box()
    scale = min(box["width"] / scene.photo.width, box["height"] / scene.photo.height)
    left, top = (box["width"] - scene.photo.width * scale) / 2, (box["height"] - scene.photo.height * scale) / 2
    where = {"x": left + (xs[nearest] + 0.5) * scale, "y": top + (ys[nearest] + 0.5) * scale}
    act_on_canvas(page, lambda: image.click(position=where))


def type_in(field, text):
    """Click into a field and write over what stands there.

    A click waits until the field is painted. Just before, Gradio puts its own value once more into all fields of a part
    of the page that opens, so what is written without waiting may be lost.
    """
    field.click()
    field.fill(text)


def notice(page, sentence):
    """The page says so in a notice. It is closed then: if not, its end takes away a later one too."""
    expect(page.locator(".toast-body").last).to_contain_text(sentence)
    # Not a mouse's click, which waits for a notice that may just go by itself
    page.evaluate("document.querySelectorAll('.toast-close').forEach((cross) => cross.click())")
    expect(page.locator(".toast-body")).to_have_count(0)


def name_thing(page, index, name):
    """Give a picked thing a name, and wait until the studio knows it."""
    type_in(page.locator(f"#name-{index} :is(input, textarea)"), name)
    page.keyboard.press("Tab")
    expect(page.locator("#about")).to_contain_text(f"{index + 1} {name}: ")


def open_sample(page, number=0):
    page.locator("#samples button").nth(number).click()
    expect(page.locator("#canvas img")).to_be_visible()
    return load_scene(samples()[number])


def use_ready_made(page):
    act_on_canvas(page, page.locator("#ready-made").click)


def teach(page, first, second):
    page.locator("#to-extract").click()
    expect(page.locator("#picked .thumbs img").first).to_be_visible()
    page.locator("#extract-advanced > button").click()
    type_in(page.locator("#steps-1 input"), str(first))
    type_in(page.locator("#steps-2 input"), str(second))
    page.locator("#extract").click()


def draw_in(page, steps):
    """Open "Advanced" in step 3 and ask for a number of steps."""
    page.locator("#create-advanced > button").click()
    number, slider = (page.locator(f"#draw-steps input[type={kind}]") for kind in ("number", "range"))
    type_in(number, str(steps))
    number.press("Tab")
    expect(slider).to_have_value(str(steps))  # the page has taken it in


def share_of(page, number=1):
    """The share of the photo that the screen tells of a thing, in %, once it is there."""
    share, about = re.compile(rf"{number}( [^:]*)?: ([\d.]+)%"), page.locator("#about")
    expect(about).to_contain_text(share)
    return float(share.search(about.inner_text())[2])
