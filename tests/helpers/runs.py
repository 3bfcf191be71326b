"""Settings of short runs, single steps without an update, and the comparison of two results."""

import itertools
from dataclasses import dataclass

import torch

from breakascene.models.attention import AttentionStore
from breakascene.models.concepts import Concepts
from breakascene.training.settings import PRESETS, preset
from breakascene.training.step import compute_losses, sample_batch


def short(base, name="light", **changes):
    return preset(
        name,
        base,
        **{"steps": (3, 3), "train_batch_size": 1, "num_prior_images": 2, "composition_prob": 0.0, **changes},
    )


def with_few_prior_images() -> dict:
    """The toybox's presets with two prior images."""
    return {key: {**values, "num_prior_images": 2} for key, values in PRESETS.items() if key[0] == "toybox"}


@dataclass
class Step:
    """The outcome of a step without its update: the loss to minimize, its parts as floats, leak and handles."""

    total: torch.Tensor
    losses: dict[str, float]
    leak: dict[str, float]
    handles: tuple[str, ...]


def step(base, data, handles, prior, settings, rng) -> Step:
    batch = sample_batch(base, data, handles, prior, settings, rng)
    with AttentionStore(base.unet, base.attention_layers, len(batch)) as store:
        step_losses = compute_losses(base, data, prior, batch, settings, store)
    losses = {name: value.item() for name, value in {"total": step_losses.total, **step_losses.parts}.items()}
    leak = {handles[k]: step_losses.leak[b, k].item() for b, subset in enumerate(batch.subsets) for k in subset}
    return Step(step_losses.total, losses, leak, tuple(handles[k] for k in sorted(set().union(*batch.subsets))))


def photo_latents(base, scene) -> torch.Tensor:
    """The latents of the scene's photo, (1, C, h, w)."""
    return base.encode(scene.square_crop(base.image_size).pixels[None])[0]


def stop_after(steps):
    calls = itertools.count()
    return lambda: next(calls) >= steps


def assert_same(one: Concepts, two: Concepts):
    assert one.losses == two.losses and one.steps == two.steps
    assert torch.equal(one.embeddings, two.embeddings)
    assert one.delta.keys() == two.delta.keys()
    assert all(torch.equal(one.delta[name], two.delta[name]) for name in one.delta)
