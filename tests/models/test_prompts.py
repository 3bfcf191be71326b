"""Parsing of prompts as people write them."""

import math

import pytest

from breakascene.data.handle_names import name_handles
from breakascene.errors import TranslatableMessage, UserError
from breakascene.generation.generate import generate, save_image
from breakascene.models.handles import initial_embeddings, token_positions, with_handles
from breakascene.models.prompts import parse_prompt, words_beyond_limit

HANDLES = ("<asset0>", "<asset1>", "<background>")
NAMES = ("teddy bear", "mug", "background")


def parsed(prompt, handles=HANDLES, names=NAMES):
    return parse_prompt(prompt, handles, names).text


@pytest.mark.parametrize(
    "spelling",
    "<asset0>|＜asset0＞|＜ａｓｓｅｔ０＞|< asset0 >|<　asset0　>|&lt;asset0&gt;|&amp;lt;asset0&amp;gt;|"
    "<ASSET0>|<Asset0>|asset0|ASSET0|"
    "ａｓｓｅｔ０|[asset0]|【asset0】|{asset0}|<asset 0>|<asset0|asset0>|\\<asset0\\>|&lt; Asset0 &gt;".split("|"),
)
def test_every_spelling_of_a_handle_is_understood(spelling):
    for prompt in ("a photo of {} at the beach", "{}, {} and 3 > 2", "a photo of ({})"):
        assert parsed(prompt.replace("{}", spelling)) == prompt.replace("{}", "<asset0>")


@pytest.mark.parametrize(
    "spelling", ["<teddy-bear>", "<teddy bear>", "＜Teddy-Bear＞", "[teddy bear]", "&lt;teddy-bear&gt;"]
)
def test_a_name_in_brackets_is_the_handle(spelling):
    assert parsed(f"a photo of {spelling} at the beach") == "a photo of <asset0> at the beach"
    assert parse_prompt(f"{spelling} beside a mug", HANDLES, NAMES, plain_names=False).text == "<asset0> beside a mug"
    with pytest.raises(UserError, match="<owl> is an unknown handle"):
        parsed("<owl>")


def test_handles_made_of_names_are_unique_and_stable():
    names = ("Owl", "bubble tea", "owl", "ふくろう", "!?", "owl", "background", "owl 2", "background")
    handles = (*(f"<asset{i}>" for i in range(6)), "<background>", "<asset0>", "<background>")
    named = name_handles(handles, names)
    assert named == (
        "<owl>", "<bubble-tea>", "<owl-2>", "<ふくろう>", "<object>", "<owl-3>", "<background>", "<owl-2-2>",
        "<background-2>",
    )  # fmt: skip
    assert parse_prompt("<owl-2> and <ふくろう>", handles[:6], names[:6]).text == "<asset2> and <asset3>"
    assert parse_prompt("<owl> and <owl-2>", named, names).text == "<owl> and <owl-2>"


def test_a_name_wins_over_another_without_its_dash():
    names = ("owl", "owl", "owl2", "asset0", "background")
    handles = (*(f"<asset{i}>" for i in range(5)), "<background>")
    named = name_handles(handles, (*names, "background"))
    assert named == ("<owl>", "<owl-2>", "<owl2>", "<object-asset0>", "<object-background>", "<background>")
    prompt = " ".join(named) + " <object asset0>"
    assert parse_prompt(prompt, handles, names).text == " ".join(handles) + " <asset3>"


def test_exact_prompts_are_unchanged():
    for prompt in (
        "a photo of <asset0> and <asset1> at <background>",
        "  two   spaces\tand <asset0>,<asset1>  ",
        "in the background, 3 < 4 [sic] {x} assets asset asset-0x (16:9) (draft: 2nd)",
        "a photo of <asset0>, a teddy bear",  # its handle is in the prompt already
    ):
        assert parse_prompt(prompt, HANDLES, NAMES).text == prompt
        assert not parse_prompt(prompt, HANDLES, NAMES).notes
    assert parsed("[background] <BACKGROUND>") == "<background> <background>"


@pytest.mark.parametrize("prompt", ["<asset7>", "asset7", "＜asset7＞", "<foo>"])
def test_unknown_handles_are_refused(prompt):
    with pytest.raises(UserError, match="is an unknown handle: this run knows <asset0>"):
        parsed(f"a photo of {prompt}")
    assert parse_prompt("asset7", ()).text == "asset7"  # a plain word where no run is in use


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a photo of a teddy bear on the Mug", "a photo of <asset0> on <asset1>"),
        ("Teddy  bear", "<asset0>"),
        ("mugs, a mug-shaped cup, smug", "mugs, a mug-shaped cup, smug"),
        ('the words "mug" on <asset0>', 'the words "mug" on <asset0>'),
        ("a blue mug.", "a blue <asset1>."),
    ],
)
def test_object_names_that_are_whole_words_become_handles(prompt, expected):
    result = parse_prompt(prompt, HANDLES, NAMES)
    assert result.text == expected
    assert bool(result.notes) == (prompt != expected)
    assert parse_prompt(result.text, HANDLES, NAMES).text == expected  # parsing twice changes nothing more
    assert parse_prompt(prompt, HANDLES).text == prompt  # negative prompts and Python calls give no names


def test_common_and_shared_names_are_not_replaced():
    assert parsed("a photo of a thing", ("<asset0>", "<asset1>"), ("a", "photo")) == "a photo of a thing"
    assert parsed("an object", ("<asset0>",), ("object",)) == "an object"
    result = parse_prompt("a fox in the snow", ("<asset0>", "<asset1>"), ("fox", "Fox"))
    assert result.text == "a fox in the snow"
    assert result.notes == ('Several objects are named "fox": write <asset0> / <asset1> instead.',)
    assert parsed("a bear", ("<asset0>", "<asset1>"), ("teddy bear", "bear")) == "<asset1>"


def test_prompt_weights_are_removed_with_a_note():
    result = parse_prompt("a photo of (<asset0>:1.3), (very blue: 0.8)", HANDLES)
    assert result.text == "a photo of <asset0>, very blue" and len(result.notes) == 2
    assert result.notes[0] == 'Prompt weights are not supported: "(<asset0>:1.3)" is read as "<asset0>".'
    assert all(isinstance(note, TranslatableMessage) for note in result.notes)
    assert parsed("（asset1：1.2）") == "<asset1>"
    for weighted in ("[<asset0>:0.5]", "((<asset0>))", "(((<asset0>:1.1)))"):
        result = parse_prompt(f"a photo of {weighted} (blue)", HANDLES)
        assert result.text == "a photo of <asset0> (blue)" and result.notes


@pytest.mark.parametrize("character", ["\0", "\udce4", "\x1b"])
def test_characters_that_are_not_text_are_refused(character):
    with pytest.raises(UserError, match="characters that are not text"):
        parsed(f"a photo{character}")


def test_words_beyond_the_token_limit_are_reported(tiny_base):
    limit = tiny_base.tokenizer.model_max_length - 2  # without the start and end tokens
    fits = "<asset0> " + "a " * (limit - 2) + "ball"
    assert words_beyond_limit(tiny_base, fits, HANDLES) == ""
    result = parse_prompt(f"{fits} at dusk", HANDLES, NAMES, tiny_base)
    assert [str(note).partition(",")[2] for note in result.notes] == [' so "at dusk" is ignored.']
    (note,) = parse_prompt("a " * 400, HANDLES, NAMES, tiny_base).notes
    assert len(note.removeprefix(tiny_base.name)) < 130 and note.endswith(' a…" is ignored.')
    with with_handles(tiny_base, HANDLES, initial_embeddings(tiny_base, NAMES)):
        ids = tiny_base.tokenizer(fits).input_ids
        assert len(ids) == limit + 2 and token_positions(tiny_base, fits, HANDLES)[0] == [1]


def test_generate_parses_prompts_and_warns(tiny_base, tmp_path):
    with pytest.warns(UserWarning, match="Prompt weights are not supported"):
        image = next(generate(tiny_base, None, "a (ball:1.3)", num_inference_steps=1))
    assert image.metadata["prompt"] == "a ball"
    save_image(image, tmp_path)
    for value in (math.inf, -math.inf, math.nan, 1e38):
        with pytest.raises(UserError, match="guidance scale"):
            generate(tiny_base, None, "a ball", guidance_scale=value)
