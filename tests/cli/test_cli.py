"""The command line from arguments to files, on small models of the real architectures."""

import io
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from helpers.files import listing, save_mask
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner

from breakascene.cli import demo
from breakascene.cli.app import app
from breakascene.cli.demo_run import run_demo
from breakascene.cli.options import parse_mask, parse_point
from breakascene.cli.progress import format_duration, step_progress
from breakascene.data.scene import load_scene, make_scene, save_scene
from breakascene.errors import UserError
from breakascene.evaluation.prompts import demo_prompts
from breakascene.generation.generate import GeneratedImage, read_metadata, save_image
from breakascene.models.concepts import Concepts
from breakascene.segmentation.small_sam import build_sam
from breakascene.training.loop import StepEvent
from breakascene.training.settings import preset

ROOT = Path(__file__).parents[2]
PHOTOS = sorted((ROOT.parent / "shared" / "photos").glob("*/img.jpg"))


def call(*arguments) -> str:
    """Run a command; return its output after checking that it succeeded and printed nothing on stderr."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output + repr(result.exception)
    assert result.stderr == ""
    return result.stdout


@pytest.fixture(scope="module")
def sam_folder(tmp_path_factory) -> Path:
    """A small SAM with random weights and high scores, so that its automatic masks pass the thresholds."""
    config = {"image_size": 64, "patch": 8, "width": 32, "depth": 1, "heads": 2, "prompt_width": 32}
    torch.manual_seed(0)
    sam = build_sam(config)
    last = sam.mask_decoder.iou_prediction_head.layers[-1]
    last.weight.data.zero_(), last.bias.data.fill_(1)
    for head in sam.mask_decoder.output_hypernetworks_mlps:
        head.layers[-1].weight.data *= 1e4
        head.layers[-1].bias.data.zero_()
    folder = tmp_path_factory.mktemp("sam")
    (folder / "config.json").write_text(json.dumps(config))
    weights = {name: value.half().contiguous() for name, value in sam.state_dict().items()}
    save_file(weights, folder / "model.safetensors")
    return folder


def test_help_names_the_commands_without_loading_models():
    output = call("--help")
    assert all(command in output for command in ("demo", "segment", "extract", "generate", "evaluate", "studio"))
    assert call() == output
    for command in ("demo", "segment", "extract", "generate", "evaluate", "studio"):
        assert "--" in call(command, "--help")
    heavy = "import sys, breakascene.__main__; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", heavy], cwd=ROOT).returncode == 0


def test_option_values_are_parsed(tmp_path, monkeypatch):
    assert parse_point("12,30") == (12, 30, True) and parse_point("1.5,3,-") == (1.5, 3, False)
    monkeypatch.chdir(tmp_path)
    Path("odd:name.png").touch()
    assert parse_mask("mug.png:blue mug") == (Path("mug.png"), "blue mug")
    assert parse_mask("mug.png") == (Path("mug.png"), "") and parse_mask("odd:name.png") == (Path("odd:name.png"), "")
    assert parse_mask("odd:name.png:cup") == (Path("odd:name.png"), "cup")


# --- segment


def test_segment_writes_a_mask_of_the_upright_photo(tmp_path, scene, sam_folder):
    exif = Image.Exif()
    exif[0x0112] = 6
    scene.photo.crop((0, 0, 160, 100)).save(tmp_path / "photo.jpg", exif=exif)
    output = call(
        "segment", tmp_path / "photo.jpg", "--point", "20,150", "--point", "90,5,-", "--box", "5,5,90,155",
        "--sam", sam_folder, "--out", tmp_path / "masks" / "mask.png",
    )  # fmt: skip
    mask = Image.open(tmp_path / "masks" / "mask.png")
    assert mask.size == (100, 160) and mask.mode == "L" and set(np.unique(np.asarray(mask))) == {0, 255}
    share = (np.asarray(mask) > 0).mean()
    assert f"{share:.1%} of the photo" in output and "mask.png" in output


def test_segment_finds_all_objects(files):
    call("segment", files / "photo.png", "--auto", "--sam", "toybox", "--out", files / "all")
    masks = sorted((files / "all").glob("mask*.png"), key=lambda path: int(path.stem[4:]))
    areas = [int((np.asarray(Image.open(path)) > 0).sum()) for path in masks]
    assert areas and areas == sorted(areas, reverse=True)
    overlay = Image.open(files / "all" / "overlay.png")
    assert overlay.size == (160, 160) and overlay.tobytes() != Image.open(files / "photo.png").tobytes()


# --- extract and generate


def extract_arguments(files: Path, base: Path, *more) -> list:
    masks = ["--mask", f"{files / 'ball.png'}:ball", "--mask", f"{files / 'mug.png'}:mug"]
    return ["extract", files / "photo.png", *masks, "--base", base, *more]


def test_extract_then_generate(files, tiny_folder):
    options = ["--background", "--steps", "2,1", "--seed", 5]
    output = call(*extract_arguments(files, tiny_folder, *options, "--out", files / "run"))
    assert "<asset0> (ball), <asset1> (mug), <background> (background)" in output and "step 3 of 3" in output
    concepts = Concepts.load(files / "run")
    assert concepts.steps == 3 and concepts.settings["seed"] == 5 and concepts.settings["preset"] == "light"
    assert load_scene(files / "run" / "scene").names == ("ball", "mug", "background")
    assert not list(files.glob("*checkpoint*"))

    prompt = "a photo of <asset0> at <background>"
    options = ["--count", 2, "--seed", 7, "--steps", 2, "--guidance", 2, "--negative", "a dog"]
    output = call("generate", files / "run", prompt, *options, "--out", files / "images")
    paths = [Path(line) for line in output.splitlines()]
    assert len(paths) == 2 and sorted(paths) == sorted((files / "images").iterdir())
    for index, path in enumerate(paths):
        metadata = read_metadata(path)
        assert metadata["prompt"] == prompt and metadata["negative_prompt"] == "a dog" and metadata["index"] == index
        assert (metadata["seed"], metadata["num_inference_steps"], metadata["guidance_scale"]) == (7, 2, 2)
    again = call("generate", files / "run", prompt, *options, "--out", files / "again")
    for path, other in zip(paths, again.splitlines(), strict=True):
        assert Image.open(path).tobytes() == Image.open(other).tobytes()

    box = ["--box", "20,30,90,100", "--steps", 2]
    (path,) = call("edit", files / "run", files / "photo.png", prompt, *box, "--out", files / "edits").splitlines()
    mask = ["--mask", files / "mug.png", "--steps", 2, "--count", 2]
    edited = call("edit", files / "run", path, "a photo of <asset1>", *mask, "--out", files / "edits").splitlines()
    assert [Path(one).name for one in edited] == ["000-a-photo-of-mug.png", "001-a-photo-of-mug.png"]
    photo, once, twice = (np.asarray(Image.open(one)) for one in (files / "photo.png", path, edited[1]))
    outside, mug = np.ones((160, 160), bool), np.asarray(Image.open(files / "mug.png")) > 0
    outside[30:100, 20:90] = False
    assert (once[outside] == photo[outside]).all() and (once != photo).any()
    assert (twice[~mug] == once[~mug]).all() and (twice != once).any()
    assert [one["prompt"] for one in read_metadata(edited[1])["edit"]["before"]] == [prompt]


def test_overlapping_masks_are_separated_on_demand(files, tiny_folder, scene):
    ball = scene.masks()[0]
    outer = ball | np.roll(ball, 30, axis=1)
    save_mask(files / "outer.png", outer)
    masks = ["--mask", f"{files / 'ball.png'}:ball", "--mask", f"{files / 'outer.png'}:coat"]
    arguments = [files / "photo.png", *masks, "--base", tiny_folder, "--steps", "1,0", "--innermost-on-top"]
    assert "of the smaller mask" not in call("extract", *arguments, "--out", files / "run")
    saved = load_scene(files / "run" / "scene").concepts
    assert (saved[0].mask == ball).all() and (saved[1].mask == (outer & ~ball)).all()


def test_variations_image_to_image_layouts_sheets_and_the_background_alone(files, tiny_folder):
    call(*extract_arguments(files, tiny_folder, "--background", "--steps", "1,0", "--out", files / "run"))

    def generated(*arguments):
        output = call("generate", files / "run", *arguments, "--steps", 4, "--out", files / "images")
        return read_metadata(output.strip())

    varied = generated("--variations", "--strength", 0.5)
    assert varied["prompt"] == "a photo of <asset0> and <asset1> at <background>"
    assert varied["strength"] == 0.5
    assert generated("a photo of <asset1>", "--variations")["prompt"] == "a photo of <asset1>"
    started = generated("a photo of <asset1>", "--image", files / "photo.png")
    assert started["strength"] == 0.7 and started["start"] != varied["start"]
    assert started["photo"].split("+")[1:] == [started["start"]]  # an ingredient, beside the photo of the run
    (files / "layout.json").write_text('{"objects": [{"handle": "<ball>", "box": [0.5, 0.5, 1, 1], "flip": true}]}')
    layout = ("a photo of <asset0>", "--layout", files / "layout.json")
    placed = generated(*layout, "--strength", 0.5)
    entry = {"handle": "<asset0>", "box": [0.5, 0.5, 1.0, 1.0], "flip": True}
    assert placed["layout"] == {"objects": [entry]} and placed["strength"] == 0.5
    on_photo = generated(*layout, "--image", files / "photo.png")
    assert on_photo["start"] == started["start"] and on_photo["layout"] == placed["layout"]
    rows = ["--place", "at the beach", "--style", "a photo", "--style", "a painting"]
    *paths, sheet = call("sheet", files / "run", *rows, "--steps", 1, "--out", files / "sheet").splitlines()
    assert [read_metadata(path)["prompt"] for path in paths] == [
        f"{style} of {handle} at the beach"
        for style in ("a photo", "a painting")
        for handle in ("<asset0>", "<asset1>")
    ]
    assert Image.open(sheet).width == 10 + 2 * 266
    alone = generated("--background-only")
    assert alone["prompt"] == "a photo of <background>" and "start" not in alone
    large = generated("a photo of <asset0>", "--upscale")
    assert large["upscale"]["factor"] == 2 and large["width"] == 256
    save_image(GeneratedImage(load_scene(files / "run" / "scene").photo, large), files / "mine")
    (image,) = (files / "mine").iterdir()
    options = ["--format", "square", "--format", "banner", "--sam", "toybox", "--upscale", files / "run"]
    square, banner = call("crop", image, *options, "--out", files / "formats").splitlines()
    assert Image.open(square).size == (160, 160) and Image.open(banner).size == (1920, 600)
    assert [read_metadata(path)["upscale"]["factor"] for path in (square, banner)] == [2, 4]


def test_classes_of_a_label_map_and_names_in_a_prompt(files, tiny_folder, scene):
    masks = scene.masks()
    labels = masks[0].astype(np.uint8) * 7 + masks[1].astype(np.uint8) * 15
    Image.fromarray(labels).save(files / "labels.png")
    arguments = ["--mask", f"{files / 'labels.png'}#15:mug", "--base", tiny_folder, "--steps", "1,0"]
    call("extract", files / "photo.png", *arguments, "--out", files / "run")
    assert np.array_equal(load_scene(files / "run" / "scene").concepts[0].mask, masks[1])
    arguments = ["generate", files / "run", "a photo of a mug", "--steps", 1, "--out", files / "images"]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0 and result.stderr == '"mug" is read as <asset0>.\n'
    assert read_metadata(result.stdout.strip())["prompt"] == "a photo of <asset0>"
    arguments[2] = "a photo of (<asset0>:1.3)" + " in a park" * 40  # longer than a file name may be
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0 and "Prompt weights are not supported" in result.stderr
    assert re.search(
        r'reads only the first \d+ tokens of a prompt, so "(park|in|a)( .*)?( park|…)" is ignored', result.stderr
    )


def test_evaluate_compares_runs(files, tiny_folder):
    for seed in (1, 2):
        call(*extract_arguments(files, tiny_folder, "--steps", "1,0", "--seed", seed, "--out", files / f"run{seed}"))
    (files / "prompts.txt").write_text("a photo of <asset0> at the beach\n\na photo of <asset1> and <asset0>\n")
    runs = [files / "run1", files / "run2"]
    output = call("evaluate", *runs, "--prompts", files / "prompts.txt", "--guidance", 1, "--out", files / "report")
    assert all(f"run{n}: prompt similarity" in output for n in (1, 2)) and "recognized, one concept" not in output
    found = json.loads((files / "report" / "scores.json").read_text())
    assert list(found) == ["run1", "run2"] and all(metrics["pictures"] == 2 for metrics in found.values())
    assert [found[run]["settings"]["seed"] for run in found] == [1, 2]
    assert Image.open(files / "report" / found["run1"]["scores"][1]["file"]).size == (128, 128)


def test_presets_reach_the_run(files, tiny_folder):
    call(*extract_arguments(files, tiny_folder, "--preset", "paper", "--steps", "0,1", "--out", files / "run"))
    settings = Concepts.load(files / "run").settings
    assert settings["preset"] == "paper" and settings["train_all_weights"] and settings["steps"] == [0, 1]


def test_another_photo_of_the_same_objects(files, tiny_folder, scene):
    save_scene(
        make_scene(scene.photo.transpose(Image.Transpose.ROTATE_90), [np.rot90(scene.concepts[1].mask)], ["mug"]),
        files / "rotated",
    )
    options = ["--steps", "2,0", "--also", files / "rotated"]
    call(*extract_arguments(files, tiny_folder, *options, "--out", files / "run"))
    kept = load_scene(files / "run" / "scene")
    assert kept.names == ("ball", "mug") and [other.names for other in kept.other_photos] == [("mug",)]
    (files / "rotated" / "names.txt").write_text("cup\n")
    arguments = extract_arguments(files, tiny_folder, *options, "--out", files / "other")
    refused = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert refused.exit_code == 2 and 'named "cup"' in refused.stderr and not (files / "other").exists()


def test_explicit_steps_override_those_for_many_objects(files, tiny_folder):
    masks = []
    for k in range(8):
        mask = np.zeros((160, 160), bool)
        mask[100 - 8 * k : 110, 20 * k : 20 * k + 10 + k] = True
        masks += ["--mask", f"{save_mask(files / f'{k}.png', mask)}:object {k}"]
    arguments = ["extract", files / "photo.png", *masks, "--base", tiny_folder, "--preset", "quick"]
    call(*arguments, "--steps", "1,0", "--out", files / "run")
    settings = Concepts.load(files / "run").settings
    assert settings["steps"] == [1, 0] and settings["area_weighting"] == 1.0


def test_the_memory_mode_is_printed_and_saved(files, tiny_folder, monkeypatch):
    output = call(*extract_arguments(files, tiny_folder, "--steps", "1,0", "--memory", "lean", "--out", files / "run"))
    assert re.search(r"^Memory: lean, .*; about 0\.\d GB of [\d.]+ GB\.$", output, re.M)
    assert json.loads((files / "run" / "manifest.json").read_text())["memory"] == "lean"
    forward = UNet2DConditionModel.forward

    def fails(unet, *args, **kwargs):
        if torch.is_grad_enabled() and unet.device.type == "cpu" and not unet.is_gradient_checkpointing:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(unet, *args, **kwargs)

    monkeypatch.setattr(UNet2DConditionModel, "forward", fails)
    output = call(*extract_arguments(files, tiny_folder, "--steps", "1,0", "--out", files / "other"))
    assert "Memory ran out with fast; resuming with lean" in output
    assert Concepts.load(files / "other").memory == "lean"


def test_overlapping_masks_are_reported_and_accepted(files, tiny_folder, scene):
    both = save_mask(files / "both.png", scene.concepts[0].mask | scene.concepts[1].mask)
    output = call(
        *extract_arguments(files, tiny_folder, "--mask", f"{both}:pair", "--steps", "1,0", "--out", files / "run")
    )
    assert "(ball) and <asset2> (pair) overlap by 100%" in output


def test_progress_is_one_line_on_a_terminal_and_few_lines_in_a_file(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    event = StepEvent(1, 1, 120, {"total": 0.5}, {}, 0.1, 75, ("<asset0>",))
    for screen, breaks, lines in ((Terminal(), 1, 120), (io.StringIO(), 3, 3)):
        monkeypatch.setattr(sys, "stdout", screen)
        with step_progress() as report:
            for step in range(1, 121):
                report(replace(event, step=step))
        output = screen.getvalue()
        assert output.count("\n") == breaks and output.count("1 min 15 s left") == lines
        assert output.endswith("phase 1, step 120 of 120, loss 0.500, 1 min 15 s left\n")


@pytest.mark.skipif(not PHOTOS, reason="the two real photos lie outside the repository")
@pytest.mark.parametrize("photo", PHOTOS, ids=lambda path: path.parent.name)
def test_real_photos_go_through_without_errors(photo, tmp_path, tiny_folder):
    masks = [argument for path in sorted(photo.parent.glob("mask*.png")) for argument in ("--mask", path)]
    call("extract", photo, *masks, "--background", "--steps", "1,1", "--base", tiny_folder, "--out", tmp_path / "run")
    call("generate", tmp_path / "run", "a photo of <asset2>", "--steps", 1, "--out", tmp_path / "images")
    assert len(list((tmp_path / "images").glob("*.png"))) == 1


# --- demo


def test_demo_fills_its_folder_and_page(tmp_path, scene, tiny_base):
    settings = preset("quick", tiny_base, steps=(2, 1), num_prior_images=1)
    scene = replace(scene, background=False)
    lines, events = [], []
    run_demo(scene, tiny_base, settings, tmp_path / "demo", lines.append, events.append)
    names = {path.name for path in (tmp_path / "demo").iterdir()}
    assert names == {
        "index.html", "photo.png", "mask0.png", "mask1.png", "overlay.png", "run", "gallery", "gallery.png",
        "losses.png", "attention.png",
    }  # fmt: skip
    assert len(events) == 3 and Concepts.load(tmp_path / "demo" / "run").steps == 3
    gallery = [read_metadata(path)["prompt"] for path in (tmp_path / "demo" / "gallery").iterdir()]
    assert sorted(gallery) == sorted(demo_prompts(scene.handles)) and len(gallery) >= 8
    assert any("<asset0> and <asset1>" in prompt for prompt in gallery)
    page = (tmp_path / "demo" / "index.html").read_text()
    sources = re.findall(r'src="([^"]+)"', page)
    assert len(sources) == len(gallery) + 4 and all((tmp_path / "demo" / source).is_file() for source in sources)
    assert "&lt;asset0&gt;" in page and "<asset0>" not in page
    assert any("left" in line for line in lines)


def test_a_demo_that_fails_leaves_the_old_one(tmp_path, scene, tiny_base):
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "index.html").write_text("old")

    def fail(event):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        settings = preset("quick", tiny_base, steps=(2, 1))
        run_demo(scene, tiny_base, settings, tmp_path / "demo", str, fail)
    assert listing(tmp_path) == {"demo": b"", "demo/index.html": b"old"}


def test_the_sample_scene_exists_and_its_absence_is_reported(monkeypatch, tmp_path):
    scene = demo.sample_scene()
    assert len(scene.concepts) == 2 and "object" not in scene.names
    monkeypatch.setattr(demo, "SAMPLE", tmp_path / "gone")
    with pytest.raises(UserError, match="sample scene is missing"):
        demo.sample_scene()


def test_format_duration():
    assert [format_duration(s) for s in (7.6, 65, 3600, 4200)] == ["8 s", "1 min 05 s", "1 h 00 min", "1 h 10 min"]
