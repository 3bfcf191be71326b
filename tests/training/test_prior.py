"""Prior images: generated once for a base, then read from the cache."""

import pytest
import torch
from safetensors.torch import save_file

from breakascene.training.prior import prior_latents


def test_prior_images_are_generated_once_and_cached(tiny_base, monkeypatch):
    first = prior_latents(tiny_base, 3)
    assert first.latents.shape == (3, 4, 16, 16) and len(first.prompts) == 3
    monkeypatch.setattr(type(tiny_base), "pipeline", lambda self: pytest.fail("generated again"))
    assert torch.equal(prior_latents(tiny_base, 3).latents, first.latents)


@pytest.mark.parametrize("damage", ["shape", "values", "file"])
def test_a_damaged_cache_of_prior_images_is_made_again(tiny_base, tmp_path, monkeypatch, damage):
    monkeypatch.setenv("BREAKASCENE_CACHE", str(tmp_path))
    good = prior_latents(tiny_base, 2).latents
    (path,) = tmp_path.iterdir()
    bad = {"shape": good[:1].clone(), "values": good * float("nan")}
    save_file({"latents": bad.get(damage, good)}, path)
    if damage == "file":
        path.write_bytes(path.read_bytes()[:-4])
    assert prior_latents(tiny_base, 2).latents.equal(good)
