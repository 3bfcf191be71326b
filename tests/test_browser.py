"""The whole chain in a real browser, as a visitor walks it. Each wait is for something to be seen, not for a time."""

import csv
import io
import re
import shutil
import zipfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from pictures import save_blank_png
from PIL import Image
from studio_server import running_studio

from breakascene.generate import read_record
from breakascene.scene import read_folder
from breakascene.studio.pick import samples

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = """--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync""".split()
WAIT = 60_000  # ms, for what takes a moment
LONG = 300_000  # ms, for a job on a busy machine
SHOTS = Path(__file__).parent.parent / "screenshots"

pytestmark = pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="needs Chromium")
expect = sync_api.expect
expect.set_options(timeout=WAIT)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with running_studio(tmp_path_factory.mktemp("studio")) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def visitor(browser, address, width=1280, theme="light", locale="en-GB"):
    """A visitor of their own on the open page, who asks no other machine for anything and meets no error."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=theme, accept_downloads=True, base_url=address,
        locale=locale,
    )  # fmt: skip
    page = context.new_page()
    page.set_default_timeout(WAIT)
    asked, errors = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto("/")
    yield page
    context.close()
    outside = [url for url in asked if not url.startswith((address, "data:", "blob:"))]
    assert not outside and not errors


def shot(page, name):
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png", full_page=True)


def canvas_source(page):
    return page.locator("#canvas img").get_attribute("src")


def act_on_canvas(page, act):
    """Do something and wait until the canvas shows another picture."""
    before = canvas_source(page)
    act()
    expect(page.locator("#canvas img")).not_to_have_attribute("src", before)


def click_on(page, scene, index):
    """Click in the middle of a sample's thing."""
    ys, xs = np.nonzero(scene.concepts[index].mask)
    nearest = np.argmin((xs - xs.mean()) ** 2 + (ys - ys.mean()) ** 2)
    image = page.locator("#canvas img")
    box = image.bounding_box()
    scale = min(box["width"] / scene.photo.width, box["height"] / scene.photo.height)
    left, top = (box["width"] - scene.photo.width * scale) / 2, (box["height"] - scene.photo.height * scale) / 2
    where = {"x": left + (xs[nearest] + 0.5) * scale, "y": top + (ys[nearest] + 0.5) * scale}
    act_on_canvas(page, lambda: image.click(position=where))


def name_thing(page, index, name):
    act_on_canvas(
        page, lambda: (page.locator(f"#name-{index} :is(input, textarea)").fill(name), page.keyboard.press("Tab"))
    )


def open_sample(page, number=0):
    page.locator("#samples button").nth(number).click()
    expect(page.locator("#canvas img")).to_be_visible()
    return read_folder(samples()[number])


def use_ready_made(page):
    act_on_canvas(page, page.locator("#ready-made").click)


def teach(page, first, second):
    page.locator("#to-extract").click()
    expect(page.locator("#picked .thumbs img").first).to_be_visible()
    page.locator("#extract-advanced > button").click()
    page.locator("#steps-1 input").fill(str(first))
    page.locator("#steps-2 input").fill(str(second))
    page.locator("#extract").click()


def test_the_whole_chain(browser, address, tmp_path):
    with visitor(browser, address) as page:
        scene = open_sample(page)
        click_on(page, scene, 0)
        name_thing(page, 0, "first toy")
        act_on_canvas(
            page, lambda: (page.locator("#add").click(), page.locator("#name-1 :is(input, textarea)").wait_for())
        )
        click_on(page, scene, 1)
        name_thing(page, 1, "second toy")
        act_on_canvas(page, page.get_by_role("button", name="Clear").click)
        act_on_canvas(page, page.get_by_role("button", name="Undo").click)
        expect(page.locator("#name-1 :is(input, textarea)")).to_have_value("second toy")
        shot(page, "pick")

        teach(page, 4, 3000)
        progress = page.locator("#status [role=progressbar]")
        expect(page.locator("#picked figcaption")).to_have_text(["first toy", "second toy"])
        expect(progress).to_be_visible()
        expect(page.locator("#curves polyline").first).to_be_attached(timeout=LONG)
        expect(page.locator("#status")).to_contain_text("Learning the details", timeout=LONG)
        expect(page.locator("#status")).to_contain_text("left")
        shot(page, "extract")
        page.locator("#stop").click()
        expect(page.locator("#status")).to_contain_text(re.compile(r"Stopped at step \d+ of 3004"), timeout=LONG)

        page.locator("#to-create").click()
        prompt = page.locator("#prompt textarea")
        expect(prompt).to_have_value("a photo of <asset0> and <asset1> at the beach")
        expect(page.locator("#chip-1")).to_contain_text("second toy")
        prompt.fill("a photo of ")
        page.locator("#chip-0").click()
        expect(prompt).to_have_value("a photo of <asset0>")
        page.get_by_role("button", name="in the snow").click()
        expect(prompt).to_have_value("a photo of <asset0> in the snow")
        page.get_by_role("button", name="a painting").click()
        expect(prompt).to_have_value("a painting of <asset0> in the snow")
        page.get_by_role("button", name="a photo", exact=True).click()
        expect(prompt).to_have_value("a photo of <asset0> in the snow")
        page.locator("#count input[type=number]").fill("2")
        page.locator("#create-advanced > button").click()
        page.locator("#draw-steps input[type=number]").fill("3")
        page.locator("#draw-steps input[type=number]").press("Tab")
        expect(page.locator("#draw-steps input[type=range]")).to_have_value("3")  # the page has taken it in
        page.locator("#draw").click()
        expect(page.locator("#drawing")).to_contain_text("2 of 2 drawn", timeout=LONG)
        expect(page.locator("#pictures .grid-container img")).to_have_count(2)
        shot(page, "create")

        with page.expect_download() as download:
            page.locator("#zip").click()
        download.value.save_as(tmp_path / "all.zip")
        with zipfile.ZipFile(tmp_path / "all.zip") as archive:
            *names, sheet, table = archive.namelist()
            archive.extractall(tmp_path)
        assert len(names) == 2 and sheet == "contact-sheet.png" and Image.open(tmp_path / sheet).width > 500
        rows = list(csv.DictReader((tmp_path / table).read_text(encoding="utf-8").splitlines()))
        assert [row["file"] for row in rows] == names and {row["steps"] for row in rows} == {"3"}
        assert {read_record(tmp_path / name)["prompt"] for name in names} == {"a photo of <asset0> in the snow"}

        page.locator("#pictures .grid-container img").first.click()
        with page.expect_download() as download:
            page.locator("#take-picture").click()
        download.value.save_as(tmp_path / "one.png")
        assert read_record(tmp_path / "one.png")["handles"] == {"<asset0>": "first toy", "<asset1>": "second toy"}


def test_a_reload_comes_back_to_the_running_job(browser, address):
    with visitor(browser, address) as page:
        open_sample(page)
        use_ready_made(page)
        teach(page, 3000, 0)
        expect(page.locator("#status")).to_contain_text("left", timeout=LONG)
        page.reload()
        expect(page.locator("#status")).to_contain_text("Getting to know each thing", timeout=LONG)
        before = page.locator("#status [role=progressbar]").get_attribute("aria-valuenow")
        expect(page.locator("#status [role=progressbar]")).not_to_have_attribute("aria-valuenow", before, timeout=LONG)
        page.locator("#stop").click()
        expect(page.locator("#status")).to_contain_text("Stopped at step", timeout=LONG)


def test_a_stopped_extraction_goes_on_to_its_end(browser, address):
    with visitor(browser, address) as page:
        open_sample(page)
        use_ready_made(page)
        expect(page.locator("#go-on")).to_be_hidden()
        teach(page, 100, 1)
        expect(page.locator("#status")).to_contain_text("left", timeout=LONG)
        page.locator("#glance").click()
        expect(page.locator("#strips img").nth(1)).to_be_visible(timeout=LONG)
        page.locator("#stop").click()
        expect(page.locator("#status")).to_contain_text("Stopped at step", timeout=LONG)
        shot(page, "stopped")
        page.locator("#go-on").click()
        expect(page.locator("#status")).to_contain_text("Done.", timeout=LONG)
        expect(page.locator("#go-on")).to_be_hidden()
        expect(page.locator("#to-create")).to_be_visible()


def test_what_was_half_learned_can_be_forgotten(browser, address):
    with visitor(browser, address) as page:
        open_sample(page)
        use_ready_made(page)
        teach(page, 100, 1)
        expect(page.locator("#status")).to_contain_text("left", timeout=LONG)
        page.locator("#stop").click()
        page.locator("#discard").click(timeout=LONG)
        expect(page.locator("#discard")).to_be_hidden()
        expect(page.locator("#to-create")).to_be_hidden()
        expect(page.locator("#status")).not_to_contain_text("Stopped")
        page.reload()
        page.get_by_role("tab", name="3 · Create").click()
        expect(page.get_by_text("Nothing is learned yet")).to_be_visible()


def test_things_are_taken_away_forgotten_brought_back_renamed_and_reopened(browser, address, tmp_path):
    with visitor(browser, address) as page:
        open_sample(page)
        use_ready_made(page)
        teach(page, 2, 0)
        page.locator("#to-create").click(timeout=LONG)
        expect(page.locator("#prompt")).to_be_visible()
        page.locator("#kept-runs > button").click()
        with page.expect_download() as download:
            page.locator("#take-run").click()
        download.value.save_as(tmp_path / "things.zip")
        page.locator("#forget-run").click()
        expect(page.locator("#prompt")).to_be_hidden()
        page.locator("input[type=file][accept='.zip']").set_input_files(tmp_path / "things.zip")
        expect(page.locator("#prompt")).to_be_visible()
        expect(page.locator("#chip-0")).to_contain_text("<asset0>")
        (tmp_path / "bad.zip").write_bytes(b"no zip")
        page.locator("input[type=file][accept='.zip']").set_input_files(tmp_path / "bad.zip")
        expect(page.get_by_text("This file cannot be brought back")).to_be_visible()
        page.locator("#run-name :is(input, textarea)").fill("The old set")
        page.locator("#rename-run").click()
        shot(page, "kept-runs")
        page.locator("#reopen-run").click()
        expect(page.locator("#canvas img")).to_be_visible()
        page.get_by_role("tab", name="2 · Extract").click()
        page.locator("#extract").click()
        page.locator("#to-create").click(timeout=LONG)
        expect(page.locator("#runs")).to_be_visible()
        page.locator("#runs input").click()
        page.get_by_role("option", name="The old set").click()
        expect(page.locator("#run-name :is(input, textarea)")).to_have_value("The old set")


def test_a_sheet_is_compared_favourites_are_kept_and_one_is_drawn_again(browser, address, tmp_path):
    with visitor(browser, address) as page:
        open_sample(page, 1)
        use_ready_made(page)
        teach(page, 2, 0)
        page.locator("#to-create").click(timeout=LONG)
        page.locator("#create-advanced > button").click()
        page.locator("#draw-steps input[type=number]").fill("2")
        page.locator("#draw-steps input[type=number]").press("Tab")
        page.locator("#sheet-options > button").click()
        for place in ("on the grass", "in the desert"):
            page.locator("#sheet-places").get_by_label(place).uncheck()
        expect(page.locator("#draw-sheet")).to_have_text("Draw the sheet (4 in all)")
        page.locator("#draw-sheet").click()
        expect(page.locator("#drawing")).to_contain_text("4 of 4 drawn", timeout=LONG)
        expect(page.locator("#sheet img")).to_be_visible()
        with page.expect_download() as download:
            page.locator("#take-sheet").click()
        assert download.value.suggested_filename == "contact-sheet.png"
        assert Image.open(download.value.path()).width == 10 + 2 * 266
        seed = page.locator("#seed input").input_value()

        small = page.locator("#pictures .grid-container button")
        expect(small).to_have_count(4)
        small.nth(3).click()  # the newest is first, so this is the first
        expect(page.locator("#chosen")).to_contain_text("a photo of flamingo at the beach")
        expect(page.locator("#chosen")).to_contain_text(f"seed {seed}")
        page.locator("#mark").click()
        expect(page.locator("#mark")).to_contain_text("No longer a favourite")
        page.locator("#lay-beside").click()
        expect(page.get_by_text("Now choose another picture")).to_be_visible()
        page.locator("#pictures .thumbnails button").nth(1).click()
        expect(page.locator("#chosen")).to_contain_text("a photo of flamingo in the snow")
        expect(page.locator("#mark")).to_contain_text("Make it a favourite")
        page.locator("#lay-beside").click()
        expect(page.locator("#beside .caption-label")).to_have_text(
            ["a photo of flamingo at the beach", "a photo of flamingo in the snow"]
        )
        shot(page, "sheet")
        page.locator("#which-pictures").get_by_label("Favourites").check()
        expect(small).to_have_count(1)
        expect(page.locator("#chosen")).to_be_hidden()
        with page.expect_download() as download:
            page.locator("#zip-favourites").click()
        with zipfile.ZipFile(download.value.path()) as archive:
            first, *_ = archive.namelist()
            assert archive.namelist() == [first, "contact-sheet.png", "records.csv"]
            before = Image.open(archive.open(first)).convert("RGB")

        small.first.click()
        page.locator("#prompt textarea").fill("something else")
        page.locator("#use-settings").click()
        expect(page.locator("#prompt textarea")).to_have_value("a photo of <asset0> at the beach")
        expect(page.get_by_label("Keep this seed")).to_be_checked()
        page.locator("#draw").click()
        expect(page.locator("#drawing")).to_contain_text("1 of 1 drawn", timeout=LONG)
        expect(page.locator("#sheet img")).to_have_count(0)
        expect(small).to_have_count(5)  # all again, so that the new one is seen
        small.first.click()
        expect(page.locator("#chosen")).to_contain_text("a photo of flamingo at the beach")
        with page.expect_download() as download:
            page.locator("#take-picture").click()
        again = Image.open(download.value.path())
        assert np.abs(np.asarray(again).astype(int) - np.asarray(before)).max() <= 1
        page.get_by_label("Keep this seed").uncheck()
        page.locator("#draw").click()
        expect(page.locator("#seed input")).not_to_have_value(seed)


def test_a_check_shows_how_well_the_things_are_known(browser, address):
    with visitor(browser, address) as page:
        scene = open_sample(page)
        use_ready_made(page)
        teach(page, 2, 0)
        page.locator("#to-create").click(timeout=LONG)
        page.locator("#check > button").click()
        page.locator("#take-report").click()
        expect(page.locator(".toast-body").last).to_contain_text("no report yet")
        page.locator("#check-start").click()
        expect(page.locator("#check-status")).to_contain_text("of 16 drawn and compared", timeout=LONG)
        expect(page.locator("#check-result")).to_contain_text("likeness to the photo", timeout=LONG)
        expect(page.locator("#check-result tr").filter(has_text=scene.names[0]).last).to_contain_text("%")
        expect(page.locator("#check-pictures img")).to_have_count(16)
        expect(page.locator("#check-stop")).to_be_hidden()
        with page.expect_download() as download:
            page.locator("#take-report").click()
        with zipfile.ZipFile(download.value.path()) as archive:
            names = archive.namelist()
            assert {"index.html", "scores.json"} <= set(names) and sum(name.endswith(".png") for name in names) == 18
        shot(page, "check")
        page.locator("#kept-runs > button").click()
        page.locator("#forget-run").click()
        expect(page.locator("#check-result table")).to_have_count(0)
        expect(page.locator("#check-start")).to_be_disabled()


def test_two_visitors_see_their_own_things_and_wait_in_line(browser, address):
    with visitor(browser, address) as first, visitor(browser, address) as second:
        for page, number in ((first, 0), (second, 1)):
            open_sample(page, number)
            use_ready_made(page)
        teach(first, 5000, 0)
        expect(first.locator("#status")).to_contain_text("left", timeout=LONG)
        teach(second, 2, 0)
        expect(second.locator("#status")).to_contain_text("number 1 in line")
        first.locator("#stop").click()
        expect(first.locator("#status")).to_contain_text("Stopped at step", timeout=LONG)
        expect(second.locator("#status")).to_contain_text("Done.", timeout=LONG)
        shown = []
        for page, number in ((first, 0), (second, 1)):
            page.locator("#to-create").click()
            expect(page.locator("#chip-0")).to_contain_text(read_folder(samples()[number]).names[0])
            expect(page.locator("#runs")).not_to_be_visible()  # one run each, so there is nothing to choose
            shown.append(page.locator("#chip-0").inner_text())
        assert shown[0] != shown[1]


def share_of(page, number=1):
    """The share of the photo that the screen tells of a thing, in %."""
    return float(re.search(rf"{number}( [^:]*)?: ([\d.]+)%", page.locator("#about").inner_text())[2])


def test_masks_are_touched_up_with_a_brush(browser, address):
    with visitor(browser, address) as page:
        scene = open_sample(page)
        click_on(page, scene, 0)
        shares = [share_of(page)]
        box = page.locator("#canvas img").bounding_box()
        for tool in ("Paint", "Rub out"):
            page.get_by_label(tool).check()
            expect(page.locator("#brush")).to_be_visible()
            before = canvas_source(page)
            page.mouse.move(box["x"] + 40, box["y"] + 40)
            page.mouse.down()
            page.mouse.move(box["x"] + 200, box["y"] + 40, steps=5)
            expect(page.locator("svg.stroke")).to_be_visible()
            page.mouse.up()
            expect(page.locator("#canvas img")).not_to_have_attribute("src", before)
            expect(page.locator("svg.stroke")).to_have_count(0)
            shares.append(share_of(page))
            shot(page, f"brush-{tool[:5].strip().lower()}")
        assert shares[1] > shares[0] + 0.5 and shares[2] < shares[1] - 0.5
        page.get_by_role("button", name="Undo").click()
        expect(page.locator("#about")).to_contain_text(f"{shares[1]}%")


def test_a_thing_is_picked_with_the_keyboard_alone(browser, address):
    """Tab, arrows, Enter and Space only; the thing's place is typed in pixels."""
    with visitor(browser, address) as page:
        expect(page.locator("#samples button").first).to_be_visible()

        def tab_to(selector):
            for _ in range(80):
                page.keyboard.press("Tab")
                if page.evaluate("(s) => document.activeElement.matches(s)", selector):
                    return
            raise AssertionError(f"Tab does not reach {selector}")

        tab_to("#samples button")
        page.keyboard.press("Enter")
        expect(page.locator("#canvas img")).to_be_visible()
        scene = read_folder(samples()[0])
        ys, xs = np.nonzero(scene.concepts[0].mask)
        tab_to("#without-mouse > button")
        page.keyboard.press("Enter")
        for field, value in (("#across input", xs), ("#down input", ys)):
            tab_to(field)
            page.keyboard.press("Control+A")
            page.keyboard.type(str(int(value.mean())))
        tab_to("#click-there")
        act_on_canvas(page, lambda: page.keyboard.press("Enter"))
        assert share_of(page) == pytest.approx(100 * scene.concepts[0].mask.mean(), rel=0.5)
        tab_to("#name-0 :is(input, textarea)")
        page.keyboard.type("first toy")
        tab_to("#to-extract")
        page.keyboard.press("Enter")
        expect(page.locator("#picked figcaption")).to_have_text(["first toy"])


def test_mistakes_are_notices_and_nothing_is_lost(browser, address, tmp_path):
    bad = tmp_path / "photo.png"
    bad.write_text("no picture")
    good = tmp_path / "good.png"
    Image.effect_noise((300, 200), 60).save(good)
    with visitor(browser, address) as page:
        notice = page.locator(".toast-body")
        page.locator("#upload input[type=file]").set_input_files(bad)
        expect(notice.last).to_contain_text("not a picture that can be read")
        expect(page.locator("#upload img")).to_have_count(0)  # ready for another
        page.locator("#upload input[type=file]").set_input_files(good)
        expect(page.locator("#canvas img")).to_be_visible()
        page.get_by_label("Leave out").check()
        page.locator("#canvas img").click()
        expect(notice.last).to_contain_text("nothing to leave out yet")
        page.locator("#to-extract").click()
        page.locator("#extract").click()
        expect(notice.last).to_contain_text("Nothing is picked yet")
        page.get_by_role("tab", name="1 · Pick").click()
        expect(page.locator("#canvas img")).to_be_visible()


def test_ten_bad_uploads_get_a_sentence_each_and_then_a_good_one_opens(browser, address, tmp_path):
    good = io.BytesIO()
    Image.effect_noise((300, 200), 60).save(good, "JPEG")
    unread, cut = "not a picture that can be read", "damaged or cut off"
    bad = {
        "text.png": (b"no picture", unread),
        "empty.jpg": (b"", unread),
        "page.png": (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", unread),
        "archive.png": (b"PK\x03\x04" + bytes(100), unread),
        "header.jpg": (b"\xff\xd8\xff\xe0" + bytes(100), unread),
        "cut.jpg": (good.getvalue()[:4000], cut),
        "cut.png": (as_png(300, 200)[:60], cut),
        "bomb.png": (save_blank_png(tmp_path / "blank.png", 20_000, 20_000).read_bytes(), "more than 40 megapixels"),
        "tiny.png": (as_png(10, 10), "at least 16"),
        "strip.png": (as_png(2000, 20), "too long a strip"),
    }
    with visitor(browser, address) as page:
        for name, (content, sentence) in bad.items():
            (tmp_path / name).write_bytes(content)
            page.locator("#upload input[type=file]").set_input_files(tmp_path / name)
            expect(page.locator(".toast-body")).to_have_count(1)
            expect(page.locator(".toast-body")).to_contain_text(sentence)
            page.locator(".toast-close").click()
            expect(page.locator(".toast-body")).to_have_count(0)
            expect(page.locator("#upload img")).to_have_count(0)
        (tmp_path / "good.jpg").write_bytes(good.getvalue())
        page.locator("#upload input[type=file]").set_input_files(tmp_path / "good.jpg")
        expect(page.locator("#canvas img")).to_be_visible()


def as_png(width, height):
    out = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(out, "PNG")
    return out.getvalue()


def in_english(page):
    """The texts of the page, seen or hidden, with two or more English words in a row."""
    texts = page.evaluate(
        """window.gradio_config.components.flatMap(({props}) =>
            [props.label, props.info, props.placeholder, props.value, ...(props.choices ?? []).map((c) => c[0])])"""
    )
    proper = "<code>.*?</code>|<(?!asset)[^>]*>|Stable Diffusion|Hugging Face|Break-A-Scene Studio"
    texts = {re.sub(proper, "", text) for text in texts if isinstance(text, str)}
    return {text for text in texts if re.search(r"[A-Za-z]{2,} [A-Za-z]{2,}", text)}


@pytest.mark.parametrize("width", [1280, 390])
def test_a_japanese_browser_sees_japanese_and_can_change_to_english_and_back(browser, address, width):
    with visitor(browser, address, width, locale="ja-JP") as page:
        expect(page.get_by_role("tab", name="1 · 選ぶ")).to_be_visible()
        expect(page.get_by_role("heading", name="サンプルで試す")).to_be_visible()
        expect(page.locator("html")).to_have_attribute("lang", "ja")
        assert in_english(page) == {"a photo of <asset0> at the beach"}  # prompts are English
        scene = open_sample(page)
        expect(page.locator("#hint")).to_contain_text("クリックしてください")
        click_on(page, scene, 0)
        expect(page.locator("#hint")).to_contain_text("うまく選べたら")
        name_thing(page, 0, "first toy")
        page.get_by_role("button", name="元に戻す").click()
        expect(page.locator("#hint")).to_contain_text("写真の中の first toy をクリックしてください")
        page.get_by_role("button", name="元に戻す").click()
        expect(page.locator(".toast-body").last).to_contain_text("元に戻せる操作はありません")
        expect(page.locator(".toast-body").last).not_to_contain_text("Warning", use_inner_text=True)
        expect(page.get_by_role("link", name="日本語")).to_have_count(1)
        click_on(page, scene, 0)
        shot(page, f"japanese-pick-{width}")
        for language, name, heading in (("en", "English", "Things you picked"), ("ja", "日本語", "選んだもの")):
            page.get_by_role("link", name=name).click()
            expect(page.get_by_role("heading", name=heading)).to_be_visible()
            expect(page.locator("html")).to_have_attribute("lang", language)
            expect(page.locator("#canvas img")).to_be_visible()
            expect(page.locator("#name-0 :is(input, textarea)")).to_have_value("first toy")
            page.locator("#to-extract").click()
            expect(page.locator("#picked figcaption")).to_have_text(["first toy"])
            page.get_by_role("tab").first.click()
        page.goto("/")  # the choice is remembered
        expect(page.get_by_role("heading", name="選んだもの")).to_be_visible()
        teach(page, 2, 0)
        expect(page.locator("#status")).to_contain_text("できました。絵描きが覚えたもの：first toy", timeout=LONG)
        shot(page, f"japanese-extract-{width}")
        page.locator("#to-create").click()
        page.get_by_role("button", name="雪の中で").click()
        expect(page.locator("#prompt textarea")).to_have_value("a photo of <asset0> in the snow")
        shot(page, f"japanese-create-{width}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_a_phone(browser, address, theme):
    with visitor(browser, address, width=390, theme=theme) as page:
        open_sample(page)
        use_ready_made(page)
        shot(page, f"phone-pick-{theme}")
        teach(page, 2, 0)
        expect(page.locator("#status")).to_contain_text("Done.", timeout=LONG)
        shot(page, f"phone-extract-{theme}")
        page.locator("#to-create").click()
        page.locator("#create-advanced > button").click()
        page.locator("#draw-steps input[type=number]").fill("2")
        page.locator("#draw-steps input[type=number]").press("Tab")
        page.locator("#draw").click()
        expect(page.locator("#drawing")).to_contain_text("4 of 4 drawn", timeout=LONG)
        shot(page, f"phone-create-{theme}")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
