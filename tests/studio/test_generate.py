"""Step 3 behind its screen: prompts of a contact sheet, images and favorites on disk, the same image once more."""

import csv
import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from helpers.jobs import follow, wait
from PIL import Image

from breakascene.data.scene import load_scene
from breakascene.errors import UserError
from breakascene.generation.generate import GeneratedImage, read_metadata, save_image
from breakascene.segmentation.segmenter import Segmenter
from breakascene.studio import loaded
from breakascene.studio.jobs import DONE, STOPPED, JobQueue
from breakascene.studio.screens import generation_job, prompt_builder
from breakascene.studio.screens.gallery import KEPT_FORMATS, download_format, new_formats_folder
from breakascene.studio.screens.select_actions import samples
from breakascene.studio.state import gallery
from breakascene.studio.state import selection as selections
from breakascene.studio.state.gallery import Gallery
from breakascene.studio.state.session import Session, SessionStore
from breakascene.studio.strings import en, ja
from breakascene.training.loop import run_extraction
from breakascene.training.settings import preset

HANDLES = ("<asset0>", "<asset1>", "<background>")
OPTIONS = (2, 2.0, "")  # num_inference_steps, guidance_scale, negative_prompt


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_base, scene):
    """A folder of sessions, and the token of the one that has a run of one step."""
    folder = tmp_path_factory.mktemp("sessions")
    session = SessionStore(folder).open(None)
    settings = replace(preset("quick", tiny_base), steps=(1, 0))
    run_extraction(scene, tiny_base, settings, out=session.runs.new_folder())
    return folder, session.token


@pytest.fixture
def session(trained, tiny_base, monkeypatch) -> Session:
    monkeypatch.setitem(loaded._loaded, "base", tiny_base)
    folder, token = trained
    return SessionStore(folder).open(token)


@pytest.fixture
def queue():
    queue = JobQueue()
    yield queue
    queue.close()


def finished(job):
    wait(job)
    assert job.state == DONE, job.error
    return job.result


def test_variations_of_the_photo_and_the_background_alone(session, queue):
    runs = session.runs.chosen()
    (image,) = finished(generation_job.submit_variations(session, queue, runs, 0.5, 1, 3, *OPTIONS, "wide"))
    metadata = read_metadata(image)
    assert metadata["prompt"] == "a photo of <asset0> and <asset1> at <background>"
    assert metadata["strength"] == 0.5 and metadata["width"] == 160
    (image,) = finished(generation_job.submit_background(session, queue, runs, 1, 3, *OPTIONS))
    assert read_metadata(image)["prompt"] == "a photo of <background>"


def test_an_image_is_upscaled_with_the_run_it_was_generated_with(session, queue):
    runs = session.runs.chosen()
    (image,) = finished(generation_job.submit(session, queue, runs, "a photo of <asset0>", 1, 3, *OPTIONS, "wide"))
    (upscaled,) = finished(generation_job.submit_upscaling(session, queue, image))
    metadata = read_metadata(upscaled)
    assert Image.open(upscaled).size == (metadata["width"], metadata["height"]) == (320, 192)
    assert "upscaled × 2" in gallery.details(metadata).values() and generation_job.shape_of(metadata) == "wide"
    assert session.gallery.images()[0] == upscaled
    details = {**read_metadata(image), "run": "gone"}
    other = save_image(GeneratedImage(Image.open(image), details), session.gallery.images_folder)
    with pytest.raises(UserError, match="object set of this image was deleted"):
        generation_job.submit_upscaling(session, queue, other)
    (image,) = finished(
        generation_job.submit(session, queue, runs, "a photo of <asset0>", 1, 3, *OPTIONS, upscale=True)
    )
    assert Image.open(image).size == (256, 256)


def generate(session, queue, prompt="a photo of <asset0>", count=1, seed=0):
    job = generation_job.submit(session, queue, session.runs.chosen(), prompt, count, seed, *OPTIONS)
    return finished(job)


@pytest.mark.parametrize(
    ("text", "handle", "changed"),
    [
        ("a photo of <asset0> at the beach", "<asset1>", "a photo of <asset1> at the beach"),
        ("<asset0> and <asset1> in the snow", "<asset1>", "<asset1> in the snow"),
        ("<asset1>, <asset0> and <asset1> at <background>.", "<asset0>", "<asset0> at <background>."),
        ("<asset0> beside a mirror with <asset0> in it", "<asset1>", "<asset1> beside a mirror with <asset1> in it"),
    ],
)
def test_with_object_replaces_the_object_of_a_prompt(text, handle, changed):
    assert prompt_builder.with_object(text, handle, HANDLES) == changed


@pytest.mark.parametrize(
    ("text", "problem"),
    [("a photo of a dog", "no object"), ("at <background>", "no object"), ("<asset0> on <asset1>", "several places")],
)
def test_a_prompt_without_a_single_object_cannot_be_varied(text, problem):
    with pytest.raises(UserError, match=problem):
        prompt_builder.with_object(text, "<asset1>", HANDLES)


def test_a_sheet_has_a_row_for_each_style_and_place_and_a_column_for_each_object(session):
    near, far = list(prompt_builder.places())[:2]
    styles = list(prompt_builder.styles())[:2]
    text = f"{styles[0]} of <asset0> {far}"
    rows = prompt_builder.prompt_grid(text, HANDLES[:2], [], [near, far], HANDLES)
    assert rows == [[f"{styles[0]} of {handle} {place}" for handle in HANDLES[:2]] for place in (near, far)]
    rows = prompt_builder.prompt_grid("a photo of <asset0>", HANDLES[:2], styles, [near, far], HANDLES)
    assert rows == [
        [f"{style} of {handle} {place}" for handle in HANDLES[:2]] for style in styles for place in (near, far)
    ]
    assert prompt_builder.prompt_grid(text, [], styles[1:], [], HANDLES) == [[f"{styles[1]} of <asset0> {far}"]]


def test_without_places_and_objects_the_lines_are_the_rows(session):
    assert prompt_builder.prompt_grid(" <asset0>  here\n\n<asset1> on <asset0>", [], [], [], HANDLES) == [
        ["<asset0> here"],
        ["<asset1> on <asset0>"],
    ]
    with pytest.raises(UserError, match="There is no prompt yet"):
        prompt_builder.prompt_grid(" \n", HANDLES[:2], [], [], HANDLES)


def test_places_and_styles_suit_the_base_and_replace_each_other(session, monkeypatch):
    assert prompt_builder.places() is en.SD_PLACES and prompt_builder.styles() is en.SD_STYLES
    text = "a photo of <asset0>"
    for place, style in zip(prompt_builder.places(), prompt_builder.styles(), strict=False):
        text = prompt_builder.with_style(prompt_builder.with_place(text, place, HANDLES), style, HANDLES)
        assert text == f"{style} of <asset0> {place}"
    monkeypatch.setattr(loaded.base(), "name", "toybox")
    assert prompt_builder.places() is en.TOYBOX_PLACES and prompt_builder.styles() is en.TOYBOX_STYLES
    for name in ("TOYBOX_PLACES", "TOYBOX_STYLES", "SD_PLACES", "SD_STYLES"):
        assert list(getattr(en, name)) == list(getattr(ja, name))  # what the model reads


def test_a_sheet_uses_the_same_seeds_and_is_saved_as_one_image(session, queue):
    rows = [["a <asset0> at snow", "a <asset1> at snow"], ["a <asset0> at beach", "a <asset1> at beach"]]
    images = finished(generation_job.submit_sheet(session, queue, session.runs.chosen(), rows, 2, 30, *OPTIONS))
    records = [read_metadata(path) for path in images]
    assert [record["prompt"] for record in records] == [prompt for row in rows for prompt in row for _ in range(2)]
    assert [gallery.image_seed(record) for record in records] == [30, 31] * 4
    sheet = Image.open(session.gallery.sheet)
    assert sheet.width == 10 + 4 * 266 and 2 * 256 < sheet.height < 3 * 256
    cells = [np.asarray(sheet)[10:266, 10 + i * 266 : 266 + i * 266] for i in range(4)]
    big = [np.asarray(Image.open(path).resize((256, 256), Image.Resampling.LANCZOS)) for path in images[:4]]
    assert all(np.array_equal(*pair) for pair in zip(cells, big, strict=True))


def test_a_stopped_sheet_keeps_its_finished_images(session, queue):
    rows = [["a photo of <asset0>"]] * 12
    job = generation_job.submit_sheet(session, queue, session.runs.chosen(), rows, 4, 1, *OPTIONS)
    next(follow(job))
    job.request_stop()
    done = len(list(follow(job)))
    assert job.state == STOPPED and 0 < done < 48
    assert Image.open(session.gallery.sheet).height // 256 == -(-done // 4)


def test_a_sheet_that_is_too_large_or_has_unknown_handles_is_refused(session, queue):
    run = session.runs.chosen()
    with pytest.raises(UserError, match="52 images, and a contact sheet holds 48"):
        generation_job.submit_sheet(session, queue, run, [["a photo of <asset0>"]] * 13, 4, 0, *OPTIONS)
    with pytest.raises(UserError, match="<asset7> is an unknown handle"):
        generation_job.submit_sheet(session, queue, run, [["a photo of <asset7>"]], 1, 0, *OPTIONS)
    with pytest.raises(UserError, match="too long"):
        generation_job.submit_sheet(session, queue, run, [["word " * 120]], 1, 0, *OPTIONS)


def test_one_image_of_several_is_repeated_by_its_seed(session, queue):
    third = generate(session, queue, count=3, seed=5)[2]
    record = read_metadata(third)
    again = generate(session, queue, record["prompt"], seed=gallery.image_seed(record))[0]
    assert gallery.image_seed(read_metadata(again)) == gallery.image_seed(record) == 7
    difference = np.asarray(Image.open(third)).astype(int) - np.asarray(Image.open(again))
    assert abs(difference).max() <= 1
    assert record["run"] == session.runs.current().concepts_id  # so that its object set is found again


def test_images_arrive_one_by_one(session, queue):
    """A stop after the first image ends the job with the image that is being generated."""
    job = generation_job.submit(session, queue, session.runs.chosen(), "a photo of <asset0>", 16, 0, 60, 2.0, "")
    next(follow(job))
    job.request_stop()
    assert len(list(follow(job))) <= 3 and job.state == STOPPED


def test_an_image_has_the_requested_shape_and_records_it(session, queue):
    job = generation_job.submit(session, queue, session.runs.chosen(), "a photo of <asset0>", 1, 0, *OPTIONS, "wide")
    (wide,) = finished(job)
    record = read_metadata(wide)
    assert Image.open(wide).size == (160, 96) and generation_job.shape_of(record) == "wide"
    assert gallery.details(record)["size"] == "160 × 96"
    old = {key: value for key, value in record.items() if key not in ("width", "height")}
    assert generation_job.shape_of(old) == "square" and "size" not in gallery.details(old)
    with pytest.raises(UserError, match="choose one of square, wide, tall"):
        generation_job.submit(session, queue, session.runs.chosen(), "a photo of <asset0>", 1, 0, *OPTIONS, "round")


def test_a_run_in_use_cannot_be_deleted(session, queue):
    job = generation_job.submit(session, queue, session.runs.chosen(), "a photo of <asset0>", 16, 0, 60, 2.0, "")
    with pytest.raises(UserError, match="still running: wait until it is done, or stop it"):
        session.delete_run()
    job.request_stop()
    wait(job)
    assert session.runs.current()


def test_a_kept_seed_stays_and_any_other_is_new():
    assert generation_job.choose_seed(12, True) == 12
    assert generation_job.choose_seed(-3, True) == 3
    new = {generation_job.choose_seed(12, False) for _ in range(20)} | {
        generation_job.choose_seed(None, True) for _ in range(20)
    }
    assert len(new) > 30 and all(0 <= seed < generation_job.NEW_SEEDS for seed in new)


@pytest.fixture
def three_images(session, queue, tmp_path) -> Gallery:
    """A separate gallery with three images, the newest first."""
    three_images = Gallery(tmp_path)
    for path in generate(session, queue, count=3, seed=40):
        target = three_images.images_folder / path.name
        target.parent.mkdir(exist_ok=True)
        path.rename(target)
    return three_images


def test_favorites_survive_a_restart_and_filter_the_gallery(three_images):
    first, second, _ = three_images.images()
    for path in (first, second):
        three_images.choose(path.name)
        three_images.toggle_favorite()
    later = Gallery(three_images.folder)
    assert later.favorites() == [first, second] and later.visible() == three_images.images()
    later.only_favorites = True
    assert later.visible() == [first, second]
    for path in (first, second):
        later.choose(path.name)
        later.toggle_favorite()
    assert not later.favorites() and later.visible() == three_images.images()  # removing the last one clears the filter


@pytest.mark.parametrize("name", ["../../../etc/passwd", "", "none.png", None])
def test_only_images_of_the_gallery_can_be_chosen(three_images, name):
    three_images.choose(name)
    for act in (three_images.toggle_favorite, three_images.toggle_compared, three_images.chosen_image):
        with pytest.raises(UserError, match="No image is selected"):
            act()


def test_compared_images_are_captioned_with_their_differences(three_images):
    first, second, third = three_images.images()
    for path in (first, third, second, third):
        three_images.choose(path.name)
        three_images.toggle_compared()
    assert three_images.compared == [first.name, second.name]
    records = [read_metadata(path) for path in (first, second)]
    assert gallery.differences(records) == ["a photo of ball · seed 42", "a photo of ball · seed 41"]
    records[1] |= {"seed": records[0]["seed"], "index": records[0]["index"], "negative_prompt": "snow"}
    assert gallery.differences(records) == ["a photo of ball", "a photo of ball · without snow"]
    records[1] |= {"negative_prompt": "", "layout": {"objects": []}}
    assert gallery.differences(records) == ["a photo of ball", "a photo of ball · placed objects"]


def test_favorites_are_downloaded_with_contact_sheet_and_records(three_images):
    first, _, third = three_images.images()
    for path in (third, first):
        three_images.choose(path.name)
        three_images.toggle_favorite()
    with zipfile.ZipFile(three_images.zip(three_images.favorites(), "favorites.zip")) as archive:
        names = ["000-a-photo-of-ball.png", "001-a-photo-of-ball.png"]
        assert archive.namelist() == [*names, "contact-sheet.png", "records.csv"]
        assert archive.read(names[0]) == first.read_bytes() and archive.read(names[1]) == third.read_bytes()
        assert Image.open(archive.open("contact-sheet.png")).width == 10 + 2 * 266
        rows = list(csv.DictReader(io.TextIOWrapper(archive.open("records.csv"), "utf-8")))
    assert [(row["file"], int(row["seed"]) + int(row["index"])) for row in rows] == list(
        zip(names, (42, 40), strict=True)
    )
    assert rows[0]["objects"] == "<asset0> ball / <asset1> mug / <background> background"
    with pytest.raises(UserError, match="no images to download"):
        three_images.zip([], "none.zip")


def test_a_run_reopens_its_photo_and_masks(session, scene):
    session.reopen_run()
    found = selections.to_scene(session.history.selection)
    assert found.handles == scene.handles and found.names == scene.names
    assert np.array_equal(np.asarray(found.photo), np.asarray(scene.photo))
    assert all(np.array_equal(a.mask, b.mask) for a, b in zip(found.concepts, scene.concepts, strict=True))


def test_a_run_can_be_renamed(session):
    assert session.runs.current().name == "ball, mug, background"
    (session.folder / "names.json").write_text(json.dumps({session.runs.current().id: "Old name"}))  # earlier versions
    assert session.runs.current().name == "Old name"
    session.runs.describe("  My  toys ", "red, ,small  ones，red")
    run = SessionStore(session.folder.parent).open(session.token).runs.current()  # after a restart
    assert run.name == "My toys" and run.title.startswith("My toys · red · small ones · ")
    assert session.runs.pack().name == "My-toys.zip"
    session.runs.describe("私のおもちゃ", "")
    assert session.runs.pack().name == "私のおもちゃ.zip"
    session.runs.describe("x" * 300, "")
    assert len(session.runs.current().name) == 60
    session.runs.describe(" ", "")
    assert session.runs.current().name == "ball, mug, background"


def test_the_chosen_image_is_downloaded_in_a_format(session, monkeypatch):
    sample = load_scene(samples()[0])
    metadata = {"prompt": "<asset0> and <asset1>", "handles": dict(zip(sample.handles, sample.names, strict=True))}
    metadata |= {"negative_prompt": "", "seed": 1, "index": 0, "num_inference_steps": 1, "guidance_scale": 1.0}
    path = save_image(GeneratedImage(sample.photo, metadata), session.gallery.images_folder)
    monkeypatch.setitem(loaded._loaded, "segmenter", Segmenter.load("toybox"))
    session.gallery.choose(path.name)
    banner, cutout = download_format(session, "banner"), download_format(session, "cutout")
    assert cutout.name == f"{path.stem}-cutout.png" and Image.open(cutout).mode == "RGBA"
    assert read_metadata(cutout)["prompt"] == metadata["prompt"]
    for _ in range(KEPT_FORMATS - 1):
        assert banner.exists() and new_formats_folder(session).is_dir()
    assert not banner.exists()
    session.gallery.delete([path])
