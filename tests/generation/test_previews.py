"""Previews of an image while it is generated."""

import itertools

import numpy as np
import torch

from breakascene.generation import previews
from breakascene.generation.generate import generate
from breakascene.generation.previews import LivePreview, decode_preview


def test_previews_come_close_to_the_image_and_leave_it_as_it_is(tiny_base, monkeypatch):
    monkeypatch.setattr(previews, "MIN_SECONDS", 0)
    monkeypatch.setattr(previews, "MAX_SHARE", float("inf"))
    shown = []
    (with_previews,) = generate(tiny_base, None, ["a toy"], num_inference_steps=6, on_preview=shown.append)
    (without,) = generate(tiny_base, None, ["a toy"], num_inference_steps=6)
    assert (np.asarray(with_previews.image) == np.asarray(without.image)).all()
    assert len(shown) == 5 and {image.size for image in shown} == {without.image.size}
    errors = [np.abs(np.asarray(image, float) - np.asarray(without.image, float)).mean() for image in shown]
    assert errors[-1] < errors[0]


def test_large_latents_are_averaged_before_they_are_decoded(sd_base):
    cell = sd_base.image_size // sd_base.latent_size
    image = decode_preview(sd_base, torch.randn(1, 4, 64, 48))
    assert image.size == (24 * cell, 32 * cell)


def test_previews_take_at_most_a_tenth_of_the_time(tiny_base):
    times = itertools.count()  # one second for a preview, one for a step
    shown = []
    preview = LivePreview(tiny_base, shown.append, clock=lambda: float(next(times)))
    latents = torch.zeros(1, 4, tiny_base.latent_size, tiny_base.latent_size)

    class Pipeline:
        num_timesteps = 41
        scheduler = type("Scheduler", (), {"model_outputs": [latents]})

    for step in range(41):
        preview(Pipeline, step, torch.tensor(0), {})
    assert 3 <= len(shown) <= 5
