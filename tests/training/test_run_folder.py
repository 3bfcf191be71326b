"""Where a run is written: links, the working directory, two runs at once, a full disk, tampered checkpoints."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.disk import largest_file
from helpers.runs import assert_same, short, stop_after
from PIL import Image
from safetensors.torch import load_file, safe_open, save_file

from breakascene.data.scene import make_scene
from breakascene.errors import UserError
from breakascene.models.concepts import Concepts
from breakascene.training import checkpoint
from breakascene.training.loop import extract, run_extraction


@pytest.fixture
def settings(tiny_base):
    return short(tiny_base, steps=(1, 2))


@pytest.mark.parametrize("kind", ["working directory", "link to an empty folder", "dangling link", "link in the path"])
def test_a_run_reaches_the_folder_that_out_means(tiny_base, scene, settings, tmp_path, monkeypatch, kind):
    target = tmp_path / "target"
    out = tmp_path / "link"
    if kind != "dangling link":
        target.mkdir()
    out.symlink_to(target)
    if kind == "working directory":
        out.unlink()
        monkeypatch.chdir(target)
        out = Path(".")
    if kind == "link in the path":
        out, target = out / "run", target / "run"
    run_extraction(scene, tiny_base, settings, out, stop=stop_after(2))
    run_extraction(scene, tiny_base, settings, target, resume=True)
    assert {path.name for path in target.iterdir()} == {
        "manifest.json", "losses.json", "concepts.safetensors", "scene",
    }  # fmt: skip
    assert Concepts.load(out).steps == 3
    assert os.path.samefile(out, target) and not [path for path in tmp_path.rglob("*.*") if path.name.startswith(".")]
    assert not list(tmp_path.rglob("*.checkpoint.safetensors"))


def test_a_link_to_itself_is_refused(tiny_base, scene, settings, tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(UserError, match="leads back to itself"):
        run_extraction(scene, tiny_base, settings, tmp_path / "loop")


def test_a_second_extraction_into_the_same_folder_is_refused(tiny_base, scene, settings, tmp_path):
    (tmp_path / ".run.lock").touch()  # left by a killed process
    events = extract(scene, tiny_base, settings, tmp_path / "run")
    next(events)
    with pytest.raises(UserError, match="Another process is writing to"):
        run_extraction(scene, tiny_base, settings, tmp_path / "run")
    events.close()
    run_extraction(scene, tiny_base, settings, tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_resuming_a_finished_run_says_that_it_is_finished(tiny_base, scene, settings, tmp_path):
    run_extraction(scene, tiny_base, settings, tmp_path / "run")
    with pytest.raises(UserError, match="is finished"):
        run_extraction(scene, tiny_base, settings, tmp_path / "run", resume=True)


def test_a_run_that_does_not_fit_on_the_disk_is_finished_by_resuming(tiny_base, settings, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), np.uint8)  # 7 MB as PNG
    mask = np.zeros((1500, 1500), bool)
    mask[300:1100, 300:1100] = True
    scene = make_scene(Image.fromarray(pixels), [mask], ["ball"])
    with (
        largest_file(3_000_000),
        pytest.raises(UserError, match=r"\(File too large\): free some space, then resume the run"),
    ):
        run_extraction(scene, tiny_base, settings, tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["run.checkpoint.safetensors"]
    events = []
    finished = run_extraction(scene, tiny_base, settings, tmp_path / "run", events.append, resume=True)
    assert not events and finished.steps == 3
    assert_same(finished, run_extraction(scene, tiny_base, settings))
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_full_disk_at_the_first_checkpoint_leaves_nothing(tiny_base, scene, settings, tmp_path):
    with largest_file(500), pytest.raises(UserError, match=r"\(File too large\): free some space, then start again"):
        run_extraction(scene, tiny_base, settings, tmp_path / "run")
    assert not list(tmp_path.iterdir())


def rewrite(path, tensors=None, header=None):
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    content = load_file(path)
    save_file((tensors or dict)(content), path, {"checkpoint": (header or str)(metadata["checkpoint"])})


def with_changed(part, change):
    def tampered(tensors):
        name = next(name for name in tensors if part in name)
        return tensors | {name: change(tensors[name])}

    return tampered


TENSORS = {
    "Adam's moments too short": with_changed("adam.exp_avg.", lambda value: value.flatten()[:1]),
    "Adam's moments too long": with_changed("adam.exp_avg_sq.", lambda value: value.repeat(3, 3)),
    "Adam's moments in 8 bits": with_changed("adam.exp_avg.", lambda value: value.to(torch.uint8)),
    "Adam's step not a scalar": with_changed("adam.step.", lambda value: torch.zeros(3)),
    "Adam's step a complex number": with_changed("adam.step.", lambda value: value.to(torch.complex64)),
    "no second moment": lambda tensors: {name: v for name, v in tensors.items() if "exp_avg_sq" not in name},
    "a weight of one value": with_changed("unet.", lambda value: value.flatten()[:1].clone()),
    "handles that do not fit": with_changed("handles", lambda value: value[:, :2].clone()),
    "no handles": lambda tensors: {name: value for name, value in tensors.items() if name != "handles"},
    "values that are not finite": with_changed("handles", lambda value: value * float("inf")),
    "a short random state": with_changed("random", lambda value: value[:100].clone()),
    "a random state of zeros": with_changed("random", torch.zeros_like),
}
HEADERS = {
    "a phase that is none": lambda text: text.replace('"phase": 2', '"phase": [2]'),
    "losses of another kind": lambda text: text.replace('"losses": [', '"losses": [7, '),
    "a number of 400 digits": lambda text: text.replace('"total": ', '"total": ' + "1" * 400),
    "settings of another type": lambda text: text.replace('"rank": ', '"rank": "x", "preset": '),
    "no identity": lambda text: text.replace('"identity"', '"other"'),
    "more steps than the run": lambda text: text.replace('"losses": [', '"losses": [' + '{"total": 1.0}, ' * 9),
    "no JSON": lambda text: text[:-5],
    "deep nesting": lambda text: "[" * 90_000,
}


@pytest.mark.parametrize("case", [*TENSORS, *HEADERS])
def test_a_tampered_checkpoint_is_refused(tiny_base, scene, settings, tmp_path, case):
    run_extraction(scene, tiny_base, settings, tmp_path / "run", stop=stop_after(2))
    rewrite(checkpoint.path_for(tmp_path / "run"), TENSORS.get(case), HEADERS.get(case))
    with pytest.raises(UserError, match="delete it and start again|differs in"):
        run_extraction(scene, tiny_base, settings, tmp_path / "run", resume=True)
