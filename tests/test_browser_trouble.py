"""A studio in a process of its own, in trouble: killed, without disk, flooded. Afterwards all is there and works."""

import os
import resource
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest
from visitors import (
    LONG,
    canvas_source,
    click_on,
    expect,
    open_sample,
    share_of,
    shot,
    teach,
    use_ready_made,
    visitor,
)

ROOT = Path(__file__).parent.parent


class Studio:
    """The app as a person starts it, always at the same address, its data in `folder`."""

    def __init__(self, folder: Path):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address, self.folder, self.process = f"http://127.0.0.1:{self.port}", folder, None

    def start(self) -> None:
        environment = {**os.environ, "BREAKASCENE_DATA": str(self.folder)}
        command = [sys.executable, "app.py", "--port", str(self.port), "--base", "toybox"]
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        assert self.address in next(line for line in self.process.stdout if "open" in line)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def studio(tmp_path):
    studio = Studio(tmp_path / "data")
    studio.start()
    yield studio
    studio.kill()


def test_after_a_kill_photo_picks_and_most_of_the_work_are_there(browser, studio):
    with visitor(browser, studio.address) as page:
        scene = open_sample(page)
        use_ready_made(page)
        teach(page, 130, 0)
        for _ in range(LONG // 1000):
            if list(studio.folder.glob("*/runs/*.checkpoint.safetensors")):
                break
            page.wait_for_timeout(1000)
        studio.kill()
        studio.start()
        page.goto("/")
        expect(page.locator("#status")).to_contain_text("the studio closed before it was done")
        expect(page.locator("#picked figcaption")).to_have_text(list(scene.names))
        shot(page, "after-a-kill")
        page.locator("#go-on").click()
        expect(page.locator("#status")).to_contain_text("Done.", timeout=LONG)
        expect(page.locator("#go-on")).to_be_hidden()
        assert not list(studio.folder.glob("*/runs/*.begun"))


def test_a_full_disk_is_told_and_nothing_is_lost(browser, studio):
    with visitor(browser, studio.address) as page:
        scene = open_sample(page)
        use_ready_made(page)
        share = share_of(page)
        full = 150_000  # bytes in a file: a photo or a mask goes in, what is learned does not
        resource.prlimit(studio.process.pid, resource.RLIMIT_FSIZE, (full, resource.RLIM_INFINITY))
        teach(page, 1, 1)
        expect(page.locator("#status")).to_contain_text("The disk is full", timeout=LONG)
        expect(page.locator("#status")).not_to_contain_text(str(studio.folder))
        shot(page, "disk-full")
        resource.prlimit(studio.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        page.get_by_role("tab", name="1 · Pick").click()
        assert share_of(page) == share
        page.locator("#to-extract").click()
        expect(page.locator("#picked figcaption")).to_have_text(list(scene.names))
        page.locator("#extract").click()
        expect(page.locator("#status")).to_contain_text("Done.", timeout=LONG)
        assert not list(studio.folder.glob("*/runs/.*"))  # nothing half-written stays


def test_a_flood_of_clicks_and_strangers_leaves_a_studio_that_answers(browser, studio):
    with visitor(browser, studio.address) as page:
        scene = open_sample(page)
        click_on(page, scene, 0)
        before = canvas_source(page)
        page.evaluate(
            """() => {
              const image = document.querySelector("#canvas img"), box = image.getBoundingClientRect();
              const where = {bubbles: true, clientX: box.x + box.width / 2, clientY: box.y + box.height / 2};
              for (let i = 0; i < 30; i++) image.dispatchEvent(new MouseEvent("click", where));
              const add = document.querySelector("#add");
              for (let i = 0; i < 10; i++) add.click();
            }"""
        )
        expect(page.locator(".toast-body").first).to_be_visible(timeout=LONG)
        expect(page.locator("#canvas img")).not_to_have_attribute("src", before)
        with suppress(OSError):  # a stranger who does not speak the page's language
            urllib.request.urlopen(studio.address + "/gradio_api/queue/join", data=b"[" * 100_000)
        page.reload()
        page.get_by_role("button", name="Choose another photo").click()
        open_sample(page, 1)
        use_ready_made(page)
        assert share_of(page) > 0 and studio.process.poll() is None
