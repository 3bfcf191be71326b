"""A share of the fuzz cases, and that findings of every kind are noticed. The whole: python -m benchmarks.fuzz"""

import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import fuzz
from benchmarks.fuzzing import readers
from benchmarks.fuzzing.case import Case
from breakascene.errors import UserError


def test_no_findings():
    outcomes = fuzz.fuzz(cases=60, seed=1)
    assert fuzz.findings(outcomes) == []
    results = [outcome for target in outcomes.values() for _, outcome in target]
    kinds = Counter(outcome.kind for outcome in results)
    assert len(results) == 60 and min(kinds["accepted"], kinds["refused"]) > 5
    assert sum(outcome.first_check for outcome in results) > 30


def fail():
    raise ZeroDivisionError("a bug")


def refuse(text, file=None):
    def act():
        if file:
            Path(file).touch()
        raise UserError(text)

    return act


@pytest.mark.parametrize(
    "act, kind",
    [
        (fail, "traceback"),
        (refuse("Give another file."), "refused"),
        (refuse(""), "no sentence"),
        (refuse("Two\nlines"), "no sentence"),
        (refuse("Give another file.", "work/new"), "leftovers"),
        (lambda: Path("work/.new.part").touch(), "leftovers"),
        (lambda: Path("tmp/new").touch(), "leftovers"),
        (lambda: None, "accepted"),
    ],
)
def test_kinds_of_outcomes(tmp_path, monkeypatch, act, kind):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fuzz.tempfile, "tempdir", None)
    monkeypatch.setitem(readers.READERS, "test", lambda rng, inputs, folder: Case(act))
    assert fuzz.run_case("test", 0, 0, tmp_path, tmp_path).kind == kind


def test_a_crash_of_the_process_is_an_outcome(tmp_path):
    workshop = fuzz.Workshop(tmp_path)
    try:
        workshop.start()
        os.kill(workshop.process.pid, signal.SIGSEGV)
        outcome = workshop.run("settings", 0, 0)
        assert (outcome.kind, outcome.details) == ("crash", "exit status -11") and workshop.process is None
    finally:
        workshop.close()
