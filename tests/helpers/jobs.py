"""Waiting for the jobs of a queue."""

from collections.abc import Iterator
from typing import Any

from breakascene.studio.jobs import Job


def follow(job: Job, since: int = 0) -> Iterator[Any]:
    """Yield a job's events from index `since` on, waiting for new ones until the job ends."""
    while True:
        with job.changed:
            while len(job.events) == since and not job.ended:
                job.changed.wait()
            new = job.events[since:]
        if not new:
            return
        since += len(new)
        yield from new


def wait(job: Job) -> Job:
    """Wait for the end of a job."""
    with job.changed:
        job.changed.wait_for(lambda: job.ended)
    return job
