"""Prior images: generated once for a base, then read from the cache."""

import itertools

import pytest
import torch
from safetensors.torch import load_file, save_file

from breakascene.training.prior import prior_latents


def test_prior_images_are_generated_once_and_cached(tiny_base, monkeypatch):
    first = prior_latents(tiny_base, 3)
    assert first.latents.shape == (3, 4, 16, 16) and len(first.prompts) == 3
    monkeypatch.setattr(type(tiny_base), "pipeline", lambda self: pytest.fail("generated again"))
    assert torch.equal(prior_latents(tiny_base, 3).latents, first.latents)
    assert torch.equal(prior_latents(tiny_base, 5).latents[:3], first.latents)  # of the same batch


@pytest.mark.parametrize("calls", [0, 4, 13, 17])
def test_prior_images_that_were_interrupted_go_on_where_they_stopped(tiny_base, monkeypatch, tmp_path, calls):
    """Interrupted before, within and after a batch: the images are the same as without."""
    prompts = ("a photo of a dog",)
    complete = prior_latents(tiny_base, 10, prompts)
    monkeypatch.setenv("BREAKASCENE_CACHE", str(tmp_path))
    asked = itertools.count()
    assert prior_latents(tiny_base, 10, prompts, lambda: next(asked) >= calls) is None
    assert next(asked) <= calls + 2  # each of the 12 steps of a batch asks
    (*kept,) = (len(load_file(file)["latents"]) for file in tmp_path.glob("prior-*"))
    assert kept == ([8] if calls >= 13 else [])
    assert torch.equal(prior_latents(tiny_base, 10, prompts).latents, complete.latents)


@pytest.mark.parametrize("damage", ["shape", "values", "type", "file"])
def test_a_damaged_cache_of_prior_images_is_made_again(tiny_base, tmp_path, monkeypatch, damage):
    monkeypatch.setenv("BREAKASCENE_CACHE", str(tmp_path))
    good = prior_latents(tiny_base, 2).latents
    (path,) = tmp_path.iterdir()
    whole = load_file(path)["latents"]
    bad = {"shape": whole[:1].clone(), "values": whole * float("nan"), "type": whole.half()}
    save_file({"latents": bad.get(damage, whole)}, path)
    if damage == "file":
        path.write_bytes(path.read_bytes()[:-4])
    assert prior_latents(tiny_base, 2).latents.equal(good)
