"""Throughput of the pilot's workers: python -m benchmarks.pilot speedup | simulate

`speedup` runs the same photos with one worker on one core and with two workers on two, report included. `simulate`
runs workers on resources that Ray takes for granted: their tasks sleep for a share of the times of a real run, so
that the program that hands out photos and writes results is measured with more workers than this machine has cores.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Annotated

import psutil
import typer

MEASURED = Path(__file__).parent / "results" / "pilot" / "seconds.json"  # of the photos of a real run
BAR = 0.95  # least share of k times the throughput of one worker
RESULT_BYTES = 7_000_000  # of the files of a photo
app = typer.Typer(add_completion=False)


@app.command()
def speedup(
    photos: Annotated[int, typer.Option(min=2, help="Number of rendered photos.")] = 40,
    steps: Annotated[tuple[int, int], typer.Option(help="Steps of the two phases.")] = (4, 16),
) -> None:
    """Time one worker on one core and two workers on two cores, and print what takes which time."""
    from breakascene.toybox.pretraining.pilot_photos import write_pilot_photos

    with tempfile.TemporaryDirectory(prefix="breakascene-pilot-") as folder:
        plan = Path(folder, "pilot", "plan.yaml")
        write_pilot_photos(plan.parent, photos)
        plan.write_text(plan.read_text(encoding="utf-8") + f"steps: {list(steps)}\n", encoding="utf-8")
        one, two = (time_run(plan, Path(folder, f"results-{k}"), k) for k in (1, 2))
    head = ("workers", "seconds", "CPU seconds of photos", "of the rest", "on idle cores at most", "load")
    print(f"| {' | '.join(head)} |", "|---" * len(head) + "|", sep="\n")
    for run in (one, two):
        values = (run.wall, run.work, run.rest, run.alone, run.load)
        print(f"| {run.workers} | " + " | ".join(f"{value:.0f}" for value in values) + " |")
    print(f"two workers take {two.wall / one.wall:.2f} of the time of one, on idle cores {two.alone / one.alone:.2f}")


@dataclass(frozen=True)
class Run:
    """The times of a run with its report, in seconds.

    Args:
        workers: Their number.
        wall: Of the whole run.
        cpu: Of all its processes.
        photos: CPU time of each photo, in the order in which they were begun.
        load: The machine's mean load in the last minute.
    """

    workers: int
    wall: float
    cpu: float
    photos: Sequence[float]
    load: float

    @property
    def work(self) -> float:
        return sum(self.photos)

    @property
    def rest(self) -> float:
        """CPU time of what is not the work on photos: starting, loading the models, the report."""
        return max(0.0, self.cpu - self.work)

    @property
    def alone(self) -> float:
        """An estimate for idle cores, too high, as if workers loaded their models one after another."""
        return self.rest + makespan(self.photos, self.workers)


def makespan(seconds: Sequence[float], workers: int) -> float:
    """Return when the last task ends, if each goes to the worker that is free first."""
    free = [0.0] * workers
    for one in seconds:
        free[free.index(min(free))] += one
    return max(free)


def time_run(plan: Path, out: Path, workers: int) -> Run:
    """Run the pilot's commands on as many cores as workers."""
    cores = sorted(os.sched_getaffinity(0))[:workers]
    if len(cores) < workers:
        raise SystemExit(f"This takes {workers} cores.")
    started, cpu = time.monotonic(), 0.0
    for command in (["run", plan, "--workers", str(workers)], ["report", plan]):
        arguments = [sys.executable, "-m", "breakascene", "pilot", *command, "--out", out]
        cpu += cpu_seconds(psutil.Popen(arguments, preexec_fn=lambda: os.sched_setaffinity(0, cores)))
    wall = time.monotonic() - started
    results = [json.loads(path.read_text()) for path in sorted(out.glob("photos/*/*/result.json"))]
    return Run(workers, wall, cpu, [one["seconds"]["cpu"] for one in results], os.getloadavg()[0])


def cpu_seconds(process: psutil.Popen) -> float:
    """Wait for a process, and return the CPU time of it and of all processes that it has started."""
    seconds: dict[int, float] = {}
    while process.poll() is None:
        with suppress(psutil.Error):
            for one in (process, *process.children(recursive=True)):
                with suppress(psutil.Error):
                    times = one.cpu_times()
                    seconds[one.pid] = times.user + times.system
        time.sleep(0.2)
    if process.returncode:
        raise SystemExit(process.returncode)
    return sum(seconds.values())


@dataclass(frozen=True)
class SimulatedTask:
    """A photo whose work is to wait, with a result of this size."""

    folder: str
    seconds: float
    size: int


class SimulatedWorker:
    """As pilot.workers.Worker, with `base` as the folder in which workers wait for each other before they begin."""

    def __init__(self, base: str):
        self._folder, _, count = base.rpartition(":")
        self._count = int(count)

    def load(self) -> str:
        Path(self._folder, str(os.getpid())).touch()
        while len(os.listdir(self._folder)) < self._count:
            time.sleep(0.2)
        return "simulated"

    def process(self, task: SimulatedTask) -> dict[str, bytes]:
        started = time.time()
        time.sleep(task.seconds)
        times = {"worker": os.getpid(), "started": started, "ended": time.time()}
        return {"images/1.png": bytes(task.size), "result.json": json.dumps(times).encode()}


@app.command()
def simulate(
    workers: Annotated[int, typer.Option(min=1, help="The most workers.")] = 64,
    scale: Annotated[
        float, typer.Option(min=0.001, max=1, help="Seconds and bytes of a task for each measured one.")
    ] = 0.1,
    photos: Annotated[int, typer.Option(min=2, help="Photos for each worker.")] = 12,
) -> None:
    """Print the throughput of 1, 2, 4, … workers, and its share of k times that of a worker which never waits."""
    measured = json.loads(MEASURED.read_text())["seconds"]
    print(f"| workers | photos an hour | share of k times one | at least {BAR} |", "|---" * 4 + "|", sep="\n")
    count = 1
    while count <= workers:
        seconds = [scale * measured[i % len(measured)] for i in range(count * photos)]
        share = utilization(simulated_times(count, seconds, round(scale * RESULT_BYTES)))
        hourly = 3600 * count * share / mean(measured)
        print(f"| {count} | {hourly:.0f} | {share:.3f} | {'yes' if share >= BAR else 'no'} |", flush=True)
        count *= 2


def simulated_times(workers: int, seconds: Sequence[float], size: int) -> list[dict]:
    """Run tasks of these lengths on simulated workers, with results on the disk; return when each began and ended."""
    from breakascene.pilot.store import Store
    from breakascene.pilot.workers import Cluster, connected, on_ray

    with tempfile.TemporaryDirectory(prefix="breakascene-pilot-") as folder, connected(workers=workers):
        ready, store, found = Path(folder, "ready"), Store(Path(folder, "results")), []
        ready.mkdir()
        executor = on_ray(f"{ready}:{workers}", Cluster(workers, 1, 0), SimulatedWorker)(len(seconds))
        tasks = (SimulatedTask(f"{i:04d}/quick", one, size) for i, one in enumerate(seconds))
        for task, files in executor(tasks, lambda: False):
            store.write_folder(task.folder, files)
            found.append(json.loads(files["result.json"]))
    return found


def utilization(times: Sequence[dict]) -> float:
    """Return the share of their time in which workers work, from when all have begun until the first has no more."""
    workers = {one["worker"] for one in times}
    own = {worker: [one for one in times if one["worker"] == worker] for worker in workers}
    begin = max(min(one["started"] for one in tasks) for tasks in own.values())
    end = min(max(one["ended"] for one in tasks) for tasks in own.values())
    busy = sum(max(0.0, min(one["ended"], end) - max(one["started"], begin)) for one in times)
    return busy / (len(workers) * (end - begin))


@app.command()
def calibrate(results: Annotated[Path, typer.Argument(help="Results of a run on photos of the toybox.")]) -> None:
    """Find the threshold of prompt similarity that tells prompts that images follow from prompts for another place.

    Only images count in which the judge recognizes the place and all objects of their prompt.
    """
    import numpy as np
    from PIL import Image

    from breakascene.evaluation.judges import load_feature_extractor
    from breakascene.pilot.calibration import best_thresholds
    from breakascene.pilot.summary import DEFAULT_LIMITS
    from breakascene.toybox.vocabulary import PLACES

    judge, rows = load_feature_extractor("toybox"), []  # photo, similarity, whether it is the image's own prompt
    for file in sorted(results.glob("photos/*/*/result.json")):
        result = json.loads(file.read_text())
        names = {one["handle"]: one["name"] for one in result["objects"]}
        for row in result.get("images", []):
            recognized = row["seen"] and all(names[handle] == name for handle, name in row["seen"].items())
            if not (row["place"] and recognized):
                continue
            place = next(place for place in PLACES if row["prompt"].endswith(place))
            texts = [row["prompt"].removesuffix(place) + other for other in (place, *(p for p in PLACES if p != place))]
            for handle, name in names.items():
                texts = [text.replace(handle, name) for text in texts]
            with Image.open(file.parent / row["file"]) as image:
                similarities = judge.encode_images([image]) @ judge.encode_texts(texts).T  # (1, places)
            rows += [(result["photo"], value, i == 0) for i, value in enumerate(similarities[0].tolist())]
    photos, own = np.array([row[0] for row in rows]), np.array([row[2] for row in rows])
    values = np.array([row[1] for row in rows])[:, None]
    folds = [photos == photo for photo in np.unique(photos)]
    left_out = sum(
        ((values[fold, 0] >= best_thresholds(values[~fold], own[~fold])) == own[fold]).sum() for fold in folds
    )
    print(f"{own.sum()} images of {len(folds)} photos, {(~own).sum()} prompts for another place")
    for name, one in (("own prompt", values[own]), ("another place", values[~own])):
        print(f"{name}: {one.min():.3f} to {one.max():.3f}, median {np.median(one):.3f}")
    for name, threshold in (
        ("fitted", best_thresholds(values, own)[0]),
        ("in use", DEFAULT_LIMITS["toybox"]["prompt"]),
    ):
        passed = values[:, 0] >= threshold
        print(
            f"{name}, {threshold}: passes {passed[own].mean():.1%} of the own, {passed[~own].mean():.1%} of the others"
        )
    print(f"judged right with the photo left out of the fit: {left_out / len(rows):.1%}")


if __name__ == "__main__":
    app()
