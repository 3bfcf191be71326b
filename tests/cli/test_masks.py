"""The command masks, and folders and COCO JSON as --mask of extract."""

import numpy as np
import pytest
from helpers.files import listing
from typer.testing import CliRunner

from breakascene.__main__ import app
from breakascene.data.scene import load_scene, save_scene


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize(("to", "file"), [("coco", "annotations.json"), ("onetrainer", "."), ("cutouts", ".")])
def test_masks_go_out_and_back_into_a_run(to, file, scene, tiny_folder, tmp_path):
    save_scene(scene, tmp_path / "scene")
    result = call("masks", tmp_path / "scene", "--to", to, "--out", tmp_path / to)
    assert result.exit_code == 0 and "2 masks" in result.stdout
    options = ("--mask", tmp_path / to / file, "--base", tiny_folder, "--steps", "1,0", "--out", tmp_path / "run")
    result = call("extract", tmp_path / "scene" / "img.png", *options)
    assert result.exit_code == 0, result.output + repr(result.exception)
    again = load_scene(tmp_path / "run" / "scene")
    assert {concept.name for concept in again.concepts} == {"ball", "mug"}
    for concept in again.concepts:
        expected = next(own.mask for own in scene.concepts if own.name == concept.name)
        assert np.array_equal(concept.mask, expected)


def test_errors_are_one_line_and_leave_no_files(scene, tmp_path):
    save_scene(scene, tmp_path / "scene")
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.json").write_text("{}")
    before = listing(tmp_path)
    photo = tmp_path / "scene" / "img.png"
    for arguments, message in (
        (("masks", tmp_path / "scene", "--to", "yolo"), "--to"),
        (("masks", tmp_path / "empty", "--to", "coco"), "is not a scene folder"),
        (("extract", photo, "--mask", tmp_path / "a.json"), "a.json has no masks of this photo"),
        (("extract", photo, "--mask", tmp_path / "empty"), "has 0 masks"),
    ):
        result = call(*arguments, "--out", tmp_path / "out")
        assert result.exit_code == 2 and message in result.stderr and result.stderr.count("\n") == 1
        assert listing(tmp_path) == before
