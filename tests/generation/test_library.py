"""The library: names, tags, search, and use by several processes at once."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from helpers.files import listing
from helpers.runs import short
from PIL import Image
from typer.testing import CliRunner

from breakascene.__main__ import app
from breakascene.errors import UserError
from breakascene.files import atomic_folder
from breakascene.generation.generate import read_metadata
from breakascene.generation.library import Details, Library, clean_details, details_file
from breakascene.training.loop import run_extraction


@pytest.fixture(scope="module")
def run(tiny_base, scene, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    run_extraction(scene, tiny_base, short(tiny_base, steps=(1, 1), prior_loss_weight=0.0), folder)
    return folder


def call(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


def test_runs_are_found_by_words_of_their_names_objects_and_tags(run, tmp_path):
    library = Library(tmp_path / "library")
    assert library.entries() == []
    entry = library.add(run, Details("Grandma's shelf", ("blue", "old toys")))
    assert library.add(run) == entry  # the same run is kept once, with its details
    for search in ("", "shelf", "MUG", "ball old", "grandma toys mug"):
        assert library.entries(search) == [entry]
    assert library.entries("shelf teapot") == []
    assert [Image.open(path).size for path in entry.thumbnails()] == [(96, 96)] * 3
    assert np.asarray(Image.open(entry.thumbnails()[0]))[..., 3].any()
    assert library.find("grandma's SHELF") == entry == library.find(entry.id)
    moved = (tmp_path / "library").rename(tmp_path / "moved")
    assert replace(Library(moved).find(entry.id), folder=entry.folder) == entry
    Library(moved).remove(Library(moved).find(entry.id))
    assert listing(moved) == {}


def test_details_are_one_line_and_damaged_files_are_ignored(run, tmp_path):
    assert clean_details(" a\n b " + "x" * 99, ["t", " t ", "", "u" * 99]) == Details(
        "a b " + "x" * 56, ("t", "u" * 30)
    )
    assert clean_details("\x1b[31mred\u202e", ["\x00", "a\x07b"]) == Details("[31mred", ("ab",))
    library = Library(tmp_path)
    entry = library.add(run, Details("shelf"))
    for damaged in ("{", "[]", '{"name": 3}', '{"tags": 5}'):
        details_file(entry.folder).write_text(damaged)
        assert library.find(entry.id).name == "ball, mug, background"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "manifest.json").write_text("{")
    assert len(library.entries()) == 1
    with pytest.raises(UserError, match="There is no run"):
        library.find("other")
    with pytest.raises(UserError, match="is not a run folder"):
        library.add(tmp_path / "other" / "nothing")


def test_drafts_and_newer_versions_are_no_runs_and_links_are_removed_alone(run, tmp_path):
    library = Library(tmp_path / "library")
    entry = library.add(run)
    shutil.copytree(entry.folder, tmp_path / "library" / f".{entry.id}.12345678.part")
    newer = shutil.copytree(entry.folder, tmp_path / "library" / "newer") / "manifest.json"
    newer.write_text(newer.read_text().replace('"format": 1', '"format": 99'))
    (tmp_path / "library" / "link").symlink_to(shutil.copytree(run, tmp_path / "elsewhere"))
    assert {one.id for one in library.entries()} == {entry.id, "link"}
    library.remove(library.find("link"))
    assert library.entries() == [entry] and (tmp_path / "elsewhere" / "manifest.json").exists()


def test_a_library_that_cannot_be_written(run, tmp_path):
    (tmp_path / "file").write_text("dear")
    for folder in (tmp_path / "file", "/proc/library"):
        with pytest.raises(UserError, match="give the path of a folder|choose another place"):
            Library(folder).add(run)


def test_several_runs_of_one_name_are_told_apart_by_their_ids(run, tmp_path):
    library = Library(tmp_path)
    entry = library.add(run)
    with atomic_folder(tmp_path / "copy") as draft:
        for file in entry.folder.rglob("*.*"):
            (draft / file.relative_to(entry.folder)).parent.mkdir(parents=True, exist_ok=True)
            (draft / file.relative_to(entry.folder)).write_bytes(file.read_bytes())
    with pytest.raises(UserError, match=f"Several runs are named .*({entry.id} or copy|copy or {entry.id})"):
        library.find("ball, mug, background")


def test_the_command_line_keeps_and_uses_runs(run, tmp_path, monkeypatch):
    monkeypatch.setenv("BREAKASCENE_LIBRARY", str(tmp_path / "library"))
    status, stdout, _ = call("library", "add", run, "--name", "shelf", "--tag", "blue")
    entry_id = stdout.strip()
    assert status == 0 and call("library", "list", "blue ball")[1] == (
        f"{entry_id}\tshelf\t<ball> <mug> <background>\tblue\n"
    )
    assert call("library", "edit", "shelf", "--name", "cupboard", "--tag", "new", "--untag", "blue")[0] == 0
    assert call("library", "list")[1].split("\t")[1::2] == ["cupboard", "new\n"]
    status, stdout, _ = call("generate", "cupboard", "a photo of <mug>", "--steps", "1", "--out", tmp_path / "images")
    assert status == 0 and read_metadata(stdout.strip())["run"] == entry_id
    status, _, stderr = call("generate", "shelf", "a photo of <mug>", "--out", tmp_path / "images")
    assert status == 2 and stderr.startswith('There is no run "shelf" in the library') and stderr.count("\n") == 1
    assert call("library", "remove", "cupboard")[0] == 0 and call("library", "list")[1] == ""
