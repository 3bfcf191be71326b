"""The verdict on an extraction, and how familiar a photo is to the toybox."""

import numpy as np
import pytest
from PIL import Image

from breakascene.data.crop import masked_crop
from breakascene.data.scene import load_scene, make_scene
from breakascene.evaluation import verdict
from breakascene.evaluation.judges import load_feature_extractor
from breakascene.evaluation.verdict import PARTLY, RIGHT, UNRECOGNIZABLE, familiarity, level, lightness_correlation
from breakascene.segmentation.segmenter import Segmenter
from breakascene.studio.screens.select_actions import samples
from breakascene.toybox.judge import load_judge


@pytest.mark.parametrize(
    ("similarities", "correlation", "familiar", "expected"),
    [
        ((0.96, 0.95, 0.97), 0.0, True, RIGHT),
        ((0.96, 0.7, 0.97), 0.9, True, PARTLY),  # the worst image decides
        ((0.96, 0.5, 0.97), 0.9, True, UNRECOGNIZABLE),
        ((0.96, 0.95, 0.97), 0.6, False, UNRECOGNIZABLE),
        ((0.96, 0.95, 0.97), 0.8, False, PARTLY),  # at most
        ((0.96, 0.79, 0.97), 0.8, False, UNRECOGNIZABLE),
    ],
)
def test_level_of_an_object(similarities, correlation, familiar, expected):
    assert level([(similarity, correlation) for similarity in similarities], familiar) == expected


def test_an_object_is_closer_to_itself_than_to_another():
    scene = load_scene(samples()[1])
    images = {scene.handles[0]: [scene.photo], scene.handles[1]: [Image.new("RGB", (64, 64), "gray")]}
    found = verdict.similarities(scene, images, load_feature_extractor(), Segmenter.load("toybox"))
    (similarity, correlation), (nothing, _) = found[scene.handles[0]][0], found[scene.handles[1]][0]
    assert similarity > 0.85 > nothing and correlation > 0.4


def test_the_lightness_of_an_object_correlates_with_its_own():
    scene = load_scene(samples()[1])
    one, other = (masked_crop(np.asarray(scene.photo), mask) for mask in scene.masks()[:2])
    assert lightness_correlation(one, one) == pytest.approx(1)
    assert abs(lightness_correlation(one, other)) < 0.75
    assert lightness_correlation(one, Image.new("RGB", one.size)) == 0


def test_samples_are_familiar_and_a_texture_is_not():
    judge = load_judge("cpu")
    assert all(familiarity(load_scene(sample), judge) > verdict.MIN_FAMILIARITY for sample in samples())
    assert familiarity(texture(), judge) < verdict.MIN_FAMILIARITY


def texture():
    """A photo of nothing that the toybox knows, with one object."""
    y, x = np.mgrid[:200, :200]
    pixels = np.stack([128 + 100 * np.sin(x / 5), 128 + 90 * np.sin(y / 9), 0 * x + 90], -1).astype(np.uint8)
    return make_scene(Image.fromarray(pixels), [(x - 100) ** 2 + (y - 100) ** 2 < 40**2], ["ball"])
