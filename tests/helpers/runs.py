"""Short runs for the tests, and whether two of them ended alike."""

import itertools

import torch

from breakascene.models.attention import AttentionStore
from breakascene.models.concepts import Concepts
from breakascene.training.settings import preset
from breakascene.training.step import step_loss


def short(base, name="light", **changes):
    return preset(
        name,
        base,
        **{"steps": (3, 3), "train_batch_size": 1, "num_prior_images": 2, "composition_prob": 0.0, **changes},
    )


def step(base, views, handles, prior, settings, rng):
    with AttentionStore(base.unet, base.attention_layers, settings.train_batch_size) as seen:
        return step_loss(base, views, handles, prior, settings, rng, seen)


def stop_after(steps):
    calls = itertools.count()
    return lambda: next(calls) >= steps


def assert_same(one: Concepts, two: Concepts):
    assert one.losses == two.losses and one.steps == two.steps
    assert torch.equal(one.embeddings, two.embeddings)
    assert one.delta.keys() == two.delta.keys()
    assert all(torch.equal(one.delta[name], two.delta[name]) for name in one.delta)
