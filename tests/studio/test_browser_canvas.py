"""The canvas of step 1 in a real browser: boxes, hovering, zoom, crop, many clicks, and two tabs of one session."""

import threading

import numpy as np
import pytest
from helpers.browser import (
    act_on_canvas,
    canvas_source,
    click_on,
    expect,
    expect_notice,
    name_object,
    open_sample,
    share_of,
    shot,
    use_sample_masks,
    visitor,
)

from breakascene.segmentation.segmenter import Candidates
from breakascene.studio import loaded


def on_screen(page, scene, x, y):
    """Where a pixel of the photo is on the screen."""
    box = page.locator("#canvas img").bounding_box()
    scale = min(box["width"] / scene.photo.width, box["height"] / scene.photo.height)
    left = box["x"] + (box["width"] - scene.photo.width * scale) / 2
    top = box["y"] + (box["height"] - scene.photo.height * scale) / 2
    return left + (x + 0.5) * scale, top + (y + 0.5) * scale


def box_of(scene, index, margin=2):
    ys, xs = np.nonzero(scene.concepts[index].mask)
    left, top = max(0, xs.min() - margin), max(0, ys.min() - margin)
    return left, top, xs.max() + margin, ys.max() + margin


def drag(page, start, end):
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=5)
    page.mouse.up()


def choose(page, tool):
    page.locator("#tool").get_by_label(tool, exact=True).check()


def photo_size(page):
    """Width and height of the canvas, once it is loaded."""
    size = "(({naturalWidth, naturalHeight}) => naturalWidth && [naturalWidth, naturalHeight])"
    return page.wait_for_function(f"{size}(document.querySelector('#canvas img'))").json_value()


def test_a_box_is_dragged_with_a_live_rectangle_and_holds_its_mask(browser, address):
    with visitor(browser, address) as page:
        scene = open_sample(page, 2)
        choose(page, "Box")
        expect(page.locator("#hint")).to_contain_text("Drag a box around object 1")
        x0, y0, x1, y1 = box_of(scene, 1)
        half = (x0 + x1) // 2  # a box around half of the object
        page.mouse.move(*on_screen(page, scene, half, y1))
        page.mouse.down()
        page.mouse.move(*on_screen(page, scene, x0, y0), steps=4)
        expect(page.locator(".layer.box rect")).to_be_visible()
        shot(page, "box")
        act_on_canvas(page, page.mouse.up)
        expect(page.locator(".layer")).to_have_count(0)
        inside = 100 * scene.concepts[1].mask[:, :half].sum() / scene.concepts[1].mask.size
        assert share_of(page) == pytest.approx(inside, rel=0.4)
        assert share_of(page) <= 100 * (half - x0) * (y1 - y0) / scene.concepts[1].mask.size + 0.1
        choose(page, "Include")  # a click outside the box adds to what is in it
        before = share_of(page)
        act_on_canvas(page, lambda: page.mouse.click(*on_screen(page, scene, (half + x1) // 2, (y0 + y1) // 2)))
        expect(page.locator("#about")).not_to_contain_text(f"{before}%")
        assert share_of(page) > before


def touch(client, kind, *points):
    points = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
    client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})


def test_a_finger_drags_a_box_without_scrolling_and_two_fingers_zoom(browser, address):
    with visitor(browser, address, 390, touch=True) as page:
        scene = open_sample(page, 2)
        choose(page, "Box")
        page.locator("#canvas").scroll_into_view_if_needed()
        client = page.context.new_cdp_session(page)
        x0, y0, x1, y1 = box_of(scene, 0)
        start, end = on_screen(page, scene, x0, y0), on_screen(page, scene, x1, y1)
        scrolled = page.evaluate("scrollY")

        def swipe():
            touch(client, "touchStart", start)
            for step in range(1, 6):
                touch(client, "touchMove", [a + (b - a) * step / 5 for a, b in zip(start, end, strict=True)])
            touch(client, "touchEnd")

        act_on_canvas(page, swipe)
        assert page.evaluate("scrollY") == scrolled
        assert share_of(page) == pytest.approx(100 * scene.concepts[0].mask.mean(), rel=0.3)
        before = page.locator("#canvas img").bounding_box()["width"]
        (x, y) = on_screen(page, scene, scene.photo.width / 2, scene.photo.height / 2)
        touch(client, "touchStart", (x - 20, y), (x + 20, y))
        touch(client, "touchMove", (x - 60, y), (x + 60, y))
        touch(client, "touchEnd")
        assert page.locator("#canvas img").bounding_box()["width"] == pytest.approx(3 * before, rel=0.1)
        assert page.evaluate("visualViewport.scale") == 1 and page.evaluate("scrollY") == scrolled
        expect(page.locator("#about")).to_contain_text("1: ")  # and no click was made


def test_the_mouse_shows_the_mask_that_a_click_would_give(browser, address):
    with visitor(browser, address) as page:
        scene = open_sample(page, 2)
        ys, xs = np.nonzero(scene.concepts[0].mask)
        page.mouse.move(*on_screen(page, scene, xs.mean(), ys.mean()))
        expect(page.locator(".layer.preview image")).to_be_attached()
        shot(page, "hover")
        assert not page.locator("#about").inner_text().strip()
        page.mouse.move(*on_screen(page, scene, 5, 5))
        expect(page.locator(".layer.preview")).to_have_count(0)


def test_a_click_on_a_zoomed_photo_selects_what_is_under_it(browser, address):
    with visitor(browser, address) as page:
        scene = open_sample(page, 2)
        ys, xs = np.nonzero(scene.concepts[1].mask)
        click_on(page, scene, 1)
        expected = share_of(page)
        act_on_canvas(page, page.get_by_role("button", name="Clear").click)
        at = on_screen(page, scene, xs.mean(), ys.mean())
        page.mouse.move(*at)
        page.keyboard.down("Control")
        page.mouse.wheel(0, -300)
        page.keyboard.up("Control")
        zoomed = on_screen(page, scene, xs.mean(), ys.mean())
        assert zoomed == pytest.approx(at, abs=2) and page.locator("#canvas.zoomed").count()
        act_on_canvas(page, lambda: page.mouse.click(*at))
        assert share_of(page) == pytest.approx(expected, rel=0.1)
        source = canvas_source(page)
        drag(page, at, (at[0] - 80, at[1] - 40))  # pans, and selects nothing
        assert on_screen(page, scene, xs.mean(), ys.mean()) == pytest.approx((at[0] - 80, at[1] - 40), abs=2)
        shot(page, "zoom")
        page.get_by_role("button", name="Fit photo").click()
        expect(page.locator("#canvas.zoomed")).to_have_count(0)
        assert canvas_source(page) == source


def test_a_photo_is_cropped_and_rotated_with_its_masks(browser, address):
    with visitor(browser, address) as page:
        scene = open_sample(page, 2)
        use_sample_masks(page)
        share = share_of(page, 2)
        x0, y0, x1, y1 = (int(edge) for edge in box_of(scene, 1, 6))
        choose(page, "Crop")
        expect(page.locator("#hint")).to_contain_text("part of the photo to keep")
        act_on_canvas(page, lambda: drag(page, on_screen(page, scene, x0, y0), on_screen(page, scene, x1, y1)))
        expect(page.locator("#tool").get_by_label("Include")).to_be_checked()
        cropped = share * scene.photo.width * scene.photo.height / ((x1 - x0) * (y1 - y0))
        assert share_of(page, 2) == pytest.approx(cropped, rel=0.05)
        width, height = photo_size(page)
        assert width / height == pytest.approx((x1 - x0) / (y1 - y0), rel=0.03)
        act_on_canvas(page, page.get_by_role("button", name="Rotate photo").click)
        assert photo_size(page) == [height, width] and share_of(page, 2) == pytest.approx(cropped, rel=0.05)
        shot(page, "cropped")
        for _ in range(2):
            act_on_canvas(page, page.get_by_role("button", name="Undo").click)
        assert share_of(page, 2) == share
        page.get_by_role("button", name="Choose another photo").click()
        page.locator("#restore-photo").click()
        assert share_of(page, 2) == share
        expect(page.locator("#name-1 :is(input, textarea)")).to_have_value(scene.names[1])


class Uncertain:
    """A segmenter that predicts a low IoU for a disc around the last click, and counts the clicks that reach it."""

    refines = True

    def __init__(self):
        self.clicks, self.thirty = [], threading.Event()

    def set_image(self, photo):
        pass

    def is_ready_for(self, photo):
        return False

    def predict(self, points, labels, box, photo):
        self.clicks.append(len(points))
        if len(points) == 30:
            self.thirty.set()
        y, x = np.mgrid[: photo.height, : photo.width]
        mask = sum(((x - cx) ** 2 + (y - cy) ** 2 < 400 for cx, cy in points), np.zeros(x.shape)) > 0
        return Candidates(np.stack([mask - 0.5] * 3), np.full(3, 0.3), photo.size)


def test_thirty_quick_clicks_all_count_and_then_the_studio_says_what_helps(browser, address, monkeypatch):
    segmenter = Uncertain()
    monkeypatch.setattr(loaded, "segmenter", lambda: segmenter)
    with visitor(browser, address) as page:
        scene = open_sample(page, 2)
        for i in range(30):
            page.mouse.click(*on_screen(page, scene, 40 + 6 * i, 60 + 2 * i))
        assert segmenter.thirty.wait(60)
        expect(page.locator("#hint")).to_contain_text("The segmenter struggles with this object")
        expect(page.locator(".layer")).to_have_count(0)
        assert segmenter.clicks == list(range(1, 31))
        for _ in range(26):
            page.get_by_role("button", name="Undo").click()
        expect(page.locator("#hint")).to_contain_text("Click again to add a missing part")


def test_an_answer_that_the_page_has_missed_comes_with_the_next_tick(browser, address):
    with visitor(browser, address) as page:
        open_sample(page, 2)
        use_sample_masks(page)
        end = {"content_type": "text/event-stream", "body": 'data: {"msg": "close_stream"}\n\n'}
        page.route("**/queue/data?*", lambda route: route.fulfill(**end), times=1)
        act_on_canvas(page, page.get_by_role("button", name="Undo").click)


def test_a_click_goes_to_the_object_that_is_selected_in_its_tab(browser, address):
    with visitor(browser, address) as first:
        scene = open_sample(first, 2)
        click_on(first, scene, 0)
        name_object(first, 0, "teapot")
        second = first.context.new_page()
        second.goto("/")
        expect(second.locator("#about")).to_contain_text("1 teapot")
        first.locator("#add-object").click()
        expect(first.locator(".object-row.active .number")).to_have_text("2")
        click_on(first, scene, 1)
        name_object(first, 1, "owl")
        share = share_of(first, 2)
        choose(second, "Exclude")
        ys, xs = np.nonzero(scene.concepts[0].mask)
        act_on_canvas(second, lambda: second.mouse.click(*on_screen(second, scene, int(xs.min()) + 4, int(ys.mean()))))
        expect(second.locator("#name-1 :is(input, textarea)")).to_have_value("owl")
        assert share_of(second, 2) == share  # the click went to the first object, which this tab had selected
        expect(second.locator(".object-row.active .number")).to_have_text("1")

        second.get_by_role("button", name="Choose another photo").click()
        open_sample(second, 1)
        first.locator("#canvas img").click()
        expect_notice(first, "The selection was changed meanwhile")
        expect(first.locator("#about")).to_be_empty()
        expect(first.locator("#name-1 :is(input, textarea)")).to_be_hidden()
