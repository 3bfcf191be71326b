"""Step 2 in a real browser: progress, reload, other devices, the queue panel, stop, resume and delete."""

import re
import threading

import pytest
from helpers.browser import (
    LONG,
    delete,
    expect,
    expect_notice,
    open_sample,
    shot,
    start_extraction,
    type_in,
    use_sample_masks,
    visitor,
)

from breakascene.data.scene import load_scene
from breakascene.studio import engine
from breakascene.studio.screens import extraction_job
from breakascene.studio.screens.select_actions import samples

MANY = 10_000  # steps: more than any extraction has


@pytest.fixture(autouse=True)
def without_verdicts(monkeypatch):
    """Extractions end without the comparison, which takes much longer than a few steps; see test_browser_verdict.py."""
    monkeypatch.setattr(extraction_job, "compare", lambda run, scene: ())


@pytest.fixture
def steps(monkeypatch):
    """A semaphore: an extraction waits for it after each step, and leaves the processor to the pages meanwhile.

    It also goes on when it is to stop or to show a preview.
    """
    extract, semaphore = engine.extract, threading.Semaphore(0)

    def step_by_step(scene, settings, run, stop_file, preview_file, *others):
        for event in extract(scene, settings, run, stop_file, preview_file, *others):
            yield event
            while not (stop_file.exists() or preview_file.exists() or semaphore.acquire(timeout=0.1)):
                pass

    monkeypatch.setattr(engine, "extract", step_by_step)
    yield semaphore
    semaphore.release(MANY)


def address_of(page):
    """The session's address, which the page shows for other devices."""
    page.locator("#other-device > button").click()
    return page.locator("#address :is(input, textarea)").input_value()


def test_a_job_is_seen_after_a_reload_and_on_every_device(browser, address, steps):
    with visitor(browser, address) as page:
        open_sample(page)
        use_sample_masks(page)
        idle = page.context.new_page()  # opened before the job starts
        idle.goto("/")
        expect(idle.locator("#canvas img")).to_be_visible()
        expect(idle.locator("#queue")).to_be_hidden()
        start_extraction(page, 500, 0)
        steps.release(5)
        expect(page.locator("#status")).to_contain_text("left", timeout=LONG)
        expect(idle.locator("#queue-extraction")).to_contain_text(re.compile("Extraction .* left"), timeout=LONG)
        page.reload()
        expect(page.locator("#status")).to_contain_text("Phase 1: training the handles", timeout=LONG)
        before = page.locator("#status [role=progressbar]").get_attribute("aria-valuenow")
        steps.release(10)
        expect(page.locator("#status [role=progressbar]")).not_to_have_attribute("aria-valuenow", before, timeout=LONG)
        here = address_of(page)
        assert re.fullmatch(address + r"/\?session=[\w-]{24}", here)
        shot(page, "other-device")
        with visitor(browser, address, 390, "dark", "ja-JP", here) as phone:
            expect(phone.locator("#status")).to_contain_text("残り", timeout=LONG)
            expect(phone.locator("#selected-objects figcaption").first).to_be_visible()
            phone.reload()  # the phone has stored the session
            expect(phone.locator("#queue-extraction")).to_contain_text("残り", timeout=LONG)
            shot(phone, "queue")
            phone.locator("#cancel-extraction").click()
            steps.release(MANY)
            expect(page.locator("#status")).to_contain_text("Stopped at step", timeout=LONG)
            for device in (page, idle, phone):
                expect(device.locator("#queue")).to_be_hidden()
        with visitor(browser, address, start=here.replace("session=", "desk=")) as old:  # a link of an earlier version
            old.get_by_role("tab").nth(1).click()
            expect(old.locator("#status")).to_contain_text("Stopped at step", timeout=LONG)
        guess = here[:-1] + ("y" if here.endswith("x") else "x")
        with visitor(browser, address, start=guess) as stranger:
            expect(stranger.locator("#samples button").first).to_be_visible()


def test_a_stopped_extraction_resumes_to_its_end_which_other_devices_see(browser, address, steps):
    with visitor(browser, address) as page:
        open_sample(page)
        use_sample_masks(page)
        expect(page.locator("#resume")).to_be_hidden()
        start_extraction(page, 12, 0)
        steps.release(5)
        expect(page.locator("#status")).to_contain_text("left", timeout=LONG)
        place = "document.querySelector('#stop').getBoundingClientRect().y + scrollY"
        before = page.evaluate(place)
        page.locator("#preview-now").click()
        expect(page.locator("#strips img").nth(1)).to_be_visible(timeout=LONG)
        assert page.evaluate(place) == before  # nothing jumps
        page.locator("#stop").click()
        expect(page.locator("#status")).to_contain_text("Stopped at step", timeout=LONG)
        shot(page, "stopped")
        steps.release(MANY)
        with visitor(browser, address, start=address_of(page)) as other:
            other.get_by_role("tab").nth(1).click()
            other.locator("#resume").click()
            for device in (other, page):
                expect(device.locator("#status")).to_contain_text("Done.", timeout=LONG)
                expect(device.locator("#resume")).to_be_hidden()
                expect(device.locator("#to-generate")).to_be_visible()


def test_empty_steps_are_those_of_the_preset_and_a_stopped_extraction_can_be_deleted(browser, address):
    with visitor(browser, address) as page:
        open_sample(page)
        use_sample_masks(page)
        page.locator("#to-extract").click()
        expect(page.locator("#selected-objects img").first).to_be_visible()
        page.locator("#extract-advanced > button").click()
        first, second = (page.locator(f"#steps-{phase} :is(input, textarea)") for phase in (1, 2))
        for field in (first, second):
            expect(field).to_be_visible()
            expect(field).to_have_value("")
        type_in(first, "many")
        page.locator("#extract").click()
        expect_notice(page, "Give a number of steps")
        type_in(first, "")
        page.get_by_label("Quick").check()
        page.locator("#extract").click()
        expect(page.locator("#status")).to_contain_text("left", timeout=LONG)
        page.locator("#stop").click()
        expect(page.locator("#status")).to_contain_text(re.compile(r"Stopped at step \d+ of 40"), timeout=LONG)
        delete(page, "extraction")
        expect(page.locator("#delete-extraction")).to_be_hidden()
        expect(page.locator("#to-generate")).to_be_hidden()
        expect(page.locator("#status")).not_to_contain_text("Stopped")
        page.reload()
        page.get_by_role("tab", name="3 · Generate").click()
        expect(page.get_by_text("No objects are extracted yet")).to_be_visible()


def test_visitors_wait_in_the_queue_and_see_their_own_objects(browser, address, steps):
    with visitor(browser, address) as first, visitor(browser, address) as second:
        for page, number in ((first, 0), (second, 1)):
            open_sample(page, number)
            use_sample_masks(page)
        start_extraction(first, 500, 0)
        steps.release(5)
        expect(first.locator("#status")).to_contain_text("left", timeout=LONG)
        start_extraction(second, 1, 0)
        expect(second.locator("#queue-extraction")).to_contain_text("number 1 in the queue · starts in about")
        second.locator("#cancel-extraction").click()
        expect(second.locator("#status")).to_contain_text("Stopped before the first step")
        second.locator("#extract").click()
        expect(second.locator("#status")).to_contain_text("number 1 in the queue")
        first.locator("#stop").click()
        steps.release(MANY)
        expect(first.locator("#status")).to_contain_text("Stopped at step", timeout=LONG)
        expect(second.locator("#status")).to_contain_text("Done.", timeout=LONG)
        shown = []
        for page, number in ((first, 0), (second, 1)):
            page.locator("#to-generate").click()
            expect(page.locator("#chip-0")).to_contain_text(load_scene(samples()[number]).names[0])
            expect(page.locator("#runs")).not_to_be_visible()  # one run each, so there is nothing to choose
            shown.append(page.locator("#chip-0").inner_text())
        assert shown[0] != shown[1]
