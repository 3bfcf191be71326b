import math

import pytest
import torch
from helpers.models import assert_same_base, weights_of

from breakascene.models import lora


def outputs(base):
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        return base.predict(torch.randn(1, 4, 16, 16, generator=generator), torch.tensor([400]), ["a photo of a dog"])


def perturb(trainable, scale):
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in trainable.parameters.values():
            parameter += scale * torch.randn(parameter.shape, generator=generator)


def test_lora_starts_at_zero_and_its_delta_reproduces_the_training(tiny_base):
    before, plain = weights_of(tiny_base), outputs(tiny_base)
    with lora.inject_lora(tiny_base, 4, 0) as trainable:
        assert torch.equal(outputs(tiny_base), plain)
        trained = {name for name, _ in tiny_base.unet.named_parameters() if "lora_" in name}
        assert len(trainable.parameters) == len(trained) + 2 * 4 * 2  # 2 text encoder blocks of 4 layers
        perturb(trainable, 0.05)
        trained_output = outputs(tiny_base)
        delta = trainable.delta()
    assert torch.equal(outputs(tiny_base), plain)
    with lora.apply_delta(tiny_base, delta):
        assert torch.allclose(outputs(tiny_base), trained_output, atol=1e-3)  # rounded to float16
        assert not torch.allclose(trained_output, plain, atol=1e-3)
    assert_same_base(tiny_base, before)
    assert not any(weight.requires_grad for weight in tiny_base.unet.parameters())


def test_lora_depends_on_its_seed_and_not_on_the_global_generator(tiny_base):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    deltas = []
    for seed in (0, 0, 1):
        with lora.inject_lora(tiny_base, 4, seed) as trainable:
            deltas.append(trainable.delta())
    assert torch.equal(torch.get_rng_state(), state)
    first, second, third = deltas
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], third[name]) for name in first)


def test_lora_on_convolutions(tiny_base):
    plain = outputs(tiny_base)
    with lora.inject_lora(tiny_base, 4, 0, ("conv1", "ff.net.2")) as trainable:
        perturb(trainable, 0.05)
        trained_output, delta = outputs(tiny_base), trainable.delta()
    assert any("conv1" in name for name in delta)
    with lora.apply_delta(tiny_base, delta):
        assert torch.allclose(outputs(tiny_base), trained_output, atol=1e-3)
    assert torch.equal(outputs(tiny_base), plain)


def test_full_rank_delta_reproduces_full_finetuning(tiny_base):
    before, plain = weights_of(tiny_base), outputs(tiny_base)
    with lora.full_finetuning(tiny_base, 1000) as trainable:
        perturb(trainable, 0.01)
        trained_output, delta = outputs(tiny_base), trainable.delta()
    assert not any("token_embedding" in name for name in delta)
    assert_same_base(tiny_base, before)
    with lora.apply_delta(tiny_base, delta):
        assert torch.allclose(outputs(tiny_base), trained_output, atol=1e-3)  # rounded to float16
        assert (trained_output - plain).abs().max() > 0.1
    assert_same_base(tiny_base, before)


def test_rounding_is_negligible_beside_the_rank_reduction(tiny_base):
    before = weights_of(tiny_base)
    with lora.full_finetuning(tiny_base, 4) as trainable:
        perturb(trainable, 1e-5)  # a few steps at the paper's rate
        differences = {name: weight.detach() - before[name] for name, weight in trainable.parameters.items()}
        delta = trainable.delta()
    for name, difference in differences.items():
        if difference.ndim == 1:
            assert torch.equal(delta[f"{name}.diff"], difference)
            continue
        assert delta[f"{name}.A"].dtype == delta[f"{name}.B"].dtype == torch.float16
        exact = [factor.double() for factor in lora.low_rank_factors(difference, 4)]
        kept = [delta[f"{name}.{factor}"].double() for factor in "AB"]
        cut, both = ((b @ a - difference.flatten(1)).norm().item() for a, b in (exact, kept))
        assert both - cut < 1e-3 * difference.norm()


def test_low_rank_factors_are_optimal():
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(12, 4, 3, 3, generator=generator)
    values = torch.linalg.svdvals(matrix.flatten(1).double())
    for rank in (1, 5, 12, 50):
        a, b = lora.low_rank_factors(matrix, rank)
        assert a.shape == (min(rank, 12), 36) and b.shape == (12, min(rank, 12))
        error = (b @ a - matrix.flatten(1)).double().square().sum()
        assert torch.allclose(error, values[rank:].square().sum(), atol=1e-4)


def test_delta_is_removed_when_the_block_fails(tiny_base):
    before = weights_of(tiny_base)
    delta = {"unet.conv_in.bias.diff": torch.ones(16)}
    try:
        with lora.apply_delta(tiny_base, delta):
            assert torch.equal(tiny_base.unet.conv_in.bias, before["unet.conv_in.bias"] + 1)
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert_same_base(tiny_base, before)


@pytest.mark.parametrize("shape", [(640, 5, 3, 41), (700, 900)])
def test_the_randomized_decomposition_cuts_as_well_as_the_exact_one(shape):
    """At rank 16, on a decaying spectrum like that of a trained change, and the same in each call."""
    generator = torch.Generator().manual_seed(0)
    out, width = shape[0], math.prod(shape[1:])
    assert min(out, width) > lora.EXACT_SVD_SIDE
    rank = min(out, width)
    scales = torch.arange(1, rank + 1) ** -0.7
    matrix = (torch.randn(out, rank, generator=generator) * scales) @ torch.randn(rank, width, generator=generator)
    values = torch.linalg.svdvals(matrix)
    state = torch.get_rng_state()
    a, b = lora.low_rank_factors(matrix.view(shape), 16)
    error = (b @ a - matrix).norm() / values[16:].norm()
    assert 1 - 1e-4 < error < 1.002
    torch.testing.assert_close(torch.linalg.svdvals(b @ a)[:16], values[:16], rtol=0.02, atol=0)
    again = lora.low_rank_factors(matrix.view(shape), 16)
    assert torch.equal(again[0], a) and torch.equal(again[1], b) and torch.equal(torch.get_rng_state(), state)


def test_small_matrices_are_decomposed_exactly_bit_for_bit():
    """As all of the toybox's are on a CPU."""
    matrix = torch.randn(256, 200, generator=torch.Generator().manual_seed(0))
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    a, b = lora.low_rank_factors(matrix, 16)
    assert torch.equal(a, s[:16].sqrt()[:, None] * v[:16]) and torch.equal(b, u[:, :16] * s[:16].sqrt())
