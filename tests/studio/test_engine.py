"""The expected time of a preset: by timed forward passes before the first run, then by the steps of earlier runs."""

import dataclasses
from pathlib import Path

import pytest
import torch

from breakascene.errors import UserError
from breakascene.studio import engine
from breakascene.studio.screens import extraction_job, presets
from breakascene.studio.strings import en
from breakascene.training.loop import extract
from breakascene.training.modes import PRESET_NAMES
from breakascene.training.settings import PRIOR_PROMPTS, PUBLIC_PRIOR_PROMPTS, preset


@pytest.fixture
def opened(tiny_folder, monkeypatch):
    for name in ("_loaded", "_forward_seconds", "_step_seconds"):
        monkeypatch.setattr(engine, name, {})
    assert [text for text, _ in presets.cards()] == ["\n".join(en.PRESETS[name]) for name in PRESET_NAMES]
    engine.open_models(tiny_folder)
    return engine.base()


def seconds_of(name):
    return engine.expected_seconds(engine.settings_of(name))


def test_each_preset_has_a_time_and_memory_before_the_first_run(opened):
    seconds = {name: seconds_of(name) for name in PRESET_NAMES}
    assert 0 < seconds["quick"] < seconds["light"] < seconds["paper"]
    for text, _ in presets.cards():
        name, what, takes = text.split("\n")
        assert takes.startswith("about") and " on this machine · " in takes and takes.endswith("GB of memory")


def test_the_steps_of_a_run_replace_the_estimate_of_their_kind(opened, scene):
    paper = seconds_of("paper")
    settings = dataclasses.replace(preset("quick", opened), steps=(1, 1), num_prior_images=2)
    seconds = {}
    for event in extract(scene, opened, settings):
        engine.record_step_time(settings, event)
        seconds[event.phase] = event.seconds
    for name in ("quick", "light"):  # as many subsets a step
        expected = sum(steps * seconds[phase] for phase, steps in enumerate(preset(name, opened).steps, 1))
        assert seconds_of(name) == pytest.approx(expected)
    assert seconds_of("paper") == paper


def test_a_shared_gpu_is_requested_for_the_seconds_that_the_work_takes(opened, scene, monkeypatch):
    quick, paper = engine.settings_of("quick"), dataclasses.replace(engine.settings_of("paper"), steps=(3000, 3000))
    assert engine.fits(paper)  # on a GPU of one's own
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    monkeypatch.setattr(engine, "_forward_seconds", {})  # nothing was timed there
    assert engine.fits(quick) and not engine.fits(paper)
    assert engine._extraction_lease(scene, quick, Path(), Path(), Path()) == engine.extraction_seconds(quick)
    assert engine._extraction_lease(scene, paper, Path(), Path(), Path(), True) == engine.MAX_SECONDS
    with monkeypatch.context() as changed:
        changed.setattr(opened, "family", "sd")
        assert engine.extraction_seconds(preset("quick", opened)) <= 30
    seconds = [engine._generation_lease(Path(), ["a"] * n, Path(), count=4, steps=20, seed=1) for n in (1, 4, 48)]
    assert engine.TRANSFER_SECONDS < seconds[0] < seconds[1] < seconds[2] == engine.MAX_SECONDS
    with pytest.raises(UserError, match="choose “Quick”, or fewer steps"):
        extraction_job.make_settings(scene, "paper", 3000, 3000, 0)
    for phase in (1, 2):  # a run has shown that it is slower
        engine._step_seconds[engine._step_kind(quick, phase)] = 100.0
    assert [en.PRESET_TOO_LONG in text for text, _ in presets.cards()][0]


def test_an_idle_gpu_generates_the_prior_images_of_all_presets(opened, monkeypatch):
    calls, missing = [], []

    def prior_latents(base, count, prompts, stop):
        calls.append((count, prompts))
        return None if prompts in missing else object()

    monkeypatch.setattr(engine, "prior_latents", prior_latents)
    assert engine.generate_prior_images(lambda: False) and not calls  # a CPU has clicks to answer
    monkeypatch.setattr(opened, "family", "sd")
    monkeypatch.setattr(type(opened), "device", torch.device("cuda"))
    assert engine.generate_prior_images(lambda: False)
    assert calls == [(32, PRIOR_PROMPTS), (96, PRIOR_PROMPTS), (100, PUBLIC_PRIOR_PROMPTS)]
    missing.append(PUBLIC_PRIOR_PROMPTS)
    assert not engine.generate_prior_images(lambda: True)  # interrupted by a job: called again after it
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    assert engine.generate_prior_images(lambda: False) and len(calls) == 6
