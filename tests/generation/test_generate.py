import json

import numpy as np
import pytest
from helpers.models import assert_same_base, weights_of
from PIL import Image, PngImagePlugin

from breakascene.errors import UserError
from breakascene.generation.generate import generate, image_shapes, read_metadata, save_image
from breakascene.training.loop import run_extraction
from breakascene.training.settings import preset


@pytest.fixture(scope="module")
def concepts(tiny_base, scene):
    return run_extraction(scene, tiny_base, preset("light", tiny_base, steps=(1, 1), prior_loss_weight=0.0))


def arrays(images):
    return [np.asarray(generated.image, dtype=int) for generated in images]


def test_images_and_their_metadata(tiny_base, concepts):
    before = weights_of(tiny_base)
    images = generate(
        tiny_base, concepts, ["<asset0> at <background>", "a dog"], count=3, seed=5, num_inference_steps=3
    )
    first = next(images)
    assert_same_base(tiny_base, before)  # between images too
    rest = list(images)
    assert first.image.size == (128, 128) and len(rest) == 5
    expected = {
        "prompt": "<asset0> at <background>",
        "negative_prompt": "",
        "seed": 5,
        "index": 0,
        "num_inference_steps": 3,
        "guidance_scale": 1.5,
        "width": 128,
        "height": 128,
        "base": tiny_base.name,
        "fingerprint": tiny_base.fingerprint,
        "run": concepts.id,
        "handles": {"<asset0>": "ball", "<asset1>": "mug", "<background>": "background"},
    }
    assert {key: first.metadata[key] for key in expected} == expected
    assert [p.metadata["index"] for p in rest] == [1, 2, 3, 4, 5] and rest[-1].metadata["prompt"] == "a dog"


def test_image_k_is_the_same_in_every_batch(tiny_base, concepts):
    options = {"count": 3, "seed": 1, "num_inference_steps": 4}
    batched = arrays(generate(tiny_base, concepts, ["<asset0>"], **options))
    alone = arrays(generate(tiny_base, concepts, ["<asset0>"], batch_size=1, **options))
    third = arrays(generate(tiny_base, concepts, ["<asset0>"], count=1, seed=3, num_inference_steps=4))[0]
    for one, two in zip([*batched, batched[2]], [*alone, third], strict=True):
        assert abs(one - two).max() <= 1
    assert abs(batched[0] - batched[1]).max() > 10


def test_prompts_can_share_their_seeds(tiny_base, concepts):
    prompts = ["<asset0>", "<asset1>", "<asset0>"]
    images = list(generate(tiny_base, concepts, prompts, count=2, seed=8, num_inference_steps=3, same_seeds=True))
    assert [(p.metadata["prompt"], p.metadata["index"]) for p in images] == [(p, i) for p in prompts for i in (0, 1)]
    values = arrays(images)
    assert abs(values[0] - values[4]).max() <= 1 and abs(values[1] - values[5]).max() <= 1
    assert abs(values[0] - values[1]).max() > 10 and abs(values[0] - values[2]).max() > 1


def test_prompt_negative_guidance_and_seed_matter(tiny_base, concepts):
    def one(prompt="<asset0>", **options):
        return arrays(generate(tiny_base, concepts, [prompt], **{"num_inference_steps": 3, **options}))[0]

    plain = one()
    assert (plain == one()).all()
    for other in (one("<asset1>"), one(negative_prompt="a dog"), one(guidance_scale=9.0), one(seed=1)):
        assert (plain != other).any()


def test_wide_and_tall_images(tiny_base, sd2_base, concepts):
    assert image_shapes(tiny_base) == {"square": (128, 128), "wide": (160, 96), "tall": (96, 160)}
    for size in image_shapes(tiny_base).values():
        generated = next(generate(tiny_base, concepts, ["<asset0>"], num_inference_steps=2, size=size))
        assert generated.image.size == size == (generated.metadata["width"], generated.metadata["height"])
    for size in image_shapes(sd2_base).values():
        assert next(generate(sd2_base, None, ["a dog"], num_inference_steps=1, size=size)).image.size == size


def test_plain_base_has_no_handles(tiny_base):
    assert len(list(generate(tiny_base, None, ["a photo of a dog"], num_inference_steps=2))) == 1
    with pytest.raises(UserError, match="<asset0> is an unknown handle"):
        generate(tiny_base, None, ["a photo of <asset0>"])


def test_bad_input_is_refused_by_the_call(tiny_base, concepts):
    for prompts, message in (
        (["a dog", "<asset4>"], "<asset4>.*<asset0>, <asset1>, <background>"),
        ([" "], "empty"),
        (["a " * 30 + "<asset0>"], "cut off"),
    ):
        with pytest.raises(UserError, match=message):
            generate(tiny_base, concepts, prompts)
    with pytest.raises(UserError, match="<what>"):
        generate(tiny_base, concepts, ["a dog"], negative_prompt="<what>")
    for size in ((0, 128), (128, 100), (512, 128)):
        with pytest.raises(UserError, match="sides from 64 to 256 pixels, in steps of 8"):
            generate(tiny_base, concepts, ["a dog"], size=size)
    with pytest.raises(UserError, match="at least 1"):
        generate(tiny_base, concepts, ["a dog"], count=0)
    with pytest.raises(UserError, match="more than 10000 images"):
        generate(tiny_base, concepts, ["a dog", "a cat"], count=6000)


def test_metadata_round_trip(tiny_base, concepts, tmp_path):
    generated = next(generate(tiny_base, concepts, ['a "photo" of <asset0> – é/../'], num_inference_steps=2))
    path = save_image(generated, tmp_path / "new" / "folder")
    assert path.name == "000-a-photo-of-ball-é.png"
    assert read_metadata(path) == generated.metadata
    with Image.open(path) as image:
        assert (np.asarray(image) == np.asarray(generated.image)).all()
        assert json.loads(image.text["breakascene"])["prompt"] == 'a "photo" of <asset0> – é/../'
    again = save_image(generated, path.parent)
    assert again.name == "000-a-photo-of-ball-é-2.png" and len(list(path.parent.iterdir())) == 2


@pytest.mark.parametrize(
    "values",
    [
        {"prompt": 7},
        {"prompt": "\ud800"},
        {"seed": None},
        {"index": 1.5},
        {"guidance_scale": [2]},
        {"handles": ["<asset0>"]},
        {"handles": {"<asset0>": None}},
        {"width": "wide"},
        {"strength": "high"},
    ],
)
def test_metadata_of_other_types_are_refused(tiny_base, tmp_path, values):
    (generated,) = generate(tiny_base, None, ["a photo"], num_inference_steps=1)
    refuses(generated.image, {**generated.metadata, **values}, tmp_path / "image.png")


def test_metadata_with_a_width_and_no_height_are_refused(tiny_base, tmp_path):
    (generated,) = generate(tiny_base, None, ["a photo"], num_inference_steps=1)
    del generated.metadata["height"]
    refuses(generated.image, generated.metadata, tmp_path / "image.png")


def refuses(image, metadata, path):
    chunk = PngImagePlugin.PngInfo()
    chunk.add_text("breakascene", json.dumps(metadata))
    image.save(path, pnginfo=chunk)
    with pytest.raises(UserError, match="has no metadata"):
        read_metadata(path)


def test_image_without_metadata(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.png")
    (tmp_path / "text.png").write_text("no image")
    for name in ("plain.png", "text.png", "none.png"):
        with pytest.raises(UserError, match="has no metadata"):
            read_metadata(tmp_path / name)
