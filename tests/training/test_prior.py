"""Prior images: generated once for a base, then read from the cache."""

import pytest
import torch

from breakascene.training.prior import prior_latents


def test_prior_images_are_generated_once_and_cached(tiny_base, monkeypatch):
    first = prior_latents(tiny_base, 3)
    assert first.latents.shape == (3, 4, 16, 16) and len(first.prompts) == 3
    monkeypatch.setattr(type(tiny_base), "pipeline", lambda self: pytest.fail("generated again"))
    assert torch.equal(prior_latents(tiny_base, 3).latents, first.latents)
