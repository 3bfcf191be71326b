"""What becomes of a visitor's data: deleted everywhere at their wish or by age, with hashes left in the log."""

import os
import shutil
import threading
import time
from pathlib import Path

import pytest
from gradio.processing_utils import save_file_to_cache
from typer.testing import CliRunner

from breakascene.cli.app import app
from breakascene.errors import UserError
from breakascene.generation.generate import GeneratedImage, save_image
from breakascene.generation.library import Library
from breakascene.models.concepts import Concepts
from breakascene.provenance import audit
from breakascene.provenance.audit_check import entries, verify
from breakascene.studio.jobs import JobQueue
from breakascene.studio.state import deletion
from breakascene.studio.state.session import SessionStore
from breakascene.studio.visitor import acting, record_download
from breakascene.training.loop import run_extraction
from breakascene.training.settings import preset

METADATA = {
    "index": 0, "prompt": "a photo of <asset0>", "negative_prompt": "", "seed": 1, "num_inference_steps": 20,
    "guidance_scale": 3.0, "handles": {"<asset0>": "ball"}, "photo": "ab" * 32, "run": "run", "base": "toybox",
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_base, scene) -> Path:
    """A run of one step."""
    out = tmp_path_factory.mktemp("run") / "run"
    run_extraction(scene, tiny_base, preset("quick", tiny_base, steps=(1, 0)), out)
    return out


@pytest.fixture
def log(tmp_path, monkeypatch):
    monkeypatch.setenv("BREAKASCENE_AUDIT", str(tmp_path / "log"))
    return tmp_path / "log"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The folder in which Gradio keeps uploads and copies of what it sends."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    return tmp_path / "gradio"


@pytest.fixture
def sessions(tmp_path):
    return SessionStore(tmp_path / "data")


def fill(session, run, scene, cache):
    """Give a session what a visitor leaves: an upload, a run, an image, its copies, a zip, a waiting run."""
    upload = cache / ("0" * 64) / "me.jpg"
    upload.parent.mkdir(parents=True, exist_ok=True)
    upload.write_bytes(b"a photo")
    with acting(session, [str(upload), "a prompt"]):
        copy = shutil.copytree(run, session.runs.runs_folder / "run-id")
        picture = save_image(GeneratedImage(scene.photo, METADATA), session.gallery.images_folder)
        zipped = record_download(session.gallery.zip([picture], "images.zip"))
    for path in (picture, zipped, copy / "scene" / "img.png"):
        save_file_to_cache(path, str(cache))
    return picture


def files_in(*folders):
    return [path for folder in folders for path in folder.rglob("*") if path.is_file() and path.name != "hash_seed.txt"]


def test_deleting_a_session_removes_everything_and_leaves_hashes(sessions, run, scene, cache, log):
    session, other = sessions.open(None), sessions.open(None)
    picture = fill(session, run, scene, cache)
    shutil.copytree(run, other.runs.runs_folder / "theirs")
    sha = audit.hash_of(picture)
    assert len(files_in(cache)) == 4
    sessions.delete(session)
    assert not session.folder.exists() and not files_in(cache)
    assert len(other.runs.list()) == 1  # the other visitor keeps theirs
    with pytest.raises(UserError, match="reload"):
        sessions.get(session.token)
    assert sessions.open(session.token).token != session.token
    generated, downloaded, deleted = entries(log)
    assert (generated["image"], downloaded["images"][0]) == (sha, sha)
    assert (deleted["action"], deleted["reason"], deleted["images"]) == ("delete", "visitor", [sha])
    assert deleted["photos"] == [scene.photo_hash] and deleted["runs"] == [Concepts.load(run).id]
    assert {entry["session"] for entry in entries(log)} == {deletion.session_id(session.token)}
    assert session.token not in (log / audit.LOG).read_text() and verify(log).faults == ()


def test_runs_that_the_visitor_shared_are_deleted_from_the_library(tmp_path, run, scene, cache):
    library = Library(tmp_path / "library")
    sessions = SessionStore(tmp_path / "data", library=library)
    session, other = sessions.open(None), sessions.open(None)
    fill(session, run, scene, cache)
    library.add(run)
    fill(other, run, scene, cache)
    sessions.delete(other)  # which has not shared it
    assert len(library.entries()) == 1
    deletion.note_shared(session.folder, library.entries()[0].id)
    sessions.delete(session)
    assert not library.entries()


def test_a_job_that_runs_on_leaves_nothing_behind(sessions, run, scene, cache, log):
    queue, session, running, go_on = JobQueue(), sessions.open(None), threading.Event(), threading.Event()

    def work(job):
        running.set()
        assert go_on.wait(60)
        fill(session, run, scene, cache)

    try:
        session.generation = queue.submit(session.token, "generate", work)
        assert running.wait(60)
        sessions.delete(session, timeout=0)
        go_on.set()
        with session.generation.changed:
            session.generation.changed.wait_for(lambda: session.generation.ended, 60)
        assert session.folder.exists()
        sessions.finish_deletions()
        assert not session.folder.exists() and not files_in(cache)
        assert not list(sessions.folder.iterdir())
    finally:
        queue.close()


def test_runs_and_images_are_deleted_by_age_also_in_a_session_in_use(tmp_path, run, scene, cache, log):
    sessions = SessionStore(tmp_path / "data", keep_data_seconds=3 * 24 * 3600)
    session = sessions.open(None)
    old = fill(session, run, scene, cache)
    new = save_image(GeneratedImage(scene.photo, METADATA), session.gallery.images_folder)
    sessions.delete_old_data()
    assert old.exists() and len(session.runs.list()) == 1
    four_days_ago = time.time() - 4 * 24 * 3600
    damaged = shutil.copytree(run, session.runs.runs_folder / "damaged") / "manifest.json"
    damaged.write_text("{")
    for path in (old, session.runs.runs_folder / "run-id" / "manifest.json", damaged):
        os.utime(path, (four_days_ago, four_days_ago))
    sha = audit.hash_of(old)
    sessions.delete_old_data()
    assert session.gallery.images() == [new] and not list(session.runs.runs_folder.iterdir())
    assert not list(session.folder.glob("*.zip")) and not files_in(cache)
    deleted = list(entries(log))[-1]
    assert (deleted["reason"], deleted["images"]) == ("retention", [sha])


def test_a_deleted_run_is_logged_by_its_photo(sessions, run, scene, cache, log):
    session = sessions.open(None)
    shutil.copytree(run, session.runs.runs_folder / "run-id")
    session.delete_run()
    (entry,) = entries(log)
    assert (entry["action"], entry["photos"], entry["runs"]) == ("delete", [scene.photo_hash], [Concepts.load(run).id])


def test_a_run_and_its_export_are_logged(tmp_path, tiny_base, scene, log):
    out = tmp_path / "run"
    run_extraction(scene, tiny_base, preset("quick", tiny_base, steps=(1, 0)), out)
    started, ended = entries(log)
    assert (started["action"], started["photos"], started["objects"]) == (
        "extract",
        [scene.photo_hash],
        list(scene.names),
    )
    assert started["fingerprint"] == tiny_base.fingerprint and started["settings"]["steps"] == [1, 0]
    assert (ended["action"], ended["run"], ended["photo"]) == ("extracted", Concepts.load(out).id, scene.photo_hash)


@pytest.mark.parametrize("by", ["name", "link", "id"])
def test_the_command_deletes_by_name_link_or_id(sessions, run, scene, cache, log, by):
    anna, ben = sessions.open(None, "anna"), sessions.open(None, "ben")
    fill(anna, run, scene, cache)
    (ben.folder / "pictures").mkdir()
    visitor = {
        "name": "anna",
        "link": f"http://localhost/?session={anna.token}",
        "id": deletion.session_id(anna.token),
    }[by]
    result = CliRunner().invoke(app, ["users", "delete-data", visitor, "--data", str(sessions.folder)])
    assert (result.exit_code, result.output) == (0, "Deleted the data of 1 session.\n")
    assert not anna.folder.exists() and not files_in(cache) and ben.folder.exists()
    assert list(entries(log))[-1]["reason"] == "operator"
    with pytest.raises(UserError):  # a running studio closes it too
        sessions.get(anna.token)
    guest = sessions.open(None)
    fill(guest, run, scene, cache)
    for nobody in ("nobody", "", " ", "http://localhost/?session=", "?"):
        result = CliRunner().invoke(app, ["users", "delete-data", nobody, "--data", str(sessions.folder)])
        assert result.exit_code == 2 and "no data" in result.stderr
    assert guest.folder.exists() and ben.folder.exists()


def test_a_session_that_was_used_is_kept_after_a_restart(sessions, run, scene, cache):
    session = sessions.open(None)
    fill(session, run, scene, cache)
    for path in (session.folder, *session.folder.glob("*/")):
        os.utime(path, (0, 0))
    os.utime(session.gallery.images_folder)
    SessionStore(sessions.folder, keep_seconds=3600).delete_unused()
    assert session.folder.exists()
    os.utime(session.gallery.images_folder, (0, 0))
    SessionStore(sessions.folder, keep_seconds=3600).delete_unused()
    assert not session.folder.exists()


def test_a_session_belongs_to_its_login(sessions):
    anna = sessions.open(None, "anna")
    assert sessions.open(anna.token, "anna") is anna
    assert sessions.open(anna.token, "ben").token != anna.token
    again = SessionStore(sessions.folder)  # after a restart
    assert again.open(anna.token, "ben").token != anna.token
    assert again.open(anna.token, "anna").token == anna.token
