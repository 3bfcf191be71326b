import pytest
import torch
from helpers.models import assert_same_base, weights_of

from breakascene.errors import UserError
from breakascene.models.handles import (
    check_prompt,
    initial_embeddings,
    token_positions,
    training_prompt,
    with_handles,
)

HANDLES = ("<asset0>", "<asset1>", "<background>")


def test_training_prompts():
    assert training_prompt(["<asset1>"]) == "a photo of <asset1>"
    assert training_prompt(["<asset2>", "<asset0>"]) == "a photo of <asset2> and <asset0>"
    assert training_prompt(["<background>", "<asset0>"]) == "a photo of <asset0> at <background>"
    assert training_prompt(["<background>"]) == "a photo of <background>"


def test_unknown_handles_are_refused():
    check_prompt("a photo of <asset0> and 3 > 2", HANDLES)
    for handle in ("<asset7>", "<foo>", "<Asset0>"):
        with pytest.raises(UserError, match=f"{handle} is an unknown handle.*<asset0>, <asset1>, <background>"):
            check_prompt(f"a photo of {handle}", HANDLES)
    with pytest.raises(UserError) as caught:
        check_prompt(f"a photo of <{'x' * 5000}>", ())
    assert len(str(caught.value)) < 200


def test_initial_embeddings_are_the_mean_of_the_names_tokens(tiny_base):
    table = tiny_base.text_encoder.get_input_embeddings().weight
    embeddings = initial_embeddings(tiny_base, ["ball", "mug ball"])
    one, two = (tiny_base.tokenizer.convert_tokens_to_ids(f"{word}</w>") for word in ("ball", "mug"))
    assert torch.equal(embeddings[0], table[one])
    assert torch.allclose(embeddings[1], (table[one] + table[two]) / 2)


def test_handles_are_encoded_trained_and_removed(tiny_base):
    before = weights_of(tiny_base)
    tokenizer, prompts = tiny_base.tokenizer, ["a photo of ball at mug", "a photo of dog"]
    plain = tiny_base.text_encoder(*tiny_base.tokenize(prompts)).last_hidden_state
    with with_handles(tiny_base, HANDLES, initial_embeddings(tiny_base, ["ball", "mug", "background"])) as parameter:
        (ids,) = tiny_base.tokenize(["a photo of <asset0>at<asset1>", "a photo of dog"])
        same = tiny_base.text_encoder(ids).last_hidden_state
        # The handles have the embeddings of these words, so only the token ids differ.
        assert torch.equal(same, plain)
        same[0, -1, 0].backward()
        assert parameter.grad[0].any() and parameter.grad[1].any() and not parameter.grad[2].any()
        assert tiny_base.text_encoder.get_input_embeddings().weight.grad is None
    assert tiny_base.tokenizer is tokenizer
    assert_same_base(tiny_base, before)


def test_positions_of_repeated_and_cut_off_handles(tiny_base):
    with with_handles(tiny_base, HANDLES, torch.zeros(3, 32)):
        assert token_positions(tiny_base, "a photo of <asset0> and <asset1>", HANDLES) == [[4], [6], []]
        assert token_positions(tiny_base, "<asset1> at <asset1>", ["<asset1>"]) == [[1, 3]]
        fits = "a " * 21 + "<asset0>"  # 24 tokens with the start and end tokens
        assert token_positions(tiny_base, fits, HANDLES)[0] == [22]
        with pytest.raises(UserError, match="<asset0> is cut off"):
            token_positions(tiny_base, "a " + fits, HANDLES)


def test_an_existing_token_is_refused_and_the_base_is_restored(tiny_base):
    before = weights_of(tiny_base)
    with (
        pytest.raises(UserError, match="already"),
        with_handles(tiny_base, ["<asset0>", "<asset0>"], torch.zeros(2, 32)),
    ):
        pass
    assert_same_base(tiny_base, before)
