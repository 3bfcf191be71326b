"""The canvas of step 3 in a real browser: objects are placed with the mouse, the keyboard and a finger."""

import json
import re

import pytest
from helpers.browser import LONG, expect, expect_notice, set_inference_steps, shot, type_in, visitor
from helpers.studio import add_session

from breakascene.generation.generate import read_metadata
from breakascene.generation.layout import MIN_SIDE


def test_objects_are_placed_on_a_canvas_with_mouse_keys_and_a_finger(browser, address, studio_data, run):
    with visitor(browser, address, start=add_session(studio_data, run)) as page:
        page.get_by_role("tab", name="3 · Generate").click()
        set_inference_steps(page, 2)
        type_in(page.locator("#count input[type=number]"), "1")
        page.locator("#layout > button").click()
        page.locator("#generate-layout").click()
        expect_notice(page, "No object is placed")
        stage, placed = page.locator("#layout-canvas .stage"), page.locator("#layout-canvas .placed")
        for name in ("flamingo", "cactus"):
            page.locator("#layout-canvas .tray button", has_text=name).click()
        expect(placed).to_have_count(2)
        stage.scroll_into_view_if_needed()

        def layout():
            return json.loads(page.evaluate("layoutValues()"))["objects"]

        before, frame = layout()[0]["box"], stage.bounding_box()
        at = placed.first.bounding_box()
        page.mouse.move(at["x"] + at["width"] / 2, at["y"] + at["height"] / 2)
        page.mouse.down()
        page.mouse.move(at["x"] + at["width"] / 2, at["y"] + at["height"] / 2 - frame["height"] / 5, steps=4)
        page.mouse.up()
        moved = layout()[0]["box"]
        assert moved[1] == pytest.approx(before[1] - 0.2, abs=0.02) and moved[0] == pytest.approx(before[0], abs=0.01)
        corner = placed.first.locator("i").bounding_box()
        page.mouse.move(corner["x"] + 10, corner["y"] + 10)
        page.mouse.down()
        page.mouse.move(corner["x"] + 10 - frame["width"] / 10, corner["y"] + 10, steps=4)
        page.mouse.up()
        smaller = layout()[0]["box"]
        assert smaller[2] - smaller[0] == pytest.approx(moved[2] - moved[0] - 0.1, abs=0.02)
        placed.last.focus()
        for key in ("ArrowUp", "m", "+", "PageDown"):
            page.keyboard.press(key)
        cactus, flamingo = layout()
        assert (cactus["handle"], flamingo["handle"]) == ("<asset1>", "<asset0>")
        assert cactus["flip"] and not flamingo["flip"]
        page.get_by_role("button", name="Mirror").click()  # the focus is still on the cactus
        assert not layout()[0]["flip"]
        shot(page, "layout")
        page.locator("#generate-layout").click()
        page.locator("#gallery .grid-container button").first.click(timeout=LONG)
        with page.expect_download() as download:
            page.locator("#download-image").click()
        written = read_metadata(download.value.path())["layout"]
        assert [entry["handle"] for entry in written["objects"]] == ["<asset1>", "<asset0>"]
        page.keyboard.press("Escape")
        placed.first.focus()
        page.keyboard.press("Delete")
        expect(placed).to_have_count(1)
    with visitor(browser, address, width=390, start=add_session(studio_data, run), touch=True) as page:
        page.get_by_role("tab", name="3 · Generate").click()
        page.locator("#layout > button").click()
        page.locator("#layout-canvas .tray button").first.tap()
        placed = page.locator("#layout-canvas .placed")
        expect(placed).to_have_count(1)
        page.locator("#layout-canvas .stage").scroll_into_view_if_needed()
        at, before = placed.bounding_box(), page.evaluate("layoutValues()")
        touch = page.context.new_cdp_session(page)
        points = [{"x": at["x"] + 20, "y": at["y"] + 20}, {"x": at["x"] + 60, "y": at["y"] + 30}]
        touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": points[:1]})
        touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": points[1:]})
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        assert page.evaluate("layoutValues()") != before
        shot(page, "layout-phone")
        placed.evaluate("(node) => { node.dataset.ratio = 3; }")  # as of a wide object
        placed.focus()
        for _ in range(20):
            page.keyboard.press("-")
        page.locator("#shape label").last.click()  # tall: heights are smaller shares
        expect(page.locator("#layout-canvas .stage")).to_have_css("aspect-ratio", re.compile("0.6"))
        ((x0, y0, x1, y1),) = (entry["box"] for entry in json.loads(page.evaluate("layoutValues()"))["objects"])
        assert min(x1 - x0, y1 - y0) >= MIN_SIDE
