"""A line of jobs for the one model: each waits its turn, runs in a worker thread, and keeps its events.

A job knows nothing of screens. Whoever holds its id can follow it, from the start or from where they left off, so a
closed tab, a reload or a second device changes nothing for the work itself.
"""

import contextvars
import logging
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from breakascene.errors import UserError
from breakascene.studio import strings

log = logging.getLogger(__name__)

WAITING, RUNNING, DONE, STOPPED, FAILED = "waiting", "running", "done", "stopped", "failed"


@dataclass(eq=False)
class Job:
    """One piece of work for the model, from the line's point of view."""

    id: str  # unguessable: it is also the address under which the job is followed
    owner: str
    kind: str
    work: Callable[["Job"], Any]
    flag: Path  # the job is asked to stop when this file exists: a GPU call in another process sees it too
    changed: threading.Condition
    context: contextvars.Context  # of the request that asked, so that a Space charges the right visitor
    state: str = WAITING
    error: str = ""
    result: Any = None
    shown: Any = None  # what a screen wants to know of it besides its events
    events: list[Any] = field(default_factory=list)
    started: float | None = None
    finished: float | None = None

    @property
    def over(self) -> bool:
        return self.state in (DONE, STOPPED, FAILED)

    def say(self, event: Any) -> None:
        with self.changed:
            self.events.append(event)
            self.changed.notify_all()

    def ask_stop(self) -> None:
        """A running job stops after its current step, a waiting one leaves the line."""
        with self.changed:
            if self.state == WAITING:
                self.state = STOPPED
                self.changed.notify_all()
            elif self.state == RUNNING:
                self.flag.touch()

    def stop_asked(self) -> bool:
        return self.flag.exists()

    @property
    def glance(self) -> Path:
        """The job is asked to show how far it is when this file exists; whoever shows it takes the file away."""
        return self.flag.with_name(f"{self.flag.name}-glance")


class Line:
    """Runs jobs one after another. Owners take turns: whoever was served longest ago comes first."""

    def __init__(self, limit: int = 20, per_owner: int = 3, remember: int = 100):
        self.limit, self.per_owner, self.remember = limit, per_owner, remember
        self._flags = tempfile.TemporaryDirectory(prefix="breakascene-line-")
        self._changed = threading.Condition()
        self._jobs: dict[str, Job] = {}  # in order of arrival
        self._served: dict[str, int] = {}  # owner -> number of the turn in which they were last served
        self._turn = 0
        self._closed = False
        self._worker = threading.Thread(target=self._serve, name="breakascene-line", daemon=True)
        self._worker.start()

    def put(self, owner: str, kind: str, work: Callable[[Job], Any]) -> Job:
        with self._changed:
            waiting = self._waiting()
            if len(waiting) >= self.limit:
                raise UserError(strings.LINE_FULL)
            if sum(job.owner == owner for job in waiting) >= self.per_owner:
                raise UserError(strings.LINE_YOURS_FULL.format(n=self.per_owner))
            key = secrets.token_urlsafe(12)
            job = Job(key, owner, kind, work, Path(self._flags.name, key), self._changed, contextvars.copy_context())
            self._jobs[key] = job
            over = [old.id for old in self._jobs.values() if old.over]
            for old in over[: max(0, len(over) - self.remember)]:
                del self._jobs[old]
            self._changed.notify_all()
            return job

    def broken(self, owner: str, kind: str, error: str) -> Job:
        """A job of a studio that was killed, over already."""
        key = secrets.token_urlsafe(12)
        context = contextvars.copy_context()
        return Job(
            key, owner, kind, lambda job: None, Path(self._flags.name, key), self._changed, context, FAILED, error
        )

    def get(self, key: str, owner: str | None = None) -> Job:
        """The job of that id; a job of somebody else is simply not found."""
        job = self._jobs.get(key)
        if job is None or (owner is not None and job.owner != owner):
            raise UserError(strings.JOB_UNKNOWN)
        return job

    def place(self, job: Job) -> int:
        """How many jobs come before this one, the running one included; 0 when it runs or is over."""
        with self._changed:
            if job.state != WAITING:
                return 0
            before = int(any(other.state == RUNNING for other in self._jobs.values()))
            waiting, served, turn = self._waiting(), dict(self._served), self._turn
            while (first := _first(waiting, served)) is not job:
                waiting.remove(first)
                turn += 1
                served[first.owner] = turn
                before += 1
            return before

    def follow(self, job: Job, since: int = 0) -> Iterator[Any]:
        """Yield the job's events from number `since` on, waiting for new ones until the job is over."""
        while True:
            with job.changed:
                while len(job.events) == since and not job.over:
                    job.changed.wait()
                new = job.events[since:]
            if not new:
                return
            since += len(new)
            yield from new

    def close(self) -> None:
        """Ask the running job to stop, let the waiting ones go, and wait for the worker to end."""
        with self._changed:
            self._closed = True
            for job in self._jobs.values():
                job.ask_stop()
            self._changed.notify_all()
        self._worker.join()
        self._flags.cleanup()

    def _waiting(self) -> list[Job]:
        return [job for job in self._jobs.values() if job.state == WAITING]

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._waiting())
                if self._closed:
                    return
                job = _first(self._waiting(), self._served)
                self._turn += 1
                self._served[job.owner] = self._turn
                job.state, job.started = RUNNING, time.time()
                self._changed.notify_all()
            state, error, result = self._run(job)
            with self._changed:
                job.state, job.error, job.result, job.finished = state, error, result, time.time()
                job.flag.unlink(missing_ok=True)
                job.glance.unlink(missing_ok=True)
                self._changed.notify_all()

    def _run(self, job: Job) -> tuple[str, str, Any]:
        """Whatever happens inside a job, the line goes on and its owner reads a sentence."""
        try:
            result = job.context.run(job.work, job)
        except BaseException as error:
            if not isinstance(error, UserError) or error.__cause__:
                log.exception("job %s (%s) died", job.id, job.kind)
            return FAILED, strings.sentence_for(error), None
        return (STOPPED if job.stop_asked() else DONE), "", result


def _first(waiting: list[Job], served: dict[str, int]) -> Job:
    return min(waiting, key=lambda job: served.get(job.owner, 0))  # min keeps the order of arrival among equals
