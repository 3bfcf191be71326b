"""Run folders, run files and checkpoints of the code of November 2026, before the packages, still open.

saved/ was written by that code (commit 77575ff) on the tests' tiny base: two runs (`light` as a folder, `paper` as a
run file), the images that they generated, and a checkpoint of each in the middle. Comparisons are to rounding, because
processors differ.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.runs import short
from PIL import Image

from breakascene.exporting.archive import unpack
from breakascene.generation.generate import generate, read_metadata
from breakascene.models.concepts import Concepts
from breakascene.training.checkpoint import path_for
from breakascene.training.loop import run_extraction
from breakascene.training.settings import OLD_NAMES, PRIOR_PROMPTS, Settings

SAVED = Path(__file__).with_name("saved")
EXPECTED = json.loads((SAVED / "expected.json").read_text())


def settings_of(name, base):
    steps = {"light": (3, 4), "paper": (2, 3)}[name]
    then = {
        "light": {"train_batch_size": 2, "composition_prob": 0.9},
        "paper": {"max_grad_norm": 0.0, "mask_resize": "area", "prior_prompts": PRIOR_PROMPTS},
    }[name]
    return short(base, name, steps=steps, rank=4, **then)


@pytest.fixture(params=["light", "paper"])
def opened(request, tiny_base, tmp_path):
    """The run folder, or the run file imported into one."""
    if request.param == "light":
        return request.param, SAVED / "light"
    unpack(SAVED / "paper.zip", tiny_base, tmp_path / "imported")
    return request.param, tmp_path / "imported"


def test_the_tiny_base_is_the_one_of_then(tiny_base):
    assert tiny_base.fingerprint == EXPECTED["base_fingerprint"]


def test_runs_open_and_generate_the_same_images(opened, tiny_base):
    name, folder = opened
    concepts = Concepts.load(folder)
    assert (concepts.id, concepts.steps) == (EXPECTED[name]["id"], EXPECTED[name]["steps"])
    assert not OLD_NAMES.keys() & Settings.from_json(concepts.settings).to_json().keys()
    assert Settings.from_json(concepts.settings) == settings_of(name, tiny_base)
    for file in sorted((SAVED / f"{name}-images").glob("*.png")):
        metadata = read_metadata(file)
        (image,) = generate(
            tiny_base,
            concepts,
            [metadata["prompt"]],
            seed=metadata["seed"] + metadata["index"],
            num_inference_steps=metadata["num_inference_steps"],
            guidance_scale=metadata["guidance_scale"],
            negative_prompt=metadata["negative_prompt"],
        )
        difference = np.abs(np.asarray(image.image, float) - np.asarray(Image.open(file), float))
        assert difference.mean() < 0.5
        assert image.metadata["run"] == metadata["run"]


@pytest.mark.parametrize("name", ["light", "paper"])
def test_checkpoints_resume_to_the_same_end(name, tiny_base, scene, tmp_path):
    out = tmp_path / f"{name}-stopped"
    path_for(out).write_bytes((SAVED / f"{name}-stopped.checkpoint.safetensors").read_bytes())
    concepts = run_extraction(scene, tiny_base, settings_of(name, tiny_base), out, resume=True)
    assert concepts.steps == EXPECTED[name]["steps"]
    for now, then in zip(concepts.losses, EXPECTED[name]["losses"], strict=True):
        assert now.keys() == then.keys()
        np.testing.assert_allclose(list(now.values()), list(then.values()), rtol=1e-3)
    if name == "light":
        then = Concepts.load(SAVED / "light")
        torch.testing.assert_close(concepts.embeddings, then.embeddings, rtol=1e-3, atol=1e-4)
