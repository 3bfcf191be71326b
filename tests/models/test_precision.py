"""Weights stored in half precision as on CUDA, tested with the CPU's autocast."""

import numpy as np
import pytest
import torch
from helpers.models import assert_same_base, weights_of
from helpers.runs import assert_same, short

from breakascene.generation.generate import generate
from breakascene.models import lora
from breakascene.models.handles import initial_embeddings, with_handles
from breakascene.models.loading import load_base
from breakascene.models.precision import normalize_in_input_dtype, store_in_half_precision
from breakascene.training import optim
from breakascene.training.loop import run_extraction
from breakascene.training.settings import preset


@pytest.fixture
def bases(request, monkeypatch):
    """A base in float32 and the same base stored in bfloat16, both computing in bfloat16, normalization included."""

    def load(kind):
        folder = request.getfixturevalue(f"{kind}_folder")
        full, half = load_base(folder, "cpu"), load_base(folder, "cpu")
        monkeypatch.setattr(type(full), "compute_dtype", torch.bfloat16)
        store_in_half_precision(half, torch.bfloat16)
        for module in full.trainable_modules.values():
            normalize_in_input_dtype(module)
        return full, half

    return load


@pytest.mark.parametrize("name", ["light", "paper"])
def test_prediction_and_gradients_are_those_of_float32_weights(bases, name):
    full, half = bases("sdxl")
    before = weights_of(half)
    noisy = torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    found = []
    for base in (full, half):
        with (
            with_handles(base, ["<asset0>"], initial_embeddings(base, ["dog"])) as embeddings,
            optim.trainable(base, preset(name, base)) as trainable,
        ):
            assert {weight.dtype for weight in (embeddings, *trainable.parameters.values())} == {torch.float32}
            prediction = base.predict(noisy, torch.tensor([400]), ["a photo of <asset0>"])
            prediction.square().sum().backward()
            found.append([prediction, embeddings.grad, *(weight.grad for weight in trainable.parameters.values())])
    assert (full.unet.conv_in.weight.dtype, half.unet.conv_in.weight.dtype) == (torch.float32, torch.bfloat16)
    assert found[0][1].any()
    assert all(one is other is None or torch.equal(one, other) for one, other in zip(*found, strict=True))
    assert_same_base(half, before)


@pytest.mark.parametrize("name", ["light", "paper"])
def test_runs_and_their_images_are_those_of_float32_weights(bases, scene, name):
    full, half = bases("tiny")
    before = weights_of(half)
    settings = short(full, name, weight_lr=1e-3)
    runs = [run_extraction(scene, base, settings) for base in (full, half)]
    if name == "paper":
        assert_same(*runs)
    else:  # peft rounds the initial LoRA factors to the dtype of the weights
        torch.testing.assert_close(runs[0].embeddings, runs[1].embeddings, rtol=1e-2, atol=1e-3)
        for one, other in zip(runs[0].losses, runs[1].losses, strict=True):
            assert list(one.values()) == pytest.approx(list(other.values()), rel=1e-2)
    images = [
        next(iter(generate(base, runs[0], ["a photo of <asset0>"], num_inference_steps=3))).image
        for base in (full, half)
    ]
    assert np.array_equal(*map(np.asarray, images))
    assert_same_base(half, before)


def test_a_delta_below_the_spacing_of_half_precision_is_not_lost(bases):
    """Two deltas at once, as with an imported LoRA, added to the originals and not to the rounded weights."""
    full, half = bases("tiny")
    name = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_q.weight"
    weight = lora.get_weight(half, name)
    out, width = weight.shape
    tiny = {f"{name}.A": torch.full((1, width), 1e-2), f"{name}.B": torch.full((out, 1), 1e-2)}  # 1e-4 everywhere
    expected = lora.get_weight(full, name) + 2e-4
    with lora.apply_delta(half, tiny), lora.apply_delta(half, tiny):
        assert torch.equal(weight, expected.bfloat16())
    with lora.apply_delta(half, tiny):
        moved = (weight.float() - lora.get_weight(full, name)).mean().item()
    assert moved == pytest.approx(1e-4, rel=0.3)
    assert half.applied_deltas == ()


@torch.no_grad()
@pytest.mark.parametrize("kind", ["tiny", "sdxl"])
def test_a_unet_computes_in_half_precision_throughout(bases, kind):
    """As diffusers does with a UNet in bfloat16, without autocast."""
    full, half = bases(kind)
    noisy = torch.randn(2, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    prompts = ["a photo of a dog", "a cat"]
    found = half.predict(noisy, torch.tensor([400]), prompts)
    with half.autocast():
        conditions = half.encode_prompts(prompts)
    conditions["encoder_hidden_states"] = conditions["encoder_hidden_states"].bfloat16()
    plain = type(full.unet).from_config(full.unet.config).eval()
    plain.load_state_dict(full.unet.state_dict())
    expected = plain.bfloat16()(noisy.bfloat16(), torch.tensor([400]), **conditions).sample
    assert found.dtype is torch.bfloat16
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.02)
    dtypes = []
    for layer in half.unet.modules():
        if isinstance(layer, torch.nn.GroupNorm | torch.nn.LayerNorm):
            layer.register_forward_hook(lambda _, args, output: dtypes.append((args[0].dtype, output.dtype)))
    half.predict(noisy, torch.tensor([400]), prompts)
    assert set(dtypes) == {(torch.bfloat16, torch.bfloat16)}
