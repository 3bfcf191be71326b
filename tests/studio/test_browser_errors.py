"""A studio that is killed, runs out of disk, or is flooded with events, and recovers without losing work."""

import json
import os
import re
import resource
import threading
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest
from gradio_client import Client, handle_file
from helpers.browser import (
    LONG,
    canvas_source,
    click_on,
    expect,
    open_sample,
    share_of,
    shot,
    start_extraction,
    use_sample_masks,
    visitor,
)
from helpers.processes import Process, run_app
from helpers.studio import free_port, running_studio
from PIL import Image
from safetensors import safe_open

from breakascene.models.loading import load_base
from breakascene.studio import app, engine
from breakascene.studio.screens.select_actions import samples
from breakascene.studio.strings import en, ja
from breakascene.training.prior import prior_latents
from breakascene.training.settings import preset

ROOT = Path(__file__).parents[2]


class Studio:
    """The app in its own process, always at the same address, its data in `folder`."""

    def __init__(self, folder: Path):
        self.port = free_port()
        self.address, self.folder, self.process = f"http://127.0.0.1:{self.port}", folder, None

    def start(self) -> None:
        environment = {**os.environ, "BREAKASCENE_DATA": str(self.folder)}
        self.process = Process(run_app, "--port", str(self.port), "--base", "toybox", cwd=ROOT, env=environment)
        assert self.address in next(line for line in self.process.stdout if "open" in line)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def studio_process(tmp_path_factory):
    studio = Studio(tmp_path_factory.mktemp("studio") / "data")
    yield studio
    studio.kill()


@pytest.fixture
def studio(studio_process):
    """The process that all tests of this file share; each test has a session of its own."""
    if studio_process.process is None or studio_process.process.poll() is not None:
        studio_process.start()
    return studio_process


def test_after_a_kill_photo_masks_and_most_progress_are_restored(browser, studio):
    with visitor(browser, studio.address) as page:
        scene = open_sample(page)
        use_sample_masks(page)
        start_extraction(page, 40, 0)
        past_10 = re.compile(r"^[3-6]\d$")  # %, when the checkpoint of step 10 is there and much is left to do
        expect(page.locator("#status [role=progressbar]")).to_have_attribute("aria-valuenow", past_10, timeout=LONG)
        studio.kill()
        (checkpoint,) = studio.folder.glob("*/runs/*.checkpoint.safetensors")
        with safe_open(checkpoint, "pt") as file:
            assert len(json.loads(file.metadata()["checkpoint"])["losses"]) in (10, 20, 30)
        page.locator("#stop").click()
        expect(page.locator(".toast-body").last).to_contain_text(en.NO_RESPONSE)
        studio.start()
        page.goto("/")
        expect(page.locator("#status")).to_contain_text("The studio closed before the extraction was done")
        expect(page.locator("#selected-objects figcaption")).to_have_text(list(scene.names))
        shot(page, "after-a-kill")
        page.locator("#resume").click()
        expect(page.locator("#status")).to_contain_text("Done.", timeout=LONG)
        expect(page.locator("#resume")).to_be_hidden()
        assert not list(studio.folder.glob("*/runs/*.begun"))


def fill_queue(page, address):
    """Click until the queue of events is full; events that start make room for others."""
    for _ in range(100):
        waiting = page.request.get(f"{address}/gradio_api/queue/status").json()["queue_size"]
        if waiting < app.MAX_WAITING_EVENTS:
            press(page, 2)
            page.wait_for_function("document.querySelectorAll('.toast-body').length > 0")
    assert waiting == app.MAX_WAITING_EVENTS


def flood(page, clicks):
    """Send many clicks in the middle of the photo at once."""
    page.evaluate(
        """async (clicks) => {
          const image = document.querySelector("#canvas img");
          await image.decode();
          const box = image.getBoundingClientRect();
          const where = {bubbles: true, clientX: box.x + box.width / 2, clientY: box.y + box.height / 2};
          for (let i = 0; i < clicks; i++) image.dispatchEvent(new MouseEvent("click", where));
        }""",
        clicks,
    )


def press(page, times):
    """Send so many events, each with the clicks that were made since the last."""
    page.evaluate(
        """(n) => { for (let i = 0; i < n; i++) document.getElementById("canvas-gestures").click(); }""", times
    )


def test_the_studio_survives_a_flood_of_clicks_and_bad_requests(browser, studio):
    with visitor(browser, studio.address) as page:
        scene = open_sample(page)
        click_on(page, scene, 0)
        before = canvas_source(page)
        flood(page, 30)
        page.evaluate("""() => { for (let i = 0; i < 10; i++) document.querySelector("#add-object").click(); }""")
        expect(page.locator("#canvas img")).not_to_have_attribute("src", before, timeout=LONG)
        with suppress(OSError):  # a malformed request
            urllib.request.urlopen(studio.address + "/gradio_api/queue/join", data=b"[" * 100_000)
        page.reload()
        page.get_by_role("button", name="Choose another photo").click()
        open_sample(page, 1)
        use_sample_masks(page)
        assert share_of(page) > 0 and studio.process.poll() is None


def test_a_full_queue_is_reported_in_each_language_and_recovers(browser, tmp_path, monkeypatch):
    monkeypatch.setattr(app, "MAX_WAITING_EVENTS", 2)
    photo = next(samples()[0].glob("img.*"))
    with running_studio(tmp_path) as address:
        for locale, words in (("en-GB", en), ("ja-JP", ja)):
            with visitor(browser, address, locale=locale) as page:
                scene = open_sample(page)
                click_on(page, scene, 0)
                before, go, segmenter = canvas_source(page), threading.Event(), engine.segmenter()
                with monkeypatch.context() as patch:
                    patch.setattr(engine, "segmenter", lambda go=go, segmenter=segmenter: go.wait(60) and segmenter)
                    flood(page, 1)
                    press(page, 9)
                    expect(page.locator(".toast-body").last).to_contain_text(words.QUEUE_FULL)
                    fill_queue(page, address)  # the clicks may have come before the first four had started
                    with pytest.raises(Exception, match="Queue is full"):
                        Client(address, verbose=False).predict(
                            handle_file(photo), [[80, 80, True]], None, api_name="/segment"
                        )
                    shot(page, f"queue-full-{locale}")
                    go.set()
                expect(page.locator("#canvas img")).not_to_have_attribute("src", before)
                click_on(page, scene, 1)


@pytest.fixture
def toybox_prior():
    """Cache the toybox's prior images, which a full disk could not store."""
    base = load_base("toybox", "cpu")
    prior_latents(base, preset("quick", base).num_prior_images)


@pytest.fixture
def limit_files(studio):
    """A function that limits the size of files that the studio can write, in bytes."""

    def limit(size):
        resource.prlimit(studio.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    yield limit
    limit(resource.RLIM_INFINITY)


def test_a_full_disk_is_reported_and_nothing_is_lost(browser, toybox_prior, studio, limit_files, tmp_path):
    Image.effect_noise((800, 600), 60).save(tmp_path / "photo.png")
    with visitor(browser, studio.address) as page:
        limit_files(100_000)
        page.locator("#upload input[type=file]").set_input_files(tmp_path / "photo.png")
        expect(page.locator(".toast-body").last).to_contain_text("The disk is full")
        limit_files(resource.RLIM_INFINITY)
        scene = open_sample(page)
        use_sample_masks(page)
        share = share_of(page)
        limit_files(0)
        page.reload()
        expect(page.locator(".toast-body").last).to_contain_text("The disk is full")
        limit_files(150_000)  # room for a photo or a mask, not for a run
        page.reload()
        assert share_of(page) == share
        start_extraction(page, 1, 1)
        expect(page.locator("#status")).to_contain_text("The disk is full", timeout=LONG)
        expect(page.locator("#status")).not_to_contain_text(str(studio.folder))
        shot(page, "disk-full")
        limit_files(resource.RLIM_INFINITY)
        page.get_by_role("tab", name="1 · Select").click()
        assert share_of(page) == share
        page.locator("#to-extract").click()
        expect(page.locator("#selected-objects figcaption")).to_have_text(list(scene.names))
        page.locator("#extract").click()
        expect(page.locator("#status")).to_contain_text("Done.", timeout=LONG)
        assert not list(studio.folder.glob("*/runs/.*"))  # no half-written files
