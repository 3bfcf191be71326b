"""Workers on Ray: each holds the models and takes photo after photo; the photo of a lost worker goes to another."""

import json
import logging
import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import psutil

from breakascene.errors import UserError
from breakascene.pilot.run import Executor
from breakascene.pilot.store import RESULT
from breakascene.pilot.task import Models, PhotoTask, failure, process

POLL_SECONDS = 0.5  # between two looks at `stop`
MAX_LOSSES = 2  # of workers by one photo, before it is taken for the cause
MAX_FAILED_STARTS = 3  # of workers in a row, before the run ends
WORKER_BYTES = 3 * 2**30  # memory that a worker may need
OBJECT_STORE_BYTES = 512 * 2**20  # photos on their way to local workers, results on their way back
INSTALL = "pip install 'breakascene[pilot]'"


class Worker:
    """Holds the models of a base and processes photos; Ray runs it in a process of its own."""

    def __init__(self, base: str):
        self._base, self._models = base, None

    def load(self) -> str:
        """Load the models; an error reaches the caller as it is, which one in __init__ would not."""
        self._models = Models.load(self._base)
        return str(self._models.base.device)

    def process(self, task: PhotoTask) -> dict[str, bytes]:
        return process(self._models, task)


def is_installed() -> bool:
    """Return whether Ray is installed."""
    return find_spec("ray") is not None


@dataclass(frozen=True)
class Cluster:
    """Where workers run.

    Args:
        workers: Their number.
        cores: CPU cores of each.
        gpus: GPUs of each, 0 or 1.
    """

    workers: int
    cores: int
    gpus: int


@contextmanager
def connected(address: str = "", workers: int = 0) -> Iterator[Cluster]:
    """Connect to a cluster, or start Ray on this machine, for the duration of a block.

    Args:
        address: Of a cluster, such as "auto" or "ray://HOST:10001"; "" for this machine.
        workers: By default one for each GPU or, where there is none, for each CPU core; on this machine as many as its
            memory allows.

    Raises:
        UserError: If Ray is not installed, the cluster does not answer, or it has no room for that many workers.
    """
    if not is_installed():
        raise UserError(f"Several workers need Ray, which is not installed: run {INSTALL}, or leave out --workers.")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no statistics to Ray's makers
    import ray

    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        if address:
            ray.init(address, **quiet)
        else:
            places = {"num_cpus": max(cores, workers), "object_store_memory": OBJECT_STORE_BYTES}
            ray.init("local", include_dashboard=False, **places, **quiet)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        where = f"The cluster at {address}" if address else "Ray on this machine"
        raise UserError(f"{where} cannot be reached: check that it runs, with the same version of Ray.") from error
    try:
        room = ray.cluster_resources()
        gpus, cpus = int(room.get("GPU", 0)), int(room.get("CPU", 0))
        most = gpus or cpus
        if workers > most:
            raise UserError(f"There is room for {most} worker{'s' * (most != 1)}: give --workers {most} or fewer.")
        if not workers:
            by_memory = most if address else psutil.virtual_memory().available // WORKER_BYTES
            workers = max(1, min(most, by_memory))
        yield Cluster(workers, 1 if address else max(1, cores // workers), min(gpus, 1))
    finally:
        ray.shutdown()


def on_ray(base: str, cluster: Cluster, worker_class: type = Worker) -> Callable[[int], Executor]:
    """Return the executor, for a number of tasks, that processes photos on a cluster while it is `connected`.

    Args:
        base: As for load_base, on the workers' machines.
        cluster: See there.
        worker_class: With the methods of Worker.
    """
    import ray

    # Ray sets the number of threads of a worker's libraries to its cores
    remote = ray.remote(worker_class).options(num_cpus=cluster.cores, num_gpus=cluster.gpus)

    def executor(count: int) -> Executor:
        def execute(
            tasks: Iterator[PhotoTask], stop: Callable[[], bool]
        ) -> Iterator[tuple[PhotoTask, dict[str, bytes]]]:
            pool = _Pool(remote, base, tasks)
            for _ in range(min(count, cluster.workers)):
                pool.add_worker()
            try:
                while pool.busy and not stop():
                    yield from pool.finished()
            finally:
                pool.close()

        return execute

    return executor


class _Pool:
    """The workers, and what each is doing: loading (no task) or processing one."""

    def __init__(self, remote: Any, base: str, tasks: Iterator[PhotoTask]):
        self._remote, self._base, self._tasks = remote, base, tasks
        self._again: deque[PhotoTask] = deque()  # tasks of lost workers
        self._ahead: PhotoTask | None = None  # the next task
        self._losses: dict[str, int] = {}  # by folder
        self._running: dict[Any, tuple[Any, PhotoTask | None]] = {}  # result → worker and task
        self._failed_starts = 0

    @property
    def busy(self) -> bool:
        return bool(self._running)

    def add_worker(self) -> None:
        worker = self._remote.remote(self._base)
        self._running[worker.load.remote()] = (worker, None)

    def finished(self) -> Iterator[tuple[PhotoTask, dict[str, bytes]]]:
        """Wait a moment; yield the results that have come, and give their workers the next photo."""
        import ray

        waiting = list(self._running)
        ready, _ = ray.wait(waiting, timeout=POLL_SECONDS)
        if ready:  # and all others that are, so that no worker waits while results are written
            ready, _ = ray.wait(waiting, num_returns=len(waiting), timeout=0, fetch_local=False)
        # Ray's memory monitor kills workers; a result is lost with the machine that holds it
        gone = (ray.exceptions.RayActorError, ray.exceptions.OutOfMemoryError, ray.exceptions.ObjectLostError)
        results, lost, fault = [], [], None
        for reference in ready:
            worker, task = self._running.pop(reference)
            try:
                value = ray.get(reference)
            except gone:
                lost.append(task)
                continue
            except Exception as error:  # of a worker that cannot load the base
                fault = error
                continue
            self._failed_starts = 0
            self._give(worker)
            if task:
                results.append((task, value))
        self._read_ahead()
        yield from results
        for task in lost:
            yield from self._lost(task)
        if fault:
            raise getattr(fault, "cause", None) or fault  # without Ray's traceback in its message

    def close(self) -> None:
        import ray

        for worker, _ in self._running.values():
            ray.kill(worker)

    def _give(self, worker: Any) -> None:
        """Give a worker the next photo; without one it ends, as nothing refers to it any more."""
        task = self._again.popleft() if self._again else self._ahead or next(self._tasks, None)
        if task is self._ahead:
            self._ahead = None
        if task:
            self._running[worker.process.remote(task)] = (worker, task)

    def _read_ahead(self) -> None:
        """Read the next photo while all workers are busy."""
        if self._ahead is None:
            self._ahead = next(self._tasks, None)

    def _lost(self, task: PhotoTask | None) -> Iterator[tuple[PhotoTask, dict[str, bytes]]]:
        """Replace a lost worker, and give its photo to another one or, if it has cost several, give the photo up."""
        if task is None:
            self._failed_starts += 1
            if self._failed_starts == MAX_FAILED_STARTS:
                raise UserError(
                    "The workers end before they have loaded the base, perhaps for want of memory: "
                    "give fewer --workers."
                )
        else:
            self._losses[task.folder] = self._losses.get(task.folder, 0) + 1
            if self._losses[task.folder] < MAX_LOSSES:
                self._again.append(task)
            else:
                reason = (
                    f"{MAX_LOSSES} workers were lost while they processed this photo, perhaps for want of memory: "
                    "use a smaller photo, memory: lean, or fewer workers."
                )
                yield task, {RESULT: json.dumps(failure(task, reason)).encode()}
        self.add_worker()
