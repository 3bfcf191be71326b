import json

import numpy as np
import pytest
import torch
from helpers.runs import short
from PIL import Image
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, ViTConfig, ViTImageProcessorPil, ViTModel

from breakascene.data.crop import masked_crop
from breakascene.data.scene import make_scene
from breakascene.errors import UserError
from breakascene.evaluation import report
from breakascene.evaluation.metrics import (
    NOTHING,
    OTHER,
    Score,
    default_prompts,
    evaluate,
    load_feature_extractor,
    load_run_scene,
    summary,
)
from breakascene.generation.generate import GeneratedImage
from breakascene.segmentation.segmenter import Segmenter
from breakascene.toybox.judge import load_judge
from breakascene.toybox.pretraining.text import tokenizer
from breakascene.toybox.pretraining.world import draw_scene
from breakascene.training.loop import exhaust, run_extraction

NAMES = {"<asset0>": "teapot", "<asset1>": "owl"}


def score(prompt: float, seen: dict | None, place=None, identity=0.5) -> Score:
    record = {"prompt": "p", "handles": NAMES, "seed": 0, "index": 0}
    return Score(
        GeneratedImage(Image.new("RGB", (8, 8)), record), prompt, dict.fromkeys(seen or NAMES, identity), seen, place
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_base, scene):
    folder = tmp_path_factory.mktemp("runs") / "mugs"
    run_extraction(scene, tiny_base, short(tiny_base), folder)
    return folder


@pytest.fixture(scope="module")
def eyes():
    return load_feature_extractor("toybox")


def test_summary_counts():
    scores = [
        score(0.2, {"<asset0>": "teapot"}, True),
        score(0.4, {"<asset0>": "owl"}, True),
        score(0.6, {"<asset1>": OTHER}, False),
        score(0.8, {"<asset0>": "teapot", "<asset1>": "owl"}, True, identity=1.0),
        score(0.5, {"<asset0>": "teapot", "<asset1>": NOTHING}, None, identity=0.0),
    ]
    found = summary(scores, ("teapot", "owl"))
    assert found["pictures"] == 5 and found["prompt"] == 0.5
    assert found["identity"] == pytest.approx((3 * 0.5 + 2 * 1.0 + 2 * 0.0) / 7, abs=1e-4)
    assert found["right"] == pytest.approx(1 / 3, abs=1e-4) and found["together_right"] == 0.5
    assert found["place"] == 0.75 and found["mixed"] == pytest.approx(1 / 7, abs=1e-4)
    assert found["confusion"]["teapot"] == {"teapot": 0.75, "owl": 0.25, OTHER: 0.0, NOTHING: 0.0}
    assert found["confusion"]["owl"][NOTHING] == pytest.approx(1 / 3)


def test_summary_of_things_that_the_judge_does_not_know():
    found = summary([score(0.3, None), score(0.5, None)], ("mug", "ball"))
    assert found["prompt"] == 0.4 and found["identity"] == 0.5
    assert found["right"] is found["mixed"] is found["place"] is found["confusion"] is None


def test_the_same_thing_in_another_scene_looks_most_alike(eyes):
    rng, names = np.random.default_rng(4), ("teapot", "owl", "cactus", "flamingo")
    photos = [[draw_scene(rng, 128, (name,), place) for name in names] for place in ("in the snow", "at the beach")]
    one, two = ([masked_crop(drawn.pixels, drawn.masks[0]) for drawn in row] for row in photos)
    alike = eyes.look(one) @ eyes.look(two).T  # (4, 4)
    assert alike.argmax(1).tolist() == [0, 1, 2, 3] and alike.abs().max() <= 1 + 1e-5
    texts = eyes.read(["a photo of a teapot in the snow", "a photo of a teapot at the beach"])
    whole = eyes.look([Image.fromarray(row[0].pixels) for row in photos])
    assert (whole @ texts.T).argmax(1).tolist() == [0, 1]


def test_scores_of_drawn_pictures(tiny_base, run, scene, eyes):
    from breakascene.models.concepts import Concepts

    concepts = Concepts.load(run)
    prompts = ["a photo of <asset0> at the beach", "a photo of <asset0> and <asset1>", "a photo of <background>"]
    tools = {
        "text_extractor": eyes,
        "image_extractor": eyes,
        "segmenter": Segmenter.load("toybox"),
        "judge": load_judge(),
    }
    scores = list(evaluate(tiny_base, concepts, scene, prompts, num_inference_steps=2, seed=3, **tools))
    assert [list(s.identity) for s in scores] == [["<asset0>"], ["<asset0>", "<asset1>"], []]
    assert all(-1 <= value <= 1 for s in scores for value in (s.prompt, *s.identity.values()))
    assert [s.place is None for s in scores] == [False, True, True]
    assert [s.seen for s in scores] == [None, None, None]  # "mug" and "ball" are no things of the toybox's world
    again = list(evaluate(tiny_base, concepts, scene, prompts, num_inference_steps=2, seed=3, **tools))
    assert [s.prompt for s in again] == [s.prompt for s in scores]


def test_what_a_thing_came_out_as(tiny_base, eyes, monkeypatch):
    """The drawing is replaced by pictures of known content: all that follows is real."""
    from breakascene.evaluation import metrics as room

    rng = np.random.default_rng(2)
    photo = draw_scene(rng, 128, ("teapot", "owl"), "on the grass")
    scene = make_scene(Image.fromarray(photo.pixels), list(photo.masks), ["teapot", "owl"])
    concepts = run_extraction(scene, tiny_base, short(tiny_base, steps=(1, 0)))
    drawn = [(("teapot",), "in the snow"), (("owl",), "at the beach"), (("cactus",), "in the snow")]
    images = [Image.fromarray(draw_scene(rng, 128, *what).pixels) for what in drawn]
    record = {"prompt": "a photo of <asset0> in the snow", "seed": 0, "index": 0, "handles": NAMES}
    monkeypatch.setattr(room, "generate", lambda *_, **__: (GeneratedImage(image, record) for image in images))
    tools = {
        "text_extractor": eyes,
        "image_extractor": eyes,
        "segmenter": Segmenter.load("toybox"),
        "judge": load_judge(),
    }
    right, mixed, other = evaluate(tiny_base, concepts, scene, ["-"], **tools)
    assert [s.seen["<asset0>"] for s in (right, mixed, other)] == ["teapot", "owl", OTHER]
    assert [s.place for s in (right, mixed, other)] == [True, False, True]
    assert right.identity["<asset0>"] > max(mixed.identity["<asset0>"], other.identity["<asset0>"])
    assert right.prompt > max(mixed.prompt, other.prompt)


def test_report_of_a_run(tmp_path, tiny_base, run, eyes):
    lines = []
    found = exhaust(
        report.write([run], tiny_base, tmp_path / "report", eyes, eyes, num_inference_steps=2), lines.append
    )
    folder = tmp_path / "report"
    assert json.loads((folder / "scores.json").read_text()) == found
    rows = found["mugs"]["scores"]
    assert [row["prompt"] for row in rows] == default_prompts(("<asset0>", "<asset1>", "<background>"))
    assert [line[:2] for line in lines] == [(i + 1, 12) for i in range(12)]
    assert len(rows) == 12 and all((folder / row["file"]).is_file() for row in rows)
    page = (folder / "index.html").read_text()
    assert all(row["file"] in page for row in rows) and "&lt;asset0&gt;" in page and "<asset0>" not in page
    again = run.parent / "other" / "mugs"
    again.parent.mkdir()
    again.symlink_to(run)
    with pytest.raises(UserError, match="same folder name"):
        next(report.write([run, run], tiny_base, tmp_path / "twice", eyes, eyes))
    stopped = report.write([run], tiny_base, tmp_path / "stopped", eyes, eyes, num_inference_steps=2)
    next(stopped)
    stopped.close()
    assert sorted(path.name for path in tmp_path.glob("*ed*")) == []  # nothing half-written


def test_clip_and_dino_as_eyes(tmp_path, scene, eyes):
    """Small models of the true classes with random weights."""
    torch.manual_seed(0)
    vision = {"image_size": 32, "patch_size": 8, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    words = tokenizer()
    text = {"vocab_size": len(words), "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text |= {"bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).save_pretrained(tmp_path / "clip")
    words.save_pretrained(tmp_path / "clip")
    size = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    CLIPImageProcessorPil(**size).save_pretrained(tmp_path / "clip")
    ViTModel(ViTConfig(**vision)).save_pretrained(tmp_path / "dino")
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "dino")
    clip, dino = load_feature_extractor(str(tmp_path / "clip")), load_feature_extractor(str(tmp_path / "dino"))
    pictures = [scene.photo, scene.photo.rotate(90)]
    for features in (clip.look(pictures), clip.read(["a fox", "a teapot"]), dino.look(pictures)):
        assert len(features) == 2 and torch.allclose(features.norm(dim=1), torch.ones(2), atol=1e-5)
        assert not torch.allclose(features[0], features[1])
    assert clip.look(pictures).shape == clip.read(["a fox", "a teapot"]).shape and dino.read is None
    with pytest.raises(UserError, match="cannot be had"):
        load_feature_extractor(str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="cannot read"):
        next(evaluate(None, None, None, [], text_extractor=dino, image_extractor=dino, segmenter=None))


def test_a_run_without_its_photo(tmp_path):
    with pytest.raises(UserError, match="not a scene folder"):
        (tmp_path / "scene").mkdir()
        load_run_scene(tmp_path)
