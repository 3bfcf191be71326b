"""Kill extractions at random steps and resume them: python -m benchmarks.kills [--kills 20] [--seed 0]

Each is a process of the command line, `extract`, that gets SIGKILL while a checkpoint lies on disk. A new process goes
on with --resume, until it is killed too or ends. Every run must end in the same bytes as one that was never killed.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from safetensors import safe_open

from benchmarks.fuzzing.inputs import save_base, scene
from breakascene.data.scene import save_scene
from breakascene.training import checkpoint

ROOT = Path(__file__).resolve().parents[1]
SAVE_EVERY = 100  # steps between two checkpoints, as `extract` has it
START_SECONDS = 300  # for a process to load the models, on a busy machine
POLL_SECONDS = 0.01


@dataclass(frozen=True)
class Extractions:
    """Runs of the same photo, masks, base and settings in one folder."""

    folder: Path
    steps: str  # of both phases

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    def prepare(self) -> None:
        """Write a base with random weights, a photo and two masks."""
        save_base(self.folder / "base")
        save_scene(scene(), self.folder / "scene")
        for name, source in {"photo.png": "img.png", "ball.png": "mask0.png", "mug.png": "mask1.png"}.items():
            shutil.copy(self.folder / "scene" / source, self.folder / name)
        self.log.touch()

    def start(self, out: str) -> subprocess.Popen:
        """Start an extraction, which resumes if there is a checkpoint, and wait until its models are loaded."""
        arguments = f"photo.png --mask ball.png:ball --mask mug.png:mug --base base --steps {self.steps} --out {out}"
        resume = ["--resume"] if checkpoint.path_for(self.folder / out).exists() else []
        environment = {**os.environ, "BREAKASCENE_CACHE": str(self.folder / "cache"), "PYTHONPATH": str(ROOT)}
        said, deadline = self.log.read_text().count("Extracting"), time.monotonic() + START_SECONDS
        with open(self.log, "a") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "breakascene", "extract", *arguments.split(), *resume],
                cwd=self.folder, env=environment, stdout=log, stderr=log,
            )  # fmt: skip
        while process.poll() is None and self.log.read_text().count("Extracting") == said:
            if time.monotonic() > deadline:
                process.kill()
                raise SystemExit(f"The extraction did not start within {START_SECONDS} s.")
            time.sleep(POLL_SECONDS)
        return process

    def finish(self, out: str) -> float:
        """Run an extraction to its end; return its seconds without those for the models."""
        process, started = self.start(out), time.monotonic()
        if process.wait() != 0:
            raise SystemExit(self.log.read_text())
        return time.monotonic() - started

    def kill(self, out: str, seconds: float) -> int | None:
        """Start an extraction and kill it `seconds` after the first moment at which steps are saved on disk.

        Returns:
            The step of the checkpoint that was left, or None if the run had ended before.
        """
        path, process = checkpoint.path_for(self.folder / out), self.start(out)
        while process.poll() is None and not saved_steps(path):
            time.sleep(POLL_SECONDS)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.returncode == 0:
            return None
        if process.returncode != -signal.SIGKILL:
            raise SystemExit(f"Exit status {process.returncode}: {self.log.read_text()}")
        return saved_steps(path) or None  # None: the run was done, but its process had not ended yet

    def content(self, out: str) -> dict[str, bytes]:
        """All files of a run."""
        run = self.folder / out
        return {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()}


def saved_steps(path: Path) -> int:
    """Return the steps of a checkpoint, 0 if there is none."""
    try:
        with safe_open(path, "pt") as file:
            return len(json.loads(file.metadata()["checkpoint"])["losses"])
    except FileNotFoundError:
        return 0


def run(kills: int, seed: int, steps: str, folder: Path) -> tuple[list[int], int]:
    """Kill extractions `kills` times; return the steps of the checkpoints that were left, and the number of runs.

    Raises:
        SystemExit: If a run fails, ends in other bytes than one that was not killed, or leaves files behind.
    """
    extractions = Extractions(folder, steps)
    extractions.prepare()
    total = sum(map(int, steps.split(",")))
    seconds = extractions.finish("whole") * (total - SAVE_EVERY) / total  # of the steps after the first checkpoint
    before = {path.name for path in folder.iterdir()}
    rng, left, runs, killed = random.Random(seed), [], [], True
    while len(left) < kills:
        if not killed or not runs:
            runs.append(f"run-{len(runs)}")
        step = extractions.kill(runs[-1], rng.uniform(0, seconds))
        killed = step is not None
        left += [step] if killed else []
    extractions.finish(runs[-1])
    expected = extractions.content("whole")
    for name in runs:
        if extractions.content(name) != expected:
            raise SystemExit(f"{name} ended in other bytes than the run that was not killed.")
    if extra := {path.name for path in folder.iterdir()} - before - set(runs):
        raise SystemExit(f"Files were left: {', '.join(sorted(extra))}.")
    return left, len(runs)


def main(
    kills: Annotated[int, typer.Option(min=1, help="Number of kills.")] = 20,
    seed: Annotated[int, typer.Option(help="Decides the moments of the kills.")] = 0,
    steps: Annotated[str, typer.Option(help="Steps of both phases; a checkpoint is written every 100.")] = "100,150",
):
    with tempfile.TemporaryDirectory(prefix="breakascene-kills-") as folder:
        left, runs = run(kills, seed, steps, Path(folder).resolve())
    print(f"{len(left)} kills left checkpoints of the steps {', '.join(map(str, left))}.")
    print(f"{runs} runs ended in the same bytes as the one that was not killed.")


if __name__ == "__main__":
    typer.run(main)
