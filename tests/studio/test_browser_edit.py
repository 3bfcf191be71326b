"""Edits in a real browser: a region of a photo is marked and repainted, and the result is edited again."""

import re

import numpy as np
from helpers.browser import LONG, expect, expect_notice, set_inference_steps, shot, type_in, visitor
from helpers.studio import add_session
from PIL import Image

from breakascene.generation.generate import read_metadata
from breakascene.studio.screens.select_actions import samples


def drag(page, start, end):
    """Drag from one point of the square photo to another, each in shares of its width and height."""
    image = page.locator("#edit-canvas img")
    image.scroll_into_view_if_needed()
    box = image.bounding_box()
    side = min(box["width"], box["height"])
    left, top = box["x"] + (box["width"] - side) / 2, box["y"] + (box["height"] - side) / 2
    corners = [(left + x * side, top + y * side) for x, y in (start, end)]
    page.mouse.move(*corners[0])
    page.mouse.down()
    page.mouse.move(*corners[1], steps=5)
    page.mouse.up()


def choose(page, tool):
    page.locator("#edit-tool").get_by_label(tool, exact=True).check()


def download(page, place, path):
    """Choose the newest image and download it."""
    page.locator("#gallery .grid-container button").first.click()
    expect(page.locator("#chosen-image")).to_contain_text(place)
    with page.expect_download() as file:
        page.locator("#download-image").click()
    file.value.save_as(path)
    return np.asarray(Image.open(path)), read_metadata(path)


def assert_only_box_changed(before, after, metadata):
    left, top, right, bottom = metadata["edit"]["region"]["box"]
    outside = np.ones(before.shape[:2], bool)
    outside[top:bottom, left:right] = False
    assert (before[outside] == after[outside]).all() and (before != after).any()


def test_a_region_is_repainted_and_the_result_edited_again(browser, address, studio_data, run, tmp_path):
    photo = samples()[2] / "img.png"
    with visitor(browser, address, start=add_session(studio_data, run)) as page:
        page.get_by_role("tab", name="3 · Generate").click()
        type_in(page.locator("#prompt textarea"), "a photo of <asset0> on the grass")
        type_in(page.locator("#count input[type=number]"), "2")
        set_inference_steps(page, 2)
        page.locator("#edit-options > button").click()
        page.locator("#edit-upload input[type=file]").set_input_files(photo)
        canvas, hint = page.locator("#edit-canvas img"), page.locator("#edit-hint")
        expect(canvas).to_be_visible()
        page.locator("#edit").click()
        expect_notice(page, "Nothing is marked yet")
        drag(page, (0.55, 0.3), (0.95, 0.8))
        expect(hint).to_contain_text("20.")  # 0.4 × 0.5
        marked = re.search(r"[\d.]+%", hint.inner_text())[0]
        choose(page, "Brush")
        drag(page, (0.2, 0.5), (0.6, 0.5))
        expect(hint).not_to_contain_text(marked)
        page.locator("#edit-undo").click()
        expect(hint).to_contain_text(marked)
        shot(page, "edit-region")
        page.locator("#edit").click()
        expect(page.locator("#gallery .grid-container img")).to_have_count(2, timeout=LONG)
        once, metadata = download(page, "on the grass", tmp_path / "once.png")
        assert_only_box_changed(np.asarray(Image.open(photo)), once, metadata)
        assert metadata["index"] == 1 and metadata["edit"]["before"] == []
        expect(page.locator("#chosen-image")).to_contain_text("edited photo")
        shot(page, "edited")

        page.locator("#edit-image").click()
        expect(hint).to_contain_text("Drag over the region")  # with the tool that is chosen
        choose(page, "Box")
        drag(page, (0.05, 0.1), (0.4, 0.6))
        expect(hint).to_contain_text("of the photo is repainted")
        type_in(page.locator("#count input[type=number]"), "1")
        type_in(page.locator("#prompt textarea"), "a photo of <asset1> in the snow")
        page.locator("#edit").click()
        expect(page.locator("#gallery .grid-container img")).to_have_count(3, timeout=LONG)
        twice, metadata = download(page, "in the snow", tmp_path / "twice.png")
        assert_only_box_changed(once, twice, metadata)
        assert [one["prompt"] for one in metadata["edit"]["before"]] == ["a photo of <asset0> on the grass"]
