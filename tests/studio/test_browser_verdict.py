"""The verdict in a real browser: what to expect before an extraction, and what came of it afterwards."""

import re
import zipfile
from functools import partial

import numpy as np
import pytest
from helpers.browser import (
    LONG,
    act_on_canvas,
    expect,
    open_sample,
    shot,
    type_in,
    use_sample_masks,
    visitor,
)
from PIL import Image

from breakascene.studio.screens import extraction_job
from breakascene.training.settings import preset


@pytest.fixture(scope="module")
def short_comparisons():
    """Here the comparison is the whole one."""


def test_an_unfamiliar_photo_is_named_before_and_its_smudges_afterwards(browser, address, tmp_path):
    y, x = np.mgrid[:240, :240]
    pixels = np.stack([128 + 100 * np.sin(x / 5), 128 + 90 * np.sin(y / 9), 0 * x + 90], -1)
    pixels[(x - 120) ** 2 + (y - 120) ** 2 < 50**2] = (230, 30, 40)
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "photo.png")
    with visitor(browser, address) as page:
        page.locator("#upload input[type=file]").set_input_files(tmp_path / "photo.png")
        expect(page.locator("#canvas img")).to_be_visible()
        act_on_canvas(page, page.locator("#canvas img").click)
        page.locator("#to-extract").click()
        expect(page.locator("#selected-objects")).to_contain_text("This photo is unlike the toy-like images")
        page.get_by_label("Quick").check()
        page.locator("#extract-advanced > button").click()
        type_in(page.locator("#steps-1 :is(input, textarea)"), "1")
        type_in(page.locator("#steps-2 :is(input, textarea)"), "0")
        page.locator("#extract").click()
        status = page.locator("#status")
        expect(status).to_contain_text("Done. Not recognizable: object.", timeout=LONG)
        expect(status.locator(".verdict img")).to_have_count(5)  # the cut-out and four images
        for way in ("base model for real photos", "Check the masks in step 1", "Extract again with “Light”"):
            expect(status.locator("li").filter(has_text=way)).to_be_visible()
        shot(page, "verdict")


def test_a_sample_becomes_a_zip_in_seven_clicks_with_a_verdict_in_the_visitors_language(browser, address, monkeypatch):
    monkeypatch.setattr(extraction_job, "preset", partial(preset, steps=(2, 0)))
    with visitor(browser, address, 390, "dark", "ja-JP") as page:
        open_sample(page, 1)
        use_sample_masks(page)
        page.locator("#to-extract").click()
        expect(page.get_by_role("radio", name=re.compile("^ライト"))).to_be_checked()
        page.locator("#extract").click()
        expect(page.locator("#selected-objects")).not_to_contain_text("大きく異なる")
        expect(page.locator("#status")).to_contain_text("完了しました。", timeout=LONG)
        expect(page.locator("#status .verdict")).to_have_count(2)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        shot(page, "verdict-japanese")
        page.locator("#to-generate").click()
        page.locator("#generate").click()
        expect(page.locator("#gallery .grid-container img").first).to_be_visible(timeout=LONG)
        with page.expect_download() as download:
            page.locator("#download-all").click()
        with zipfile.ZipFile(download.value.path()) as archive:
            assert archive.namelist()[0] == "000-a-photo-of-flamingo-and-cactus-at-the-beach.png"
