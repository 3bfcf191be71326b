"""Step 3 behind its screen: sentences for a sheet, pictures and favourites on disk, the same picture once more."""

import csv
import io
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from breakascene.errors import UserError
from breakascene.generation.generate import read_metadata
from breakascene.studio import engine
from breakascene.studio.jobs import DONE, STOPPED, Line
from breakascene.studio.screens import create, prompt_builder
from breakascene.studio.state import gallery
from breakascene.studio.state import selection as boards
from breakascene.studio.state.gallery import Album
from breakascene.studio.state.session import Desk, Desks
from breakascene.studio.strings import en, ja
from breakascene.training.loop import run_extraction
from breakascene.training.settings import preset

HANDLES = ("<asset0>", "<asset1>", "<background>")
REST = (2, 2.0, "")  # steps, guidance, negative


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_base, scene):
    """A token and the folder of desks where it has a run of one step."""
    folder = tmp_path_factory.mktemp("desks")
    desk = Desks(folder).enter(None)
    settings = replace(preset("quick", tiny_base), steps=(1, 0))
    run_extraction(scene, tiny_base, settings, out=desk.new_run_folder())
    return folder, desk.token


@pytest.fixture
def desk(trained, tiny_base, monkeypatch) -> Desk:
    monkeypatch.setitem(engine._loaded, "base", tiny_base)
    folder, token = trained
    return Desks(folder).enter(token)


@pytest.fixture
def line():
    line = Line()
    yield line
    line.close()


def finished(line, job):
    list(line.follow(job))
    assert job.state == DONE, job.error
    return job.result


def draw(desk, line, prompt="a photo of <asset0>", count=1, seed=0):
    job = create.begin(desk, line, desk.current_run(), prompt, count, seed, *REST)
    return finished(line, job)


@pytest.mark.parametrize(
    ("text", "thing", "changed"),
    [
        ("a photo of <asset0> at the beach", "<asset1>", "a photo of <asset1> at the beach"),
        ("<asset0> and <asset1> in the snow", "<asset1>", "<asset1> in the snow"),
        ("<asset1>, <asset0> and <asset1> at <background>.", "<asset0>", "<asset0> at <background>."),
        ("<asset0> beside a mirror with <asset0> in it", "<asset1>", "<asset1> beside a mirror with <asset1> in it"),
    ],
)
def test_another_thing_takes_the_place_of_the_one_in_the_sentence(text, thing, changed):
    assert prompt_builder.with_thing(text, thing, HANDLES) == changed


@pytest.mark.parametrize(
    ("text", "problem"),
    [("a photo of a dog", "no object"), ("at <background>", "no object"), ("<asset0> on <asset1>", "several places")],
)
def test_a_sentence_without_one_thing_cannot_be_varied(text, problem):
    with pytest.raises(UserError, match=problem):
        prompt_builder.with_thing(text, "<asset1>", HANDLES)


def test_a_sheet_has_a_row_for_each_place_and_a_column_for_each_thing(desk):
    near, far = list(prompt_builder.places())[:2]
    rows = prompt_builder.rows_and_columns(f"a painting of <asset0> {far}", HANDLES[:2], [near, far], HANDLES)
    assert rows == [[f"a painting of {thing} {place}" for thing in HANDLES[:2]] for place in (near, far)]


def test_without_places_and_things_the_lines_are_the_rows(desk):
    assert prompt_builder.rows_and_columns(" <asset0>  here\n\n<asset1> on <asset0>", [], [], HANDLES) == [
        ["<asset0> here"],
        ["<asset1> on <asset0>"],
    ]
    with pytest.raises(UserError, match="There is no prompt yet"):
        prompt_builder.rows_and_columns(" \n", HANDLES[:2], [], HANDLES)


def test_ideas_suit_the_base_and_take_each_others_place(desk, monkeypatch):
    assert prompt_builder.places() is en.WIDE_PLACES and prompt_builder.manners() is en.WIDE_MANNERS
    text = "a photo of <asset0>"
    for place, manner in zip(prompt_builder.places(), prompt_builder.manners(), strict=False):
        text = prompt_builder.with_manner(prompt_builder.with_place(text, place, HANDLES), manner)
        assert text == f"{manner} of <asset0> {place}"
    monkeypatch.setattr(engine.base(), "name", "toybox")
    assert prompt_builder.places() is en.PLACES and prompt_builder.manners() is en.MANNERS
    for name in ("PLACES", "MANNERS", "WIDE_PLACES", "WIDE_MANNERS"):
        assert list(getattr(en, name)) == list(getattr(ja, name))  # what the painter reads


def test_a_sheet_is_drawn_from_the_same_seeds_and_saved_as_one_picture(desk, line):
    rows = [["a <asset0> at snow", "a <asset1> at snow"], ["a <asset0> at beach", "a <asset1> at beach"]]
    pictures = finished(line, create.begin_sheet(desk, line, desk.current_run(), rows, 2, 30, *REST))
    records = [read_metadata(path) for path in pictures]
    assert [record["prompt"] for record in records] == [prompt for row in rows for prompt in row for _ in range(2)]
    assert [gallery.seed_of(record) for record in records] == [30, 31] * 4
    sheet = Image.open(desk.album.sheet)
    assert sheet.width == 10 + 4 * 266 and 2 * 256 < sheet.height < 3 * 256
    cells = [np.asarray(sheet)[10:266, 10 + i * 266 : 266 + i * 266] for i in range(4)]
    big = [np.asarray(Image.open(path).resize((256, 256), Image.Resampling.LANCZOS)) for path in pictures[:4]]
    assert all(np.array_equal(*pair) for pair in zip(cells, big, strict=True))


def test_a_sheet_that_is_stopped_keeps_what_is_drawn(desk, line):
    rows = [["a photo of <asset0>"]] * 12
    job = create.begin_sheet(desk, line, desk.current_run(), rows, 4, 1, *REST)
    next(line.follow(job))
    job.ask_stop()
    drawn = len(list(line.follow(job)))
    assert job.state == STOPPED and 0 < drawn < 48
    assert Image.open(desk.album.sheet).height // 256 == -(-drawn // 4)


def test_a_sheet_that_is_too_large_or_of_unknown_things_is_refused(desk, line):
    run = desk.current_run()
    with pytest.raises(UserError, match="52 images, and a contact sheet holds 48"):
        create.begin_sheet(desk, line, run, [["a photo of <asset0>"]] * 13, 4, 0, *REST)
    with pytest.raises(UserError, match="<asset7> is an unknown handle"):
        create.begin_sheet(desk, line, run, [["a photo of <asset7>"]], 1, 0, *REST)
    with pytest.raises(UserError, match="too long"):
        create.begin_sheet(desk, line, run, [["word " * 120]], 1, 0, *REST)


def test_a_picture_of_many_comes_again_alone_by_its_seed(desk, line):
    third = draw(desk, line, count=3, seed=5)[2]
    record = read_metadata(third)
    again = draw(desk, line, record["prompt"], seed=gallery.seed_of(record))[0]
    assert gallery.seed_of(read_metadata(again)) == gallery.seed_of(record) == 7
    difference = np.asarray(Image.open(third)).astype(int) - np.asarray(Image.open(again))
    assert abs(difference).max() <= 1
    assert record["run"] == desk.current_run().concepts  # so that its things are found again


def test_pictures_come_one_by_one(desk, line):
    """Whoever stops after the first has no more than the one that was being drawn then."""
    job = create.begin(desk, line, desk.current_run(), "a photo of <asset0>", 16, 0, 60, 2.0, "")
    next(line.follow(job))
    job.ask_stop()
    assert len(list(line.follow(job))) <= 3 and job.state == STOPPED


def test_a_picture_has_the_shape_that_was_asked_for_and_gives_it_back(desk, line):
    job = create.begin(desk, line, desk.current_run(), "a photo of <asset0>", 1, 0, *REST, "wide")
    (wide,) = finished(line, job)
    record = read_metadata(wide)
    assert Image.open(wide).size == (160, 96) and create.shape_of(record) == "wide"
    assert gallery.details(record)["size"] == "160 × 96"
    old = {key: value for key, value in record.items() if key not in ("width", "height")}
    assert create.shape_of(old) == "square" and "size" not in gallery.details(old)
    with pytest.raises(UserError, match="choose one of square, wide, tall"):
        create.begin(desk, line, desk.current_run(), "a photo of <asset0>", 1, 0, *REST, "round")


def test_things_that_are_being_drawn_are_not_forgotten(desk, line):
    job = create.begin(desk, line, desk.current_run(), "a photo of <asset0>", 16, 0, 60, 2.0, "")
    with pytest.raises(UserError, match="still running: wait until it is done, or stop it"):
        desk.forget_run()
    job.ask_stop()
    list(line.follow(job))
    assert desk.current_run()


def test_a_kept_seed_stays_and_any_other_is_new():
    assert create.pick_seed(12, True) == 12
    assert create.pick_seed(-3, True) == 3
    new = {create.pick_seed(12, False) for _ in range(20)} | {create.pick_seed(None, True) for _ in range(20)}
    assert len(new) > 30 and all(0 <= seed < create.SEEDS for seed in new)


@pytest.fixture
def shelf(desk, line, tmp_path) -> Album:
    """An album of its own with three pictures, the newest first."""
    shelf = Album(tmp_path)
    for path in draw(desk, line, count=3, seed=40):
        target = shelf.pictures_folder / path.name
        target.parent.mkdir(exist_ok=True)
        path.rename(target)
    return shelf


def test_favourites_outlive_a_restart_and_can_be_seen_alone(shelf):
    first, second, _ = shelf.pictures()
    for path in (first, second):
        shelf.choose(path.name)
        shelf.mark()
    later = Album(shelf.folder)
    assert later.favourites() == [first, second] and later.shown() == shelf.pictures()
    later.only_favourites = True
    assert later.shown() == [first, second]
    for path in (first, second):
        later.choose(path.name)
        later.mark()
    assert not later.favourites() and later.shown() == shelf.pictures()  # with the last one the view ends


@pytest.mark.parametrize("name", ["../../../etc/passwd", "", "none.png", None])
def test_only_pictures_of_the_album_can_be_chosen(shelf, name):
    shelf.choose(name)
    for act in (shelf.mark, shelf.lay_beside, shelf.chosen_picture):
        with pytest.raises(UserError, match="No image is selected"):
            act()


def test_pictures_side_by_side_say_what_they_do_not_share(shelf):
    first, second, third = shelf.pictures()
    for path in (first, third, second, third):
        shelf.choose(path.name)
        shelf.lay_beside()
    assert shelf.beside == [first.name, second.name]
    records = [read_metadata(path) for path in (first, second)]
    assert gallery.differences(records) == ["a photo of ball · seed 42", "a photo of ball · seed 41"]
    records[1] |= {"seed": records[0]["seed"], "index": records[0]["index"], "negative": "snow"}
    assert gallery.differences(records) == ["a photo of ball", "a photo of ball · without snow"]


def test_a_selection_is_taken_away_with_its_sheet_and_records(shelf):
    first, _, third = shelf.pictures()
    for path in (third, first):
        shelf.choose(path.name)
        shelf.mark()
    with zipfile.ZipFile(shelf.zip(shelf.favourites(), "favourites.zip")) as archive:
        assert archive.namelist() == [first.name, third.name, "contact-sheet.png", "records.csv"]
        assert archive.read(first.name) == first.read_bytes()
        assert Image.open(archive.open("contact-sheet.png")).width == 10 + 2 * 266
        rows = list(csv.DictReader(io.TextIOWrapper(archive.open("records.csv"), "utf-8")))
    assert [(row["file"], int(row["seed"]) + int(row["index"])) for row in rows] == [(first.name, 42), (third.name, 40)]
    with pytest.raises(UserError, match="no images to download"):
        shelf.zip([], "none.zip")


def test_a_run_gives_its_photo_and_picks_back(desk, scene):
    desk.reopen_run()
    found = boards.to_scene(desk.board)
    assert found.handles == scene.handles and found.names == scene.names
    assert np.array_equal(np.asarray(found.photo), np.asarray(scene.photo))
    assert all(np.array_equal(a.mask, b.mask) for a, b in zip(found.concepts, scene.concepts, strict=True))


def test_a_run_takes_a_name_and_gives_it_back(desk):
    assert desk.current_run().called == "ball, mug, background"
    desk.rename_run("  My  toys ")
    run = Desks(desk.folder.parent).enter(desk.token).current_run()  # after a restart
    assert run.called == "My toys" and run.title.startswith("My toys · ")
    assert desk.pack_run().name == "My-toys.zip"
    desk.rename_run("x" * 300)
    assert len(desk.current_run().called) == 60
    desk.rename_run(" ")
    assert desk.current_run().called == "ball, mug, background"
