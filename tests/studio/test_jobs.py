"""The job queue: one job at a time, owners in turn, errors that do not stop it; and the session store."""

import threading
import weakref

import pytest
from helpers.jobs import follow, wait
from safetensors import SafetensorError

from breakascene.errors import UserError
from breakascene.studio import loaded, strings
from breakascene.studio.jobs import DONE, FAILED, RUNNING, STOPPED, WAITING, JobQueue
from breakascene.studio.state.session import SessionStore


@pytest.fixture
def queue():
    queue = JobQueue(limit=4, per_owner=2)
    yield queue
    queue.close()


class Gate:
    """Work that signals its start and then waits for `go`."""

    def __init__(self):
        self.started, self.go = threading.Event(), threading.Event()

    def __call__(self, job):
        self.started.set()
        assert self.go.wait(20)
        job.emit("through")
        return "result"


def test_one_job_runs_at_a_time_and_its_events_are_kept(queue):
    gate, order = Gate(), []
    first = queue.submit("a", "work", gate)
    second = queue.submit("b", "work", lambda job: order.append(first.state))
    assert gate.started.wait(20)
    assert (first.state, second.state, queue.position(first), queue.position(second)) == (RUNNING, WAITING, 0, 1)
    gate.go.set()
    assert wait(second).state == DONE and order == [DONE]
    assert first.result == "result"
    assert list(follow(first)) == ["through"]
    assert list(follow(first, since=1)) == []


def test_followers_see_events_while_the_job_runs(queue):
    step = threading.Event()

    def work(job):
        for i in range(3):
            step.wait(20)
            job.emit(i)

    job = queue.submit("a", "work", work)
    follower = follow(job)
    step.set()
    assert [next(follower), next(follower), next(follower)] == [0, 1, 2]
    assert next(follower, "end") == "end" and job.ended


def test_owners_take_turns(queue):
    gate, order = Gate(), []
    queue.submit("greedy", "work", gate)
    assert gate.started.wait(20)
    jobs = [
        queue.submit(owner, "work", lambda job, owner=owner, i=i: order.append((owner, i)))
        for i, owner in enumerate(["greedy", "greedy", "patient"])
    ]
    assert [queue.position(job) for job in jobs] == [2, 3, 1]
    gate.go.set()
    for job in jobs:
        wait(job)
    assert order == [("patient", 2), ("greedy", 0), ("greedy", 1)]


def test_a_full_queue_and_a_full_share_are_refused(queue):
    gate = Gate()
    queue.submit("a", "work", gate)
    assert gate.started.wait(20)
    queue.submit("a", "work", str)
    queue.submit("a", "work", str)
    with pytest.raises(UserError, match="already have 2 jobs"):
        queue.submit("a", "work", str)
    queue.submit("b", "work", str)
    queue.submit("c", "work", str)
    with pytest.raises(UserError, match="try again in a few minutes"):
        queue.submit("d", "work", str)
    gate.go.set()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (UserError("Give it a name."), "Give it a name."),
        (MemoryError(), strings.OUT_OF_MEMORY),
        (RuntimeError("CUDA out of memory. Tried to allocate"), strings.OUT_OF_MEMORY),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate"), strings.OUT_OF_MEMORY),
        (OSError(28, "No space left on device"), strings.DISK_FULL),
        (SafetensorError("Error while serializing: I/O error: File too large (os error 27)"), strings.DISK_FULL),
        (SystemExit(1), strings.UNEXPECTED),
        (ZeroDivisionError(), strings.UNEXPECTED),
    ],
)
def test_a_failed_job_has_a_message_and_the_queue_continues(queue, error, message):
    def fail(job):
        raise error

    failed = wait(queue.submit("a", "work", fail))
    assert (failed.state, failed.error) == (FAILED, message)
    assert wait(queue.submit("a", "work", lambda job: 7)).result == 7


def test_a_stopped_job_keeps_its_result(queue):
    started = threading.Event()

    def work(job):
        steps = 0
        while not job.stop_requested():
            steps += 1
            started.set()
        return steps

    job = queue.submit("a", "work", work)
    assert started.wait(20)
    job.request_stop()
    assert wait(job).state == STOPPED and job.result >= 1


def test_a_waiting_job_that_is_stopped_never_starts(queue):
    gate, ran = Gate(), []
    queue.submit("a", "work", gate)
    job = queue.submit("b", "work", ran.append)
    job.request_stop()
    assert wait(job).state == STOPPED
    gate.go.set()
    wait(queue.submit("b", "work", str))
    assert not ran


def test_an_ended_job_is_kept_by_its_session_only(queue):
    """What a job holds, such as its previews, is free once the session has another."""
    gate, held = Gate(), []
    queue.submit("a", "work", gate)
    for stop in (False, True):
        job = queue.submit("b", "work", str)
        if stop:
            job.request_stop()
        held.append(weakref.ref(job))
    del job
    gate.go.set()
    wait(queue.submit("c", "work", str))
    wait(queue.submit("c", "work", str))
    assert [job() for job in held] == [None, None]


def test_memory_is_released_after_each_job():
    released = []
    queue = JobQueue(after_job=lambda: released.append(loaded.release_memory()))
    wait(queue.submit("a", "work", str))
    wait(queue.submit("a", "work", lambda job: 1 / 0))
    queue.close()
    assert released == [None, None]


def test_sessions_are_separate_and_reopened_by_their_token_only(tmp_path):
    sessions = SessionStore(tmp_path)
    mine, yours = sessions.open(None), sessions.open(None)
    assert mine.token != yours.token and sessions.open(mine.token) is mine
    guesses = ("", None, "../../etc", mine.token[:-1], "x" * 24)
    assert all(sessions.open(guess) not in (mine, yours) for guess in guesses)
    with pytest.raises(UserError, match="reload"):
        sessions.get("unknown")
    (mine.folder / "runs").mkdir(parents=True)
    assert SessionStore(tmp_path).open(mine.token).folder == mine.folder  # after a restart of the studio


def test_unused_sessions_are_deleted_on_a_shared_machine(tmp_path):
    sessions = SessionStore(tmp_path, keep_seconds=0)
    old = sessions.open(None)
    old.folder.mkdir()
    sessions.open(None)  # the first one has been unused for longer than nothing
    sessions.open(None)
    assert not old.folder.exists()


def test_the_wait_is_the_sum_of_what_the_jobs_before_take(queue):
    gate = Gate()
    queue.submit("a", "work", gate, remaining=lambda job: 20.0)
    assert gate.started.wait(20)
    second = queue.submit("a", "work", str, remaining=lambda job: 5.0)
    third = queue.submit("b", "work", str)
    last = queue.submit("b", "work", str)
    assert (queue.seconds_until(third), queue.seconds_until(second)) == (20.0, None)  # b's turn comes first
    assert queue.seconds_until(last) is None and second.seconds_left() == 5.0 and third.seconds_left() is None
    gate.go.set()


def test_idle_work_runs_between_the_jobs_and_makes_way_for_them():
    working, order = threading.Event(), []

    def idle_work(has_work):
        order.append("idle")
        working.set()
        while not has_work():
            pass
        return order.count("idle") == 2

    queue = JobQueue(idle_work=idle_work)
    try:
        for name in "ab":
            assert working.wait(20)
            working.clear()
            assert wait(queue.submit(name, "work", lambda job, name=name: order.append(name))).state == DONE
        assert wait(queue.submit("c", "work", lambda job: order.append("c"))).state == DONE
        assert order == ["idle", "a", "idle", "b", "c"]
    finally:
        queue.close()


def test_idle_work_that_fails_is_not_repeated_and_ends_with_the_queue():
    calls = []

    def failing(has_work):
        calls.append(has_work)
        raise RuntimeError("no memory")

    queue = JobQueue(idle_work=failing)
    assert wait(queue.submit("a", "work", lambda job: "result")).state == DONE
    queue.close()
    assert len(calls) <= 1
    queue = JobQueue(idle_work=lambda has_work: has_work())  # until the queue is closed
    queue.close()
