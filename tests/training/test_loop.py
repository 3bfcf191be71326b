"""The two phases of a run: what each changes, and what does not change its result."""

import itertools
import math

import numpy as np
import pytest
import torch
from helpers.models import assert_same_base, weights_of
from helpers.runs import assert_same, short

from breakascene.errors import UserError
from breakascene.models.handles import initial_embeddings
from breakascene.training.loop import extract, run_extraction
from breakascene.training.settings import preset


def test_phase_1_changes_the_handles_and_nothing_else(tiny_base, scene):
    before = weights_of(tiny_base)
    settings = short(tiny_base, steps=(4, 0))
    events = extract(scene, tiny_base, settings)
    start = initial_embeddings(tiny_base, scene.names)
    for event in events:
        now = {name.replace(".table", ""): value for name, value in weights_of(tiny_base).items()}
        embeddings = now.pop("text_encoder.embeddings.token_embedding.embeddings")
        assert now.keys() == before.keys() and all(torch.equal(now[name], before[name]) for name in before)
        assert not torch.equal(embeddings, start)
        if event.step == 3:
            moved = embeddings - start
            assert (moved.abs() <= 3.2 * settings.handle_lr).all()  # Adam moves each value by about the rate a step
    concepts = run_extraction(scene, tiny_base, short(tiny_base, steps=(4, 0)))
    assert concepts.delta == {} and concepts.steps == 4
    assert_same_base(tiny_base, before)


@pytest.mark.parametrize("name", ["light", "paper"])
def test_phase_2_keeps_training_the_handles(tiny_base, scene, name):
    def handles(rate):
        settings = short(tiny_base, name, steps=(1, 3), handle_lr_phase2=rate, weight_lr=0.0)
        return run_extraction(scene, tiny_base, settings).embeddings

    assert (handles(1e-2) - handles(0.0)).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["light", "paper"])
def test_phase_2_changes_weights_and_the_base_is_restored(tiny_base, scene, full_runs, name):
    before = weights_of(tiny_base)
    events = extract(scene, tiny_base, short(tiny_base, name))
    assert [event.phase for event in events] == [1, 1, 1, 2, 2, 2]
    assert_same_base(tiny_base, before)
    delta = full_runs[name].delta
    moved = [key for key in delta if key.endswith((".B", ".diff")) and delta[key].any()]
    assert any(key.startswith("unet.") for key in moved) and any(key.startswith("text_encoder.") for key in moved)


@pytest.mark.parametrize("name", ["light", "paper"])
def test_previews_and_attention_maps_do_not_change_a_run(tiny_base, scene, full_runs, name):
    events, calls = [], itertools.count(1)
    again = run_extraction(
        scene, tiny_base, short(tiny_base, name), on_event=events.append, preview_every=6, maps_every=3,
        preview_requested=lambda: next(calls) == 2,
    )  # fmt: skip
    assert_same(again, full_runs[name])
    assert [event.step for event in events if event.previews] == [2, 6]
    assert [event.step for event in events if event.maps] == [2, 3, 6]
    assert list(events[5].previews) == list(scene.handles)
    assert all(image.size == (128, 128) for image in events[5].previews.values())
    assert events[0].maps is None and events[2].maps["<asset1>"].shape == (16, 16)
    assert all(value.min() >= 0 and value.max() == 1 for value in events[2].maps.values())


def test_another_seed_is_another_run(tiny_base, scene, full_runs):
    other = run_extraction(scene, tiny_base, short(tiny_base, steps=(1, 0), seed=1))
    assert other.losses[0] != full_runs["light"].losses[0]


def test_an_output_folder_with_other_files_is_refused_before_any_work(tiny_base, scene, tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="is not empty"):
        next(extract(scene, tiny_base, short(tiny_base), tmp_path))
    with pytest.raises(UserError, match="is a file"):
        next(extract(scene, tiny_base, short(tiny_base), tmp_path / "letter.txt"))


def test_too_many_concepts_for_the_prompt_are_refused(tiny_base, scene, monkeypatch):
    before = weights_of(tiny_base)
    monkeypatch.setattr(tiny_base.tokenizer, "model_max_length", 8)
    with pytest.raises(UserError, match="<background> is cut off"):
        next(extract(scene, tiny_base, short(tiny_base)))
    assert_same_base(tiny_base, before)


def test_attention_loss_moves_the_attention_into_the_masks(tiny_base, scene):
    """Of two runs with the same random values, the one with the loss ends with a lower attention loss and leak."""
    runs = []
    for weight in (0.0, 10.0):
        settings = short(
            tiny_base,
            steps=(0, 30),
            prior_loss_weight=0.0,
            attention_loss_weight=weight,
            weight_lr=1e-2,
            handle_lr_phase2=1e-2,
        )
        runs.append(list(extract(scene, tiny_base, settings)))
    without, with_it = (events[-10:] for events in runs)
    assert [event.handles for event in without] == [event.handles for event in with_it]

    def attention(events):
        return np.mean([event.losses["attention"] for event in events])

    def leak(events):
        return np.mean([value for event in events for value in event.leak.values()])

    assert attention(with_it) < 0.9 * attention(without)
    assert leak(with_it) < leak(without)


def test_time_left_falls_to_zero(tiny_base, scene):
    left = [event.seconds_left for event in extract(scene, tiny_base, short(tiny_base, prior_loss_weight=0.0))]
    assert left[0] > 0 == left[-1]


def test_stable_diffusion_shape_with_noise_prediction(sd_base, scene):
    before = weights_of(sd_base)
    settings = preset("quick", sd_base, steps=(1, 1), prior_loss_weight=0.0, train_batch_size=2)
    concepts = run_extraction(scene, sd_base, settings)
    assert all(math.isfinite(value) for losses in concepts.losses for value in losses.values())
    assert_same_base(sd_base, before)
