"""The benchmark of extractions: true shapes, and a rehearsal on tiny ones."""

import json

import pytest
import torch

from benchmarks import drawing, segmentation
from benchmarks.extraction import STAGES, measure
from benchmarks.random_base import VOCABULARY, random_components

PUBLISHED = {  # parameters of the published UNets and text encoders
    "sd15": (859_520_964, 123_060_480),
    "sd21": (865_910_724, 340_387_840),
    "sdxl": (2_567_463_684, 123_060_480, 694_659_840),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_random_bases_have_the_published_shapes(name):
    components = random_components(name, torch.device("meta"))
    modules = [components[key] for key in ("unet", "text_encoder", "text_encoder_2") if key in components]
    assert tuple(sum(p.numel() for p in module.parameters()) for module in modules) == PUBLISHED[name]
    tokenizer = components["tokenizer"]
    assert len(tokenizer) == VOCABULARY and tokenizer.pad_token_id == tokenizer.eos_token_id == VOCABULARY - 1
    assert len(tokenizer("a photo of a dog").input_ids) == 7


@pytest.mark.parametrize("name", ["sd21-tiny", "sdxl-tiny"])
def test_all_stages_are_measured_and_printed(name, tmp_path, capsys):
    file, reference_steps = tmp_path / "rows.json", 1 if name == "sd21-tiny" else 0
    measure(name, ["quick"], count=2, memory="lean", reference_steps=reference_steps, json_file=file)
    rows = json.loads(file.read_text())["rows"]
    assert list(rows) == ["quick", "public code"][: 2 if reference_steps else 1] and rows["quick"]["mode"] == "lean"
    stages = [rows["quick"][stage] for stage in STAGES]
    assert min(stages) >= 0 and sum(stages) == pytest.approx(rows["quick"]["total"], rel=0.01)
    assert rows["quick"]["prior"] > 0 < rows["quick"]["peak"] and rows["quick"]["disk"] > 1000
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(rows) and len({line.count("|") for line in lines}) == 1


def test_drawing_and_segmentation_print_a_row(capsys):
    drawing.measure("sd21-tiny", images=1, steps=2, repeats=1)
    segmentation.measure("toybox", clicks=1)
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [len(row) for row in rows] == [7, 7, 6, 6]
    assert all(float(row[-2].split()[0]) >= 0 for row in (rows[1], rows[3]))
