"""A run that runs out of memory resumes in a mode that needs less."""

import itertools
import random

import pytest
import torch
from helpers.models import assert_same_base, weights_of
from helpers.runs import assert_same, short

from breakascene.errors import UserError, is_out_of_memory
from breakascene.training import checkpoint, memory, optim
from breakascene.training.loop import exhaust, extract, run_extraction
from breakascene.training.modes import MEMORY_MODES

FAST, LEAN, LEAST = MEMORY_MODES
KINDS = ("light", "paper")


def run_out_of_memory(base, monkeypatch, at, in_all_modes=False):
    """Let the UNet run out of memory from step `at` (from 0) on: in mode fast, or in all modes."""
    steps, forward = itertools.count(), base.unet.forward

    def fails(*args, **kwargs):
        if torch.is_grad_enabled() and (in_all_modes or not base.unet.is_gradient_checkpointing) and next(steps) >= at:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return forward(*args, **kwargs)

    monkeypatch.setattr(base.unet, "forward", fails)


@pytest.fixture
def no_eight_bit(monkeypatch):
    monkeypatch.setattr(optim, "has_bitsandbytes", lambda: False)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(("seed", "saved"), [(0, True), (1, False), (2, True)])
def test_memory_that_runs_out_at_a_random_step_changes_nothing(
    tiny_base, scene, full_runs, tmp_path, monkeypatch, name, seed, saved
):
    before, at = weights_of(tiny_base), random.Random(seed).randrange(6)
    run_out_of_memory(tiny_base, monkeypatch, at)
    events, out = [], tmp_path / "run" if saved else None
    work = extract(scene, tiny_base, short(tiny_base, name), out, memory="fast", save_every=2)
    concepts = exhaust(work, events.append)
    assert_same(concepts, full_runs[name])
    assert [event.step for event in events] == [1, 2, 3, 4, 5, 6]  # no step is repeated
    assert [event.memory.mode for event in events] == [FAST] * at + [LEAN] * (6 - at)
    assert "Memory ran out with fast; resuming with lean" in str(events[-1].memory) and concepts.memory == "lean"
    assert not checkpoint.path_for(tmp_path / "run").exists()
    monkeypatch.undo()
    assert_same_base(tiny_base, before)


@pytest.mark.parametrize("saved", [True, False])
def test_memory_that_runs_out_during_an_update_costs_the_steps_since_the_last_checkpoint(
    tiny_base, scene, full_runs, tmp_path, monkeypatch, saved
):
    step, calls = torch.optim.AdamW.step, itertools.count()

    def fails(self, *args):
        result = step(self, *args)
        if next(calls) == 4:
            raise MemoryError  # which weights were updated is unknown
        return result

    monkeypatch.setattr(torch.optim.AdamW, "step", fails)
    events, out = [], tmp_path / "run" if saved else None
    work = extract(scene, tiny_base, short(tiny_base), out, memory="fast", save_every=3)
    assert_same(exhaust(work, events.append), full_runs["light"])
    assert [event.step for event in events] == [1, 2, 3, 4, *((4, 5, 6) if saved else range(1, 7))]


def test_memory_that_runs_out_during_a_preview_costs_no_step(tiny_base, scene, full_runs, monkeypatch):
    decode, calls = tiny_base.vae.decode, itertools.count()

    def fails(*args, **kwargs):
        if next(calls) == 3:  # the first image of the second preview: there are three handles
            raise torch.OutOfMemoryError("CUDA out of memory")
        return decode(*args, **kwargs)

    monkeypatch.setattr(tiny_base.vae, "decode", fails)
    events = []
    work = extract(scene, tiny_base, short(tiny_base), memory="fast", preview_every=2)
    assert_same(exhaust(work, events.append), full_runs["light"])
    assert [event.step for event in events] == [1, 2, 3, 5, 6] and events[-1].previews


@pytest.mark.parametrize("name", KINDS)
def test_memory_that_runs_out_after_the_last_step_costs_nothing(tiny_base, scene, full_runs, monkeypatch, name):
    def fails(*_):
        monkeypatch.undo()
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("breakascene.training.events.draw_previews", fails)
    concepts = run_extraction(scene, tiny_base, short(tiny_base, name), memory="fast", preview_every=6)
    assert_same(concepts, full_runs[name])
    assert concepts.memory == "lean"


def test_memory_that_runs_out_in_every_mode_is_reported_and_the_run_can_be_resumed(
    tiny_base, scene, full_runs, tmp_path, monkeypatch, no_eight_bit
):
    before, out = weights_of(tiny_base), tmp_path / "run"
    run_out_of_memory(tiny_base, monkeypatch, 4, in_all_modes=True)
    with pytest.raises(UserError, match="install bitsandbytes"):
        run_extraction(scene, tiny_base, short(tiny_base), out)
    monkeypatch.setattr(optim, "has_bitsandbytes", lambda: True)
    with pytest.raises(UserError, match="in the most economical mode too"):
        memory.next_plan(memory.MemoryPlan(LEAST, 0, 0), tiny_base, short(tiny_base))
    monkeypatch.undo()
    assert_same_base(tiny_base, before)
    assert_same(run_extraction(scene, tiny_base, short(tiny_base), out, resume=True), full_runs["light"])


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), True),
        (MemoryError(), True),
        (RuntimeError("shapes do not match"), False),
    ],
)
def test_out_of_memory_errors_are_recognized(error, expected):
    assert is_out_of_memory(error) == expected


def test_other_errors_are_not_taken_for_out_of_memory(tiny_base, scene, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(tiny_base.unet, "forward", fails)
    with pytest.raises(RuntimeError, match="shapes"):
        run_extraction(scene, tiny_base, short(tiny_base))


def test_the_studio_says_that_memory_ran_out(tiny_base, scene, monkeypatch):
    from breakascene.studio import strings
    from breakascene.studio.jobs import RUNNING, Job
    from breakascene.studio.screens.extract import describe
    from breakascene.studio.screens.extraction_job import ExtractionDetails

    run_out_of_memory(tiny_base, monkeypatch, 1)
    events = list(extract(scene, tiny_base, short(tiny_base, steps=(3, 0)), memory="fast"))
    for event in events[:-1]:  # after the last step, the screen tells of the comparison that follows
        job = Job("id", "owner", "extract", None, None, None, None, RUNNING, events=[event])
        job.details = ExtractionDetails({}, None, short(tiny_base), None)
        assert (strings.MEMORY_MODE_CHANGED in describe(job)) == (event.step > 1)
