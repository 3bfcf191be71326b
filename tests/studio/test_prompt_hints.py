"""Hints while a prompt is written, and prompts put together from the buttons."""

from pathlib import Path

import pytest

from breakascene.models.loading import load_base
from breakascene.models.manifest import Manifest
from breakascene.studio import loaded
from breakascene.studio.screens import prompt_builder
from breakascene.studio.screens.prompt_hints import hints_html, understand
from breakascene.studio.state.run_store import ChosenRuns, Run

HANDLES = ("<asset0>", "<asset1>", "<asset2>", "<background>")
NAMES = ("fox", "mug", "<b>cup", "background")
RUNS = ChosenRuns((Run("a", Path(), Manifest("a", HANDLES, NAMES, "toybox", "", 1, "")),))


@pytest.fixture(autouse=True)
def toybox(monkeypatch):
    monkeypatch.setitem(loaded._loaded, "base", load_base("toybox", "cpu"))


@pytest.mark.parametrize(
    ("prompt", "negative", "hint"),
    [
        ("a photo of a cat at the beach", "", "None of your objects is in the prompt"),
        ("a photo of a dog", "<asset1>", "mug is only in the negative prompt"),
        ("a photo of <asset0> and <asset0>", "", "fox is in the prompt more than once"),
        ("a photo of <asset0> in a cathedral", "", "does not know these words: cathedral."),
        ("a photo of <asset0>'s kingdom", "", "does not know these words: kingdom."),
        ("<asset0> を浜辺で", "", "only understands English"),
        ("ein Foto von <asset0> auf dem Tisch", "", "only understands English"),
        ("a photo of " + "a cat and " * 10 + "<asset0>", "", "<asset0> is cut off"),
        ("a photo of (<asset0>:1.3)", "", "Prompt weights are not supported"),
        ("a photo of <asset7>", "", "<asset7> is an unknown handle"),
        ("a photo of a fox", "", '"fox" is read as <asset0>'),
    ],
)
def test_a_hint_says_what_will_not_come_out_as_expected(prompt, negative, hint):
    _, hints = understand(RUNS, prompt, negative)
    assert any(hint in found for found in hints), hints


@pytest.mark.parametrize("prompt", ["a photo of <asset0> and <asset1> at the beach", "a painting of <asset0>"])
def test_a_plain_prompt_has_no_hints(prompt):
    assert understand(RUNS, prompt, "") == (prompt, [])


def test_objects_are_shown_as_chips_with_escaped_names():
    shown = hints_html(RUNS, "a photo of ASSET2 & <asset1>", "")
    assert '<span class="chip">&lt;b&gt;cup</span> &amp; <span class="chip">mug</span>' in shown
    assert hints_html(RUNS, " ", "") == hints_html(None, "a photo", "") == ""


@pytest.mark.parametrize("text", ["", "a photo", "a photo of", "a photo of at sunset", "at sunset"])
def test_buttons_build_a_whole_sentence_from_any_start(text):
    place = prompt_builder.with_place(text if "sunset" not in text else "", "under water", HANDLES)
    assert place == "a photo of <asset0>, <asset1> and <asset2> under water"
    style = prompt_builder.with_style(text, "a painting", HANDLES)
    ending = " at sunset" if "sunset" in text else ""
    assert style == f"a painting of <asset0>, <asset1> and <asset2>{ending}"
