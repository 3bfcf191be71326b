"""Each loss against plain NumPy, and its gradient against finite differences."""

import numpy as np
import torch

from breakascene.training import losses

RNG = np.random.default_rng(0)


def test_masked_loss():
    prediction, target = RNG.normal(size=(2, 3, 4, 5)), RNG.normal(size=(2, 3, 4, 5))
    mask = RNG.random((2, 1, 4, 5))
    expected = np.mean((prediction * mask - target * mask) ** 2)
    got = losses.masked_loss(*map(torch.tensor, (prediction, target, mask)))
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_masked_loss_ignores_values_outside_the_mask():
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :2] = 1
    target, prediction = torch.randn(1, 3, 4, 4), torch.randn(1, 3, 4, 4)
    other = torch.where(mask.bool(), prediction, 1e6 * torch.ones(()))
    assert losses.masked_loss(prediction, target, mask) == losses.masked_loss(other, target, mask) > 0


def test_attention_loss():
    maps, masks = RNG.random((2, 3, 6, 6)), RNG.random((2, 3, 6, 6))
    presence = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    errors = [
        [np.mean((m / m.max() - k) ** 2) for m, k in zip(*pair, strict=True)] for pair in zip(maps, masks, strict=True)
    ]
    expected = (np.array(errors) * presence).sum(1).mean()
    got = losses.attention_loss(*map(torch.tensor, (maps, masks, presence)))
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_attention_loss_is_zero_where_the_map_is_the_mask():
    mask, presence = (torch.rand(1, 2, 8, 8) > 0.5).float(), torch.ones(1, 2)
    assert losses.attention_loss(mask * 0.01, mask, presence) < 1e-12


def test_absent_handles_have_no_loss_and_no_gradient():
    """Their maps are all zeros, which have no peak to be divided by."""
    maps, mask = torch.zeros(1, 2, 8, 8), torch.ones(1, 2, 8, 8)
    maps[0, 0] = torch.rand(8, 8)
    maps.requires_grad_(True)
    loss = losses.attention_loss(maps, mask, torch.tensor([[1.0, 0.0]]))
    loss.backward()
    assert torch.equal(loss, losses.attention_loss(maps[:, :1], mask[:, :1], torch.ones(1, 1)))
    assert maps.grad[0, 0].any() and not maps.grad[0, 1].any()


def test_prior_loss():
    prediction, target = RNG.normal(size=(2, 3, 4, 4)), RNG.normal(size=(2, 3, 4, 4))
    got = losses.prior_loss(torch.tensor(prediction), torch.tensor(target))
    np.testing.assert_allclose(got, np.mean((prediction - target) ** 2), rtol=1e-12)


def test_half_precision_does_not_overflow():
    large = torch.full((1, 1, 2, 2), 300.0, dtype=torch.float16)
    assert losses.prior_loss(large, -large) == 360000


def test_leak():
    maps, masks = RNG.random((3, 6, 6)), (RNG.random((3, 6, 6)) > 0.5).astype(float)
    expected = [1 - (m * k).sum() / m.sum() for m, k in zip(maps, masks, strict=True)]
    np.testing.assert_allclose(losses.leak(torch.tensor(maps), torch.tensor(masks)), expected, rtol=1e-12)


def test_gradients_by_finite_differences():
    def random(*shape):
        return torch.tensor(RNG.random(shape), requires_grad=True)

    masks = random(2, 3, 3).detach()
    assert torch.autograd.gradcheck(
        lambda maps: losses.attention_loss(maps, masks, torch.ones(1, 2)), [random(1, 2, 3, 3)]
    )
    mask, target = random(1, 1, 3, 3).detach(), random(1, 2, 3, 3).detach()
    assert torch.autograd.gradcheck(lambda x: losses.masked_loss(x, target, mask), [random(1, 2, 3, 3)])
    assert torch.autograd.gradcheck(lambda x: losses.prior_loss(x, target), [random(1, 2, 3, 3)])


def test_downsample_gives_the_covered_share_and_keeps_single_pixels():
    masks = torch.tensor(RNG.random((2, 128, 128)) > 0.7)
    small = losses.downsample(masks, 16)
    expected = masks.numpy().reshape(2, 16, 8, 16, 8).mean((2, 4))
    np.testing.assert_allclose(small, expected, atol=1e-6)
    speck = torch.zeros(1, 128, 128)
    speck[0, 5, 5] = 1  # a nearest pixel would miss it
    assert losses.normalize_peak(losses.downsample(speck, 16)).max() == 1
    assert losses.downsample(torch.ones(1, 100, 100), 16).min() == 1  # also for a size that is not a multiple
