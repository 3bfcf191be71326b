"""Layouts: their JSON, and the prompts of their parts."""

import json
from pathlib import Path

import pytest

from breakascene.errors import UserError
from breakascene.generation.layout import (
    Layout,
    LayoutBox,
    check_prompt,
    object_prompt,
    parse_layout,
    read_layout,
    scene_prompt,
)

HANDLES, NAMES = ("<asset0>", "<asset1>", "<background>"), ("ball", "mug", "background")
LAYOUT = {"objects": [{"handle": "<asset0>", "box": [0.1, 0.2, 0.5, 0.6]}]}


def test_a_layout_is_read(tmp_path):
    values = {
        "objects": [
            {"handle": "<mug>", "box": [0.2, 0.2, 0.4, 0.6]},
            {"handle": "asset0", "box": [0, 0, 1, 1], "flip": True},
        ]
    }
    (tmp_path / "layout.json").write_text(json.dumps(values))
    layout = read_layout(tmp_path / "layout.json", HANDLES, NAMES)
    assert layout.boxes == (LayoutBox("<asset1>", (0.2, 0.2, 0.4, 0.6)), LayoutBox("<asset0>", (0, 0, 1, 1), True))
    assert layout.handles == ("<asset1>", "<asset0>")
    assert parse_layout(json.dumps(layout.to_json()), HANDLES, NAMES) == layout
    (tmp_path / "marked.json").write_text(json.dumps(values), encoding="utf-8-sig")  # as some editors on Windows do
    assert read_layout(tmp_path / "marked.json", HANDLES, NAMES) == layout
    assert len(parse_layout(json.dumps({"objects": LAYOUT["objects"] * 2}), HANDLES, NAMES).boxes) == 2


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
        (changed(box="0, 0, 1, 1"), "has not four numbers"),
        (changed(box=[0, 0, 1, True]), "a side of a box is not a number)"),
        (changed(box=[0, 0, 1e30, 1]), "The box of <asset0> is too small or outside"),
        ({"objects": ["<asset0>"]}, "one of its objects has no handle and box"),
        (changed(handle=" "), "a handle is empty"),
        (changed(**{"k" * 5000: 1}), "k' is unknown"),
        (changed(box=["a", 0, 1, 1]), "a side of a box is not a number"),
        (changed(box=[0, 0, 1.2, 1]), "The box of <asset0> is too small or outside"),
        (changed(box=[0.6, 0, 0.4, 1]), "The box of <asset0> is too small or outside"),
        (changed(box=[0.5, 0.5, 0.51, 1]), "The box of <asset0> is too small or outside"),
        (changed(flip=1), "a flip is neither true nor false"),
        (changed(handle="<asset7>"), "<asset7> is an unknown handle"),
        (changed(handle="dragon"), "places dragon, which is no object in use: the objects are <asset0>, <asset1>"),
        (changed(handle="<background>"), "places <background>, which is no object in use"),
    ],
)
def test_a_bad_layout_is_refused_in_one_sentence(values, message):
    with pytest.raises(UserError) as error:
        parse_layout(values if isinstance(values, str) else json.dumps(values), HANDLES, NAMES)
    assert message in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 300


def test_a_layout_file_that_cannot_be_read(tmp_path):
    (tmp_path / "photo.json").write_bytes(b"\xff\xfe\x00" * 10)
    for name, message in (("gone.json", "There is no file"), ("photo.json", "is not a short text file")):
        with pytest.raises(UserError, match=message):
            read_layout(Path(tmp_path / name), HANDLES, NAMES)


@pytest.mark.parametrize(
    ("prompt", "scene", "of_first"),
    [
        ("a photo of <asset0> and <asset1> at the beach", "a photo at the beach", "a photo of <asset0> at the beach"),
        ("a photo of <asset1> and <asset0>", "a photo", "a photo of <asset0>"),
        ("<asset0>, <asset1> on grass", "on grass", "<asset0> on grass"),
        ("a painting of the <asset0> with <asset1> in <background>", "a painting in <background>",
         "a painting of the <asset0> in <background>"),
        ("a photo of <asset0>, <asset2> and <asset1> in the snow", "a photo of <asset2> in the snow",
         "a photo of <asset0>, <asset2> in the snow"),
        ("<asset0> <asset1>", "a photo", "<asset0>"),
    ],
)  # fmt: skip
def test_the_prompts_of_the_scene_and_of_one_object(prompt, scene, of_first):
    box = (0.0, 0.0, 0.5, 0.5)
    layout = Layout((LayoutBox("<asset0>", box), LayoutBox("<asset1>", box), LayoutBox("<asset0>", box)))
    assert (scene_prompt(layout, prompt), object_prompt(layout, "<asset0>", prompt)) == (scene, of_first)


def test_a_placed_handle_stands_in_the_prompt():
    layout = Layout((LayoutBox("<asset1>", (0.0, 0.0, 0.5, 0.5)),))
    check_prompt(layout, "a photo of <asset1>")
    with pytest.raises(UserError, match="<asset1> is in the layout but not in the prompt"):
        check_prompt(layout, "a photo of <asset0>")
