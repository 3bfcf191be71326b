"""The panel of a session's jobs: every kind of job, and how long it takes as far as that is known."""

import contextvars
import threading
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import pytest

from breakascene.studio.jobs import RUNNING, Job
from breakascene.studio.screens import pilot_job
from breakascene.studio.screens.queue_panel import KINDS, describe
from breakascene.studio.state.session import Session


def job(kind, seconds=None, **options):
    context = contextvars.copy_context()
    return Job("1", "ana", kind, None, Path(), threading.Condition(), context, lambda job: seconds, RUNNING, **options)


def test_every_job_of_a_session_has_a_row():
    assert set(KINDS) == {field.name for field in fields(Session) if "Job" in str(field.type)}


@pytest.mark.parametrize(
    ("running", "text"),
    [
        (job("export"), "<b>Export</b> running"),
        (job("evaluate", 60), "<b>Evaluation</b> about 60 s left"),
        (job("pilot", 60, details=pilot_job.RUN), "<b>Pilot</b> running"),  # the estimate is of its photo alone
        (
            job("pilot", 60, details=pilot_job.RUN, events=[SimpleNamespace(seconds_left=600)]),
            "<b>Pilot</b> about 10 min left",
        ),
    ],
)
def test_a_running_job_says_how_long_it_takes_or_that_it_runs(running, text):
    assert describe(running, None) == text
