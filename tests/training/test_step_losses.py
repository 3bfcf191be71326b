"""The losses and gradients of a training step, against formulas written out and finite differences."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from helpers.runs import short, step

from breakascene.models.handles import initial_embeddings, with_handles
from breakascene.training import optim
from breakascene.training.augment import TrainingData
from breakascene.training.prior import prior_latents


def test_photo_and_masks_are_flipped_together(tiny_base, scene):
    """The photo has huge latents and an empty mask: only a mismatch gives a huge loss."""
    data = TrainingData.encode(scene, tiny_base)
    data.latent_mean[0], data.masks[0] = 1e4, 0
    settings, found = short(tiny_base), []
    with torch.no_grad(), with_handles(tiny_base, scene.handles, initial_embeddings(tiny_base, scene.names)):
        for seed in range(10):
            rng = torch.Generator().manual_seed(seed)
            result = step(tiny_base, data, scene.handles, None, settings, rng)
            found.append(result.losses["reconstruction"])
    assert max(found) < 100 and 0 < found.count(0.0) < 10


def test_total_is_the_weighted_sum_and_parts_can_be_left_out(tiny_base, scene):
    data, prior = TrainingData.encode(scene, tiny_base), prior_latents(tiny_base, 2)
    settings = short(tiny_base, attention_loss_weight=0.3, prior_loss_weight=0.7, train_batch_size=2)

    def loss(prior, settings):
        rng = torch.Generator().manual_seed(2)
        found = step(tiny_base, data, scene.handles, prior, settings, rng)
        assert math.isclose(found.total.item(), found.losses["total"]) and found.leak.keys() == set(found.handles)
        return found.losses

    with torch.no_grad(), with_handles(tiny_base, scene.handles, initial_embeddings(tiny_base, scene.names)):
        with_prior = loss(prior, settings)
        parts = with_prior["reconstruction"], with_prior["attention"], with_prior["prior"]
        assert math.isclose(with_prior["total"], np.dot(parts, (1, 0.3, 0.7)), rel_tol=1e-5)
        assert loss(None, settings).keys() == {"total", "reconstruction", "attention"}
        masked, unmasked = loss(None, settings), loss(None, dataclasses.replace(settings, masked_loss=False))
        assert unmasked["reconstruction"] > masked["reconstruction"]


def test_normalized_channels_are_scaled_by_their_power_in_the_concepts(tiny_base, scene):
    data, settings = TrainingData.encode(scene, tiny_base), short(tiny_base, normalize_channels=True)
    masks, latents = data.masks.amax(1).numpy(), data.latent_mean.numpy()
    power = np.array([np.average(latents[:, c] ** 2, weights=masks) for c in range(latents.shape[1])])
    np.testing.assert_allclose(data.channel_power.flatten(), power, rtol=1e-4)

    def loss(settings, scales):
        found = dataclasses.replace(data, latent_mean=data.latent_mean)
        found.__dict__["channel_power"] = torch.tensor(scales, dtype=torch.float32).view(1, -1, 1, 1)
        rng = torch.Generator().manual_seed(2)
        return step(tiny_base, found, scene.handles, None, settings, rng).losses["reconstruction"]

    with torch.no_grad(), with_handles(tiny_base, scene.handles, initial_embeddings(tiny_base, scene.names)):
        alone = [loss(settings, [1.0 if c == only else 1e12 for c in range(len(power))]) for only in range(len(power))]
        assert math.isclose(loss(settings, power), sum(alone / power), rel_tol=1e-4)
        assert math.isclose(
            loss(dataclasses.replace(settings, normalize_channels=False), power), sum(alone), rel_tol=1e-4
        )


def test_prior_loss_is_the_error_on_prior_images_with_their_prompts(tiny_base, scene):
    """The random values are sampled here in the step's order: index of the prior image, noise, timestep."""
    data, prior = TrainingData.encode(scene, tiny_base), prior_latents(tiny_base, 3)
    settings, shape = short(tiny_base, union_sampling=False, random_flip=False), (1, 4, 16, 16)
    with torch.no_grad(), with_handles(tiny_base, scene.handles, initial_embeddings(tiny_base, scene.names)):
        for seed in range(5):
            rng = torch.Generator().manual_seed(seed)
            found = step(tiny_base, data, scene.handles, prior, settings, rng).losses["prior"]
            rng.manual_seed(seed)
            torch.randperm(3, generator=rng), torch.randn(shape, generator=rng)
            chosen = int(torch.randint(3, (1,), generator=rng))
            noise = torch.randn((2, *shape[1:]), generator=rng)[1:]
            t = torch.randint(1000, (2,), generator=rng)[1:]
            signal = tiny_base.scheduler.alphas_cumprod[t].double()
            noisy_latents = (signal.sqrt() * prior.latents[[chosen]] + (1 - signal).sqrt() * noise).float()
            velocity = (signal.sqrt() * noise - (1 - signal).sqrt() * prior.latents[[chosen]]).numpy()
            model_pred = tiny_base.predict(noisy_latents, t, [prior.prompts[chosen]]).numpy()
            assert math.isclose(found, np.mean((model_pred - velocity) ** 2), rel_tol=1e-4)


def test_gradient_of_the_handles_by_finite_differences(tiny_base, scene):
    data, settings = TrainingData.encode(scene, tiny_base), short(tiny_base, attention_loss_weight=1.0)
    direction = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    with with_handles(tiny_base, scene.handles, initial_embeddings(tiny_base, scene.names)) as embeddings:
        start = embeddings.detach().clone()

        def loss(shift):
            embeddings.data = start + shift * direction
            rng = torch.Generator().manual_seed(0)
            return step(tiny_base, data, scene.handles, None, settings, rng).total

        loss(0).backward()
        slope = (embeddings.grad * direction).sum().item()
        measured = (loss(1e-2).item() - loss(-1e-2).item()) / 2e-2
    assert abs(slope) > 1e-3
    assert math.isclose(slope, measured, rel_tol=0.02)


@pytest.mark.parametrize("name", ["light", "paper"])
def test_gradient_of_the_weights_by_finite_differences(tiny_base, scene, name):
    """Along a random direction over all weights that phase 2 trains, with all three losses."""
    settings = short(tiny_base, name, attention_loss_weight=1.0)
    data, prior = TrainingData.encode(scene, tiny_base), prior_latents(tiny_base, 2)
    generator = torch.Generator().manual_seed(0)
    with (
        with_handles(tiny_base, scene.handles, initial_embeddings(tiny_base, scene.names)),
        optim.trainable(tiny_base, settings) as trainable,
    ):
        start = {key: weight.detach().clone() for key, weight in trainable.parameters.items()}
        if name == "light":  # B starts at zero, where A has no gradient
            start = {
                key: weight + 0.05 * torch.randn(weight.shape, generator=generator) for key, weight in start.items()
            }
        direction = {key: torch.randn(weight.shape, generator=generator) for key, weight in start.items()}

        def loss(shift):
            for key, weight in trainable.parameters.items():
                weight.data = start[key] + shift * direction[key]
            return step(tiny_base, data, scene.handles, prior, settings, torch.Generator().manual_seed(0)).total

        loss(0).backward()
        slope = sum(
            (w.grad * direction[key]).sum().item() for key, w in trainable.parameters.items() if w.grad is not None
        )
        measured = (loss(2e-4).item() - loss(-2e-4).item()) / 4e-4
    assert abs(slope) > 1e-2
    assert math.isclose(slope, measured, rel_tol=0.03)
