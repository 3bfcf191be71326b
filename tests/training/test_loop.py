"""The two phases of a run, its losses against formulas written out, and resuming to the same end."""

import dataclasses
import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch
from helpers.models import assert_same_base, weights_of
from helpers.runs import assert_same, short, step, stop_after
from PIL import Image
from safetensors.torch import save_file

from breakascene.data.scene import cutout, make_scene
from breakascene.errors import UserError
from breakascene.models.concepts import Concepts
from breakascene.models.handles import initial_embeddings, with_handles
from breakascene.models.loading import load_base
from breakascene.toybox.pretraining.world import render_scene
from breakascene.training import checkpoint, optim
from breakascene.training.augment import TrainingData
from breakascene.training.loop import extract, initial_handle_embeddings, run_extraction
from breakascene.training.monitor import attention_maps
from breakascene.training.optim import set_learning_rates
from breakascene.training.prior import prior_latents
from breakascene.training.settings import Settings, preset
from breakascene.training.step import sample_subset


@pytest.fixture(scope="module")
def full_runs(tiny_base, scene):
    """An uninterrupted run of each kind, to compare with."""
    return {name: run_extraction(scene, tiny_base, short(tiny_base, name)) for name in ("light", "paper")}


def test_handles_start_at_their_names_or_at_their_image_codes(tiny_base, scene):
    toybox, with_background = load_base("toybox", "cpu"), dataclasses.replace(scene, background=True)
    from_names, from_images = (preset("light", toybox, init_from_image=value) for value in (False, True))
    expected = initial_embeddings(toybox, with_background.names)
    assert torch.equal(initial_handle_embeddings(with_background, toybox, from_names), expected)
    embeddings = initial_handle_embeddings(with_background, toybox, from_images)
    codes = toybox.image_codes.codes([cutout(scene, index) for index in range(2)], toybox.vae)
    assert torch.equal(embeddings[:2], codes)
    assert torch.equal(embeddings[2], expected[2])  # the background has no cut-out
    # On a base without image codes the handles start at the names.
    assert torch.equal(
        initial_handle_embeddings(scene, tiny_base, from_images), initial_embeddings(tiny_base, scene.names)
    )


def test_a_known_object_starts_near_the_embedding_of_its_name(tiny_base):
    toybox = load_base("toybox", "cpu")
    names = ("apple", "whale")
    rendered = render_scene(np.random.default_rng(4), 256, names, "on the grass", fixed_layout=True)
    known = make_scene(Image.fromarray(rendered.pixels), list(rendered.masks), list(names))
    embeddings = initial_handle_embeddings(known, toybox, preset("light", toybox))
    similarity = torch.cosine_similarity(embeddings[:, None], initial_embeddings(toybox, names)[None], dim=-1)
    assert (similarity.diagonal() > 0.5).all() and similarity[0, 1] < 0.3 and similarity[1, 0] < 0.3


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


@pytest.mark.parametrize("name", ["light", "paper"])
@pytest.mark.parametrize("at", [2, 3, 5])
def test_stopped_run_is_usable_and_resumes_to_the_same_end(tiny_base, scene, full_runs, tmp_path, name, at):
    settings, out = short(tiny_base, name), tmp_path / "run"
    part = run_extraction(scene, tiny_base, settings, out, stop=stop_after(at))
    assert part.steps == at and bool(part.delta) == (at >= 3)
    loaded = Concepts.load(out)
    assert_same(loaded, part)
    with loaded.applied(tiny_base):
        assert len(attention_maps(tiny_base, scene, loaded.handles)) == 3
    end = run_extraction(scene, tiny_base, settings, out, resume=True)
    assert_same(end, full_runs[name])
    assert_same(Concepts.load(out), full_runs[name])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]  # no checkpoint, no drafts


@pytest.mark.parametrize("steps", [1, 4, 6])
def test_abandoned_run_resumes_from_its_last_checkpoint(tiny_base, scene, full_runs, tmp_path, steps):
    before = weights_of(tiny_base)
    settings, out = short(tiny_base), tmp_path / "run"
    events = extract(scene, tiny_base, settings, out, save_every=2)
    for _ in range(steps):
        next(events)
    events.close()
    assert_same_base(tiny_base, before)
    assert not out.exists() and checkpoint.path_for(out).is_file()
    assert_same(run_extraction(scene, tiny_base, settings, out, resume=True), full_runs["light"])


def test_resuming_another_run_is_refused_with_the_settings_that_differ(tiny_base, scene, tmp_path):
    settings, out = short(tiny_base), tmp_path / "run"
    with pytest.raises(UserError, match="nothing to resume"):
        run_extraction(scene, tiny_base, settings, out, resume=True)
    run_extraction(scene, tiny_base, settings, out, stop=stop_after(1))
    other = dataclasses.replace(settings, seed=5, rank=3)
    with pytest.raises(UserError, match="differs in seed, rank:"):
        run_extraction(scene, tiny_base, other, out, resume=True)
    another = make_scene(scene.photo, [c.mask[::-1] for c in scene.concepts], ["ball", "cup"], background=True)
    with pytest.raises(UserError, match="photo and masks, names"):
        run_extraction(another, tiny_base, settings, out, resume=True)
    path = checkpoint.path_for(out)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(UserError, match="damaged"):
        run_extraction(scene, tiny_base, settings, out, resume=True)


def test_an_output_folder_with_other_files_is_refused_before_any_work(tiny_base, scene, tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="other files"):
        next(extract(scene, tiny_base, short(tiny_base), tmp_path))
    with pytest.raises(UserError, match="is a file"):
        next(extract(scene, tiny_base, short(tiny_base), tmp_path / "letter.txt"))


def test_too_many_concepts_for_the_prompt_are_refused(tiny_base, scene, monkeypatch):
    before = weights_of(tiny_base)
    monkeypatch.setattr(tiny_base.tokenizer, "model_max_length", 8)
    with pytest.raises(UserError, match="<background> is cut off"):
        next(extract(scene, tiny_base, short(tiny_base)))
    assert_same_base(tiny_base, before)


def test_union_sampling_frequencies():
    rng = torch.Generator().manual_seed(0)
    samples = [sample_subset(3, True, rng) for _ in range(6000)]
    sizes = Counter(map(len, samples))
    assert all(abs(sizes[size] / 6000 - 1 / 3) < 0.02 for size in (1, 2, 3))
    subsets = Counter(tuple(sorted(sample)) for sample in samples)
    assert all(abs(subsets[one] / 6000 - 1 / 9) < 0.015 for one in [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2)])
    first = Counter(sample[0] for sample in samples if len(sample) == 3)
    assert all(abs(first[k] / sizes[3] - 1 / 3) < 0.04 for k in range(3))
    assert sample_subset(1, True, rng) == [0]
    alone = Counter(tuple(sample_subset(4, False, rng)) for _ in range(400))
    assert sorted(alone) == [(0,), (1,), (2,), (3,)] and min(alone.values()) > 60


def test_mirror_image_has_mirrored_masks(tiny_base, scene):
    data, square = TrainingData.encode(scene, tiny_base), scene.square_crop(128)
    assert data.masks.shape == (2, 3, 16, 16)
    assert torch.equal(data.masks[1], data.masks[0].flip(-1)) and torch.equal(
        data.attention_masks[1], data.attention_masks[0].flip(-1)
    )
    mean, _ = tiny_base.encode(square.pixels[None, :, ::-1].copy())
    assert torch.allclose(data.latent_mean[1:], mean, atol=1e-5) and not torch.allclose(
        data.latent_mean[0], data.latent_mean[1]
    )
    shares = square.masks.reshape(3, 16, 8, 16, 8).mean((2, 4))
    np.testing.assert_allclose(data.masks[0], shares, atol=1e-6)


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


def test_linear_schedule_decays_the_learning_rates_of_phase_2(tiny_base, scene, monkeypatch):
    rates = []

    def recorded(optimizer, settings, factor):
        set_learning_rates(optimizer, settings, factor)
        rates.append([group["lr"] for group in optimizer.param_groups])

    monkeypatch.setattr("breakascene.training.optim.set_learning_rates", recorded)
    settings = short(tiny_base, steps=(1, 4), weight_lr=4e-3, handle_lr_phase2=8e-3, lr_scheduler="linear")
    run_extraction(scene, tiny_base, settings)
    np.testing.assert_allclose(rates, np.outer([4, 3, 2, 1], [2e-3, 1e-3]))
    run_extraction(scene, tiny_base, dataclasses.replace(settings, lr_scheduler="constant"))
    assert len(rates) == 4


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


def test_prior_images_are_generated_once_and_cached(tiny_base, monkeypatch):
    first = prior_latents(tiny_base, 3)
    assert first.latents.shape == (3, 4, 16, 16) and len(first.prompts) == 3
    monkeypatch.setattr(type(tiny_base), "pipeline", lambda self: pytest.fail("generated again"))
    assert torch.equal(prior_latents(tiny_base, 3).latents, first.latents)


def test_stable_diffusion_shape_with_noise_prediction(sd_base, scene):
    before = weights_of(sd_base)
    settings = preset("quick", sd_base, steps=(1, 1), prior_loss_weight=0.0, train_batch_size=2)
    concepts = run_extraction(scene, sd_base, settings)
    assert all(math.isfinite(value) for losses in concepts.losses for value in losses.values())
    assert_same_base(sd_base, before)


def test_presets_and_settings_round_trip(tiny_base):
    for name in ("light", "quick", "paper"):
        settings = preset(name, tiny_base, seed=3)
        assert settings.preset == name and settings.train_all_weights == (name == "paper") and settings.seed == 3
        assert Settings.from_json(settings.to_json()) == settings
    assert preset("paper", tiny_base).steps == Settings().steps == (400, 400)
    assert Settings().handle_lr == 5e-4 and Settings().weight_lr == 2e-6  # the paper's values
    with pytest.raises(UserError, match="light, quick or paper"):
        preset("fast", tiny_base)
