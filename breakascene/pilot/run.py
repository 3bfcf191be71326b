"""A pilot's run: the photos that are not done yet, one after another or on workers, and its progress."""

import hashlib
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, fields

from breakascene.errors import UserError
from breakascene.files import locked
from breakascene.pilot import review
from breakascene.pilot.photos import PlannedPhoto
from breakascene.pilot.plan import Plan
from breakascene.pilot.store import RESULT, Store
from breakascene.pilot.task import DONE, FAILED, Models, PhotoTask, Work, process

STATUS = "status.json"
PHOTOS = "photos"  # folder of the result folders
VERSION = 1  # of the result format: results of another version are made anew


@dataclass(frozen=True)
class Unit:
    """A photo with a preset: the unit of work, with a result folder of its own."""

    photo: PlannedPhoto
    preset: str
    key: str

    @property
    def folder(self) -> str:
        return f"{self.photo.id}/{self.preset}"


@dataclass(frozen=True)
class Progress:
    """The progress of a run.

    Args:
        done, failed: Photos of both kinds, with those of earlier runs.
        total: All photos, once for each preset.
        workers: Workers at present.
        seconds_left: None before the first photo is done.
        last: The latest result, or None before the first.
    """

    done: int
    failed: int
    total: int
    workers: int
    seconds_left: float | None
    last: dict | None = None

    @property
    def finished(self) -> bool:
        return self.done + self.failed == self.total


# Yields the files of each result folder with its task, and gives up at once when `stop` returns True
Executor = Callable[[Iterator[PhotoTask], Callable[[], bool]], Iterator[tuple[PhotoTask, dict[str, bytes]]]]


def sequential(
    base: str, load: Callable[[str], Models] = Models.load, between: Callable[[], None] = lambda: None
) -> Callable[[int], Executor]:
    """Return the executor, for a number of tasks, that processes one photo after another in this process.

    Args:
        base: As for load_base.
        load: Returns the models of a base.
        between: Called after each photo.
    """

    def execute(tasks: Iterator[PhotoTask], stop: Callable[[], bool]) -> Iterator[tuple[PhotoTask, dict[str, bytes]]]:
        models = load(base)
        for task in tasks:
            files = None if stop() else process(models, task, stop)
            if files is None:
                return
            yield task, files
            between()

    return lambda count: execute


def run(
    plan: Plan,
    store: Store,
    executor: Callable[[int], Executor],
    *,
    workers: int = 1,
    retry: bool = False,
    stop: Callable[[], bool] = lambda: False,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """Process the photos of a plan that have no result yet; each result is written as soon as it is there.

    Args:
        plan: The plan. A photo whose content, masks, prompts or other settings have changed is processed again.
        store: Where the results go.
        executor: Processes that number of photos, from `sequential` or workers.on_ray.
        workers: Their number, for the time that is left.
        retry: Process photos that failed in an earlier run again.
        stop: Once it returns True, the run ends; photos that are not finished are started anew by the next run.
        on_progress: Called at the start and after each photo.

    Raises:
        UserError: If the results cannot be written, or the models cannot be loaded.
    """
    store.require_writable()
    with locked(store.folder) if store.folder else nullcontext():
        reviewed = review.read_decisions(store)
        units = units_of(plan, reviewed)
        done, failed, left = 0, 0, []
        for unit in units:
            state = state_of(store, unit)
            if state == DONE or (state == FAILED and not retry):
                done, failed = done + (state == DONE), failed + (state == FAILED)
            else:
                left.append(unit)
        clock = _Clock(workers)
        progress = Progress(done, failed, len(units), workers, None)
        _write_status(store, plan, units, progress, "running")
        on_progress(progress)
        outcome = "stopped"
        try:
            if left:
                for task, files in executor(len(left))(_tasks(left, work_of(plan), reviewed), stop):
                    store.write_folder(f"{PHOTOS}/{task.folder}", files)
                    result = json.loads(files[RESULT])
                    done, failed = done + (result["state"] == DONE), failed + (result["state"] == FAILED)
                    seconds_left = clock.left(result, len(units) - done - failed)
                    progress = Progress(done, failed, len(units), workers, seconds_left, result)
                    _write_status(store, plan, units, progress, "running")
                    on_progress(progress)
            outcome = "finished" if progress.finished else "stopped"
        finally:
            with suppress(UserError):  # the disk may be full, which is reported already
                _write_status(store, plan, units, progress, outcome)
    return progress


def units_of(plan: Plan, reviewed: dict[str, review.Decision]) -> list[Unit]:
    """Return the units of work of a plan, each with the hash of everything that decides its result."""
    work = json.dumps(asdict(work_of(plan)), sort_keys=True)
    units = []
    for photo in plan.photos:
        decision = review.decision_for(photo, reviewed) if photo.masks is None else None
        content = photo.content_hash() + (decision.content_hash() if decision else "")
        for preset in plan.presets:
            key = hashlib.sha256(f"{VERSION} {content} {preset} {work}".encode()).hexdigest()[:32]
            units.append(Unit(photo, preset, key))
    return units


def work_of(plan: Plan) -> Work:
    """Return the part of the plan that decides the images."""
    return Work(**{field.name: getattr(plan, field.name) for field in fields(Work)})


def state_of(store: Store, unit: Unit) -> str | None:
    """Return whether a unit is DONE or FAILED, or None if it has no result or one of other settings."""
    result = store.read_json(f"{PHOTOS}/{unit.folder}/{RESULT}")
    return result.get("state") if result and result.get("key") == unit.key else None


def read_results(store: Store) -> list[dict]:
    """Return the results of the latest run's photos, in the order of the plan; those that are missing are left out.

    So are results of other settings, which an earlier run has left.

    Raises:
        UserError: If no pilot has run there.
    """
    status = read_status(store)
    folders = status["folders"]
    keys = status.get("keys", [None] * len(folders))  # an older run wrote none
    results = [(store.read_json(f"{PHOTOS}/{folder}/{RESULT}"), key) for folder, key in zip(folders, keys, strict=True)]
    return [result for result, key in results if result and key in (None, result.get("key"))]


def read_status(store: Store) -> dict:
    """Return the state of the latest run: state, done, failed, total, workers, seconds_left, time, folders, keys.

    Raises:
        UserError: If no pilot has run there.
    """
    status = store.read_json(STATUS)
    if not status or "folders" not in status:
        raise UserError(f"{store.address} has no pilot: give the folder that pilot run wrote with --out.")
    return status


def _tasks(units: list[Unit], work: Work, reviewed: dict[str, review.Decision]) -> Iterator[PhotoTask]:
    """Read the photos one by one, as workers ask for them; one that cannot be read becomes a task that fails."""
    for unit in units:
        photo, masks, source, error = None, None, "given", ""
        try:
            photo, masks = unit.photo.read()
            if masks is None:
                source = "automatic"
                if decision := review.decision_for(unit.photo, reviewed):
                    source, masks = "reviewed", decision.masks(photo.size)
        except UserError as reason:
            error = str(reason)
        yield PhotoTask(unit.folder, photo, masks, source, unit.preset, unit.key, work, unit.photo.consent, error)


class _Clock:
    """Estimates the time that is left from the seconds of the photos of this run."""

    def __init__(self, workers: int):
        self._workers, self._seconds = workers, []

    def left(self, result: dict, photos: int) -> float | None:
        if result["state"] == DONE:
            self._seconds.append(result["seconds"]["total"])
        return statistics.mean(self._seconds[-20:]) * photos / self._workers if self._seconds else None


def _write_status(store: Store, plan: Plan, units: list[Unit], progress: Progress, state: str) -> None:
    values = {
        "name": plan.name, "state": state, "done": progress.done, "failed": progress.failed, "total": progress.total,
        "workers": progress.workers, "seconds_left": progress.seconds_left, "time": time.time(),
        "folders": [unit.folder for unit in units], "keys": [unit.key for unit in units],
    }  # fmt: skip
    store.write_file(STATUS, json.dumps(values, indent=1).encode())
