"""Step 3 in a real browser: contact sheets, favorites, reused settings, evaluation, object sets as files."""

import base64
import re
import shutil
import zipfile

import numpy as np
import pytest
from helpers.browser import (
    LONG,
    delete,
    expect,
    expect_notice,
    set_inference_steps,
    shot,
    start_extraction,
    type_in,
    visitor,
)
from helpers.studio import add_session
from PIL import Image

from breakascene.data.scene import load_scene
from breakascene.generation import library
from breakascene.generation.generate import read_metadata
from breakascene.generation.library import Details
from breakascene.studio import loaded
from breakascene.studio.screens.select_actions import samples
from breakascene.studio.strings import en, ja
from breakascene.training.loop import run_extraction
from breakascene.training.settings import preset


@pytest.fixture
def page(browser, address, studio_data, run):
    """Step 3 of a visitor who has a run."""
    with visitor(browser, address, start=add_session(studio_data, run)) as page:
        page.get_by_role("tab", name="3 · Generate").click()
        expect(page.locator("#prompt")).to_be_visible()
        yield page


def test_the_prompt_is_read_aloud_with_chips_and_hints(page):
    prompt, hints = page.locator("#prompt textarea"), page.locator("#prompt-hints")
    expect(hints.locator(".chip")).to_have_text(["flamingo", "cactus"])
    expect(hints.locator("li")).to_have_count(0)
    type_in(prompt, "a photo of ASSET1 in a cathedral")
    expect(hints.locator(".chip")).to_have_text(["cactus"])
    expect(hints.locator("li")).to_have_text(re.compile("does not know these words: cathedral"))
    type_in(prompt, "a photo of")
    expect(hints.locator("li")).to_have_text(re.compile("None of your objects"))
    page.locator("#chip-0").click()
    expect(prompt).to_have_value("a photo of <asset0>")
    page.get_by_role("button", name="at sunset").click()
    expect(prompt).to_have_value("a photo of <asset0> at sunset")
    page.locator("#chip-1").click()
    expect(prompt).to_have_value("a photo of <asset0> and <asset1> at sunset")
    page.get_by_role("button", name="a painting").click()
    expect(prompt).to_have_value("a painting of <asset0> and <asset1> at sunset")
    expect(hints.locator("li")).to_have_count(0)
    shot(page, "prompt-hints")


def test_object_sets_are_exported_deleted_imported_renamed_and_reopened(page, tmp_path):
    page.locator("#object-sets > button").click()
    with page.expect_download() as download:
        page.locator("#export-run").click()
    download.value.save_as(tmp_path / "objects.zip")
    delete(page, "run")
    expect(page.locator("#prompt")).to_be_hidden()
    page.locator("input[type=file][accept='.zip']").set_input_files(tmp_path / "objects.zip")
    expect(page.locator("#prompt")).to_be_visible()
    expect(page.locator("#chip-0")).to_contain_text("<asset0>")
    (tmp_path / "bad.zip").write_bytes(b"no zip")
    page.locator("input[type=file][accept='.zip']").set_input_files(tmp_path / "bad.zip")
    expect_notice(page, "This file cannot be imported")
    type_in(page.locator("#run-name :is(input, textarea)"), "The old set")
    type_in(page.locator("#run-tags :is(input, textarea)"), "toys, blue")
    page.locator("#save-details").click()
    shot(page, "object-sets")
    page.locator("#reopen-run").click()
    expect(page.locator("#canvas img")).to_be_visible()
    start_extraction(page, 1, 0)
    page.locator("#to-generate").click(timeout=LONG)
    expect(page.locator("#runs")).to_be_visible()
    page.locator("#runs input").click()
    page.get_by_role("option", name="The old set · toys · blue").click()
    expect(page.locator("#run-name :is(input, textarea)")).to_have_value("The old set")


def test_contact_sheet_comparison_favorites_and_reused_settings(page):
    set_inference_steps(page, 2)
    page.locator("#sheet-options > button").click()
    for place in ("on the grass", "in the desert"):
        page.locator("#sheet-places").get_by_label(place).uncheck()
    for style, count in (("a painting", 4), ("a pencil drawing", 8)):
        page.locator("#sheet-styles").get_by_label(style).check()
        expect(page.locator("#generate-sheet")).to_have_text(f"Generate sheet ({count} in total)")
    for style in ("a painting", "a pencil drawing"):
        page.locator("#sheet-styles").get_by_label(style).uncheck()
    expect(page.locator("#generate-sheet")).to_have_text("Generate sheet (4 in total)")
    page.locator("#generate-sheet").click()
    expect(page.locator("#generation-status")).to_contain_text("4 of 4 generated", timeout=LONG)
    page.locator("#contact-sheet").scroll_into_view_if_needed()  # the image loads once it is near
    expect(page.locator("#contact-sheet img")).to_be_visible()
    with page.expect_download() as download:
        page.locator("#download-sheet").click()
    assert download.value.suggested_filename == "contact-sheet.png"
    assert Image.open(download.value.path()).width == 10 + 2 * 266
    seed = page.locator("#seed input").input_value()

    small = page.locator("#gallery .grid-container button")
    expect(small).to_have_count(4)
    small.nth(3).click()  # the newest is first, so this is the first
    expect(page.locator("#chosen-image")).to_contain_text("a photo of flamingo at the beach")
    expect(page.locator("#chosen-image")).to_contain_text(f"seed {seed}")
    page.locator("#favorite").click()
    expect(page.locator("#favorite")).to_contain_text("Remove from favorites")
    page.locator("#compare").click()
    expect(page.get_by_text("Choose another image")).to_be_visible()
    page.locator("#gallery .thumbnails button").nth(1).click()
    expect(page.locator("#chosen-image")).to_contain_text("a photo of flamingo in the snow")
    expect(page.locator("#favorite")).to_contain_text("Add to favorites")
    page.locator("#compare").click()
    expect(page.locator("#comparison .caption-label")).to_have_text(
        ["a photo of flamingo at the beach", "a photo of flamingo in the snow"]
    )
    shot(page, "sheet")
    page.locator("#gallery-filter").get_by_label("Favorites").check()
    expect(small).to_have_count(1)
    expect(page.locator("#chosen-image")).to_be_hidden()
    with page.expect_download() as download:
        page.locator("#download-favorites").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        first, *_ = archive.namelist()
        assert archive.namelist() == [first, "contact-sheet.png", "records.csv"]
        before = Image.open(archive.open(first)).convert("RGB")

    small.first.click()
    type_in(page.locator("#prompt textarea"), "something else")
    page.locator("#use-seed").click()
    expect(page.locator("#seed input")).to_have_value(seed)
    expect(page.get_by_label("Keep this seed")).to_be_checked()
    expect(page.locator("#prompt textarea")).to_have_value("something else")
    page.get_by_label("Keep this seed").uncheck()
    page.locator("#use-settings").click()
    expect(page.locator("#prompt textarea")).to_have_value("a photo of <asset0> at the beach")
    expect(page.get_by_label("Keep this seed")).to_be_checked()
    page.locator("#generate").click()
    expect(page.locator("#generation-status")).to_contain_text("1 of 1 generated", timeout=LONG)
    expect(page.locator("#contact-sheet img")).to_have_count(0)
    expect(small).to_have_count(5)  # the filter is cleared, so that the new one is visible
    small.first.click()
    expect(page.locator("#chosen-image")).to_contain_text("a photo of flamingo at the beach")
    with page.expect_download() as download:
        page.locator("#download-image").click()
    again = Image.open(download.value.path())
    assert np.abs(np.asarray(again).astype(int) - np.asarray(before)).max() <= 1
    page.get_by_label("Keep this seed").uncheck()
    page.locator("#generate").click()
    expect(page.locator("#seed input")).not_to_have_value(seed)
    expect(small).to_have_count(6, timeout=LONG)
    expect(page.locator("#generate-background")).to_be_hidden()  # this set has none
    page.locator("#generate-variations").click()
    expect(small).to_have_count(7, timeout=LONG)
    small.first.click()
    expect(page.locator("#chosen-image")).to_contain_text("a photo of flamingo and cactus")
    expect(page.locator("#chosen-image")).to_contain_text("strength 0.7")
    page.locator("#upscale").click()
    expect(small).to_have_count(8, timeout=LONG)
    small.first.click()
    expect(page.locator("#chosen-image")).to_contain_text("upscaled × 2")
    shot(page, "upscaled")


# A file as somebody drops it, of its bytes in base64
DROPPED_JS = """(encoded) => {
  const files = new DataTransfer(), bytes = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
  files.items.add(new File([bytes], "image.png", { type: "image/png" }));
  return files;
}"""


def test_shortcuts_generate_and_an_image_file_restores_its_settings(page, tmp_path):
    set_inference_steps(page, 2)
    type_in(page.locator("#count input[type=number]"), "1")
    prompt = page.locator("#prompt textarea")
    type_in(prompt, "a photo of <asset1> under water")
    prompt.press("Control+Enter")
    expect(page.locator("#generation-status")).to_contain_text("1 of 1 generated", timeout=LONG)
    page.locator("#gallery .grid-container button").first.click()
    with page.expect_download() as download:
        page.locator("#download-image").click()
    download.value.save_as(tmp_path / "image.png")
    assert download.value.suggested_filename == "000-a-photo-of-cactus-under-water.png"
    type_in(prompt, "a photo of <asset0>")
    page.locator("#generate-advanced > button").click()  # the field is closed
    dropped = page.evaluate_handle(DROPPED_JS, base64.b64encode((tmp_path / "image.png").read_bytes()).decode())
    page.locator("#gallery").dispatch_event("drop", {"dataTransfer": dropped})
    expect_notice(page, "The prompt and all settings of that image are set")
    expect(prompt).to_have_value("a photo of <asset1> under water")
    expect(page.get_by_label("Keep this seed")).to_be_checked()
    page.locator("#restore-settings input[type=file]").set_input_files(
        {"name": "other.png", "mimeType": "image/png", "buffer": next(samples()[0].glob("img.*")).read_bytes()}
    )
    expect_notice(page, "no settings of this studio")
    type_in(prompt, "a photo of")
    page.locator("#prompt-history input").click()
    page.get_by_role("option", name="a photo of <asset1> under water").click()
    expect(prompt).to_have_value("a photo of <asset1> under water")


def test_an_evaluation_shows_scores_and_writes_a_report(page):
    page.locator("#evaluate > button").click()
    page.locator("#download-report").click()
    expect_notice(page, "no report yet")
    page.locator("#evaluate-start").click()
    expect(page.locator("#evaluate-status")).to_contain_text("of 12 images generated and compared", timeout=LONG)
    expect(page.locator("#evaluate-result")).to_contain_text("likeness to the photo", timeout=LONG)
    expect(page.locator("#evaluate-result .verdict-text")).to_contain_text(re.compile("Not recognizable|Partly right"))
    expect(page.locator("#evaluate-result tr").filter(has_text="flamingo").last).to_contain_text("%")
    expect(page.locator("#evaluate-images img")).to_have_count(12)
    expect(page.locator("#evaluate-stop")).to_be_hidden()
    with page.expect_download() as download:
        page.locator("#download-report").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        names = archive.namelist()
        assert {"index.html", "scores.json"} <= set(names) and sum(name.endswith(".png") for name in names) == 14
    shot(page, "evaluate")
    page.locator("#object-sets > button").click()
    delete(page, "run")
    expect(page.locator("#evaluate-result table")).to_have_count(0)
    expect(page.locator("#evaluate-start")).to_be_disabled()


@pytest.fixture(scope="module")
def trained_run(address, tmp_path_factory):
    """A run with trained weights, which an export needs."""
    out = tmp_path_factory.mktemp("runs") / "trained"
    run_extraction(load_scene(samples()[1]), loaded.base(), preset("quick", loaded.base(), steps=(1, 1)), out)
    return out


@pytest.mark.parametrize("locale", ["en-GB", "ja-JP"])
def test_an_export_is_downloaded_and_its_lora_laid_over_an_image(
    browser, address, studio_data, trained_run, locale, tmp_path
):
    texts, name = {"en-GB": (en, "toys"), "ja-JP": (ja, "夏のおもちゃ")}[locale]
    start = add_session(studio_data, trained_run)
    (added,) = (studio_data / start.partition("=")[2] / "runs").iterdir()
    library.write_details(added, Details(name))
    with visitor(browser, address, locale=locale, start=start) as page:
        page.get_by_role("tab", name=texts.TAB_GENERATE).click()
        page.locator("#export > button").click()
        expect(page.locator("#export-program label")).to_have_count(2)  # the others have no toybox
        page.locator("#export-program").get_by_label(texts.EXPORT_PROGRAMS["kohya"]).check()
        page.locator("#export-start").click()
        expect(page.locator("#export-status")).to_contain_text(texts.EXPORTED.split("{")[0].strip(), timeout=LONG)
        shot(page, f"export-{locale[:2]}")
        with page.expect_download() as download:
            page.locator("#export-download").click()
        assert download.value.suggested_filename == f"{name}-kohya.zip"
        with zipfile.ZipFile(download.value.path()) as archive:
            lora = next(name for name in archive.namelist() if name.count("/") == 1 and name.endswith(".safetensors"))
            archive.extract(lora, tmp_path)
        set_inference_steps(page, 1)
        page.locator("#lora input[type=file]").set_input_files(tmp_path / lora)
        type_in(page.locator("#lora-scale input[type=number]"), "0.5")
        page.locator("#generate").click()
        page.locator("#gallery .grid-container button").first.click(timeout=LONG)
        with page.expect_download() as download:
            page.locator("#download-image").click()
        assert read_metadata(download.value.path())["loras"] == {(tmp_path / lora).stem: 0.5}


def test_objects_of_two_sets_are_combined_in_one_image(browser, address, studio_data, run, trained_run, tmp_path):
    path = add_session(studio_data, trained_run)
    shutil.copytree(run, studio_data / path.split("=")[1] / "runs" / "other")
    with visitor(browser, address, start=path) as page:
        page.get_by_role("tab", name="3 · Generate").click()
        expect(page.locator("#chip-0")).to_contain_text("<asset0>")
        page.locator("#added-runs input").click()
        page.get_by_role("option").first.click()
        expect(page.locator("#chip-0")).to_contain_text("<flamingo>")
        expect(page.locator("#chip-2")).to_contain_text("<flamingo-2>")
        expect(page.locator("#prompt textarea")).to_have_value("a photo of <flamingo> and <flamingo-2> at the beach")
        shot(page, "combined")
        set_inference_steps(page, 2)
        type_in(page.locator("#count input[type=number]"), "1")
        page.locator("#generate").click()
        page.locator("#gallery .grid-container button").first.click(timeout=LONG)
        with page.expect_download() as download:
            page.locator("#download-image").click()
        metadata = read_metadata(download.value.path())
        assert metadata["run"].count("+") == 1 and metadata["handles"]["<flamingo-2>"] == "flamingo"
        page.locator("#added-runs").get_by_role("button").first.click()  # take it away again
        expect(page.locator("#chip-0")).to_contain_text("<asset0>")
        page.locator("#use-settings").click()
        expect(page.locator("#chip-2")).to_contain_text("<flamingo-2>")
        expect(page.locator("#prompt textarea")).to_have_value("a photo of <flamingo> and <flamingo-2> at the beach")
