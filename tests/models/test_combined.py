"""Concepts of several runs in one image: where each run's delta acts, and that nothing stays on the base."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.models import assert_same_base, weights_of
from helpers.runs import short

from breakascene.data.scene import make_scene
from breakascene.errors import UserError
from breakascene.generation.generate import generate
from breakascene.models import routing
from breakascene.models.combined import combine
from breakascene.models.lora import apply_delta
from breakascene.training.loop import run_extraction


@pytest.fixture(scope="module")
def runs_on(scene, request):
    """Two runs with strong deltas on a base, cached; the second has one object of a name of the first."""
    cache = {}
    other = make_scene(scene.photo, [scene.masks()[1]], ["ball"])

    def runs(kind, preset="light"):
        if (kind, preset) not in cache:
            base = request.getfixturevalue(f"{kind}_base")
            rate = 1e-3 if preset == "paper" else 2e-2
            settings = short(base, preset, steps=(1, 3), prior_loss_weight=0.0, weight_lr=rate, init_from_image=False)
            cache[kind, preset] = [run_extraction(one, base, settings) for one in (scene, other)]
        return cache[kind, preset]

    return runs


def image(base, concepts, prompt, steps=3, **options):
    generated = next(generate(base, concepts, [prompt], num_inference_steps=steps, seed=4, **options))
    return np.asarray(generated.image).astype(int), generated.metadata


def test_handles_are_the_names_and_are_unique(tiny_base, runs_on):
    concepts = combine(runs_on("tiny"))
    assert concepts.handles == ("<ball>", "<mug>", "<background>", "<ball-2>")
    _, metadata = image(tiny_base, concepts, "a photo of <Ball-2> and <mug>")
    assert metadata["prompt"] == "a photo of <ball-2> and <mug>"
    assert metadata["handles"] == {"<ball>": "ball", "<mug>": "mug", "<background>": "background", "<ball-2>": "ball"}
    assert metadata["run"] == "+".join(run.id for run in runs_on("tiny"))
    with pytest.raises(UserError, match="<asset0> is an unknown handle: this run knows <ball>"):
        image(tiny_base, concepts, "a photo of <asset0>")


@pytest.mark.parametrize("preset", ["light", "paper"])
@pytest.mark.parametrize("kind", ["tiny", "sdxl"])
def test_a_run_acts_only_for_its_own_handles(kind, preset, runs_on, request):
    base, (first, second) = request.getfixturevalue(f"{kind}_base"), runs_on(kind, preset)
    before = weights_of(base)
    plain, _ = image(base, None, "a photo of a mug at the beach")
    without_handles, _ = image(base, combine([first, second]), "a photo of a mug at the beach")
    assert abs(without_handles - plain).max() <= 1
    own, _ = image(base, first, "a photo of <asset1>", negative_prompt="a ball", guidance_scale=2.0)
    alone, _ = image(base, combine([first]), "a photo of <mug>", negative_prompt="a ball", guidance_scale=2.0)
    assert abs(own - alone).max() <= 1
    beside, _ = image(base, combine([first, second]), "a photo of <mug>", negative_prompt="a ball", guidance_scale=2.0)
    silent, _ = image(
        base,
        combine([replace(first, delta={}), second]),
        "a photo of <mug>",
        negative_prompt="a ball",
        guidance_scale=2.0,
    )
    assert abs(beside - alone).max() <= 1 < abs(silent - alone).max()
    assert_same_base(base, before)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in base.unet.modules())


@pytest.mark.parametrize("preset", ["light", "paper"])
@pytest.mark.parametrize("kind", ["tiny", "sdxl"])
def test_the_change_of_a_layer_is_that_of_its_weights(kind, preset, runs_on, request):
    base, delta = request.getfixturevalue(f"{kind}_base"), runs_on(kind, preset)[0].delta
    layers = dict.fromkeys(key.rpartition(".")[0].rpartition(".")[0] for key in delta)
    generator, seen = torch.Generator().manual_seed(0), set()
    for name in layers:
        component, _, path = name.partition(".")
        layer = base.trainable_modules[component].get_submodule(path)
        match layer:
            case torch.nn.Conv2d():
                x = torch.randn(2, layer.in_channels, 6, 6, generator=generator)
            case torch.nn.GroupNorm():
                x = torch.randn(2, layer.num_channels, 6, 6, generator=generator)
            case torch.nn.Embedding():
                x = torch.arange(layer.num_embeddings)[None]
            case _:
                x = torch.randn(2, 5, layer.weight.shape[-1], generator=generator)
        with torch.no_grad():
            change, before = routing.layer_change(delta, name, layer)(x), layer(x)
            with apply_delta(base, {key: value for key, value in delta.items() if key.startswith(f"{name}.")}):
                torch.testing.assert_close(before + change, layer(x), atol=1e-4, rtol=1e-3)
        seen.add(type(layer).__name__)
    assert "Linear" in seen and (preset == "light" or {"Conv2d", "GroupNorm", "LayerNorm", "Embedding"} <= seen)


@pytest.mark.parametrize("size", [(128, 128), (160, 96)])
def test_regions_follow_the_attention_and_add_up_to_one(tiny_base, runs_on, size, monkeypatch):
    seen = []
    measured = routing.Routing._regions

    def regions(self, share, size):
        found = measured(self, share, size)
        seen.append((self.attention is None, found))
        return found

    monkeypatch.setattr(routing.Routing, "_regions", regions)
    image(tiny_base, combine(runs_on("tiny")), "a photo of <mug> and <ball-2>", size=size, guidance_scale=2.0)
    assert {start for start, _ in seen} == {True, False}
    for start, found in seen:  # (R, B, h, w); the first of the batch is the negative prompt, which follows the prompt
        torch.testing.assert_close(found[:, 0], found[:, 1])
        torch.testing.assert_close(found[:, 1].sum(0), torch.ones_like(found[0, 1]))
        assert not start or torch.equal(found[:, 1], torch.full_like(found[:, 1], 0.5))
    assert max(found[0, 1].std() for _, found in seen) > 0.01


def test_runs_that_do_not_go_together_are_refused(tiny_base, runs_on):
    first, second = runs_on("tiny")
    with pytest.raises(UserError, match=r"were learned on .* and on elsewhere: choose runs of one base"):
        combine([first, replace(second, base="elsewhere", fingerprint="0" * 16)])
    for runs in ([first, second, first], [combine([first, second]), first]):
        with pytest.raises(UserError, match="same run is given twice"):
            combine(runs)
    with pytest.raises(UserError, match="were learned on"):
        image(tiny_base, combine([replace(one, fingerprint="0" * 16) for one in (first, second)]), "a <mug>")
