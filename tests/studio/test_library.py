"""The library in the studio: who sees it, what it shows, and object sets that go in and out."""

import shutil
from dataclasses import replace
from pathlib import Path

import gradio as gr
import pytest
from helpers.files import listing
from PIL import Image

from breakascene.errors import UserError
from breakascene.generation.library import Details, Library, details_file
from breakascene.models.concepts import Concepts
from breakascene.studio import app, strings
from breakascene.studio.screens.library import LibraryScreen
from breakascene.studio.state.session import SessionStore
from breakascene.training.loop import run_extraction
from breakascene.training.settings import preset


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_base, scene):
    folder = tmp_path_factory.mktemp("runs") / "run"
    run_extraction(scene, tiny_base, replace(preset("quick", tiny_base), steps=(1, 0)), folder)
    return folder


@pytest.fixture
def library(run, tmp_path):
    library = Library(tmp_path / "library")
    library.add(run, Details("Shelf", ("blue",)))
    return library


def test_only_a_studio_of_this_machine_has_the_users_own_library(monkeypatch, tmp_path):
    monkeypatch.delenv("BREAKASCENE_LIBRARY")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert app.open_library("127.0.0.1").folder == tmp_path / "breakascene" / "library"
    assert app.open_library("0.0.0.0") is None
    monkeypatch.setenv("BREAKASCENE_LIBRARY", str(tmp_path / "shared"))
    assert app.open_library("0.0.0.0").folder == tmp_path / "shared"
    monkeypatch.delenv("BREAKASCENE_LIBRARY")
    monkeypatch.setenv("SPACE_ID", "someone/studio")
    assert app.open_library("127.0.0.1") is None


def test_runs_are_shown_with_their_objects_and_found_by_words(library, tmp_path):
    session = SessionStore(tmp_path / "sessions").open(None)
    screen = LibraryScreen(library, gr.Textbox(), gr.Gallery(), gr.Markdown())
    updates = screen.show(session, "shelf BLUE mug")
    (shown,) = updates[screen.runs].value
    assert shown["caption"] == "Shelf · blue" and not updates[screen.note].visible
    assert Path(shown["image"]["path"]).stem == library.entries()[0].id
    assert Image.open(shown["image"]["path"]).size == (2 * 96, 2 * 96)
    updates = screen.show(session, "teapot")
    assert not updates[screen.runs].visible and updates[screen.note].value == strings.LIBRARY_NOTHING
    without_photo = shutil.ignore_patterns("thumbs", "scene")
    shutil.copytree(library.entries()[0].folder, library.folder / "damaged", ignore=without_photo)
    assert len(library.entries()) == 2 and len(screen.show(session)[screen.runs].value) == 1


def test_an_object_set_of_the_library_becomes_the_current_one_once(library, tmp_path, tiny_base):
    session, (entry,) = SessionStore(tmp_path / "sessions").open(None), library.entries()
    session.runs.open_entry(entry, tiny_base)
    session.runs.open_entry(entry, tiny_base)
    (run,) = session.runs.list()
    assert session.runs.current() == run and run.name == "Shelf" and run.details.tags == ("blue",)
    session.runs.describe("Cupboard", "red")
    assert library.find("Shelf").details.tags == ("blue",)  # the copy is the session's own
    session.runs.delete(run.folder)
    assert session.runs.list() == [] and library.entries() == [entry]


def test_object_sets_of_another_base_or_damaged_ones_are_refused(library, tmp_path, tiny_base, sd_base):
    session, (entry,) = SessionStore(tmp_path / "sessions").open(None), library.entries()
    with pytest.raises(UserError, match="were learned on"):
        session.runs.open_entry(entry, sd_base)
    (entry.folder / "concepts.safetensors").write_bytes(b"damaged")
    with pytest.raises(UserError, match="is damaged"):
        session.runs.open_entry(entry, tiny_base)
    assert session.runs.list() == [] and listing(session.folder) == {}


def test_a_session_has_the_layout_of_a_library(library, tmp_path, tiny_base):
    session, (entry,) = SessionStore(tmp_path / "sessions").open(None), library.entries()
    session.runs.open_entry(entry, tiny_base)
    (own,) = Library(session.runs.runs_folder).entries("shelf blue")
    assert Concepts.load(own.folder).id == entry.id and details_file(own.folder).is_file()
    shutil.copytree(session.runs.runs_folder, tmp_path / "backup")
    assert [one.id for one in Library(tmp_path / "backup").entries()] == [own.id]
