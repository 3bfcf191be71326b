"""What a visitor sees of their jobs and results: in view, live, in the queue panel; and how they delete them."""

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

from breakascene.data.scene import load_scene
from breakascene.generation import previews
from breakascene.studio import engine
from breakascene.studio.screens.select_actions import samples
from breakascene.training.loop import run_extraction
from breakascene.training.settings import preset


@pytest.fixture(scope="module")
def run(address, tmp_path_factory):
    """A short run of a sample, by the base of the running studio."""
    out = tmp_path_factory.mktemp("runs") / "run"
    run_extraction(load_scene(samples()[1]), engine.base(), preset("quick", engine.base(), steps=(1, 0)), out)
    return out


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
        assert 0 <= button["y"] - prompt["y"] - prompt["height"] < 40
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


def test_a_page_shows_skeletons_until_it_has_its_session(browser, address):
    with visitor(browser, address) as page:
        open_sample(page)
        slow, held = page.context.new_page(), []
        slow.route("**/queue/join*", held.append)
        slow.goto("/")
        expect(slow.locator(".skeleton").first).to_be_visible()
        shot(slow, "loading")
        slow.unroute("**/queue/join*")
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
        page.locator("#rename-run").click()
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


def test_every_device_sees_the_jobs_and_can_cancel_them(browser, address):
    with visitor(browser, address) as page:
        open_sample(page)
        use_sample_masks(page)
        phone = page.context.new_page()
        phone.set_viewport_size({"width": 390, "height": 844})
        phone.goto("/")
        expect(phone.locator("#canvas img")).to_be_visible()
        expect(phone.locator("#queue")).to_be_hidden()
        start_extraction(page, 5000, 0)
        expect(phone.locator("#queue-extraction")).to_contain_text("left", timeout=LONG)
        expect(page.locator("#queue-extraction")).to_contain_text("Extraction")
        shot(phone, "queue")
        phone.locator("#cancel-extraction").click()
        expect(page.locator("#status")).to_contain_text("Stopped at step", timeout=LONG)
        for device in (page, phone):
            expect(device.locator("#queue")).to_be_hidden()


def test_a_waiting_job_tells_its_place_and_time(browser, address):
    with visitor(browser, address) as first, visitor(browser, address) as second:
        for page, number in ((first, 0), (second, 1)):
            open_sample(page, number)
            use_sample_masks(page)
        start_extraction(first, 5000, 0)
        expect(first.locator("#queue-extraction")).to_contain_text("left", timeout=LONG)
        start_extraction(second, 1, 0)
        expect(second.locator("#queue-extraction")).to_contain_text("number 1 in the queue · starts in about")
        second.locator("#cancel-extraction").click()
        expect(second.locator("#status")).to_contain_text("Stopped before the first step")
        first.locator("#stop").click()
        expect(first.locator("#status")).to_contain_text("Stopped at step", timeout=LONG)
