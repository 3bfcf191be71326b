"""A queue of jobs for the one model: each waits its turn, runs in a worker thread, and keeps its events.

A job is independent of the screens. Its session can read its events at any time, so that a closed tab, a reload or a
second device changes nothing for the job.
"""

import contextvars
import logging
import secrets
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from breakascene.errors import UserError
from breakascene.studio import strings

log = logging.getLogger(__name__)

MAX_FAILURES = 50  # kept for the operator

WAITING, RUNNING, DONE, STOPPED, FAILED = "waiting", "running", "done", "stopped", "failed"


@dataclass(eq=False)
class Job:
    """One unit of work for the model.

    Attributes:
        id: Its name in the log.
        owner: Token of the session that submitted the job.
        kind: "extract", "generate" or "evaluate", for the log.
        stop_file: The job stops once this file exists; a GPU call in another process sees a file too.
        changed: Notified of every change.
        context: Context of the request that submitted the job, so that a Space charges the right visitor.
        remaining: Estimates the seconds until the job is done; None if that is unknown.
        error: A sentence for the visitor, if the job failed.
        details: What a screen needs to describe the job, besides its events.
    """

    id: str
    owner: str
    kind: str
    work: Callable[["Job"], Any]
    stop_file: Path
    changed: threading.Condition
    context: contextvars.Context
    remaining: Callable[["Job"], float | None] = lambda job: None
    state: str = WAITING
    error: str = ""
    result: Any = None
    details: Any = None
    events: list[Any] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        return self.state in (DONE, STOPPED, FAILED)

    def emit(self, event: Any) -> None:
        with self.changed:
            self.events.append(event)
            self.changed.notify_all()

    def request_stop(self) -> None:
        """Stop a running job after its current step; remove a waiting one from the queue."""
        with self.changed:
            if self.state == WAITING:
                self.state = STOPPED
                self.changed.notify_all()
            elif self.state == RUNNING:
                self.stop_file.touch()

    def stop_requested(self) -> bool:
        return self.stop_file.exists()

    @property
    def preview_file(self) -> Path:
        """Once this file exists, the job's next event has previews; the job then deletes it."""
        return self.stop_file.with_name(f"{self.stop_file.name}-preview")

    @property
    def live_image(self) -> Path:
        """File of a preview of the image that the job is generating; not always there."""
        return self.stop_file.with_name(f"{self.stop_file.name}-live.webp")

    def seconds_left(self) -> float | None:
        """Expected seconds until a running job is done, or that a waiting one will take; None if unknown."""
        return self.remaining(self)


@dataclass(frozen=True)
class Failure:
    """A job that failed, for the operator."""

    time: float  # seconds since the epoch
    kind: str
    owner: str
    error: str  # the exception in one line


class JobQueue:
    """Runs jobs one after another. Owners take turns: the one served longest ago comes first.

    Args:
        limit: Maximum number of waiting jobs.
        per_owner: Maximum number of waiting jobs of one owner.
        idle_work: Called in the worker thread while there are no jobs, again until it returns True. Its argument is a
            function that returns True once a job waits; the work then returns soon.
        quotas: What each owner may use, see quotas.Quotas.
        after_job: Called in the worker thread after each job.
    """

    def __init__(
        self,
        limit: int = 20,
        per_owner: int = 3,
        idle_work: Callable[[Callable[[], bool]], bool] | None = None,
        quotas: Any = None,
        after_job: Callable[[], None] = lambda: None,
    ):
        self.quotas, self._failures = quotas, deque(maxlen=MAX_FAILURES)
        self._idle_work = self._all_idle_work = idle_work
        self._after_job = after_job
        self.limit, self.per_owner = limit, per_owner
        self._files = tempfile.TemporaryDirectory(prefix="breakascene-jobs-")
        self._changed = threading.Condition()
        self._jobs: dict[str, Job] = {}  # in order of arrival
        self._served: dict[str, int] = {}  # owner -> the turn in which they were last served
        self._turn = 0
        self._closed = self._paused = self._idling = False
        self._worker = threading.Thread(target=self._serve, name="breakascene-jobs", daemon=True)
        self._worker.start()

    def submit(
        self, owner: str, kind: str, work: Callable[[Job], Any], details: Any = None,
        remaining: Callable[[Job], float | None] = lambda job: None,
    ) -> Job:  # fmt: skip
        """Append a job with its details; raises UserError if the queue is paused or full, or the owner's share is."""
        with self.quotas.one_job(owner) if self.quotas else nullcontext(), self._changed:
            if self._paused:
                raise UserError(strings.BASE_CHANGING)
            waiting = self._waiting()
            if len(waiting) >= self.limit:
                raise UserError(strings.QUEUE_FULL)
            if sum(job.owner == owner for job in waiting) >= self.per_owner:
                raise UserError(strings.TOO_MANY_JOBS.format(n=self.per_owner))
            job = self._new_job(owner, kind, work)
            job.details, job.remaining = details, remaining  # before the worker can see the job
            self._jobs = {other.id: other for other in [*self._jobs.values(), job] if not other.ended}
            self._changed.notify_all()
        return job

    def jobs(self) -> list[tuple[Job, int]]:
        """The jobs that run and wait with their positions, in the order in which they will run."""
        with self._changed:
            jobs = [(job, self.position(job)) for job in self._jobs.values() if not job.ended]
        return sorted(jobs, key=lambda pair: pair[1])

    def failures(self) -> list[Failure]:
        """The jobs that failed since the studio was started, the last first, at most MAX_FAILURES."""
        return list(self._failures)[::-1]

    def interrupted(self, owner: str, kind: str, error: str) -> Job:
        """A failed job, in place of one that ran when the studio was killed."""
        job = self._new_job(owner, kind, lambda job: None)
        job.state, job.error = FAILED, error
        return job

    def position(self, job: Job) -> int:
        """How many jobs come before this one, including the running one; 0 if it runs or has ended."""
        return len(self.before(job))

    def seconds_until(self, job: Job) -> float | None:
        """Expected seconds until a waiting job starts; None if that of a job before it is unknown."""
        seconds = [other.seconds_left() for other in self.before(job)]
        return None if None in seconds else sum(seconds)

    def before(self, job: Job) -> list[Job]:
        """The jobs that come before this one, the running one first; none if it runs or has ended."""
        with self._changed:
            if job.state != WAITING:
                return []
            before = [other for other in self._jobs.values() if other.state == RUNNING]
            waiting, served, turn = self._waiting(), dict(self._served), self._turn
            while (first := _next_job(waiting, served)) is not job:
                waiting.remove(first)
                turn += 1
                served[first.owner] = turn
                before.append(first)
            return before

    def require_idle(self) -> None:
        """Raise UserError if a job waits or runs."""
        with self._changed:
            if self._jobs or self._paused:
                raise UserError(strings.BASE_NEEDS_IDLE)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """No job is accepted during a block, and the work between the jobs starts anew after it.

        Raises:
            UserError: If a job waits or runs.
        """
        with self._changed:
            self.require_idle()
            self._paused = True
            self._changed.wait_for(lambda: not self._idling)
        try:
            yield
        finally:
            with self._changed:
                self._paused, self._idle_work = False, self._all_idle_work
                self._changed.notify_all()

    def give_way(self, job: Job) -> None:
        """Run the jobs that wait, one of each owner, before a long job goes on, which calls this between its parts.

        Jobs of the same kind wait until it is done.
        """
        served: set[str] = set()
        while not job.stop_requested():
            other = self._run_next(lambda one: one.kind != job.kind and one.owner not in served)
            if other is None:
                return
            served.add(other.owner)

    def close(self) -> None:
        """Stop the running job, remove the waiting ones, and wait for the worker to end."""
        with self._changed:
            self._closed = True
            for job in self._jobs.values():
                job.request_stop()
            self._changed.notify_all()
        self._worker.join()
        self._files.cleanup()

    def _new_job(self, owner: str, kind: str, work: Callable[[Job], Any]) -> Job:
        job_id = secrets.token_urlsafe(12)
        stop_file = Path(self._files.name, job_id)
        return Job(job_id, owner, kind, work, stop_file, self._changed, contextvars.copy_context())

    def _waiting(self) -> list[Job]:
        return [job for job in self._jobs.values() if job.state == WAITING]

    def _has_work(self) -> bool:
        with self._changed:
            return self._closed or self._paused or bool(self._waiting())

    def _run_idle_work(self) -> None:
        with self._changed:
            if self._paused:
                return
            self._idling = True
        try:
            finished = self._idle_work(self._has_work)
        except Exception:
            log.exception("work between the jobs failed")
            finished = True
        with self._changed:
            self._idling = False
            if finished:
                self._idle_work = None
            self._changed.notify_all()

    def _serve(self) -> None:
        while True:
            if self._idle_work and not self._has_work():
                self._run_idle_work()
                continue
            with self._changed:
                self._changed.wait_for(
                    lambda: self._closed or self._waiting() or (self._idle_work and not self._paused)
                )
                if self._closed:
                    return
            self._run_next()

    def _run_next(self, eligible: Callable[[Job], bool] = lambda job: True) -> Job | None:
        """Run the next of the eligible jobs that wait, and return it; None if there is none."""
        with self._changed:
            waiting = [job for job in self._waiting() if eligible(job)]
            if self._closed or not waiting:
                return None
            job = _next_job(waiting, self._served)
            self._turn += 1
            self._served[job.owner] = self._turn
            job.state = RUNNING
            self._changed.notify_all()
        state, error, result = self._run(job)
        with self._changed:
            job.state, job.error, job.result = state, error, result
            self._jobs.pop(job.id, None)  # only its session still needs it
            job.stop_file.unlink(missing_ok=True)
            job.preview_file.unlink(missing_ok=True)
            job.live_image.unlink(missing_ok=True)
            self._changed.notify_all()
        self._after_job()
        return job

    def _run(self, job: Job) -> tuple[str, str, Any]:
        """Return the state, error and result. The queue continues whatever a job raises."""
        try:
            result = job.context.run(job.work, job)
        except BaseException as error:
            if not isinstance(error, UserError) or error.__cause__:
                log.exception("job %s (%s) failed", job.id, job.kind)
            text = " ".join(f"{type(error).__name__}: {error}".split())[:500]
            self._failures.append(Failure(time.time(), job.kind, job.owner, text))
            return FAILED, strings.message_for(error), None
        return (STOPPED if job.stop_requested() else DONE), "", result


def _next_job(waiting: list[Job], served: dict[str, int]) -> Job:
    return min(waiting, key=lambda job: served.get(job.owner, 0))  # min keeps the order of arrival among equals
