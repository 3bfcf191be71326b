"""The whole chain in a real browser, in both languages, on phone, tablet and desktop."""

import csv
import re
import zipfile

from helpers.browser import (
    LONG,
    act_on_canvas,
    click_on,
    expect,
    name_object,
    open_sample,
    set_inference_steps,
    shot,
    start_extraction,
    type_in,
    use_sample_masks,
    visitor,
)
from PIL import Image

from breakascene.generation.generate import read_metadata
from breakascene.studio.screens.ab_test import VARIANTS
from breakascene.studio.screens.pilot_form import PROMPTS


def test_the_whole_chain(browser, address, tmp_path):
    with visitor(browser, address) as page:
        scene = open_sample(page)
        click_on(page, scene, 0)
        name_object(page, 0, "first toy")
        act_on_canvas(
            page, lambda: (page.locator("#add-object").click(), page.locator("#name-1 :is(input, textarea)").wait_for())
        )
        click_on(page, scene, 1)
        name_object(page, 1, "second toy")
        page.get_by_role("button", name="Clear").click()
        expect(page.locator("#about")).not_to_contain_text("second toy")
        page.get_by_role("button", name="Undo").click()
        expect(page.locator("#about")).to_contain_text("second toy")
        expect(page.locator("#name-1 :is(input, textarea)")).to_have_value("second toy")
        shot(page, "select")

        start_extraction(page, 4, 3000)
        progress = page.locator("#status [role=progressbar]")
        expect(page.locator("#selected-objects figcaption")).to_have_text(["first toy", "second toy"])
        expect(progress).to_be_visible()
        expect(page.locator("#curves polyline").first).to_be_attached(timeout=LONG)
        expect(page.locator("#status")).to_contain_text("Phase 2: training the handles and the model", timeout=LONG)
        expect(page.locator("#status")).to_contain_text("left")
        shot(page, "extract")
        page.locator("#stop").click()
        expect(page.locator("#status")).to_contain_text(re.compile(r"Stopped at step \d+ of 3004"), timeout=LONG)

        page.locator("#to-generate").click()
        prompt = page.locator("#prompt textarea")
        expect(prompt).to_have_value("a photo of <asset0> and <asset1> at the beach")
        expect(page.locator("#chip-1")).to_contain_text("second toy")
        type_in(prompt, "a photo of ")
        page.locator("#chip-0").click()
        expect(prompt).to_have_value("a photo of <asset0>")
        page.get_by_role("button", name="in the snow").click()
        expect(prompt).to_have_value("a photo of <asset0> in the snow")
        page.get_by_role("button", name="a painting").click()
        expect(prompt).to_have_value("a painting of <asset0> in the snow")
        page.get_by_role("button", name="a photo", exact=True).click()
        expect(prompt).to_have_value("a photo of <asset0> in the snow")
        type_in(page.locator("#count input[type=number]"), "2")
        set_inference_steps(page, 3)
        page.locator("#generate").click()
        expect(page.locator("#generation-status")).to_contain_text("2 of 2 generated", timeout=LONG)
        expect(page.locator("#gallery .grid-container img")).to_have_count(2)
        shot(page, "generate")

        with page.expect_download() as download:
            page.locator("#download-all").click()
        download.value.save_as(tmp_path / "all.zip")
        with zipfile.ZipFile(tmp_path / "all.zip") as archive:
            *names, sheet, table = archive.namelist()
            archive.extractall(tmp_path)
        assert len(names) == 2 and sheet == "contact-sheet.png" and Image.open(tmp_path / sheet).width > 500
        rows = list(csv.DictReader((tmp_path / table).read_text(encoding="utf-8").splitlines()))
        assert [row["file"] for row in rows] == names and {row["num_inference_steps"] for row in rows} == {"3"}
        assert {read_metadata(tmp_path / name)["prompt"] for name in names} == {"a photo of <asset0> in the snow"}

        page.locator("#gallery .grid-container img").first.click()
        with page.expect_download() as download:
            page.locator("#download-image").click()
        download.value.save_as(tmp_path / "one.png")
        assert read_metadata(tmp_path / "one.png")["handles"] == {"<asset0>": "first toy", "<asset1>": "second toy"}


def in_english(page):
    """The texts of the page, visible or hidden, with two or more English words in a row."""
    texts = page.evaluate(
        """window.gradio_config.components.flatMap(({props}) =>
            [props.label, props.info, props.placeholder, props.value, ...(props.choices ?? []).map((c) => c[0])])"""
    )
    proper = "<code>.*?</code>|<(?!asset)[^>]*>|Stable Diffusion|Hugging Face|Break-A-Scene Studio"
    texts = {re.sub(proper, "", text) for text in texts if isinstance(text, str)}
    return {text for text in texts if re.search(r"[A-Za-z]{2,} [A-Za-z]{2,}", text)}


def test_a_japanese_browser_sees_japanese_and_can_change_to_english_and_back(browser, address):
    with visitor(browser, address, 390, locale="ja-JP") as page:
        expect(page.get_by_role("tab", name="1 · 選択")).to_be_visible()
        expect(page.get_by_role("heading", name="サンプルで試す")).to_be_visible()
        expect(page.locator("html")).to_have_attribute("lang", "ja")
        assert in_english(page) == {"a photo of <asset0> at the beach", PROMPTS, VARIANTS}  # prompts are English
        scene = open_sample(page)
        expect(page.locator("#hint")).to_contain_text("クリックしてください")
        click_on(page, scene, 0)
        expect(page.locator("#hint")).to_contain_text("足りない部分はもう一度クリックします")
        name_object(page, 0, "first toy")
        page.get_by_role("button", name="元に戻す").click()
        expect(page.locator("#hint")).to_contain_text("写真の中の「first toy」をクリックしてください")
        page.get_by_role("button", name="元に戻す").click()
        expect(page.locator(".toast-body").last).to_contain_text("元に戻す操作がありません")
        expect(page.locator(".toast-body").last).not_to_contain_text("Warning", use_inner_text=True)
        expect(page.get_by_role("link", name="日本語")).to_have_count(1)
        click_on(page, scene, 0)
        for language, name, heading in (("en", "English", "Selected objects"), ("ja", "日本語", "選択した")):
            page.get_by_role("link", name=name).click()
            expect(page.get_by_role("heading", name=heading)).to_be_visible()
            expect(page.locator("html")).to_have_attribute("lang", language)
            expect(page.locator("#canvas img")).to_be_visible()
            expect(page.locator("#name-0 :is(input, textarea)")).to_have_value("first toy")
            page.locator("#to-extract").click()
            expect(page.locator("#selected-objects figcaption")).to_have_text(["first toy"])
            page.get_by_role("tab").first.click()
        other = page.context.new_page()  # the choice is remembered
        other.goto("/")
        expect(other.get_by_role("heading", name="選択したオブジェクト")).to_be_visible()
        other.close()
        start_extraction(page, 1, 0)
        expect(page.locator("#status")).to_contain_text("完了しました。", timeout=LONG)
        page.locator("#to-generate").click()
        page.get_by_role("button", name="雪の中で").click()
        expect(page.locator("#prompt textarea")).to_have_value("a photo of <asset0> in the snow")


def test_going_back_and_reloading_show_the_language_of_the_address(browser, address):
    with visitor(browser, address) as page:

        def shows(language, tab):
            expect(page.get_by_role("tab", name=tab)).to_be_visible()
            page.wait_for_function(f"new URL(location.href).searchParams.get('lang') === '{language}'")

        shows("en", "1 · Select")
        page.get_by_role("link", name="日本語").click()
        shows("ja", "1 · 選択")
        page.go_back()
        shows("en", "1 · Select")
        page.reload()
        shows("en", "1 · Select")
        page.go_forward()
        shows("ja", "1 · 選択")
        page.reload()
        shows("ja", "1 · 選択")


def test_a_reload_by_gradio_does_not_stop_the_visitor_from_leaving(browser, address):
    """Gradio reloads the page after a lost connection; the page that the visitor asked for meanwhile comes first."""
    with visitor(browser, address) as page:
        expect(page.locator("#samples button").first).to_be_visible()
        page.route("**/?slow", lambda route: (page.wait_for_timeout(1500), route.continue_()))
        page.get_by_role("tab").nth(1).click()  # in Chromium a reload soon after a click replaces other navigations
        page.evaluate("() => { setTimeout(() => location.reload(), 500); }")
        page.goto("/?slow")
        assert "/?slow" in page.url
        expect(page.locator("#samples button").first).to_be_attached()


# Visible parts of the results that no scrolling reaches
BESIDE_THE_PAGE = """[...document.querySelectorAll(".results *")]
    .filter((part) => part.checkVisibility() && part.getBoundingClientRect().left >= innerWidth)
    .map((part) => part.id || part.className || part.tagName)"""


def test_the_page_fits_phone_tablet_and_desktop_in_light_and_dark_and_both_languages(browser, address):
    with visitor(browser, address, 390) as page:

        def screen(name):
            width = page.viewport_size["width"]
            shot(page, f"{name}-{width}")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            page.set_viewport_size({"width": width, "height": 400})  # less than the results need
            assert page.evaluate(BESIDE_THE_PAGE) == []
            page.set_viewport_size({"width": width, "height": 900})

        expect(page.locator("#samples img").first).to_be_visible()
        screen("start-light-en")
        open_sample(page)
        use_sample_masks(page)
        start_extraction(page, 1, 0)
        expect(page.locator("#status")).to_contain_text("Done.", timeout=LONG)
        page.locator("#to-generate").click()
        set_inference_steps(page, 2)
        page.get_by_label("Wide").check()
        page.locator("#generate").click()
        expect(page.locator("#generation-status")).to_contain_text("4 of 4 generated", timeout=LONG)
        page.locator("#gallery .grid-container img").first.click()
        expect(page.locator("#chosen-image")).to_contain_text("320 × 192")
        page.locator("#edit-options > button").click()
        expect(page.locator("#edit-upload")).to_be_visible()
        screen("generate-light-en")
        for language, sizes in (("en", ((390, "light"), (820, "dark"))), ("ja", ((390, "dark"), (1440, "light")))):
            if language == "ja":
                page.get_by_role("link", name="日本語").click()
                expect(page.locator("html")).to_have_attribute("lang", "ja")
            for width, theme in sizes:
                page.set_viewport_size({"width": width, "height": 900})
                page.emulate_media(color_scheme=theme)
                expect(page.locator("body.dark")).to_have_count(int(theme == "dark"))
                for i, (name, content) in enumerate(
                    (
                        ("select", "#canvas img"),
                        ("extract", "#status .verdict img"),
                        ("generate", "#gallery img"),
                        ("pilot", "#pilot-create"),
                    )
                ):
                    page.get_by_role("tab").nth(i).click()
                    expect(page.locator(content).first).to_be_visible()
                    screen(f"{name}-{theme}-{language}")
