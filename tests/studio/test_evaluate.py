"""The verdict in words above the figures of an evaluation."""

from pathlib import Path

from breakascene.models.manifest import Manifest
from breakascene.studio.screens.evaluate import judged_share, verdict
from breakascene.studio.state.run_store import Run

HANDLES, NAMES = ("<asset0>", "<asset1>", "<asset2>", "<background>"), ("fox", "mug", "dragon", "background")
RUN = Run("a", Path(), Manifest("a", HANDLES, NAMES, "toybox", "", 1, ""))


def row(**seen):
    handles = {"fox": "<asset0>", "mug": "<asset1>", "dragon": "<asset2>"}
    known = {handles[name]: answer for name, answer in seen.items()}
    return {
        "seen": None if "dragon" in seen else known,
        "identity": dict.fromkeys(known, 0.5),
        "place": True,
    }


SCORES = {
    "scores": [
        *[row(fox="fox")] * 3, row(fox="mug"), *[row(mug="nothing")] * 3, row(mug="mug"), *[row(dragon="")] * 4,
        row(fox="fox", mug="fox", dragon=""),
    ]
}  # fmt: skip


def test_the_verdict_names_what_looks_right_and_what_could_not_be_judged():
    text = verdict(RUN, SCORES)
    assert "Looks right: fox. Not recognizable: mug. Not judged: dragon" in text
    assert "fox: recognized in 3 of 4 images · mug: recognized in 1 of 4 images" in text


def test_a_share_says_on_how_many_images_it_rests():
    assert judged_share(SCORES, "right") == " (8 of 12 images judged)"
    assert judged_share(SCORES, "together_right") == " (0 of 1 images judged)"
    assert judged_share(SCORES, "place") == judged_share(SCORES, "identity") == ""
