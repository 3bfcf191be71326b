"""What a preset is said to take: timed passes before the first run, then the steps as they were."""

import dataclasses

import pytest

from breakascene.extract import extract, preset
from breakascene.settings import PRESET_NAMES
from breakascene.studio import models


@pytest.fixture
def opened(tiny_folder, monkeypatch):
    for name in ("_loaded", "_forward", "_pace"):
        monkeypatch.setattr(models, name, {})
    assert all(models.expected_seconds(name) is None for name in PRESET_NAMES)
    models.open_models(tiny_folder)
    return models.base()


def test_each_preset_has_a_time_before_the_first_run(opened):
    seconds = {name: models.expected_seconds(name) for name in PRESET_NAMES}
    assert 0 < seconds["quick"] < seconds["light"] < seconds["paper"]


def test_steps_that_were_done_replace_the_guess_of_their_kind(opened, scene):
    paper = models.expected_seconds("paper")
    settings = dataclasses.replace(preset("quick", opened), steps=(1, 1), prior_count=2)
    paces = {}
    for event in extract(scene, opened, settings):
        models.note_pace(settings, event)
        paces[event.phase] = event.seconds
    for name in ("quick", "light"):  # as many subsets a step
        expected = sum(steps * paces[phase] for phase, steps in enumerate(preset(name, opened).steps, 1))
        assert models.expected_seconds(name) == pytest.approx(expected)
    assert models.expected_seconds("paper") == paper
