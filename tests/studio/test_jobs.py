"""The line of jobs: one at a time, in fair turns, each followed from anywhere, none able to stop the line."""

import threading

import pytest
from safetensors import SafetensorError

from breakascene.errors import UserError
from breakascene.studio import strings
from breakascene.studio.jobs import DONE, FAILED, RUNNING, STOPPED, WAITING, Line
from breakascene.studio.state.session import Desks


@pytest.fixture
def line():
    line = Line(limit=4, per_owner=2, remember=3)
    yield line
    line.close()


class Gate:
    """Work that says it has begun and goes on when it is let."""

    def __init__(self):
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self, job):
        self.begun.set()
        assert self.go.wait(20)
        job.say("through")
        return "result"


def ended(line, job):
    list(line.follow(job))
    return job


def test_one_job_at_a_time_and_its_events_stay(line):
    gate, order = Gate(), []
    first = line.put("a", "work", gate)
    second = line.put("b", "work", lambda job: order.append(first.state))
    assert gate.begun.wait(20)
    assert (first.state, second.state, line.place(first), line.place(second)) == (RUNNING, WAITING, 0, 1)
    gate.go.set()
    assert ended(line, second).state == DONE and order == [DONE]
    assert first.result == "result"
    assert list(line.follow(first)) == ["through"] == list(line.follow(line.get(first.id, "a")))
    assert list(line.follow(first, since=1)) == []


def test_followers_see_events_while_the_job_runs(line):
    step = threading.Event()

    def work(job):
        for i in range(3):
            step.wait(20)
            job.say(i)

    job = line.put("a", "work", work)
    follower = line.follow(job)
    step.set()
    assert [next(follower), next(follower), next(follower)] == [0, 1, 2]
    assert next(follower, "end") == "end" and job.over


def test_owners_take_turns(line):
    gate, order = Gate(), []
    line.put("greedy", "work", gate)
    assert gate.begun.wait(20)
    jobs = [
        line.put(owner, "work", lambda job, owner=owner, i=i: order.append((owner, i)))
        for i, owner in enumerate(["greedy", "greedy", "patient"])
    ]
    assert [line.place(job) for job in jobs] == [2, 3, 1]
    gate.go.set()
    for job in jobs:
        ended(line, job)
    assert order == [("patient", 2), ("greedy", 0), ("greedy", 1)]


def test_a_full_line_and_a_full_share_get_a_sentence(line):
    gate = Gate()
    line.put("a", "work", gate)
    assert gate.begun.wait(20)
    line.put("a", "work", str)
    line.put("a", "work", str)
    with pytest.raises(UserError, match="already have 2 jobs"):
        line.put("a", "work", str)
    line.put("b", "work", str)
    line.put("c", "work", str)
    with pytest.raises(UserError, match="try again in a few minutes"):
        line.put("d", "work", str)
    gate.go.set()


@pytest.mark.parametrize(
    ("error", "sentence"),
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
def test_a_job_that_dies_leaves_a_sentence_and_a_line_that_goes_on(line, error, sentence):
    def die(job):
        raise error

    dead = ended(line, line.put("a", "work", die))
    assert (dead.state, dead.error) == (FAILED, sentence)
    assert ended(line, line.put("a", "work", lambda job: 7)).result == 7


def test_stop_keeps_what_is_there(line):
    begun = threading.Event()

    def work(job):
        steps = 0
        while not job.stop_asked():
            steps += 1
            begun.set()
        return steps

    job = line.put("a", "work", work)
    assert begun.wait(20)
    job.ask_stop()
    assert ended(line, job).state == STOPPED and job.result >= 1


def test_a_waiting_job_that_is_stopped_never_starts(line):
    gate, ran = Gate(), []
    line.put("a", "work", gate)
    job = line.put("b", "work", ran.append)
    job.ask_stop()
    assert ended(line, job).state == STOPPED
    gate.go.set()
    ended(line, line.put("b", "work", str))
    assert not ran


def test_jobs_of_others_and_of_long_ago_are_not_found(line):
    job = ended(line, line.put("a", "work", str))
    with pytest.raises(UserError, match="not found"):
        line.get(job.id, "b")
    for _ in range(5):
        ended(line, line.put("a", "work", str))
    with pytest.raises(UserError, match="not found"):
        line.get(job.id, "a")


def test_desks_are_apart_and_come_back_by_token_only(tmp_path):
    desks = Desks(tmp_path)
    mine, yours = desks.enter(None), desks.enter(None)
    assert mine.token != yours.token and desks.enter(mine.token) is mine
    guesses = ("", None, "../../etc", mine.token[:-1], "x" * 24)
    assert all(desks.enter(guess) not in (mine, yours) for guess in guesses)
    with pytest.raises(UserError, match="reload"):
        desks.get("unknown")
    (mine.folder / "runs").mkdir(parents=True)
    assert Desks(tmp_path).enter(mine.token).folder == mine.folder  # after a restart of the studio


def test_unused_desks_leave_a_shared_machine(tmp_path):
    desks = Desks(tmp_path, keep_seconds=0)
    old = desks.enter(None)
    old.folder.mkdir()
    desks.enter(None)  # the first one has been unused for longer than nothing
    desks.enter(None)
    assert not old.folder.exists()
