"""The export command and --lora on the command line."""

import pytest
from helpers.files import listing
from helpers.runs import short
from typer.testing import CliRunner

from breakascene.__main__ import app
from breakascene.cli.options import parse_lora
from breakascene.data.scene import make_scene
from breakascene.errors import UserError
from breakascene.generation.generate import read_metadata
from breakascene.training.loop import run_extraction


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def run(tiny_base, scene, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    run_extraction(scene, tiny_base, short(tiny_base, steps=(1, 2), prior_loss_weight=0.0), folder)
    return folder


def test_export_and_generate_with_the_lora(run, tmp_path):
    out = tmp_path / "out"
    result = call("export", run, "--to", "kohya", "--out", out)
    assert result.exit_code == 0 and result.stderr == ""
    assert "<asset0> is ball-" in result.stdout and f"{out}: open README.md" in result.stdout
    (lora,) = out.glob("*.safetensors")
    options = ("--steps", "2", "--out", tmp_path / "images", "--lora", f"{lora}:0.5")
    result = call("generate", run, "a photo of <asset0>", *options)
    assert result.exit_code == 0, result.output + repr(result.exception)
    assert read_metadata(result.stdout.strip())["loras"] == {lora.stem: 0.5}


def test_objects_of_two_runs_in_one_image(run, scene, tiny_base, tmp_path):
    other = make_scene(scene.photo, [scene.masks()[1]], ["ball"])
    run_extraction(other, tiny_base, short(tiny_base, steps=(1, 2), prior_loss_weight=0.0), tmp_path / "other")
    prompt = "a photo of <ball> and <ball-2> at the beach"
    result = call("generate", run, tmp_path / "other", prompt, "--steps", "2", "--out", tmp_path / "images")
    assert result.exit_code == 0, result.output + repr(result.exception)
    metadata = read_metadata(result.stdout.strip())
    assert metadata["prompt"] == prompt and metadata["handles"]["<ball-2>"] == "ball"
    named = call("generate", run, "a photo of <Ball>", "--steps", "1", "--out", tmp_path / "images")
    assert read_metadata(named.stdout.strip())["prompt"] == "a photo of <asset0>"


def test_an_exported_folder_needs_no_run(run, tiny_folder, tmp_path):
    call("export", run, "--to", "diffusers", "--out", tmp_path / "out")
    (name,) = (file.stem for file in (tmp_path / "out" / "embeddings").glob("ball-*"))
    options = ("--lora", tmp_path / "out", "--base", tiny_folder, "--steps", "1", "--out", tmp_path / "images")
    result = call("generate", f"a photo of <{name}>", *options)
    assert result.exit_code == 0, result.output + repr(result.exception)
    assert read_metadata(result.stdout.strip())["run"] is None


def test_errors_are_one_line_and_leave_no_files(run, tmp_path):
    before = listing(tmp_path)
    for arguments, message in (
        (("export", run, "--to", "comfyui"), "ComfyUI cannot open the toybox"),
        (("export", run, "--to", "fooocus"), "--to"),
        (("export", tmp_path / "gone", "--to", "kohya"), "is not a run folder"),
        (("generate", run, run), "There is no prompt"),
        (("generate", "a photo"), "There is no run folder"),
        (("generate", run, run, "a photo of <ball>"), "same run is given twice"),
        (("generate", run, "a photo", "--lora", "gone.safetensors"), "There is no file gone.safetensors"),
        (("generate", run, "a photo", "--lora", "a.safetensors:99"), "scale from -10 to 10"),
    ):
        result = call(*arguments, "--out", tmp_path / "out")
        assert result.exit_code == 2 and message in result.stderr and result.stderr.count("\n") == 1
        assert listing(tmp_path) == before


def test_parse_lora(tmp_path):
    assert parse_lora("style.safetensors:0.8")[1] == 0.8 and parse_lora("style.safetensors")[1] == 1.0
    assert str(parse_lora("C:/style.safetensors")[0]) == "C:/style.safetensors"
    (tmp_path / "a:2").write_text("")
    assert parse_lora(str(tmp_path / "a:2")) == (tmp_path / "a:2", 1.0)
    for scale in ("nan", "inf", "11"):
        with pytest.raises(UserError, match="no usable strength"):
            parse_lora(f"style.safetensors:{scale}")
