"""Processes of their own: interrupted, on a full disk, and two that write to one library."""

import re
import signal

from helpers.files import listing
from helpers.processes import Process, run_command
from helpers.runs import short
from typer.testing import CliRunner

from breakascene.cli.app import app
from breakascene.generation.library import Library, clean_details
from breakascene.models.concepts import Concepts
from breakascene.training.loop import run_extraction


def call(*arguments: str) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output + repr(result.exception)


def test_interrupt_keeps_the_progress_and_resume_continues(files, tiny_folder):
    masks = ["--mask", f"{files / 'ball.png'}:ball", "--mask", f"{files / 'mug.png'}:mug"]
    arguments = ["extract", str(files / "photo.png"), *masks, "--base", str(tiny_folder), "--steps", "80,0", "--out"]
    process, output = Process(run_command, *arguments, str(files / "run"), cwd=files), ""
    while "step 50 of 80" not in output:
        output += process.stdout.readline()
        assert process.poll() is None, output
    process.send_signal(signal.SIGINT)
    output += process.stdout.read()
    assert process.wait() == 0
    stopped = Concepts.load(files / "run")
    assert 50 <= stopped.steps < 80 and f"Stopped after {stopped.steps} of 80 steps" in output
    assert re.findall(r"step (\d+) of", output) == [str(n) for n in range(50, stopped.steps + 1, 50)]

    call(*arguments, str(files / "run"), "--resume")
    resumed = Concepts.load(files / "run")
    assert resumed.steps == 80 and resumed.losses[: stopped.steps] == stopped.losses
    call(*arguments, str(files / "whole"))
    assert Concepts.load(files / "whole").losses == resumed.losses


def test_a_full_disk(files, tiny_folder):
    before = listing(files)
    arguments = "extract photo.png --mask ball.png --steps 1,0 --out new/run --base".split()
    process = Process(run_command, *arguments, str(tiny_folder), cwd=files, file_size=2000)
    error = process.stderr.read()
    assert process.wait() == 2 and error.count("\n") == 1, error
    assert "free some space" in error
    assert listing(files) == before


def add_five_times(folder, run, name):
    for i in range(5):
        Library(folder).add(run, clean_details(f"{name}{i}", [name]))


def test_two_processes_write_to_one_library(tiny_base, scene, tmp_path):
    run_extraction(scene, tiny_base, short(tiny_base, steps=(1, 1), prior_loss_weight=0.0), tmp_path / "run")
    folder = tmp_path / "library"
    processes = [Process(add_five_times, folder, tmp_path / "run", name, cwd=tmp_path) for name in ("one", "two")]
    assert [process.wait() for process in processes] == [0, 0]
    (entry,) = Library(folder).entries()
    assert entry.name in ("one4", "two4")
    assert {path.name for path in folder.iterdir()} == {entry.id, f"{entry.id}.json"}
