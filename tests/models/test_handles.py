import pytest
import torch
from helpers.models import assert_same_base, weights_of

from breakascene.errors import UserError
from breakascene.models.handles import (
    check_prompt,
    handle_of,
    initial_embeddings,
    token_positions,
    training_prompt,
    with_handles,
)

HANDLES = ("<asset0>", "<asset1>", "<background>")


def test_prompts_of_subsets():
    assert handle_of(3) == "<asset3>"
    assert training_prompt(["<asset1>"]) == "a photo of <asset1>"
    assert training_prompt(["<asset2>", "<asset0>"]) == "a photo of <asset2> and <asset0>"
    assert training_prompt(["<background>", "<asset0>"]) == "a photo of <asset0> at <background>"
    assert training_prompt(["<background>"]) == "a photo of <background>"


def test_unknown_handles_are_named_with_the_known_ones():
    check_prompt("a photo of <asset0> and 3 > 2", HANDLES)
    for word in ("<asset7>", "<foo>", "<Asset0>"):
        with pytest.raises(UserError, match=f"{word} is an unknown handle.*<asset0>, <asset1>, <background>"):
            check_prompt(f"a photo of {word}", HANDLES)


def test_rows_start_as_the_mean_of_the_pieces(tiny_base):
    table = tiny_base.text_encoder.get_input_embeddings().weight
    rows = initial_embeddings(tiny_base, ["ball", "mug ball"])
    one, two = (tiny_base.tokenizer.convert_tokens_to_ids(f"{word}</w>") for word in ("ball", "mug"))
    assert torch.equal(rows[0], table[one])
    assert torch.allclose(rows[1], (table[one] + table[two]) / 2)


def test_the_text_encoder_reads_the_rows_and_forgets_them(tiny_base):
    before = weights_of(tiny_base)
    tokenizer, prompts = tiny_base.tokenizer, ["a photo of ball at mug", "a photo of dog"]
    plain = tiny_base.text_encoder(tiny_base.tokens(prompts)).last_hidden_state
    with with_handles(tiny_base, HANDLES, initial_embeddings(tiny_base, ["ball", "mug", "background"])) as words:
        ids = tiny_base.tokens(["a photo of <asset0>at<asset1>", "a photo of dog"])
        same = tiny_base.text_encoder(ids).last_hidden_state
        # With the embeddings of the words themselves nothing but the token's number is new.
        assert torch.equal(same, plain)
        same[0, -1, 0].backward()
        assert words.grad[0].any() and words.grad[1].any() and not words.grad[2].any()
        assert tiny_base.text_encoder.get_input_embeddings().weight.grad is None
    assert tiny_base.tokenizer is tokenizer
    assert_same_base(tiny_base, before)


def test_places_of_repeated_and_cut_off_handles(tiny_base):
    with with_handles(tiny_base, HANDLES, torch.zeros(3, 32)):
        assert token_positions(tiny_base, "a photo of <asset0> and <asset1>", HANDLES) == [[4], [6], []]
        assert token_positions(tiny_base, "<asset1> at <asset1>", ["<asset1>"]) == [[1, 3]]
        fits = "a " * 21 + "<asset0>"  # with the two marks 24 tokens
        assert token_positions(tiny_base, fits, HANDLES)[0] == [22]
        with pytest.raises(UserError, match="<asset0> is cut off"):
            token_positions(tiny_base, "a " + fits, HANDLES)


def test_a_word_that_the_base_has_is_refused_and_nothing_stays(tiny_base):
    before = weights_of(tiny_base)
    with (
        pytest.raises(UserError, match="already"),
        with_handles(tiny_base, ["<asset0>", "<asset0>"], torch.zeros(2, 32)),
    ):
        pass
    assert_same_base(tiny_base, before)
