"""Advice about scenes and runs."""

import numpy as np
from PIL import Image

from breakascene.data.scene import make_scene
from breakascene.evaluation.advice import run_advice, scene_advice
from breakascene.models.concepts import Concepts
from breakascene.training.loop import run_extraction
from breakascene.training.settings import preset


def scene_of(*boxes: tuple[int, int, int, int], side: int = 100):
    masks = []
    for x0, y0, x1, y1 in boxes:
        masks.append(np.zeros((side, side), bool))
        masks[-1][y0:y1, x0:x1] = True
    return make_scene(Image.new("RGB", (side, side)), masks, ["cup", "pot", "jar"][: len(boxes)])


def test_no_advice_for_a_good_scene():
    assert scene_advice(scene_of((10, 10, 40, 60), (60, 10, 90, 60))) == []


def test_advice_on_overlapping_masks():
    advice = scene_advice(scene_of((0, 0, 40, 40), (20, 0, 60, 40), (60, 60, 99, 99)))
    assert len(advice) == 1 and "cup" in advice[0] and "pot" in advice[0] and "50%" in advice[0]


def test_advice_on_a_tiny_concept():
    advice = scene_advice(scene_of((0, 0, 60, 60), (90, 90, 96, 96)))
    assert len(advice) == 1 and "<asset1> (pot) covers only 0.4%" in advice[0]


def test_a_run_saves_its_attention_leak_for_advice(tiny_base, scene, tmp_path):
    settings = preset("light", tiny_base, steps=(2, 0), composition_prob=0.0)
    concepts = run_extraction(scene, tiny_base, settings, tmp_path / "run")
    again = Concepts.load(tmp_path / "run")
    assert again.leak == concepts.leak and concepts.leak.keys() == set(scene.handles)
    # After two steps on random weights the attention is spread over the whole photo.
    areas = scene.square_crop(tiny_base.image_size).masks.mean((1, 2))
    for handle, name, area in zip(scene.handles, scene.names, areas, strict=True):
        assert abs(concepts.leak[handle] - (1 - area)) < 0.25
        advice = [line for line in run_advice(concepts) if name in line]
        assert len(advice) == (concepts.leak[handle] > 0.8)
