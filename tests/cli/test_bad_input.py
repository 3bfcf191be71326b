"""Each user error is one plain line on stderr with exit status 2, and leaves no files behind."""

import io
import os
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
import typer
from helpers.files import listing, save_blank_png, save_mask
from PIL import Image
from safetensors import SafetensorError
from typer.testing import CliRunner

from breakascene.cli.app import CommandGroup, app
from breakascene.files import locked
from breakascene.generation.generate import GeneratedImage, save_image
from breakascene.models.concepts import Concepts
from breakascene.training.checkpoint import path_for
from breakascene.training.loop import run_extraction
from breakascene.training.settings import Settings


@pytest.fixture(scope="module")
def files(tmp_path_factory, scene, tiny_base) -> Path:
    """A folder with a valid photo, masks and run, and one of each kind of invalid file."""
    folder = tmp_path_factory.mktemp("files")
    scene.photo.save(folder / "photo.png")
    masks = scene.masks()
    for name, mask in {"ball": masks[0], "mug": masks[1], "empty": masks[0] & False}.items():
        save_mask(folder / f"{name}.png", mask)
    save_mask(folder / "wide.png", masks[0][:80])
    save_mask(folder / "inverted.png", ~masks[0])
    Image.fromarray(masks[0].astype(np.uint8) + 2 * masks[1].astype(np.uint8)).save(folder / "labels.png")
    (folder / "note.jpg").write_text("Dear diary, this is no photo.")
    stream = io.BytesIO()
    scene.photo.save(stream, "jpeg")
    (folder / "cut.jpg").write_bytes(stream.getvalue()[: len(stream.getvalue()) // 2])
    save_blank_png(folder / "bomb.png", 20_000, 20_000)
    run_extraction(scene, tiny_base, Settings(steps=(1, 0)), folder / "run")
    for name, handle, right in (("layout", "asset0", 0.5), ("unknown", "asset7", 0.5), ("outside", "asset0", 1.5)):
        (folder / f"{name}.json").write_text(f'{{"objects": [{{"handle": "<{handle}>", "box": [0, 0, {right}, 1]}}]}}')
    (folder / "no_run").mkdir()
    (folder / "no_run" / "letter.txt").write_text("not a run")
    (folder / "no_model").mkdir()
    return folder


def refused(files: Path, command: str, monkeypatch) -> str:
    """Run a command in the folder; return its stderr after checking for one line, exit status 2 and no new files."""
    monkeypatch.chdir(files)
    before = listing(files)
    result = CliRunner().invoke(app, command.split("|"))
    assert result.exit_code == 2, result.output + repr(result.exception)
    assert isinstance(result.exception, SystemExit)
    assert listing(files) == before
    assert result.stderr.count("\n") == 1 and "Traceback" not in result.stderr
    return result.stderr


def test_a_stopped_run_is_not_confused_with_one_at_work(files, monkeypatch):
    stopped = path_for(files / "stopped")
    stopped.touch()
    command = "extract|photo.png|--mask|ball.png|--out|stopped"
    assert "continue it with --resume" in refused(files, command, monkeypatch)
    with locked(files / "stopped"):
        assert "Another process is writing to" in refused(files, command, monkeypatch)
    stopped.unlink()


EXTRACT = {
    "no mask": ("photo.png", "There is no mask"),
    "empty mask": ("photo.png|--mask|empty.png:cup", "The mask of <asset0> (cup) is empty"),
    "mask that does not fit": ("photo.png|--mask|wide.png", "wide.png is 160 × 80 pixels but the photo is 160 × 160"),
    "identical masks": ("photo.png|--mask|ball.png:a|--mask|ball.png:b", "<asset0> (a) and <asset1> (b) are the same"),
    "text as photo": ("note.jpg|--mask|ball.png", "note.jpg is not a readable image"),
    "text as mask": ("photo.png|--mask|note.jpg", "note.jpg is not a readable image"),
    "truncated JPEG": ("cut.jpg|--mask|ball.png", "cut.jpg is damaged or truncated"),
    "bomb": ("bomb.png|--mask|ball.png", "bomb.png has more than 100 megapixels"),
    "no such photo": ("gone.png|--mask|ball.png", "There is no file gone.png"),
    "class that is not in the mask": ("photo.png|--mask|ball.png#7:cup", "ball.png has no class 7"),
    "label map": ("photo.png|--mask|labels.png", "2 classes (1 (11 %), 2 (9 %)): choose one, for example labels.png#1"),
    "inverted mask": ("photo.png|--mask|inverted.png", "inverted.png marks 89% of the photo with all its edges"),
    "pipe as mask": ("photo.png|--mask|/dev/zero", "/dev/zero is not a regular file"),
    "no such mask": ("photo.png|--mask|gone.png:cup", "There is no file gone.png"),
    "handle as name": ("photo.png|--mask|ball.png:<asset1>", "without < and >"),
    "base that does not exist": ("photo.png|--mask|ball.png|--base|./nowhere", "There is no base ./nowhere"),
    "base folder without a model": ("photo.png|--mask|ball.png|--base|no_model", "no_model holds no model_index.json"),
    "steps that are no numbers": ("photo.png|--mask|ball.png|--steps|many", '--steps "many" is not valid'),
    "one number of steps": ("photo.png|--mask|ball.png|--steps|400", '--steps "400" is not valid'),
    "half steps": ("photo.png|--mask|ball.png|--steps|1.5,2", '--steps "1.5,2" is not valid'),
    "negative steps": ("photo.png|--mask|ball.png|--steps|-1,5", "not both 0"),
    "no steps": ("photo.png|--mask|ball.png|--steps|0,0", "not both 0"),
    "unknown preset": ("photo.png|--mask|ball.png|--preset|best", "'best' is not one of 'light', 'quick', 'paper'"),
    "seed below zero": ("photo.png|--mask|ball.png|--seed|-3", "--seed"),
}


@pytest.mark.parametrize("case", EXTRACT)
def test_extract(files, case, monkeypatch):
    arguments, message = EXTRACT[case]
    assert message in refused(files, f"extract|{arguments}|--out|new/run", monkeypatch)


def test_extract_names_the_obstacle(files, monkeypatch):
    command = "extract|photo.png|--mask|ball.png|--steps|1,0"
    assert "run already contains a run" in refused(files, f"{command}|--out|run", monkeypatch)
    assert "no_run is not empty" in refused(files, f"{command}|--out|no_run", monkeypatch)
    assert "photo.png is a file" in refused(files, f"{command}|--out|photo.png", monkeypatch)
    assert "nothing to resume" in refused(files, f"{command}|--out|fresh|--resume|--base|{_base(files)}", monkeypatch)


# photo.png is a file and cannot contain others; /proc accepts no new files, not even from root.
@pytest.mark.parametrize("out", ["photo.png/in", "/proc/new"])
@pytest.mark.parametrize(
    "command",
    [
        "extract|photo.png|--mask|ball.png|--base|./nowhere",  # the base is wrong too: --out is checked first
        "segment|photo.png|--auto|--sam|./nowhere",
        "generate|run|a photo|--base|./nowhere",
        "edit|run|photo.png|a photo|--box|1,1,9,9|--base|./nowhere",
        "demo",
    ],
)
def test_an_output_that_cannot_be_written_is_reported_before_the_work(files, command, out, monkeypatch):
    assert f"Cannot write to {out}" in refused(files, f"{command}|--out|{out}", monkeypatch)


SEGMENT = {
    "point outside": ("photo.png|--point|160,20", "The point 160,20 lies outside the photo, which is 160 × 160 pixels"),
    "point left of it": ("photo.png|--point|-1,20", "lies outside"),
    "point with one number": ("photo.png|--point|12", '--point "12" is not valid: write X,Y or X,Y,-'),
    "point of words": ("photo.png|--point|left,top", '--point "left,top" is not valid'),
    "point that is no number": ("photo.png|--point|nan,3", '--point "nan,3" is not valid'),
    "only points outside the object": ("photo.png|--point|5,5,-", "at least one point on it"),
    "box with three numbers": ("photo.png|--box|1,2,3", '--box "1,2,3" is not valid'),
    "box outside": ("photo.png|--box|200,200,300,300", "contains no part of the photo"),
    "neither points nor auto": ("photo.png", "Mark the object with"),
    "both": ("photo.png|--point|5,5|--auto", "Mark the object with"),
    "text as photo": ("note.jpg|--point|5,5", "note.jpg is not a readable image"),
    "bomb": ("bomb.png|--point|5,5", "more than 100 megapixels"),
    "unknown segmenter": ("photo.png|--point|5,5|--sam|vit_x", 'no segmenter "vit_x"'),
    "text as segmenter": ("photo.png|--point|5,5|--sam|note.jpg", "note.jpg is not a SAM checkpoint"),
}


@pytest.mark.parametrize("case", SEGMENT)
def test_segment(files, case, monkeypatch):
    arguments, message = SEGMENT[case]
    assert message in refused(files, f"segment|{arguments}|--out|new.png", monkeypatch)


def test_segment_out(files, monkeypatch):
    assert "name it mask.png" in refused(files, "segment|photo.png|--point|5,5|--out|mask.jpg", monkeypatch)
    assert "run is a folder" in refused(files, "segment|photo.png|--point|5,5|--out|run", monkeypatch)
    assert "is not empty" in refused(files, "segment|photo.png|--auto|--out|no_run", monkeypatch)


def test_sheet(files, monkeypatch):
    assert "There is no row" in refused(files, "sheet|run|--out|images", monkeypatch)
    command = "sheet|run|--place|near <asset7>|--out|images"
    assert "<asset7> is an unknown handle" in refused(files, command, monkeypatch)


def test_crop(files, monkeypatch):
    cases = {
        "photo.png": "There is no format: give --format",
        "photo.png|--format|poster": 'There is no format "poster": choose square, 4:5, 16:9, shop, story, banner',
        "note.jpg|--format|shop": "note.jpg is not a readable image",
        "gone.png|--format|shop": "There is no file gone.png",
        "photo.png|--format|shop|--base|toybox": "--base needs --upscale",
        "photo.png|no_run/photo.jpg|--format|shop": "Several images are named photo: crop them one by one",
        "photo.png|--format|shop|--upscale|run": "photo.png has no metadata",
        "photo.png|--format|shop|--upscale|gone": 'There is no run "gone"',
        "other.png|--format|shop|--upscale|run": "other.png was generated with another run",
        "dot.png|--format|shop|--upscale|run": "dot.png is only 1 × 1 pixels",
        "small.png|--format|shop|--upscale|run": "upscales images with sides from 64 to 320",
        "large.png|--format|shop|--upscale|run": "The image is 400 × 100 pixels",
        "clear.png|--format|shop|--upscale|run": "The image has transparent parts",
    }
    metadata = {"prompt": "<asset0>", "negative_prompt": "", "seed": 0, "index": 0, "num_inference_steps": 2}
    metadata |= {"guidance_scale": 1.0, "handles": {}, "run": Concepts.load(files / "run").id}
    for name, mode, size in (
        ("other", "RGB", (128, 128)), ("dot", "RGB", (1, 1)), ("small", "RGB", (40, 128)), ("large", "RGB", (400, 100)),
        ("clear", "RGBA", (128, 128)),
    ):  # fmt: skip
        own = {**metadata, "run": "other"} if name == "other" else metadata
        save_image(GeneratedImage(Image.new(mode, size), own), files / "new").rename(files / f"{name}.png")
        (files / "new").rmdir()
    for arguments, message in cases.items():
        assert message in refused(files, f"crop|{arguments}|--out|images", monkeypatch)


def test_generate(files, monkeypatch):
    cases = {
        "run|a photo of <asset7>": "<asset7> is an unknown handle: this run knows <asset0>, <asset1>, <background>",
        "run|a photo|--negative|<cup>": "<cup> is an unknown handle",
        "run|a photo of asset7": "<asset7> is an unknown handle",
        "run|a photo\udce4": "characters that are not text",
        "run|a photo|--guidance|inf": "The guidance scale inf cannot be used",
        "run|a photo|--guidance|nan": "The guidance scale nan cannot be used",
        "no_run|a photo": "no_run is not a run folder",
        "gone|a photo": 'There is no run "gone" in the library',
        "photo.png|a photo": "photo.png is not a run folder",
        "run|a photo|--base|./nowhere": "There is no base ./nowhere",
        "run| ": "The prompt is empty",
        "run|a photo|--count|0": "--count",
        "run|a photo|--steps|x": "--steps",
        "run|a photo|--size|128": '--size "128" is not valid',
        "run|a photo|--size|100x128": "in steps of 8",
        "run|a photo|--image|photo.png|--strength|1.5": "The strength 1.5 cannot be used",
        "run|--variations|--strength|nan": "The strength nan cannot be used",
        "run|a photo|--strength|0.5": "add --image, --variations or --layout",
        "run|a photo|--image|photo.png|--variations": "give one of them",
        "run|a photo|--image|gone.png": "There is no file gone.png",
        "run|a photo|--image|note.jpg": "note.jpg is not a readable image",
        "run|a photo|--background-only": "--background-only takes no prompt",
        "a photo|--variations": "There is no run folder",
        "run": "There is no prompt",
        "run|a photo of <asset0>|--layout|gone.json": "There is no file gone.json",
        "run|a photo of <asset0>|--layout|photo.png": "photo.png is not a short text file",
        "run|a photo of <asset0>|--layout|note.jpg": "it is not valid JSON",
        "run|a photo of <asset0>|--layout|unknown.json": "<asset7> is an unknown handle",
        "run|a photo of <asset0>|--layout|outside.json": "The box of <asset0> is too small or outside the image",
        "run|a photo of <asset1>|--layout|layout.json": "<asset0> is in the layout but not in the prompt",
        "run|a photo of <asset0>|--layout|layout.json|--strength|2": "The strength 2.0 cannot be used",
        "run|a photo of <asset0>|--layout|layout.json|--size|100x128": "in steps of 8",
        "run|a photo of <asset0>|--layout|layout.json|--variations": "--layout goes without --variations",
    }
    for arguments, message in cases.items():
        assert message in refused(files, f"generate|{arguments}|--out|images", monkeypatch)


def test_edit(files, monkeypatch):
    box = "|--box|20,20,90,90"
    cases = {
        f"run|photo.png|a photo of <asset7>{box}": "<asset7> is an unknown handle",
        f"run|photo.png| {box}": "The prompt is empty",
        f"run|photo.png{box}": "There is no prompt: write it after the photo",
        f"photo.png|a photo{box}": "There is no run folder: write it before the photo",
        f"a photo{box}": "Give a run folder, the photo to edit and, at last, the prompt",
        f"no_run|photo.png|a photo{box}": "no_run is not a run folder",
        f"run|note.jpg|a photo{box}": "note.jpg is not a readable image",
        f"run|gone.png|a photo{box}": "There is no file gone.png",
        "run|photo.png|a photo": "Mark the region to repaint with --mask FILE or with --box",
        f"run|photo.png|a photo|--mask|ball.png{box}": "Mark the region to repaint with --mask FILE or with --box",
        "run|photo.png|a photo|--mask|empty.png": "The region is empty",
        "run|photo.png|a photo|--mask|wide.png": "wide.png is 160 × 80 pixels but the photo is 160 × 160",
        "run|photo.png|a photo|--mask|note.jpg": "note.jpg is not a readable image",
        "run|photo.png|a photo|--box|20,20,90": '--box "20,20,90" is not valid',
        "run|photo.png|a photo|--box|20,20,20,90": "The region is empty",
        "run|photo.png|a photo|--box|20,20,161,90": "The box reaches outside the photo, which is 160 × 160 pixels",
        "run|photo.png|a photo|--box|300,300,400,400": "The box reaches outside the photo",
        f"run|photo.png|a photo{box}|--strength|0": "The strength 0.0 cannot be used",
        f"run|photo.png|a photo{box}|--strength|nan": "The strength nan cannot be used",
        f"run|photo.png|a photo{box}|--count|0": "--count",
        f"run|photo.png|a photo{box}|--agreed-by|Anna": "A part of the consent is missing",
        f"run|photo.png|a photo{box}|--base|./nowhere": "There is no base ./nowhere",
    }
    for arguments, message in cases.items():
        assert message in refused(files, f"edit|{arguments}|--out|images", monkeypatch)


def test_evaluate(files, monkeypatch):
    cases = {
        "no_run": "no_run is not a run folder",
        "run|--prompts|gone.txt": "gone.txt is not a readable text file",
        "run|--prompts|photo.png": "photo.png is not a readable text file",
        "run|--prompts|pipe": "pipe is not a readable text file",
        "run|--prompts|bare.txt": "bare.txt contains no prompts",
        "run|--prompts|wrong.txt": "<asset7> is an unknown handle",
        "run|run": "same folder name",
        "run|--clip|./nowhere": "./nowhere cannot be loaded",
        "": "Missing argument",
    }
    (files / "bare.txt").write_text("\n")
    os.mkfifo(files / "pipe")
    (files / "wrong.txt").write_text("a photo of <asset7>\n")
    for arguments, message in cases.items():
        assert message in refused(files, f"evaluate|{arguments}|--out|report".replace("||", "|"), monkeypatch)
    assert "is not empty" in refused(files, "evaluate|run|--out|no_run", monkeypatch)


def test_generate_on_another_base(files, sd_folder, monkeypatch):
    error = refused(files, f"generate|run|a photo of <asset0>|--base|{sd_folder}|--out|images", monkeypatch)
    assert "learned on" in error


def test_demo_and_studio(files, monkeypatch):
    assert "no_run is not empty" in refused(files, "demo|--out|no_run", monkeypatch)
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"Port {port} on 127.0.0.1 is not available" in refused(files, f"studio|--port|{port}", monkeypatch)
    assert "--port" in refused(files, "studio|--port|99999", monkeypatch)


def test_an_unknown_command(files, monkeypatch):
    assert "No such command 'xyzzy': see --help." in refused(files, "xyzzy", monkeypatch)
    assert "see --help" in refused(files, "extract|photo.png", monkeypatch)


def test_a_hub_base_that_is_not_available(files, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    error = refused(files, "extract|photo.png|--mask|ball.png|--base|nobody/no-such-model|--out|new/run", monkeypatch)
    assert "The base nobody/no-such-model could not be downloaded" in error


# --- exhausted resources


def run_failing(work) -> tuple[int, str]:
    broken = typer.Typer(cls=CommandGroup, pretty_exceptions_enable=False)
    broken.command()(work)
    broken.callback()(lambda: None)
    result = CliRunner().invoke(broken, ["work"])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stderr


def test_exhausted_memory_and_disk_are_reported_plainly():
    def work():
        np.ones(10**15)

    def work_torch():
        torch.ones(10**15)

    def work_disk():
        with open("/dev/full", "w") as full:
            full.write("x")

    def work_safetensors():
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    memory, disk = "Memory ran out", "The disk is full"
    for run, message in {work: memory, work_torch: memory, work_disk: disk, work_safetensors: disk}.items():
        run.__name__ = "work"
        status, error = run_failing(run)
        assert status == 2 and error.count("\n") == 1 and message in error


def test_a_bug_is_not_hidden():
    def work():
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError):
        run_failing(work)


def _base(files: Path) -> str:
    import json

    return json.loads((files / "run" / "manifest.json").read_text())["base"]


def test_verify_and_long_values(files, monkeypatch):
    os.mkfifo(files / "queue")
    assert "queue is not a regular file" in refused(files, "verify|queue", monkeypatch)
    sentence = refused(files, f"extract|photo.png|--mask|ball.png|--out|{'x ' * 300}", monkeypatch)
    assert len(sentence) < 600 and sentence.endswith("choose another place.\n")
