"""Kill extractions at random steps and resume them: python -m benchmarks.kills [--kills 20] [--seed 0]

Each is a process of the command line, `extract`, that gets SIGKILL while a checkpoint lies on disk. A new process goes
on with --resume, until it is killed too or ends. Every run must end in the same bytes as one that was never killed.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from safetensors import safe_open

from breakascene.training import checkpoint

START_SECONDS = 300  # for a process to load the models, on a busy machine
POLL_SECONDS = 0.01


def command(folder: Path, out: str, steps: str) -> list[str]:
    """The command line of an extraction in `folder`; it resumes if there is a checkpoint."""
    arguments = f"extract photo.png --mask ball.png:ball --mask mug.png:mug --base base --steps {steps} --out {out}"
    resume = ["--resume"] if checkpoint.path_for(folder / out).exists() else []
    return [sys.executable, "-m", "breakascene", *arguments.split(), *resume]


def start(folder: Path, out: str, steps: str) -> subprocess.Popen:
    environment = {**os.environ, "BREAKASCENE_CACHE": str(folder / "cache"), "PYTHONPATH": os.getcwd()}
    with open(folder / "log.txt", "a") as log:
        return subprocess.Popen(command(folder, out, steps), cwd=folder, env=environment, stdout=log, stderr=log)


def finish(folder: Path, out: str, steps: str) -> float:
    """Run an extraction to its end; return its seconds."""
    started = time.monotonic()
    if start(folder, out, steps).wait() != 0:
        raise SystemExit((folder / "log.txt").read_text())
    return time.monotonic() - started


def kill(folder: Path, out: str, steps: str, seconds: float) -> int | None:
    """Start an extraction and kill it `seconds` after its first step could be saved.

    Returns:
        The step of the checkpoint that was left, or None if the run had ended before.
    """
    path, log = checkpoint.path_for(folder / out), folder / "log.txt"
    said = log.read_text().count("Extracting") if log.exists() else 0
    process, deadline = start(folder, out, steps), time.monotonic() + START_SECONDS
    # "Extracting …" is printed when the models are there.
    while process.poll() is None and not (path.exists() and log.read_text().count("Extracting") > said):
        if time.monotonic() > deadline:
            raise SystemExit(f"No checkpoint after {START_SECONDS} s.")
        time.sleep(POLL_SECONDS)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
    process.wait()
    if process.returncode == 0:
        return None
    if process.returncode != -9 or not path.exists():
        raise SystemExit(f"Exit status {process.returncode}: {log.read_text()}")
    with safe_open(path, "pt") as file:
        return len(json.loads(file.metadata()["checkpoint"])["losses"])


def content(run: Path) -> dict[str, bytes]:
    """All files of a run folder."""
    return {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()}


def run(kills: int, seed: int, steps: str, folder: Path) -> tuple[list[int], int]:
    """Kill extractions `kills` times; return the steps of the checkpoints that were left, and the number of runs.

    Raises:
        SystemExit: If a run ends in other bytes, fails, or leaves files behind.
    """
    from benchmarks.fuzzing.inputs import save_base, scene
    from breakascene.data.scene import save_scene

    save_base(folder / "base")
    save_scene(scene(), folder / "scene")
    for name, source in {"photo.png": "img.png", "ball.png": "mask0.png", "mug.png": "mask1.png"}.items():
        shutil.copy(folder / "scene" / source, folder / name)
    finish(folder, "first", steps)  # fills the cache of prior images
    whole = finish(folder, "whole", steps)
    before = {path.name for path in folder.iterdir()}
    rng, left, ended = random.Random(seed), [], 0
    while len(left) < kills:
        step = kill(folder, f"run-{ended}", steps, rng.uniform(0, whole / 2))
        if step is None:
            ended += 1
        else:
            left.append(step)
    if checkpoint.path_for(folder / f"run-{ended}").exists():
        finish(folder, f"run-{ended}", steps)
        ended += 1
    expected = content(folder / "whole")
    for number in range(ended):
        if content(folder / f"run-{number}") != expected:
            raise SystemExit(f"Run {number} ended in other bytes than the one that was not killed.")
    if extra := {path.name for path in folder.iterdir()} - before - {f"run-{number}" for number in range(ended)}:
        raise SystemExit(f"Files were left: {', '.join(sorted(extra))}.")
    return left, ended


def main(
    kills: Annotated[int, typer.Option(min=1, help="Number of kills.")] = 20,
    seed: Annotated[int, typer.Option(help="Decides the moments of the kills.")] = 0,
    steps: Annotated[str, typer.Option(help="Steps of both phases; a checkpoint is written every 100.")] = "120,240",
):
    with tempfile.TemporaryDirectory() as folder:
        left, ended = run(kills, seed, steps, Path(folder))
    print(f"{len(left)} kills with checkpoints of the steps {', '.join(map(str, left))}.")
    print(f"{ended} runs ended in the same bytes as the one that was not killed.")


if __name__ == "__main__":
    typer.run(main)
