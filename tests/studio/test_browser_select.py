"""Step 1 in a real browser: upload, clicks, brush and keyboard, and errors."""

import io
import zipfile

import numpy as np
import pytest
from helpers.browser import (
    LONG,
    act_on_canvas,
    canvas_source,
    click_on,
    expect,
    expect_notice,
    name_object,
    open_sample,
    share_of,
    shot,
    visitor,
)
from helpers.files import save_blank_png
from PIL import Image

from breakascene.data.scene import load_scene
from breakascene.segmentation.segmenter import Candidates
from breakascene.studio import loaded
from breakascene.studio.screens.select_actions import samples


def test_brush_and_eraser_change_a_mask(browser, address):
    with visitor(browser, address) as page:
        scene = open_sample(page)
        click_on(page, scene, 0)
        shares = [share_of(page)]
        box = page.locator("#canvas img").bounding_box()
        for tool in ("Brush", "Eraser"):
            page.get_by_label(tool).check()
            expect(page.locator("#brush")).to_be_visible()
            before = canvas_source(page)
            page.mouse.move(box["x"] + 40, box["y"] + 40)
            page.mouse.down()
            page.mouse.move(box["x"] + 200, box["y"] + 40, steps=5)
            expect(page.locator(".layer.stroke")).to_be_visible()
            page.mouse.up()
            expect(page.locator("#canvas img")).not_to_have_attribute("src", before)
            expect(page.locator(".layer.stroke")).to_have_count(0)
            shares.append(share_of(page))
            shot(page, f"brush-{tool[:5].strip().lower()}")
        assert shares[1] > shares[0] + 0.5 and shares[2] < shares[1] - 0.5
        page.get_by_role("button", name="Undo").click()
        expect(page.locator("#about")).to_contain_text(f"{shares[1]}%")


def test_the_whole_chain_with_the_keyboard_alone(browser, address):
    """Tab, arrows, Enter and Space only; the object is clicked by its coordinates."""
    with visitor(browser, address) as page:
        expect(page.locator("#samples button").first).to_be_visible()

        def tab_to(selector):
            for _ in range(80):
                page.keyboard.press("Tab")
                page.evaluate("new Promise(requestAnimationFrame)")  # what just opened is painted: see type_in
                if page.evaluate("(s) => document.activeElement.matches(s)", selector):
                    return
            raise AssertionError(f"Tab does not reach {selector}")

        tab_to("#samples button")
        page.keyboard.press("Enter")
        expect(page.locator("#canvas img")).to_be_visible()
        scene = load_scene(samples()[0])
        ys, xs = np.nonzero(scene.concepts[0].mask)
        tab_to("#coordinates > button")
        page.keyboard.press("Enter")
        for field, value in (("#coordinate-x input", xs), ("#coordinate-y input", ys)):
            tab_to(field)
            page.keyboard.press("Control+A")
            page.keyboard.type(str(int(value.mean())))
        tab_to("#apply-tool")
        act_on_canvas(page, lambda: page.keyboard.press("Enter"))
        assert share_of(page) == pytest.approx(100 * scene.concepts[0].mask.mean(), rel=0.5)
        tab_to("#name-0 :is(input, textarea)")
        page.keyboard.type("first toy")
        tab_to("#to-extract")
        page.keyboard.press("Enter")
        expect(page.locator("#selected-objects figcaption")).to_have_text(["first toy"])

        tab_to("#extract-advanced > button")
        page.keyboard.press("Enter")
        for field, steps in (("#steps-1 input", "2"), ("#steps-2 input", "0")):
            tab_to(field)
            page.keyboard.type(steps)
        tab_to("#extract")
        page.keyboard.press("Enter")
        expect(page.locator("#status")).to_contain_text("Done.", timeout=LONG)
        tab_to("#to-generate")
        page.keyboard.press("Enter")
        expect(page.locator("#prompt textarea")).to_have_value("a photo of <asset0> at the beach")
        tab_to("#count input[type=number]")
        page.keyboard.press("Control+A")
        page.keyboard.type("1")
        tab_to("#generate")
        page.keyboard.press("Enter")
        expect(page.locator("#generation-status")).to_contain_text("1 of 1 generated", timeout=LONG)
        tab_to("#download-all")
        with page.expect_download() as download:
            page.keyboard.press("Enter")
        with zipfile.ZipFile(download.value.path()) as archive:
            assert len(archive.namelist()) == 3


def test_a_photo_is_taken_with_the_camera_or_pasted(browser, address):
    with visitor(browser, address) as page:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.get_by_label("Capture from camera").click()
        page.get_by_text("Click to Access Webcam").click()
        page.wait_for_function("document.querySelector('#upload video').videoWidth > 0")
        page.get_by_label("capture photo").click()
        expect(page.locator("#canvas img")).to_be_visible()
        page.get_by_role("button", name="Choose another photo").click()
        page.evaluate(
            """async () => {
              const canvas = new OffscreenCanvas(300, 200);
              canvas.getContext("2d").fillRect(40, 40, 90, 90);
              const photo = await canvas.convertToBlob();
              await navigator.clipboard.write([new ClipboardItem({"image/png": photo})]);
            }"""
        )
        page.get_by_label("Paste from clipboard").click()
        expect(page.locator("#canvas img")).to_be_visible()


def test_found_objects_are_accepted_by_a_click(browser, address):
    with visitor(browser, address) as page:
        scene = open_sample(page)
        page.locator("#find-objects").click()
        found = page.locator("#proposals button.thumbnail-item")
        expect(found.first).to_be_visible(timeout=LONG)
        assert found.count() >= len(scene.concepts)
        shot(page, "proposals")
        act_on_canvas(page, found.nth(0).click)
        first = share_of(page)
        act_on_canvas(page, found.nth(1).click)
        assert share_of(page, 1) == first and share_of(page, 2) > 0
        found.nth(1).click()
        expect_notice(page, "already selected")


def press_until_notice(page, button, last):
    """Press a button until a notice says that it has no further effect; return the displayed shares of the photo."""
    shares = [share_of(page)]
    while True:
        before = canvas_source(page)
        page.get_by_role("button", name=button).click()
        page.wait_for_function(
            "(before) => document.querySelector('#canvas img').getAttribute('src') !== before"
            " || document.querySelector('.toast-body')",
            arg=before,
        )
        if page.locator(".toast-body").count():
            expect_notice(page, last)
            return shares
        shares.append(share_of(page))


class Rings:
    """A segmenter whose candidates are three discs around a click, the middle one first."""

    def set_image(self, photo):
        pass

    def is_ready_for(self, photo):
        return False

    def predict(self, points, labels, box, photo):
        y, x = np.mgrid[: photo.height, : photo.width]
        (cx, cy), *_ = points
        masks = [(x - cx) ** 2 + (y - cy) ** 2 < (share * photo.width) ** 2 for share in (0.1, 0.05, 0.2)]
        return Candidates(np.stack(masks) - 0.5, np.array([0.9, 0.8, 0.7]), photo.size)


def test_buttons_select_smaller_and_larger_areas(browser, address, monkeypatch):
    monkeypatch.setattr(loaded, "segmenter", Rings)
    with visitor(browser, address) as page:
        click_on(page, open_sample(page), 0)
        larger = press_until_notice(page, "Larger area", "no larger area")
        assert len(larger) == 2 and larger[0] < larger[1]
        smaller = press_until_notice(page, "Smaller area", "no smaller area")
        assert smaller[:2] == larger[::-1] and smaller[2] < smaller[1]


def test_the_background_is_extracted_on_request(browser, address):
    with visitor(browser, address) as page:
        click_on(page, open_sample(page), 0)
        name_object(page, 0, "first toy")
        for name in ("first toy", "background"), ("first toy",):
            page.get_by_label("Extract the background too").set_checked("background" in name)
            page.locator("#to-extract").click()
            expect(page.locator("#selected-objects figcaption")).to_have_text(list(name))
            page.get_by_role("tab", name="1 · Select").click()


def test_box_shortcuts_of_undo_and_redo_and_cutouts(browser, address):
    with visitor(browser, address) as page:
        scene = open_sample(page)
        ys, xs = np.nonzero(scene.concepts[0].mask)
        page.get_by_label("Box", exact=True).check()
        canvas = page.locator("#canvas img")
        box = canvas.bounding_box()
        scale = min(box["width"] / scene.photo.width, box["height"] / scene.photo.height)
        left, top = (box["width"] - scene.photo.width * scale) / 2, (box["height"] - scene.photo.height * scale) / 2

        def corner(x, y):
            act_on_canvas(page, lambda: canvas.click(position={"x": left + x * scale, "y": top + y * scale}))

        corner(xs.min() - 2, ys.min() - 2)
        expect(page.locator("#hint")).to_contain_text("opposite corner")
        corner(xs.max() + 2, ys.max() + 2)
        boxed = share_of(page)
        assert boxed == pytest.approx(100 * scene.concepts[0].mask.mean(), rel=0.3)
        page.keyboard.press("Control+z")
        expect(page.locator("#about")).to_be_empty()
        page.keyboard.press("Control+Shift+z")
        expect(page.locator("#about")).to_contain_text(f"{boxed}%")
        name_object(page, 0, "first toy")
        page.get_by_role("button", name="Redo").click()
        expect_notice(page, "nothing to redo")
        with page.expect_download() as download:
            page.locator("#download-cutouts").click()
        with zipfile.ZipFile(download.value.path()) as archive:
            (name,) = archive.namelist()
            cut = Image.open(archive.open(name))
        assert name == "1-first-toy.png" and cut.mode == "RGBA"
        assert (np.asarray(cut)[..., 3] > 0).sum() == pytest.approx(scene.concepts[0].mask.sum(), rel=0.3)


def test_errors_are_notices_and_nothing_is_lost(browser, address, tmp_path):
    bad = tmp_path / "photo.png"
    bad.write_text("no image")
    good = tmp_path / "good.png"
    Image.effect_noise((300, 200), 60).save(good)
    with visitor(browser, address) as page:
        page.locator("#upload input[type=file]").set_input_files(bad)
        expect_notice(page, "not a readable image")
        expect(page.locator("#upload img")).to_have_count(0)  # ready for another upload
        page.locator("#upload input[type=file]").set_input_files(good)
        expect(page.locator("#canvas img")).to_be_visible()
        page.get_by_label("Exclude").check()
        page.locator("#canvas img").click()
        expect_notice(page, "nothing to remove yet")
        page.locator("#to-extract").click()
        page.locator("#extract").click()
        expect_notice(page, "No object is selected yet")
        page.get_by_role("tab", name="1 · Select").click()
        expect(page.locator("#canvas img")).to_be_visible()


def test_bad_uploads_are_refused_and_a_good_one_then_opens(browser, address, tmp_path):
    good = io.BytesIO()
    Image.effect_noise((300, 200), 60).save(good, "JPEG")
    unread, cut = "not a readable image", "damaged or truncated"
    bad = {
        "text.png": (b"no image", unread),
        "notes.txt": (b"no image", "This kind of file cannot be opened here"),
        "empty.jpg": (b"", unread),
        "page.png": (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", unread),
        "archive.png": (b"PK\x03\x04" + bytes(100), unread),
        "header.jpg": (b"\xff\xd8\xff\xe0" + bytes(100), unread),
        "cut.jpg": (good.getvalue()[:4000], cut),
        "cut.png": (as_png(300, 200)[:60], cut),
        "bomb.png": (save_blank_png(tmp_path / "blank.png", 20_000, 20_000).read_bytes(), "more than 100 megapixels"),
        "tiny.png": (as_png(10, 10), "at least 16"),
        "strip.png": (as_png(2000, 20), "too long and narrow"),
        "large.png": (bytes(41 * 2**20), "more than 40 MB: make it smaller"),
    }
    with visitor(browser, address) as page:
        for name, (content, message) in bad.items():
            (tmp_path / name).write_bytes(content)
            page.locator("#upload input[type=file]").set_input_files(tmp_path / name)
            expect(page.locator(".toast-body")).to_have_count(1)
            expect_notice(page, message)
            expect(page.locator("#upload img")).to_have_count(0)
        (tmp_path / "good.jpg").write_bytes(good.getvalue())
        page.locator("#upload input[type=file]").set_input_files(tmp_path / "good.jpg")
        expect(page.locator("#canvas img")).to_be_visible()


def as_png(width, height):
    out = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(out, "PNG")
    return out.getvalue()


def test_masks_go_out_as_coco_and_come_back_inverted(browser, address, tmp_path):
    with visitor(browser, address) as page:
        open_sample(page)
        act_on_canvas(page, page.locator("#sample-masks").click)
        first = share_of(page)
        act_on_canvas(page, page.locator("#invert").click)
        assert share_of(page) == pytest.approx(100 - first, abs=0.11)
        page.locator("#mask-files > button").click()
        page.locator("#mask-format").get_by_label("COCO").check()
        with page.expect_download() as download:
            page.locator("#download-masks").click()
        with zipfile.ZipFile(download.value.path()) as archive:
            assert set(archive.namelist()) == {"annotations.json", "photo.png"}
            archive.extract("annotations.json", tmp_path)
        shares = page.locator("#about .caption").inner_text()
        page.locator("#other-photo").click()
        open_sample(page)
        page.locator("#mask-files > button").click()
        upload = page.locator("input[type=file][accept*='.json']")
        act_on_canvas(page, lambda: upload.set_input_files(tmp_path / "annotations.json"))
        expect(page.locator("#about .caption")).to_have_text(shares)
        shot(page, "mask-files")
