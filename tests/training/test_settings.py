"""The presets unchanged, and each part of the method switched off."""

import dataclasses

import pytest
import torch
from helpers.runs import assert_same, photo_latents, short, step, stop_after

from breakascene.errors import UserError
from breakascene.models.concepts import Concepts
from breakascene.models.handles import initial_embeddings, with_handles
from breakascene.training.augment import TrainingData
from breakascene.training.loop import extract, initial_handle_embeddings, run_extraction
from breakascene.training.modes import PRESET_NAMES
from breakascene.training.monitor import attention_maps
from breakascene.training.settings import Settings, preset


@pytest.mark.parametrize("name", PRESET_NAMES)
def test_a_preset_can_be_stopped_after_any_step_and_resumes_to_the_same_end(
    tiny_base, scene, tmp_path, monkeypatch, name
):
    monkeypatch.setattr("breakascene.training.augment.NUM_COMPOSITIONS", 6)
    settings, out = preset(name, tiny_base, steps=(2, 2), num_prior_images=2), tmp_path / "run"
    uninterrupted = run_extraction(scene, tiny_base, settings)
    part = run_extraction(scene, tiny_base, settings, out, stop=stop_after(0))
    for done in range(4):
        assert part.steps == done
        with Concepts.load(out).applied(tiny_base):
            assert len(attention_maps(tiny_base, photo_latents(tiny_base, scene), part.handles)) == 3
        part = run_extraction(scene, tiny_base, settings, out, stop=stop_after(1), resume=True)
    assert_same(part, uninterrupted)


def test_settings_cannot_be_changed_only_replaced():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().steps = (1, 1)


def test_without_phase_1_the_handles_enter_phase_2_at_their_initial_embeddings(tiny_base, scene):
    settings = short(tiny_base, steps=(0, 2), handle_lr_phase2=0.0)
    events = []
    concepts = run_extraction(scene, tiny_base, settings, on_event=events.append)
    assert [event.phase for event in events] == [2, 2] and concepts.delta
    assert torch.equal(concepts.embeddings, initial_handle_embeddings(scene, tiny_base, settings))


def test_without_union_sampling_each_step_has_one_concept(tiny_base, scene):
    def subset_sizes(**changes):
        settings = short(tiny_base, steps=(8, 4), prior_loss_weight=0.0, **changes)
        return {len(event.handles) for event in extract(scene, tiny_base, settings)}

    assert subset_sizes() == {1, 2, 3} and subset_sizes(union_sampling=False) == {1}


def test_without_masked_loss_the_whole_image_counts(tiny_base, scene):
    data, settings = TrainingData.encode(scene, tiny_base), short(tiny_base)
    everywhere = dataclasses.replace(data, masks=torch.ones_like(data.masks))

    def loss(data, **changes):
        rng = torch.Generator().manual_seed(0)
        changed = dataclasses.replace(settings, normalize_channels=False, **changes)
        return step(tiny_base, data, scene.handles, None, changed, rng).losses["reconstruction"]

    with torch.no_grad(), with_handles(tiny_base, scene.handles, initial_embeddings(tiny_base, scene.names)):
        assert loss(data, masked_loss=False) == loss(everywhere) > loss(data)


def test_with_weight_0_the_attention_loss_is_reported_but_has_no_effect(tiny_base, scene):
    runs = [
        run_extraction(scene, tiny_base, short(tiny_base, steps=(2, 0), attention_loss_weight=weight))
        for weight in (0.0, 10.0)
    ]
    without, with_it = (run.losses[0] for run in runs)
    assert without["total"] == without["reconstruction"] and without["attention"] == with_it["attention"] > 0
    assert not torch.equal(runs[0].embeddings, runs[1].embeddings)


def test_without_prior_loss_no_prior_images_are_generated(tiny_base, scene, monkeypatch):
    with_it = run_extraction(scene, tiny_base, short(tiny_base, steps=(0, 1)))
    monkeypatch.setattr("breakascene.training.loop.prior_latents", lambda *_: pytest.fail("generated"))
    without = run_extraction(scene, tiny_base, short(tiny_base, steps=(0, 1), prior_loss_weight=0.0))
    assert "prior" in with_it.losses[0] and without.losses[0].keys() == {"total", "reconstruction", "attention"}


def test_presets_and_settings_round_trip(tiny_base):
    for name in PRESET_NAMES:
        settings = preset(name, tiny_base, seed=3)
        assert settings.preset == name and settings.train_all_weights == (name == "paper") and settings.seed == 3
        assert Settings.from_json(settings.to_json()) == settings
    assert preset("paper", tiny_base).steps == Settings().steps == (400, 400)
    assert Settings().handle_lr == 5e-4 and Settings().weight_lr == 2e-6  # the paper's values
    with pytest.raises(UserError, match="light, quick or paper"):
        preset("fast", tiny_base)
