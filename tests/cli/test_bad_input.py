"""Each user error is one plain line on stderr with exit status 2, and leaves nothing behind."""

import io
import os
import resource
import subprocess
import sys
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
from breakascene.training.loop import run_extraction
from breakascene.training.settings import Settings

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bench(tmp_path_factory, scene, tiny_base) -> Path:
    """A folder with a valid photo, masks and run, and one of each kind of invalid file."""
    folder = tmp_path_factory.mktemp("bench")
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
    (folder / "no_run").mkdir()
    (folder / "no_run" / "letter.txt").write_text("not a run")
    (folder / "no_model").mkdir()
    return folder


def refused(bench: Path, command: str, monkeypatch) -> str:
    """Run a command in the folder; return its stderr after checking for one line, exit status 2 and no new files."""
    monkeypatch.chdir(bench)
    before = listing(bench)
    result = CliRunner().invoke(app, command.split("|"))
    assert result.exit_code == 2, result.output + repr(result.exception)
    assert isinstance(result.exception, SystemExit)
    assert listing(bench) == before
    assert result.stderr.count("\n") == 1 and "Traceback" not in result.stderr
    return result.stderr


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
    "base that is nowhere": ("photo.png|--mask|ball.png|--base|./nowhere", "There is no base ./nowhere"),
    "base that is no model": ("photo.png|--mask|ball.png|--base|no_model", "no_model holds no model_index.json"),
    "steps in words": ("photo.png|--mask|ball.png|--steps|many", '--steps "many" is not valid'),
    "one number of steps": ("photo.png|--mask|ball.png|--steps|400", '--steps "400" is not valid'),
    "half steps": ("photo.png|--mask|ball.png|--steps|1.5,2", '--steps "1.5,2" is not valid'),
    "negative steps": ("photo.png|--mask|ball.png|--steps|-1,5", "not both 0"),
    "no steps": ("photo.png|--mask|ball.png|--steps|0,0", "not both 0"),
    "unknown preset": ("photo.png|--mask|ball.png|--preset|best", "'best' is not one of 'quick', 'light', 'paper'"),
    "seed below zero": ("photo.png|--mask|ball.png|--seed|-3", "--seed"),
}


@pytest.mark.parametrize("case", EXTRACT)
def test_extract(bench, case, monkeypatch):
    arguments, words = EXTRACT[case]
    assert words in refused(bench, f"extract|{arguments}|--out|new/run", monkeypatch)


def test_extract_names_the_obstacle(bench, monkeypatch):
    command = "extract|photo.png|--mask|ball.png|--steps|1,0"
    assert "run already contains a run" in refused(bench, f"{command}|--out|run", monkeypatch)
    assert "no_run has other files in it" in refused(bench, f"{command}|--out|no_run", monkeypatch)
    assert "photo.png is a file" in refused(bench, f"{command}|--out|photo.png", monkeypatch)
    assert "nothing to resume" in refused(bench, f"{command}|--out|fresh|--resume|--base|{_base(bench)}", monkeypatch)


# photo.png is a file, so nothing can be in it; /proc takes no new names, not even from root.
@pytest.mark.parametrize("place", ["photo.png/in", "/proc/new"])
@pytest.mark.parametrize(
    "command",
    [
        "extract|photo.png|--mask|ball.png|--base|./nowhere",  # the base is wrong too: --out is looked at first
        "segment|photo.png|--auto|--sam|./nowhere",
        "generate|run|a photo|--base|./nowhere",
        "demo",
    ],
)
def test_an_output_that_cannot_be_written_is_reported_before_the_work(bench, command, place, monkeypatch):
    assert f"Cannot write to {place}" in refused(bench, f"{command}|--out|{place}", monkeypatch)


SEGMENT = {
    "point outside": ("photo.png|--point|160,20", "The point 160,20 lies outside the photo, which is 160 × 160 pixels"),
    "point left of it": ("photo.png|--point|-1,20", "lies outside"),
    "point with one number": ("photo.png|--point|12", '--point "12" is not valid: write X,Y or X,Y,-'),
    "point in words": ("photo.png|--point|left,top", '--point "left,top" is not valid'),
    "point that is no number": ("photo.png|--point|nan,3", '--point "nan,3" is not valid'),
    "only points outside the thing": ("photo.png|--point|5,5,-", "at least one point on it"),
    "box in words": ("photo.png|--box|1,2,3", '--box "1,2,3" is not valid'),
    "box outside": ("photo.png|--box|200,200,300,300", "contains no part of the photo"),
    "neither points nor auto": ("photo.png", "Mark the object with"),
    "both": ("photo.png|--point|5,5|--auto", "Mark the object with"),
    "text as photo": ("note.jpg|--point|5,5", "note.jpg is not a readable image"),
    "bomb": ("bomb.png|--point|5,5", "more than 100 megapixels"),
    "unknown segmenter": ("photo.png|--point|5,5|--sam|vit_x", 'no segmenter "vit_x"'),
    "text as segmenter": ("photo.png|--point|5,5|--sam|note.jpg", "note.jpg is not a SAM checkpoint"),
}


@pytest.mark.parametrize("case", SEGMENT)
def test_segment(bench, case, monkeypatch):
    arguments, words = SEGMENT[case]
    assert words in refused(bench, f"segment|{arguments}|--out|new.png", monkeypatch)


def test_segment_out(bench, monkeypatch):
    assert "name it mask.png" in refused(bench, "segment|photo.png|--point|5,5|--out|mask.jpg", monkeypatch)
    assert "run is a folder" in refused(bench, "segment|photo.png|--point|5,5|--out|run", monkeypatch)
    assert "is not empty" in refused(bench, "segment|photo.png|--auto|--out|no_run", monkeypatch)


def test_generate(bench, monkeypatch):
    cases = {
        "run|a photo of <asset7>": "<asset7> is an unknown handle: this run knows <asset0>, <asset1>, <background>",
        "run|a photo|--negative|<cup>": "<cup> is an unknown handle",
        "run|a photo of asset7": "<asset7> is an unknown handle",
        "run|a photo\udce4": "characters that are not text",
        "run|a photo|--guidance|inf": "The guidance scale inf cannot be used",
        "run|a photo|--guidance|nan": "The guidance scale nan cannot be used",
        "no_run|a photo": "no_run is not a run folder",
        "gone|a photo": "gone is not a run folder",
        "photo.png|a photo": "photo.png is not a run folder",
        "run|a photo|--base|./nowhere": "There is no base ./nowhere",
        "run| ": "The prompt is empty",
        "run|a photo|--count|0": "--count",
        "run|a photo|--steps|x": "--steps",
        "run|a photo|--size|128": '--size "128" is not valid',
        "run|a photo|--size|100x128": "in steps of 8",
    }
    for arguments, words in cases.items():
        assert words in refused(bench, f"generate|{arguments}|--out|pictures", monkeypatch)


def test_evaluate(bench, monkeypatch):
    cases = {
        "no_run": "no_run is not a run folder",
        "run|--prompts|gone.txt": "gone.txt is not a readable text file",
        "run|--prompts|photo.png": "photo.png is not a readable text file",
        "run|--prompts|bare.txt": "bare.txt contains no prompts",
        "run|--prompts|wrong.txt": "<asset7> is an unknown handle",
        "run|run": "same folder name",
        "run|--clip|./nowhere": "./nowhere cannot be loaded",
        "": "Missing argument",
    }
    (bench / "bare.txt").write_text("\n")
    (bench / "wrong.txt").write_text("a photo of <asset7>\n")
    for arguments, words in cases.items():
        assert words in refused(bench, f"evaluate|{arguments}|--out|report".replace("||", "|"), monkeypatch)
    assert "is not empty" in refused(bench, "evaluate|run|--out|no_run", monkeypatch)


def test_generate_on_another_base(bench, sd_folder, monkeypatch):
    said = refused(bench, f"generate|run|a photo of <asset0>|--base|{sd_folder}|--out|pictures", monkeypatch)
    assert "learned on" in said


def test_demo_and_studio(bench, monkeypatch):
    assert "no_run is not empty" in refused(bench, "demo|--out|no_run", monkeypatch)
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"Port {port} on 127.0.0.1 is not available" in refused(bench, f"studio|--port|{port}", monkeypatch)
    assert "--port" in refused(bench, "studio|--port|99999", monkeypatch)


def test_an_unknown_command(bench, monkeypatch):
    assert "No such command 'paint': see --help." in refused(bench, "paint", monkeypatch)
    assert "see --help" in refused(bench, "extract|photo.png", monkeypatch)


def test_a_hub_base_that_is_not_available(bench, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    said = refused(bench, "extract|photo.png|--mask|ball.png|--base|nobody/no-such-model|--out|new/run", monkeypatch)
    assert "The base nobody/no-such-model could not be downloaded" in said


# --- in a separate process, as a user runs it


def in_a_process(bench: Path, *arguments: str, **options) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "breakascene", *arguments]
    return subprocess.run(command, cwd=bench, env=environment, capture_output=True, text=True, timeout=120, **options)


def test_a_full_disk(bench, tiny_folder):
    def small_files_only():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    before = listing(bench)
    done = in_a_process(
        bench,
        *"extract photo.png --mask ball.png --steps 1,0 --out new/run --base".split(),
        str(tiny_folder),
        preexec_fn=small_files_only,
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "free some space" in done.stderr
    assert listing(bench) == before


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
    for run, words in {work: memory, work_torch: memory, work_disk: disk, work_safetensors: disk}.items():
        run.__name__ = "work"
        status, said = run_failing(run)
        assert status == 2 and said.count("\n") == 1 and words in said


def test_a_bug_is_not_hidden():
    def work():
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError):
        run_failing(work)


def _base(bench: Path) -> str:
    import json

    return json.loads((bench / "run" / "manifest.json").read_text())["base"]
