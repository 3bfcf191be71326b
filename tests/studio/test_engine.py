"""The expected time of a preset: by timed forward passes before the first run, then by the steps of earlier runs."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from breakascene.errors import UserError
from breakascene.studio import engine, timing
from breakascene.studio.screens import extraction_job, presets
from breakascene.studio.strings import en
from breakascene.studio.timing import RunTimer, Times
from breakascene.training.modes import PRESET_NAMES
from breakascene.training.settings import PRIOR_PROMPTS, PUBLIC_PRIOR_PROMPTS, preset


@pytest.fixture
def opened(tiny_folder, monkeypatch, tmp_path):
    monkeypatch.setenv("BREAKASCENE_CACHE", str(tmp_path))
    monkeypatch.setattr(engine, "_loaded", {})
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


def run_of(settings, objects, step_seconds, other_seconds):
    """A run that took so long, outside the steps too."""
    timer = RunTimer(settings, objects, {p: [step_seconds] * n for p, n in enumerate(settings.steps, 1)})
    timer.other_seconds = other_seconds
    return timer


def test_after_a_run_the_expected_time_is_what_it_took(opened):
    quick, paper = engine.settings_of("quick"), seconds_of("paper")
    engine.record_run(run_of(quick, 3, step_seconds=0.5, other_seconds=12.0))
    assert engine.expected_seconds(quick, 3) == pytest.approx(0.5 * quick.total + 12)
    assert engine.expected_seconds(quick, 1) == pytest.approx(0.5 * quick.total + 4)
    assert seconds_of("light") == pytest.approx(0.5 * engine.settings_of("light").total + 8)  # as many subsets a step
    assert seconds_of("paper") != paper  # only the time outside its steps is known better
    engine.open_models(opened.name)  # a studio started anew
    assert engine.expected_seconds(quick, 3) == pytest.approx(0.5 * quick.total + 12)
    engine.record_run(run_of(quick, 1, step_seconds=0.7, other_seconds=4.0))
    assert engine.expected_seconds(quick, 1) == pytest.approx(0.6 * quick.total + 4)


def test_a_run_is_timed_without_the_prior_images_that_only_the_first_one_generates(opened, scene, monkeypatch):
    settings = dataclasses.replace(preset("quick", opened), steps=(2, 2), num_prior_images=2)
    clock = iter([0.0, 2.0, 3.0, 20.0, 21.0, 30.0])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    timer = RunTimer(settings, 2)
    for phase in (1, 1, 2, 2):
        timer.add(SimpleNamespace(phase=phase, seconds=1.0))
    timer.finish()
    assert timer.complete and timer.between_phases == 16 and timer.other_seconds == 30 - 4 - 16


@pytest.mark.parametrize("entered", [None, 0, -5, 2.7, 1e30])
def test_any_seed_that_is_entered_can_be_used(opened, scene, entered):
    seed = extraction_job.make_settings(scene, "quick", None, None, entered).seed
    assert 0 <= seed < 2**31 and seed == abs(int(entered or 0)) % 2**31


def test_a_shared_gpu_is_requested_for_the_seconds_that_the_work_takes(opened, scene, monkeypatch):
    quick, paper = engine.settings_of("quick"), dataclasses.replace(engine.settings_of("paper"), steps=(3000, 3000))
    assert engine.fits(paper)  # on a GPU of one's own
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    monkeypatch.setitem(engine._loaded, "times", Times())  # nothing was timed there
    assert engine.fits(quick) and not engine.fits(paper)
    assert engine._extraction_lease(scene, quick, Path(), Path(), Path()) == engine.extraction_seconds(quick)
    assert engine._extraction_lease(scene, paper, Path(), Path(), Path(), True) == engine.MAX_SECONDS
    with monkeypatch.context() as changed:
        changed.setattr(opened, "family", "sd")
        assert engine.extraction_seconds(preset("quick", opened)) <= 30
    seconds = [engine._generation_lease(Path(), ["a"] * n, Path(), count=4, steps=20, seed=1) for n in (1, 4, 48)]
    assert engine.TRANSFER_SECONDS < seconds[0] < seconds[1] < seconds[2] == engine.MAX_SECONDS
    upscaled = engine._generation_lease(Path(), ["a"], Path(), count=4, steps=20, seed=1, upscale=True)
    assert upscaled - engine.TRANSFER_SECONDS >= 2 * (seconds[0] - engine.TRANSFER_SECONDS)  # some tiles for each image
    with pytest.raises(UserError, match="choose “Quick”, or fewer steps"):
        extraction_job.make_settings(scene, "paper", 3000, 3000, 0)
    engine.record_run(run_of(quick, 1, step_seconds=100.0, other_seconds=1.0))  # a run has shown that it is slower
    assert all(en.PRESET_TOO_LONG in text for text, _ in presets.cards()[:2])


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
    assert calls == [(96, PRIOR_PROMPTS), (32, PRIOR_PROMPTS), (100, PUBLIC_PRIOR_PROMPTS)]
    missing.append(PUBLIC_PRIOR_PROMPTS)
    assert not engine.generate_prior_images(lambda: True)  # interrupted by a job: called again after it
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    assert engine.generate_prior_images(lambda: False) and len(calls) == 6
