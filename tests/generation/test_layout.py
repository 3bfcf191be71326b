"""Layouts: their JSON, the collage, and images with objects in boxes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.models import assert_same_base, weights_of
from PIL import Image

from breakascene.data.scene import cutout
from breakascene.errors import UserError
from breakascene.generation import layout as layouts
from breakascene.generation.generate import generate, read_metadata, save_image
from breakascene.generation.layout import (
    Layout,
    Placement,
    collage,
    cutouts_of,
    parse_layout,
    read_layout,
    start_layout,
)
from breakascene.models.attention import RegionalAttention
from breakascene.models.combined import combine
from breakascene.models.grouped import load_run
from breakascene.training.loop import run_extraction
from breakascene.training.settings import preset

HANDLES, NAMES = ("<asset0>", "<asset1>", "<background>"), ("ball", "mug", "background")
LAYOUT = {"objects": [{"handle": "<asset0>", "box": [0.1, 0.2, 0.5, 0.6]}]}


@pytest.fixture(scope="module")
def cutouts(scene) -> dict:
    return {handle: cutout(scene, i) for i, handle in enumerate(scene.handles[:2])}


def test_a_layout_is_parsed(tmp_path):
    values = {
        "strength": 0.5,
        "objects": [
            {"handle": "<mug>", "box": [0.2, 0.2, 0.4, 0.6], "scale": 1.5, "order": 3},
            {"handle": "asset0", "box": [0, 0, 1, 1], "flip": True},
        ],
    }
    (tmp_path / "layout.json").write_text(json.dumps(values))
    back, front = (layout := read_layout(tmp_path / "layout.json", HANDLES, NAMES)).placements
    assert (back, layout.strength) == (Placement("<asset0>", (0, 0, 1, 1), True), 0.5)
    assert front.handle == "<asset1>" and front.box == pytest.approx((0.15, 0.1, 0.45, 0.7))
    assert parse_layout(json.dumps(layout.to_json()), HANDLES, NAMES) == layout
    assert parse_layout(json.dumps(LAYOUT), HANDLES, NAMES).strength == layouts.STRENGTH


def changed(**values):
    return {"objects": [LAYOUT["objects"][0] | values]}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ('{"objects": [', "it is not valid JSON"),
        ('{"objects": [1e999]}', "not finite"),
        ([], "it is not an object"),
        ({}, "has no 'objects': write JSON such as"),
        ({"objects": []}, "it has no objects"),
        ({"objects": {}}, "is not a list"),
        (LAYOUT | {"colour": 1}, "'colour' is unknown"),
        (changed(size=1), "'size' is unknown"),
        ({"objects": [{"handle": "<asset0>"}]}, "has no 'box'"),
        (changed(box=[0, 1, 2]), "has not four numbers"),
        (changed(box=["a", 0, 1, 1]), "a side of a box is not a number"),
        (changed(box=[0, 0, 1.2, 1]), "The box of <asset0> is empty or outside"),
        (changed(box=[0.6, 0, 0.4, 1]), "The box of <asset0> is empty or outside"),
        (changed(box=[0.5, 0.5, 0.5, 0.5]), "The box of <asset0> is empty or outside"),
        (changed(scale=4), "The box of <asset0> is empty or outside"),
        (changed(scale=0), "a scale is not a number from 0.1 to 10"),
        (changed(flip=1), "a flip is neither true nor false"),
        (changed(handle="<asset7>"), "<asset7> is an unknown handle"),
        (changed(handle="dragon"), "places dragon, which is no object in use: the objects are <asset0>, <asset1>"),
        (changed(handle="<background>"), "places <background>, which is no object in use"),
        ({"objects": LAYOUT["objects"] * 2}, "<asset0> is twice in the layout"),
        (LAYOUT | {"strength": 0}, "The strength 0.0 cannot be used"),
        (LAYOUT | {"strength": "high"}, "its strength is not a number"),
    ],
)
def test_a_bad_layout_is_refused_in_one_sentence(values, message):
    with pytest.raises(UserError) as error:
        parse_layout(values if isinstance(values, str) else json.dumps(values), HANDLES, NAMES)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_layout_file_that_cannot_be_read(tmp_path):
    (tmp_path / "photo.json").write_bytes(b"\xff\xfe\x00" * 10)
    for name, message in (("gone.json", "There is no file"), ("photo.json", "is not a short text file")):
        with pytest.raises(UserError, match=message):
            read_layout(Path(tmp_path / name), HANDLES, NAMES)


def test_the_collage_has_the_cut_outs_in_their_boxes_in_order(cutouts):
    box = (0.25, 0.25, 0.75, 0.75)
    image, opacity = collage(Layout((Placement("<asset0>", box),)), cutouts, (120, 80))
    ys, xs = np.nonzero(opacity > 0.5)
    assert (xs.min(), xs.max() + 1, ys.min(), ys.max() + 1) == pytest.approx((40, 80, 20, 60), abs=1)  # a disc
    assert image.getpixel((60, 40)) == (220, 30, 40) and image.getpixel((5, 5)) == layouts.GRAY
    front, _ = collage(Layout((Placement("<asset0>", box), Placement("<asset1>", box))), cutouts, (120, 80))
    assert front.getpixel((60, 40)) == (30, 40, 220)
    half = Image.new("RGBA", (10, 10), "red")
    half.paste((0, 0, 255, 255), (5, 0, 10, 10))
    for flip, color in ((False, (255, 0, 0)), (True, (0, 0, 255))):
        image, _ = collage(Layout((Placement("<a>", (0, 0, 1, 1), flip),)), {"<a>": half}, (40, 40))
        assert image.getpixel((5, 20)) == color


@pytest.mark.parametrize("name", ["tiny_base", "sd_base", "sdxl_base"])
def test_objects_are_held_in_their_boxes_and_the_base_is_restored(request, name, scene, cutouts, tmp_path):
    base = request.getfixturevalue(name)
    concepts = run_extraction(scene, base, preset("light", base, steps=(1, 0), prior_loss_weight=0.0))
    before, processors = weights_of(base), dict(base.unet.attn_processors)
    size, prompt = (base.image_size, base.image_size), "a photo of <asset0>"
    layout = Layout((Placement("<asset0>", (0.5, 0.25, 1, 0.75)),), 0.05)
    start = start_layout(base, concepts, layout, cutouts, prompt, size)
    options = {"num_inference_steps": 8, "seed": 2, "start": start}
    one, two = generate(base, concepts, [prompt], count=2, **options)
    assert_same_base(base, before)
    assert dict(base.unet.attn_processors) == processors and not base.unet._forward_pre_hooks
    assert read_metadata(save_image(one, tmp_path))["layout"] == layout.to_json()
    placed, _ = collage(layout, cutouts, size)
    kept = base.vae.decode(
        start_layout(base, concepts, layout, cutouts, prompt, size).latents / base.vae.config.scaling_factor
    )
    plain = next(generate(base, concepts, [prompt], **options | {"start": None})).image
    inside = (
        slice(base.image_size * 3 // 8, base.image_size * 5 // 8),
        slice(base.image_size * 5 // 8, base.image_size * 7 // 8),
    )
    expected = (kept.sample[0].detach().clamp(-1, 1) * 127.5 + 127.5).permute(1, 2, 0).numpy()[inside]
    distances = [abs(np.asarray(image, float)[inside] - expected).mean() for image in (one.image, two.image, plain)]
    assert max(distances[:2]) < distances[2] and placed.size == size


def test_each_region_attends_to_its_own_prompt(tiny_base):
    prompts = ["a dog at the beach", "a cat in the snow"]
    regions = torch.zeros(2, 16, 16)
    regions[0, :, :8], regions[1, :, 8:] = 1, 1
    latents, timesteps = torch.randn(2, 4, 16, 16), torch.tensor([500, 500])
    layer = tiny_base.unet.get_submodule(tiny_base.attention_layers[0])
    outputs = []
    hook = layer.register_forward_hook(lambda *values: outputs.append(values[-1]))
    processors = dict(tiny_base.unet.attn_processors)
    with torch.no_grad():
        states = torch.stack([tiny_base.encode_prompts([one])["encoder_hidden_states"] for one in prompts])
        hidden = torch.randn(2, 256, layer.to_q.in_features)
        given = tiny_base.encode_prompts(["", "a mug"])["encoder_hidden_states"]  # as with classifier-free guidance
        dog, cat, plain = (layer(hidden, torch.stack([given[0], one])) for one in (*states[:, 0], given[1]))
        with RegionalAttention(tiny_base.unet, states, regions):
            mixed = layer(hidden, given)
            tiny_base.predict(latents, timesteps, ["", "a mug"])
    hook.remove()
    assert tiny_base.unet.attn_processors == processors and not tiny_base.unet._forward_pre_hooks
    columns = torch.arange(256) % 16
    assert torch.allclose(mixed[1, columns < 8], dog[1, columns < 8], atol=1e-5)
    assert torch.allclose(mixed[1, columns >= 8], cat[1, columns >= 8], atol=1e-5)
    assert torch.allclose(mixed[0], plain[0], atol=1e-5) and not torch.allclose(mixed[1], plain[1], atol=1e-3)


@pytest.mark.parametrize(
    ("prompt", "handles", "expected"),
    [
        ("a photo of <a> and <b> at the beach", ["<a>"], "a photo of <b> at the beach"),
        ("a photo of <a> and <b> at the beach", ["<b>"], "a photo of <a> at the beach"),
        ("a photo of <a> and <b> at the beach", ["<a>", "<b>"], "a photo at the beach"),
        ("a photo of <a>, <b> and <c> in the snow", ["<a>", "<c>"], "a photo of <b> in the snow"),
    ],
)
def test_a_prompt_without_handles(prompt, handles, expected):
    assert layouts.without_handles(prompt, handles) == expected


def test_objects_of_several_runs_are_placed(tiny_base, scene, tmp_path):
    runs = [tmp_path / "one", tmp_path / "two"]
    for seed, run in enumerate(runs):
        run_extraction(scene, tiny_base, preset("light", tiny_base, steps=(1, 1), num_prior_images=1, seed=seed), run)
    both = combine([load_run(run) for run in runs])
    cutouts = cutouts_of(runs, both.handles)
    assert list(cutouts) == ["<ball>", "<mug>", "<ball-2>", "<mug-2>"]
    layout = Layout((Placement("<ball>", (0, 0, 0.5, 0.5)), Placement("<mug-2>", (0.5, 0.5, 1, 1))))
    prompt = "a photo of <ball> and <mug-2>"
    start = start_layout(tiny_base, both, layout, cutouts, prompt, (160, 96))
    (image,) = generate(tiny_base, both, [prompt], start=start, num_inference_steps=4)
    assert image.image.size == (160, 96)
    with pytest.raises(UserError, match="<mug-2> is in the layout but not in the prompt"):
        start_layout(tiny_base, both, layout, cutouts, "a photo of <ball>", (160, 96))
