"""Runs: sequential ones, workers of which one is lost, killed commands, full disks and photos that fail."""

import errno
import json
import os
import signal
import subprocess
import sys
import uuid
from dataclasses import replace
from types import SimpleNamespace

import pytest
from helpers.files import listing
from typer.testing import CliRunner

from breakascene.cli.app import app
from breakascene.data.consent import Consent
from breakascene.errors import UserError
from breakascene.models.concepts import Concepts
from breakascene.pilot import review
from breakascene.pilot import store as store_module
from breakascene.pilot import task as task_module
from breakascene.pilot.plan import read_plan
from breakascene.pilot.run import _tasks, read_results, read_status, run, sequential, units_of, work_of
from breakascene.pilot.store import Store
from breakascene.pilot.workers import _Pool, connected, on_ray


@pytest.fixture(scope="module")
def cluster():
    """Ray on this machine with two workers, started once: each start takes ten seconds."""
    with connected(workers=2) as cluster:
        yield cluster


def results(folder):
    return {path.parent.parent.name: path.stat().st_mtime_ns for path in folder.glob("photos/*/*/result.json")}


def test_a_stopped_run_goes_on_and_a_changed_or_broken_photo_is_its_own_affair(plan_file, tmp_path):
    out, seen = tmp_path / "out", []
    (plan_file.parent / "photos" / "002.png").write_bytes(b"no photo")
    plan, store = read_plan(plan_file), Store(out)
    end = run(plan, store, sequential(plan.base), stop=lambda: len(seen) > 1, on_progress=seen.append)
    assert not end.finished and end.done == 1 and read_status(store)["state"] == "stopped"
    first = results(out)

    # It goes on with the photos that are left; those that fail do so in words and stop nothing
    expired = Consent(True, "A. Person", "advertising", "2000-01-01")
    plan = replace(plan, photos=(*plan.photos[:3], replace(plan.photos[3], consent=expired)))
    end = run(plan, store, sequential(plan.base), on_progress=seen.append)
    assert end.finished and (end.done, end.failed) == (2, 2) and seen[-1].seconds_left == 0
    assert results(out).items() >= first.items()
    found = {result["photo"]: result for result in read_results(store)}
    assert found["002"]["state"] == "failed" and "002.png" in found["002"]["reason"]
    assert "A. Person ended on 2000-01-01" in found["004"]["reason"]
    one = found["001"]
    assert one["preset"] == "quick" and one["steps"] == 2 and one["masks"] == "given" and one["bytes"] > 1000
    assert [set(row["identity"]) for row in one["images"]] == [{"<asset0>"}, {"<asset1>"}]
    assert one["seconds"]["total"] == pytest.approx(one["seconds"]["extraction"] + one["seconds"]["images"], abs=0.02)
    folder = out / "photos" / "001" / "quick"
    assert Concepts.load(folder / "run").names == tuple(o["name"] for o in one["objects"])
    assert all((folder / row["file"]).is_file() for row in one["images"])

    # Nothing is done twice, except what has changed
    everything = results(out)
    run(plan, store, sequential(plan.base))
    assert results(out) == everything
    mask = next((plan_file.parent / "masks" / "003").iterdir())
    mask.rename(mask.with_stem("renamed"))  # and the plan in the file declares no expired consent
    run(read_plan(plan_file), store, sequential(plan.base))
    assert {key for key, time in results(out).items() if time != everything[key]} == {"003", "004"}

    # Results of earlier settings are not those of the latest run
    run(replace(read_plan(plan_file), seed=1), store, lambda count: lambda tasks, stop: iter(()))
    assert read_results(store) == [] and len(read_status(store)["keys"]) == 4


def test_a_full_disk_keeps_what_is_done(plan, tmp_path, monkeypatch):
    out, seen = tmp_path / "out", []
    write, room = store_module.atomic_folder, [1]

    def limited(path):
        if path.parent.parent.name == "photos" and not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        room.clear()
        return write(path)

    monkeypatch.setattr(store_module, "atomic_folder", limited)
    with pytest.raises(UserError, match="free some space and run the pilot again; finished photos are kept"):
        run(plan, Store(out), sequential(plan.base), on_progress=seen.append)
    assert list(results(out)) == ["001"] and read_status(Store(out))["state"] == "stopped"
    assert not [name for name in listing(out) if name.endswith(".part")]


def test_another_file_system(plan, tmp_path):
    store = Store(f"memory://{uuid.uuid4().hex}/pilot")
    with pytest.raises(UserError, match="has no pilot"):
        read_status(store)
    first = []
    run(plan, store, sequential(plan.base), stop=lambda: len(first) > 1, on_progress=first.append)
    assert len(read_results(store)) == 1
    files = store.files("photos/001/quick")
    assert {"result.json", "masks.jpg", "run/manifest.json"} <= set(files)
    store.remove("photos/001/quick/result.json")  # as if the writer had been killed before its last file
    assert read_results(store) == []
    store.write_folder("photos/001/quick", {"result.json": b"{}", "a": b""})
    assert set(store.files("photos/001/quick")) == {"result.json", "a"}
    with pytest.raises(UserError, match="choose another place"):
        Store("nosuchprotocol://x")


def test_a_photo_of_a_lost_worker_goes_to_another(plan, tmp_path, cluster):
    store, killed, seen = Store(tmp_path / "out"), [], []

    def kill_one(progress):
        seen.append(progress)
        if progress.last and not killed:
            killed.append(progress.last["worker"])
            os.kill(int(killed[0].split(":")[1]), signal.SIGKILL)  # it has begun with its next photo

    end = run(plan, store, on_ray(plan.base, cluster), workers=cluster.workers, on_progress=kill_one)
    assert (end.done, end.failed) == (4, 0)
    found = [result["worker"] for result in read_results(store)]
    assert len(found) == 4 and found.count(killed[0]) == 1

    # A base that no worker can load ends the run with the reason
    with pytest.raises(UserError, match="nowhere") as raised:
        run(plan, Store(tmp_path / "other"), on_ray("/nowhere/base", replace(cluster, workers=1)))
    assert "ray::" not in str(raised.value) and "\n" not in str(raised.value)


def test_a_worker_that_the_memory_monitor_kills_is_replaced(plan, monkeypatch):
    import ray

    (task,) = _tasks(units_of(plan, {})[:1], work_of(plan), {})
    gone = (ray.exceptions.OutOfMemoryError("low on memory"), ray.exceptions.ObjectLostError("00" * 28, None, ""))
    outcomes = iter(["cpu", gone[0], "cpu", gone[1]])  # a worker loads and is lost, and so is the next

    def get(reference):
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(ray, "wait", lambda references, **options: (references, []))
    monkeypatch.setattr(ray, "get", get)
    method = SimpleNamespace(remote=lambda *values: object())
    remote = SimpleNamespace(remote=lambda base: SimpleNamespace(load=method, process=method))
    pool = _Pool(remote, plan.base, iter([task]))
    pool.add_worker()
    found = [one for _ in range(4) for one in pool.finished()]
    assert [one for one, _ in found] == [task]
    assert "2 workers were lost" in json.loads(found[0][1]["result.json"])["reason"]


@pytest.mark.parametrize("code, ends", [(errno.ENOSPC, True), (errno.EACCES, True), (errno.EINVAL, False)])
def test_a_full_temporary_disk_is_no_fault_of_the_photo(plan, monkeypatch, code, ends):
    (task,) = _tasks(units_of(plan, {})[:1], work_of(plan), {})

    def fail(*values):
        raise UserError("Cannot write there.") from OSError(code, os.strerror(code))

    monkeypatch.setattr(task_module, "_process", fail)
    if ends:
        with pytest.raises(UserError, match="Cannot write there"):
            task_module.process(None, task)
    else:
        assert json.loads(task_module.process(None, task)["result.json"])["state"] == "failed"


def test_a_review_counts_for_the_photo_that_was_reviewed(plan_file):
    plan_file.write_text(plan_file.read_text().replace("masks: masks", "masks: auto"))
    photo, other = read_plan(plan_file).photos[:2]
    objects = [{"name": "toy", "mask": {"size": [2, 2], "counts": [0, 4]}}]
    saved = {"photos": {photo.id: objects}, "hashes": {photo.id: photo.file_hash()}}
    decisions = review.parse_decisions(json.dumps(saved).encode(), "review.json")
    assert review.decision_for(photo, decisions).objects[0][0] == "toy"
    assert review.decision_for(replace(photo, file=other.file), decisions) is None
    older = review.parse_decisions(json.dumps({"photos": saved["photos"]}).encode(), "review.json")
    assert review.decision_for(replace(photo, file=other.file), older).objects[0][0] == "toy"


def test_a_killed_command_goes_on_where_it_was(plan_file, tmp_path, cluster):
    import ray

    out, address = tmp_path / "out", ray.get_runtime_context().gcs_address
    command = [sys.executable, "-m", "breakascene", "pilot", "run", plan_file, "--out", out]
    process = subprocess.Popen([*command, "--address", address, "--workers", "2"], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "4 to do.\n"
    assert process.stdout.readline().startswith("1 of 4: ")
    process.kill()
    process.wait()
    first = results(out)
    assert first
    status = CliRunner().invoke(app, ["pilot", "status", str(out)])
    assert status.stdout.startswith("Small: running, 1 of 4")
    plan = read_plan(plan_file)
    end = run(plan, Store(out), sequential(plan.base))
    assert end.done == 4 and results(out).items() >= first.items()
    assert json.loads((out / "status.json").read_text())["state"] == "finished"
    assert "finished, 4 of 4" in CliRunner().invoke(app, ["pilot", "status", str(out)]).stdout
