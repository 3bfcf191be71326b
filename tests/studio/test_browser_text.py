"""Text from people is text in a real browser, never HTML or Markdown; and the page works under its security policy."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.browser import act_on_canvas, click_on, expect, expect_notice, open_sample, shot, type_in, visitor
from helpers.studio import add_session
from PIL import Image

import breakascene
from breakascene.data.scene import load_scene
from breakascene.generation.generate import GeneratedImage, save_image
from breakascene.studio import loaded
from breakascene.studio.screens.select_actions import samples
from breakascene.training.loop import run_extraction
from breakascene.training.settings import preset

MARKDOWN = "![](//o.example/a.png) **b**"
HTML = "<img src=//o.example onerror=hacked=1>"


@pytest.fixture(scope="module")
def session(address, studio_data, tmp_path_factory):
    """The address of a session with a run whose objects, and an image whose prompt, have names like code."""
    scene = load_scene(samples()[1])
    first, *others = scene.concepts
    scene = replace(scene, concepts=(replace(first, name=MARKDOWN), *others))
    out = tmp_path_factory.mktemp("runs") / "run"
    concepts = run_extraction(scene, loaded.base(), preset("quick", loaded.base(), steps=(1, 0)), out)
    start = add_session(studio_data, out)
    metadata = {
        "prompt": f"<asset0> {HTML}", "negative_prompt": f"{MARKDOWN}<b>n</b>", "seed": 1, "index": 0,
        "num_inference_steps": 2, "guidance_scale": 2.0, "width": 256, "height": 256, "base": "toybox",
        "fingerprint": "", "run": concepts.id, "handles": {"<asset0>": MARKDOWN},
    }  # fmt: skip
    folder = studio_data / start.rpartition("=")[2] / "pictures"
    save_image(GeneratedImage(Image.new("RGB", (256, 256), "teal"), metadata), folder)
    return start


def assert_harmless(page):
    """Nothing was loaded from another server (see visitor), no script ran, no tag came from a name."""
    assert page.evaluate("window.hacked") is None
    assert page.locator("img[src*='o.example'], #hint b, #about b, .toast-body b").count() == 0


def test_names_are_text_in_hints_notices_and_summaries(browser, address):
    with visitor(browser, address) as page:
        scene = open_sample(page)
        for text in (MARKDOWN, "<b>x</b>", HTML):
            type_in(page.locator("#name-0 :is(input, textarea)"), text)
            page.keyboard.press("Tab")
            expect(page.locator("#hint")).to_contain_text(f"Click {text} in the photo.")
        act_on_canvas(page, lambda: click_on(page, scene, 0))
        expect(page.locator("#about")).to_contain_text(f"1 {HTML}: ")
        page.locator("#to-extract").click()
        expect(page.locator("#selected-objects")).to_contain_text(HTML)
        page.locator("#extract").click()
        expect_notice(page, f'The name "{HTML}" cannot be used')
        assert_harmless(page)


def test_object_sets_and_images_are_text_in_step_3(browser, address, session):
    with visitor(browser, address, start=session) as page:
        page.get_by_role("tab", name="3 · Generate").click()
        expect(page.locator("#chip-0")).to_have_text(re.compile(re.escape(MARKDOWN)))
        type_in(page.locator("#prompt textarea"), "a photo of <asset9> and <b>x</b>")
        page.locator("#generate").click()
        expect_notice(page, "<asset9> is an unknown handle: this run knows <asset0>")
        expect(page.locator("#gallery")).to_contain_text(f"{MARKDOWN} {HTML}")
        page.locator("#gallery img").first.click()
        expect(page.get_by_text(f"without {MARKDOWN}<b>n</b>").first).to_be_visible()
        shot(page, "text-from-people")
        page.locator("#object-sets > button").click()
        type_in(page.locator("#run-name :is(input, textarea)"), HTML)
        page.locator("#save-details").click()
        page.reload()
        page.get_by_role("tab", name="3 · Generate").click()
        page.locator("#object-sets > button").click()
        expect(page.locator("#run-name :is(input, textarea)")).to_have_value(HTML)
        assert_harmless(page)


def test_file_names_are_text_in_notices(browser, address, tmp_path):
    with visitor(browser, address) as page:
        upload = page.locator("#upload input[type=file]")
        broken = {"name": f"{MARKDOWN.replace('/', '')}<b>.png", "mimeType": "image/png", "buffer": b"no image"}
        upload.set_input_files(broken)
        expect_notice(page, "is not a readable image")
        assert_harmless(page)


def test_the_browser_refuses_what_the_policy_forbids(browser, address):
    page = browser.new_page()
    page.goto(address)
    refused = page.evaluate(
        """() => new Promise((resolve) => {
          document.addEventListener("securitypolicyviolation", (event) => resolve(event.effectiveDirective));
          document.body.append(Object.assign(new Image(), { src: "http://o.example/a.png" }));
        })"""
    )
    page.close()
    assert refused == "img-src"


def test_only_one_function_shows_notices():
    """Gradio takes the text of its notices for HTML: events.show_notice escapes it."""
    studio = Path(breakascene.__file__).parent / "studio"
    users = {p.name for p in studio.rglob("*.py") if re.search(r"gr\.(Warning|Info|Success)\(", p.read_text("utf-8"))}
    assert not users
