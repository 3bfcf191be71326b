"""Which models measure the images of a base, where they come from, and what is said where they are not available."""

import re

import huggingface_hub
import pytest
from helpers.hub import running_hub
from helpers.models import save_clip_and_dino
from helpers.runs import short

from breakascene.cli.app import app
from breakascene.errors import UserError
from breakascene.evaluation import judges
from breakascene.evaluation.judges import CLIP, DINO, LABELS, load_judges
from breakascene.training.loop import run_extraction


@pytest.fixture
def served(tmp_path):
    """Small models under the names of the paper's, DINO's weights as a pickle."""
    import torch
    from safetensors.torch import load_file

    save_clip_and_dino(tmp_path / "clip", tmp_path / "dino")
    weights = tmp_path / "dino" / "model.safetensors"
    torch.save(load_file(weights), weights.with_name("pytorch_model.bin"))
    weights.unlink()
    folders = {CLIP: tmp_path / "clip", DINO: tmp_path / "dino"}
    files = {f"{name}/{path.name}": path.read_bytes() for name, folder in folders.items() for path in folder.iterdir()}
    with running_hub(files, tmp_path / "cache"):
        yield


def names(found):
    return found.text.name, found.image.name


def test_the_toybox_has_its_own_judge(monkeypatch):
    monkeypatch.setenv("BREAKASCENE_CLIP", "nowhere")
    found = load_judges("toybox")
    assert names(found) == ("toybox", "toybox") and not found.notes


def test_other_bases_are_measured_by_the_papers_models(served, scene):
    assert judges.missing() == (CLIP, DINO)
    waiting = load_judges("sd", download=False)
    assert names(waiting) == ("toybox", "toybox")
    assert [label in note for label, note in zip(LABELS.values(), waiting.notes, strict=True)] == [True, True]
    assert all("still being downloaded" in note for note in waiting.notes)
    found = load_judges("sd")
    assert names(found) == tuple(LABELS.values()) and not found.notes and not judges.missing()
    assert found.text.encode_texts(["a fox"]).shape == (1, 16)
    assert found.image.encode_images([scene.photo]).shape == (1, 32)
    assert names(load_judges("sdxl", clip="toybox", download=False)) == ("toybox", LABELS[DINO])


def test_a_folder_of_ones_own(tmp_path, monkeypatch):
    save_clip_and_dino(tmp_path / "clip", tmp_path / "dino")
    monkeypatch.setenv("BREAKASCENE_CLIP", str(tmp_path / "clip"))
    monkeypatch.setenv("BREAKASCENE_DINO", str(tmp_path / "nothing"))
    assert judges.missing() == ()
    found = load_judges("sd")
    assert names(found) == (str(tmp_path / "clip"), "toybox")
    assert "set BREAKASCENE_DINO to the folder" in found.notes[0] and str(tmp_path / "nothing") in found.notes[0]
    with pytest.raises(UserError, match="cannot be loaded"):
        load_judges("sd", dino=str(tmp_path / "nothing"))


def test_the_command_line_says_who_measured(tmp_path, sd2_base, sd2_folder, scene, monkeypatch, capsys):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    save_clip_and_dino(tmp_path / "clip", tmp_path / "dino")
    monkeypatch.setenv("BREAKASCENE_CLIP", str(tmp_path / "clip"))
    monkeypatch.setenv("BREAKASCENE_SAM", "toybox")
    run_extraction(scene, sd2_base, short(sd2_base, steps=(1, 0)), tmp_path / "run")
    (tmp_path / "prompts.txt").write_text("a photo of <asset0>\n")
    arguments = ["evaluate", str(tmp_path / "run"), "--out", str(tmp_path / "out"), "--base", str(sd2_folder)]
    with pytest.raises(SystemExit) as ended:
        app([*arguments, "--prompts", str(tmp_path / "prompts.txt")])
    assert not ended.value.code
    out, error = capsys.readouterr()
    assert f"{LABELS[DINO]} could not be downloaded: connect to the internet" in error and LABELS[CLIP] not in error
    assert re.search(rf"prompt similarity -?[\d.]+ \({re.escape(str(tmp_path / 'clip'))}\)", out)
    assert re.search(r"identity similarity -?[\d.]+ \(toybox's judge\)", out)
    page = (tmp_path / "out" / "index.html").read_text()
    assert "identity similarity (toybox&#x27;s judge)" in page and f"{LABELS[DINO]} could not be downloaded" in page
