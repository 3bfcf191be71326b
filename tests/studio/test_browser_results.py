"""What a visitor sees of their jobs and results, on screens that everybody can use; and how they delete them."""

import itertools
from pathlib import Path

import axe_playwright_python
import pytest
from helpers.browser import (
    LONG,
    delete,
    expect,
    open_sample,
    set_inference_steps,
    shot,
    start_extraction,
    type_in,
    use_sample_masks,
    visitor,
)
from helpers.studio import add_session
from PIL import Image

from breakascene.evaluation.verdict import Verdict
from breakascene.generation import previews
from breakascene.studio.screens import extraction_job


@pytest.fixture
def start(studio_data, run):
    """The address of a new session that has the run."""
    return add_session(studio_data, run)


def open_step_3(page):
    page.get_by_role("tab", name="3 · Generate").click()
    expect(page.locator("#prompt")).to_be_visible()


def generate(page, count, steps):
    set_inference_steps(page, steps)
    type_in(page.locator("#count input[type=number]"), str(count))
    page.locator("#generate").click()
    expect(page.locator("#generation-status")).to_contain_text(f"{count} of {count} generated", timeout=LONG)


@pytest.mark.parametrize("width", [1440, 390])
def test_generate_stands_under_the_prompt_and_results_stay_in_view(browser, address, start, width):
    with visitor(browser, address, width, start=start) as page:
        open_step_3(page)
        prompt, button = (page.locator(name).bounding_box() for name in ("#prompt", "#generate"))
        assert 0 <= button["y"] - prompt["y"] - prompt["height"] < 100  # the handles that are understood stand between
        if width == 1440:
            assert page.evaluate("scrollY") == 0 and button["y"] + button["height"] <= 900
        generate(page, 2, 2)
        expect(page.locator("#generation-status")).to_be_in_viewport()
        shot(page, f"results-{width}")
        if width == 1440:
            page.locator("#sheet-options > button").click()
            page.mouse.move(300, 600)
            page.mouse.wheel(0, 2000)
            expect(page.locator("#gallery img").first).to_be_in_viewport()


# Whether step 2 has shown that nothing is selected, in any frame since.
RECORD_NOTICE_JS = """() => {
  const look = () => {
    const summary = document.querySelector("#selected-objects");
    window.sawNotice ||= Boolean(summary?.checkVisibility() && summary.querySelector(".nothing-selected"));
    requestAnimationFrame(look);
  };
  look();
}"""


def test_a_page_shows_skeletons_and_no_old_notice_until_it_is_answered(browser, address):
    with visitor(browser, address) as page:
        step_1, step_2 = page.get_by_role("tab").nth(0), page.get_by_role("tab").nth(1)
        expect(page.locator("#samples button").first).to_be_visible()
        step_2.click()
        expect(page.locator("#selected-objects .nothing-selected")).to_be_visible()
        step_1.click()
        page.evaluate(RECORD_NOTICE_JS)
        open_sample(page)
        use_sample_masks(page)
        step_2.click()
        expect(page.locator("#selected-objects .thumbs img").first).to_be_visible()
        assert not page.evaluate("window.sawNotice")
        slow, held, answered = page.context.new_page(), [], []
        slow.route("**/queue/join*", lambda route: route.continue_() if answered else held.append(route))
        slow.goto("/")
        expect(slow.locator(".skeleton").first).to_be_visible()
        shot(slow, "loading")
        answered.append(True)
        for route in held:
            route.continue_()
        expect(slow.locator("#canvas img")).to_be_visible()
        expect(slow.locator(".skeleton").first).to_be_hidden()


def test_images_are_deleted_alone_or_together_once_it_is_confirmed(browser, address, start):
    with visitor(browser, address, start=start) as page:
        open_step_3(page)
        generate(page, 4, 1)
        images = page.locator("#gallery .grid-container button")
        expect(images).to_have_count(4)
        images.first.click()
        page.locator("#favorite").click()
        delete(page, "image")
        expect(images).to_have_count(3)
        expect(page.locator("#chosen-image")).to_be_hidden()
        expect(page.locator("#gallery-filter")).to_be_hidden()  # it was the only favorite
        page.locator("#select-images").click()
        for i in (0, 2):
            images.nth(i).click()
        expect(page.locator("#delete-selected")).to_have_text("Delete selected (2)")
        page.locator("#delete-selected").click()
        expect(page.locator("#confirm-delete-selected .cancel")).to_be_focused()
        shot(page, "delete-selected")
        page.locator("#confirm-delete-selected .cancel").click()
        expect(page.locator("#confirm-delete-selected")).to_be_hidden()
        expect(images).to_have_count(3)
        delete(page, "selected")
        expect(images).to_have_count(1)
        page.locator("#select-images").click()
        images.first.click()
        expect(page.locator("#chosen-image")).to_be_visible()


def test_a_set_is_renamed_for_all_to_see_and_deleted_with_its_names(browser, address, start):
    with visitor(browser, address, start=start) as page:
        open_step_3(page)
        page.locator("#object-sets > button").click()
        name = page.locator("#run-name :is(input, textarea)")
        type_in(name, "My <b>toys</b>")
        page.locator("#save-details").click()
        expect(page.locator("#runs")).to_be_visible()
        page.locator("#delete-run").click()
        expect(page.locator("#confirm-delete-run")).to_contain_text("Delete the object set “My <b>toys</b>”?")
        page.locator("#confirm-delete-run .cancel").click()
        expect(page.locator("#prompt")).to_be_visible()
        delete(page, "run")
        expect(page.get_by_text("No objects are extracted yet")).to_be_visible()
        expect(name).to_have_value("")


def test_the_image_is_seen_while_it_is_generated(browser, address, start, monkeypatch):
    monkeypatch.setattr(previews, "MIN_SECONDS", 0)
    monkeypatch.setattr(previews, "MAX_SHARE", 1)
    with visitor(browser, address, start=start) as page:
        open_step_3(page)
        set_inference_steps(page, 100)
        type_in(page.locator("#count input[type=number]"), "1")
        page.locator("#generate").click()
        live = page.locator(".live-image img")
        expect(live).to_be_visible(timeout=LONG)
        first = live.get_attribute("src")
        expect(live).not_to_have_attribute("src", first, timeout=LONG)
        shot(page, "live")
        expect(page.locator("#generation-status")).to_contain_text("1 of 1 generated", timeout=LONG)
        expect(live).to_have_count(0)


AXE_JS = Path(axe_playwright_python.__file__).with_name("axe.min.js").read_text(encoding="utf-8")
OPEN_ALL_JS = """() => {
  const titles = [...document.querySelectorAll("button.label-wrap:not(.open)")];
  titles.filter((title) => title.checkVisibility()).forEach((title) => title.click());
  document.querySelectorAll("details").forEach((details) => { details.open = true; });
}"""
# Rule, impact and place of each violation, with the first line of what is wrong.
RUN_AXE_JS = """async (options) => (await axe.run(options)).violations.flatMap(({ id, impact, nodes }) =>
  nodes.map(({ target, failureSummary }) => [id, impact, target.join(" "), failureSummary.split("\\n")[1].trim()]))"""
ALL_RULES = {"resultTypes": ["violations"]}  # the places of what is right would take most of the time
RULES_OF_COLORS = {**ALL_RULES, "runOnly": ["color-contrast", "link-in-text-block"]}
SMALL_TARGETS_JS = """() => [...document.querySelectorAll(
    "button:not([tabindex='-1']), select, textarea, summary, label:has(> input), input:not(label > *), #languages a")]
  .filter((target) => target.checkVisibility({ visibilityProperty: true, opacityProperty: true }))
  .filter((target) => target.type !== "range") // its number field does the same
  .map((target) => [target, target.getBoundingClientRect()])
  .filter(([, { width, height }]) => width > 2 && Math.round(Math.min(width, height)) < 44)
  .map(([target, { width, height }]) => `${width} x ${height}: ${target.outerHTML.slice(0, 120)}`)"""


def test_every_screen_is_accessible(browser, address, start, monkeypatch):
    """axe-core finds nothing to criticize, in any language, theme and size; on touch screens targets have 44 px."""
    image = Image.new("RGB", (64, 64), "teal")
    verdicts = [
        Verdict(level or "unknown", image, [image] * 2, level) for level in ("right", "partly", "unrecognizable")
    ]
    monkeypatch.setattr(extraction_job, "compare", lambda run, scene: tuple(verdicts))
    found = set()

    def check(page, screen, language):
        page.evaluate(OPEN_ALL_JS)
        for width, theme in itertools.product((1440, 390), ("light", "dark")):
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme=theme)
            expect(page.locator("body.dark")).to_have_count(int(theme == "dark"))
            rules = ALL_RULES if theme == "light" else RULES_OF_COLORS  # a theme changes nothing but colors
            found.update((screen, language, width, theme, *violation) for violation in page.evaluate(RUN_AXE_JS, rules))
        found.update((screen, language, "small target", target) for target in page.evaluate(SMALL_TARGETS_JS))

    for language in ("en-GB", "ja-JP"):
        with visitor(browser, address, 1440, locale=language, start=start) as page:
            page.evaluate(AXE_JS)
            if language == "en-GB":
                expect(page.locator("#samples img").first).to_be_visible()
                check(page, "start", language)
                page.locator("#samples button").first.press("Enter")
                expect(page.locator("#samples")).to_be_hidden()
                expect(page.get_by_role("tab").first).to_be_focused()  # the control before the one that went away
                use_sample_masks(page)
            expect(page.locator("#canvas img")).to_be_visible()
            check(page, "select", language)
            if language == "en-GB":
                start_extraction(page, 3, 0)
            page.get_by_role("tab").nth(1).click()
            expect(page.locator("#status .verdict")).to_have_count(3, timeout=LONG)
            check(page, "extract", language)
            page.get_by_role("tab").nth(2).click()
            expect(page.locator("#prompt")).to_be_visible()
            if language == "en-GB":
                generate(page, 1, 1)
            page.locator("#gallery .grid-container img").first.click()
            expect(page.locator("#chosen-image")).to_be_visible()
            check(page, "generate", language)
            page.get_by_role("tab").nth(3).click()
            expect(page.locator("#pilot-create")).to_be_visible()
            check(page, "pilot", language)
    assert not found, "\n".join(sorted(map(str, found)))
