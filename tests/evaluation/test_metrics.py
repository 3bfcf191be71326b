"""Metrics, the report and feature extractors."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers.models import save_clip_and_dino
from helpers.runs import short
from PIL import Image

from breakascene.data.crop import masked_crop
from breakascene.data.scene import make_scene
from breakascene.errors import UserError
from breakascene.evaluation import report
from breakascene.evaluation.judges import Judges, load_feature_extractor
from breakascene.evaluation.metrics import (
    NOTHING,
    OTHER,
    Score,
    evaluate,
    load_run_scene,
    summarize,
)
from breakascene.evaluation.prompts import default_prompts, demo_prompts
from breakascene.generation.generate import GeneratedImage
from breakascene.segmentation.segmenter import Segmenter
from breakascene.studio.strings import ja
from breakascene.toybox.judge import load_judge
from breakascene.toybox.pretraining.world import render_scene
from breakascene.training.loop import exhaust, run_extraction

NAMES = {"<asset0>": "teapot", "<asset1>": "owl"}


def score(prompt: float, predicted: dict | None, place=None, identity=0.5) -> Score:
    metadata = {"prompt": "p", "handles": NAMES, "seed": 0, "index": 0}
    generated = GeneratedImage(Image.new("RGB", (8, 8)), metadata)
    return Score(generated, prompt, dict.fromkeys(predicted or NAMES, identity), predicted, place)


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_base, scene):
    folder = tmp_path_factory.mktemp("runs") / "mugs"
    run_extraction(scene, tiny_base, short(tiny_base), folder)
    return folder


@pytest.fixture(scope="module")
def extractor():
    return load_feature_extractor("toybox")


def test_summarize():
    scores = [
        score(0.2, {"<asset0>": "teapot"}, True),
        score(0.4, {"<asset0>": "owl"}, True),
        score(0.6, {"<asset1>": OTHER}, False),
        score(0.8, {"<asset0>": "teapot", "<asset1>": "owl"}, True, identity=1.0),
        score(0.5, {"<asset0>": "teapot", "<asset1>": NOTHING}, None, identity=0.0),
    ]
    found = summarize(scores, ("teapot", "owl"))
    assert found["pictures"] == 5 and found["prompt"] == 0.5
    assert found["identity"] == pytest.approx((3 * 0.5 + 2 * 1.0 + 2 * 0.0) / 7, abs=1e-4)
    assert found["right"] == pytest.approx(1 / 3, abs=1e-4) and found["together_right"] == 0.5
    assert found["place"] == 0.75 and found["mixed"] == pytest.approx(1 / 7, abs=1e-4)
    assert found["confusion"]["teapot"] == {"teapot": 0.75, "owl": 0.25, OTHER: 0.0, NOTHING: 0.0}
    assert found["confusion"]["owl"][NOTHING] == pytest.approx(1 / 3)


def test_summarize_concepts_that_the_judge_does_not_know():
    found = summarize([score(0.3, None), score(0.5, None)], ("mug", "ball"))
    assert found["prompt"] == 0.4 and found["identity"] == 0.5
    assert found["right"] is found["mixed"] is found["place"] is found["confusion"] is None


def test_features_match_the_same_object_in_another_scene(extractor):
    rng, names = np.random.default_rng(4), ("teapot", "owl", "cactus", "flamingo")
    scenes = [[render_scene(rng, 128, (name,), place) for name in names] for place in ("in the snow", "at the beach")]
    first, second = ([masked_crop(scene.pixels, scene.masks[0]) for scene in place_scenes] for place_scenes in scenes)
    similarity = extractor.encode_images(first) @ extractor.encode_images(second).T  # (4, 4)
    assert similarity.argmax(1).tolist() == [0, 1, 2, 3] and similarity.abs().max() <= 1 + 1e-5
    texts = extractor.encode_texts(["a photo of a teapot in the snow", "a photo of a teapot at the beach"])
    images = extractor.encode_images([Image.fromarray(place_scenes[0].pixels) for place_scenes in scenes])
    assert (images @ texts.T).argmax(1).tolist() == [0, 1]


def test_scores_of_generated_images(tiny_base, run, scene, extractor):
    from breakascene.models.concepts import Concepts

    concepts = Concepts.load(run)
    prompts = ["a photo of <asset0> at the beach", "a photo of <asset0> and <asset1>", "a photo of <background>"]
    tools = {
        "text_extractor": extractor,
        "image_extractor": extractor,
        "segmenter": Segmenter.load("toybox"),
        "judge": load_judge(),
    }
    scores = list(evaluate(tiny_base, concepts, scene, prompts, num_inference_steps=2, seed=3, **tools))
    assert [list(s.identity_similarity) for s in scores] == [["<asset0>"], ["<asset0>", "<asset1>"], []]
    values = [value for s in scores for value in (s.prompt_similarity, *s.identity_similarity.values())]
    assert all(-1 <= value <= 1 for value in values)
    assert [s.place_correct is None for s in scores] == [False, True, True]
    assert [s.predicted for s in scores] == [None, None, None]  # "mug" and "ball" are no objects of the toybox
    again = list(evaluate(tiny_base, concepts, scene, prompts, num_inference_steps=2, seed=3, **tools))
    assert [s.prompt_similarity for s in again] == [s.prompt_similarity for s in scores]


def test_predicted_classes(tiny_base, extractor, monkeypatch):
    """Rendered scenes of known content replace the generated images; all that follows is real."""
    from breakascene.evaluation import metrics

    rng = np.random.default_rng(2)
    photo = render_scene(rng, 128, ("teapot", "owl"), "on the grass")
    scene = make_scene(Image.fromarray(photo.pixels), list(photo.masks), ["teapot", "owl"])
    concepts = run_extraction(scene, tiny_base, short(tiny_base, steps=(1, 0)))
    contents = [(("teapot",), "in the snow"), (("owl",), "at the beach"), (("cactus",), "in the snow")]
    images = [Image.fromarray(render_scene(rng, 128, *content).pixels) for content in contents]
    metadata = {"prompt": "a photo of <asset0> in the snow", "seed": 0, "index": 0, "handles": NAMES}
    monkeypatch.setattr(metrics, "generate", lambda *_, **__: (GeneratedImage(image, metadata) for image in images))
    tools = {
        "text_extractor": extractor,
        "image_extractor": extractor,
        "segmenter": Segmenter.load("toybox"),
        "judge": load_judge(),
    }
    right, mixed, other = evaluate(tiny_base, concepts, scene, ["-"], **tools)
    assert [s.predicted["<asset0>"] for s in (right, mixed, other)] == ["teapot", "owl", OTHER]
    assert [s.place_correct for s in (right, mixed, other)] == [True, False, True]
    right_identity, *others = (s.identity_similarity["<asset0>"] for s in (right, mixed, other))
    assert right_identity > max(others)
    assert right.prompt_similarity > max(mixed.prompt_similarity, other.prompt_similarity)


def test_report_of_a_run(tmp_path, tiny_base, run, extractor):
    lines, measures = [], (Judges(extractor, extractor, ("A <note>.",)), Segmenter.load("toybox"))
    found = exhaust(report.write([run], tiny_base, tmp_path / "report", *measures, num_inference_steps=2), lines.append)
    folder = tmp_path / "report"
    assert json.loads((folder / "scores.json").read_text()) == found
    scores = found["mugs"]["scores"]
    assert [score["prompt"] for score in scores] == default_prompts(("<asset0>", "<asset1>", "<background>"))
    assert [line[:2] for line in lines] == [(i + 1, 12) for i in range(12)]
    assert len(scores) == 12 and all((folder / score["file"]).is_file() for score in scores)
    page = (folder / "index.html").read_text()
    assert "<title>Evaluation: mugs</title>" in page
    assert set(found["mugs"]["measured_by"].items()) == {(key, "toybox") for key in report.METRICS}
    assert (
        all(f"{label} (toybox&#x27;s judge)" in page for label in report.METRICS.values()) and "A &lt;note&gt;." in page
    )
    assert all(score["file"] in page for score in scores) and "&lt;asset0&gt;" in page and "<asset0>" not in page
    options = {"prompts": ["a photo of <asset0>"], "texts": ja.REPORT, "language": "ja", "num_inference_steps": 2}
    list(report.write([run], tiny_base, tmp_path / "ja", *measures, **options))
    page = (tmp_path / "ja" / "index.html").read_text(encoding="utf-8")
    assert '<html lang="ja">' in page and "学習の損失" in page
    assert not re.search("similarity|judge|recognized|losses<|steps on|Evaluation", page)
    again = run.parent / "other" / "mugs"
    again.parent.mkdir()
    again.symlink_to(run)
    with pytest.raises(UserError, match="same folder name"):
        next(report.write([run, run], tiny_base, tmp_path / "twice", *measures))
    stopped = report.write([run], tiny_base, tmp_path / "stopped", *measures, num_inference_steps=2)
    next(stopped)
    stopped.close()
    assert sorted(path.name for path in tmp_path.glob("*ed*")) == []  # nothing partial


def test_clip_and_dino(tmp_path, scene):
    save_clip_and_dino(tmp_path / "clip", tmp_path / "dino")
    clip, dino = load_feature_extractor(str(tmp_path / "clip")), load_feature_extractor(str(tmp_path / "dino"))
    images, texts = [scene.photo, scene.photo.rotate(90)], ["a fox", "a teapot"]
    for features in (clip.encode_images(images), clip.encode_texts(texts), dino.encode_images(images)):
        assert len(features) == 2 and torch.allclose(features.norm(dim=1), torch.ones(2), atol=1e-5)
        assert not torch.allclose(features[0], features[1])
    assert clip.encode_images(images).shape == clip.encode_texts(texts).shape and dino.encode_texts is None
    with pytest.raises(UserError, match="cannot be loaded"):
        load_feature_extractor(str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="has no text encoder"):
        next(evaluate(None, None, None, [], text_extractor=dino, image_extractor=dino, segmenter=None))


def test_a_run_without_its_photo(tmp_path):
    with pytest.raises(UserError, match="not a scene folder"):
        (tmp_path / "scene").mkdir()
        load_run_scene(tmp_path)


def test_demo_and_evaluation_prompts():
    handles = ("<asset0>", "<asset1>", "<background>")
    evaluation, demo = default_prompts(handles), demo_prompts(handles)
    assert len(evaluation) == 12 and evaluation[-1] == "a photo of <asset0> and <asset1> on a wooden table"
    assert len(demo) == 10 and demo[-1] == "a photo of <asset0> and <asset1> in the desert"
    assert default_prompts(("<asset0>",)) == evaluation[:4]
    assert not any("<background>" in prompt for prompt in evaluation + demo)


def test_evaluation_does_not_load_pretraining():
    code = """
import sys, breakascene.evaluation.report, breakascene.evaluation.advice
loaded = {name for name in sys.modules if name.startswith("breakascene.toybox.")}
print(*sorted(loaded))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["breakascene.toybox.judge", "breakascene.toybox.vocabulary"]
