import dataclasses
import math
from collections import Counter

import numpy as np
import pytest
import torch
from helpers.runs import short, step
from PIL import Image

from breakascene.data.scene import load_scene, make_scene
from breakascene.models.handles import initial_embeddings, with_handles
from breakascene.toybox.pretraining.sprites import load_sprite
from breakascene.toybox.pretraining.world import render_scene
from breakascene.toybox.vocabulary import TRAINING
from breakascene.training import checkpoint
from breakascene.training.augment import TrainingData, compose
from breakascene.training.loop import run_extraction
from breakascene.training.settings import PRESET_NAMES, adapted, preset
from breakascene.training.step import area_weights, sample_subset_of_image


def disc(colour, size=40):
    yy, xx = np.mgrid[:size, :size] - size / 2
    alpha = Image.fromarray(((yy**2 + xx**2 < 300) * 255).astype(np.uint8))
    picture = Image.new("RGB", (size, size), colour)
    picture.putalpha(alpha)
    return picture


@pytest.mark.parametrize("seed", range(8))
def test_arranged_cutouts_are_where_their_masks_say(seed):
    colours = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255)])
    cutouts = [disc(tuple(colour.tolist())) for colour in colours]
    pixels, masks = compose(cutouts, 128, np.random.default_rng(seed))
    assert pixels.shape == (128, 128, 3) and masks.shape == (3, 128, 128) and masks.any()
    assert masks.sum(0).max() == 1  # what lies behind is not in the mask
    for colour, mask in zip(colours, masks, strict=True):
        if mask.any():
            assert np.abs(pixels[mask] - colour).max(1).mean() < 20
    bare = pixels[~masks.any(0)]
    assert np.median(np.abs(bare - np.median(bare, 0)).max(1)) == 0  # one plain colour


def overlap(one, two):
    return (one & two).sum() / (one | two).sum()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_arrangements_lie_as_the_toybox_draws_things(count):
    """Other sizes and places would teach the handles what the base cannot draw."""
    names, rng = TRAINING[:count], np.random.default_rng(0)
    cutouts = [load_sprite(name) for name in names]
    tidy = render_scene(rng, 128, names, "at the beach", fixed_layout=True).masks
    seen = [compose(cutouts, 128, rng)[1] for _ in range(80)]
    in_order = [masks for masks in seen if all(overlap(*pair) > 0.85 for pair in zip(masks, tidy, strict=True))]
    assert in_order and {int(masks.any((1, 2)).sum()) for masks in seen} == set(range(1, count + 1))


def test_views_hold_photo_mirror_and_arrangements(tiny_base, scene):
    views = TrainingData.encode(scene, tiny_base, 10, seed=1)
    assert (
        len(views.latent_mean) == len(views.visible) == 12 and views.latent_mean.shape[1:] == views.latent_std.shape[1:]
    )
    everything = tuple(range(len(scene.handles)))
    assert views.visible[0] == views.visible[1] == everything
    assert all(set(shown) < set(everything) for shown in views.visible[2:])  # never the photo's background
    for shown, masks in zip(views.visible, views.masks, strict=True):
        assert tuple(np.flatnonzero(masks.amax((1, 2)).numpy())) == shown
    again = TrainingData.encode(scene, tiny_base, 10, seed=1)
    assert torch.equal(views.latent_mean, again.latent_mean) and not torch.equal(
        views.latent_mean, TrainingData.encode(scene, tiny_base, 10, 2).latent_mean
    )


def test_mirrored_arrangements_have_mirrored_masks(tiny_base, scene, monkeypatch):
    made, shown, encode, mirrored = [], [], tiny_base.encode, 0
    monkeypatch.setattr("breakascene.training.augment.compose", lambda *args: made.append(compose(*args)) or made[-1])
    monkeypatch.setattr(type(tiny_base), "encode", lambda _, pixels: shown.extend(pixels) or encode(pixels))
    views = TrainingData.encode(scene, tiny_base, 12, flip=True)
    for (pixels, masks), seen, small in zip(made, shown[2:], views.masks[2:], strict=True):
        if not np.array_equal(seen, pixels):
            mirrored, pixels, masks = mirrored + 1, pixels[:, ::-1], masks[..., ::-1]
        assert np.array_equal(seen, pixels)
        shares = masks.reshape(-1, 16, 8, 16, 8).mean((2, 4))
        np.testing.assert_allclose(small[: len(shares)], shares, atol=1e-6)
    assert 0 < mirrored < 12


@pytest.fixture
def two_photos(scene):
    """The scene, and a second photo of its ball alone, small and low on a green ground."""
    y, x = np.mgrid[:160, :160]
    disc = (x - 100) ** 2 + (y - 120) ** 2 < 20**2
    pixels = np.zeros((160, 160, 3), np.uint8) + np.uint8((90, 160, 90))
    pixels[disc] = (220, 30, 40)
    other = make_scene(Image.fromarray(pixels), [disc], ["ball"])
    masks, names = [concept.mask for concept in scene.concepts], [concept.name for concept in scene.concepts]
    return make_scene(scene.photo, masks, names, True, [other])


def test_further_photos_are_further_views(tiny_base, scene, two_photos):
    one, two = TrainingData.encode(scene, tiny_base), TrainingData.encode(two_photos, tiny_base)
    assert torch.allclose(two.latent_mean[:2], one.latent_mean, atol=1e-3)  # batches of other sizes round otherwise
    assert torch.equal(two.masks[:2], one.masks) and two.num_photos == 2
    assert two.visible == ((0, 1, 2), (0, 1, 2), (0,), (0,))
    square = two_photos.other_photos[0].square_crop(128)
    mean, _ = tiny_base.encode(square.pixels[None])
    assert torch.allclose(two.latent_mean[2:3], mean, atol=1e-3)
    assert torch.equal(two.masks[3], two.masks[2].flip(-1)) and not two.masks[2, 1:].any()


def test_steps_look_at_all_photos_and_only_at_what_they_show(tiny_base, two_photos):
    views, rng = TrainingData.encode(two_photos, tiny_base, 6), torch.Generator().manual_seed(0)
    drawn = [sample_subset_of_image(views, short(tiny_base), rng) for _ in range(2000)]
    assert all(abs(np.mean([view == photo for view, _ in drawn]) - 0.25) < 0.03 for photo in range(4))
    assert all(subset == [0] for view, subset in drawn if view > 1)
    arranged = [sample_subset_of_image(views, short(tiny_base, composition_prob=1.0), rng)[0] for _ in range(200)]
    assert set(arranged) == set(range(4, 10))


def test_arrangements_take_cutouts_of_all_photos(tiny_base, two_photos, monkeypatch):
    taken = []

    def watched(things, *rest):
        taken.append(things)
        return compose(things, *rest)

    monkeypatch.setattr("breakascene.training.augment.compose", watched)
    TrainingData.encode(two_photos, tiny_base, 20)
    sizes = {things[0].size for things in taken}
    assert sizes == {(59, 59), (39, 39)} and all(len(things) == 2 for things in taken)  # the ball of either photo


def test_a_run_with_two_photos(tiny_base, scene, two_photos, tmp_path):
    settings = short(tiny_base, steps=(2, 1), composition_prob=0.3)
    concepts = run_extraction(two_photos, tiny_base, settings, tmp_path / "run")
    assert concepts.handles == scene.handles
    assert concepts.losses == run_extraction(two_photos, tiny_base, settings).losses
    assert concepts.losses != run_extraction(scene, tiny_base, settings).losses
    identity = checkpoint.identity(two_photos, tiny_base, settings)
    assert checkpoint.identity(load_scene(tmp_path / "run" / "scene"), tiny_base, settings) == identity
    assert checkpoint.identity(scene, tiny_base, settings) != identity


def test_small_concepts_are_drawn_more_often_when_balanced(tiny_base, scene):
    views, rng = TrainingData.encode(scene, tiny_base), torch.Generator().manual_seed(0)
    areas = views.areas[0].numpy()
    assert areas[2] > 4 * areas[0]  # the background
    settings = short(tiny_base, balance_sampling=1.0)
    subsets = [subset for _, subset in (sample_subset_of_image(views, settings, rng) for _ in range(3000))]
    sizes = Counter(map(len, subsets))
    assert all(abs(sizes[size] / 3000 - 1 / 3) < 0.03 for size in (1, 2, 3))  # how many stays as in the paper
    alone = Counter(subset[0] for subset in subsets if len(subset) == 1)
    expected = (1 / areas) / (1 / areas).sum()
    for k in range(3):
        assert abs(alone[k] / sizes[1] - expected[k]) < 0.04


def test_area_weights_make_all_concepts_weigh_alike(tiny_base, scene):
    views = TrainingData.encode(scene, tiny_base)
    for view in (0, 1):
        weights = area_weights(views, view, [2, 0], 1.0)
        totals = weights * views.areas[view, [2, 0]]
        assert torch.allclose(totals[0], totals[1]) and weights[0] < 1 < weights[1]
    assert torch.equal(area_weights(views, 0, [0, 1, 2], 0.0), torch.ones(3))


def test_area_weight_raises_the_loss_of_a_small_concept_by_its_weight(tiny_base, scene):
    views = TrainingData.encode(scene, tiny_base)
    losses = {}
    with torch.no_grad(), with_handles(tiny_base, scene.handles, initial_embeddings(tiny_base, scene.names)):
        for power in (0.0, 1.0):
            for seed in range(30):
                settings = short(tiny_base, area_weighting=power, random_flip=False)
                found = step(tiny_base, views, scene.handles, None, settings, torch.Generator().manual_seed(seed))
                losses[power, seed] = found.losses["reconstruction"], found.handles
    singles = [seed for seed in range(30) if len(losses[0.0, seed][1]) == 1]
    assert singles
    for seed in singles:
        (plain, drawn), (weighed, _) = losses[0.0, seed], losses[1.0, seed]
        weight = area_weights(views, 0, [scene.handles.index(drawn[0])], 1.0).item()
        assert math.isclose(weighed, weight * plain, rel_tol=1e-4)


def many(count):
    """As many things of uneven sizes, in a row."""
    masks = np.zeros((count, 160, 160), bool)
    for k, mask in enumerate(masks):
        mask[100 - 8 * k : 110, 20 * k : 20 * k + 10 + k] = True
    pixels = np.random.default_rng(0).integers(0, 256, (160, 160, 3), dtype=np.uint8)
    return make_scene(Image.fromarray(pixels), list(masks), [f"thing {k}" for k in range(count)], background=True)


@pytest.mark.parametrize("count", [5, 6, 7, 8])
def test_five_to_eight_concepts_are_learned(tiny_base, count):
    scene, seen = many(count), set()
    settings = short(
        tiny_base,
        "quick",
        steps=(8, 4),
        composition_prob=0.5,
        balance_sampling=0.5,
        area_weighting=1.0,
        train_batch_size=2,
    )
    concepts = run_extraction(scene, tiny_base, settings, on_event=lambda event: seen.update(event.handles))
    assert seen == set(scene.handles) == set(concepts.leak) and len(seen) == count + 1
    assert all(math.isfinite(value) for losses in concepts.losses for value in losses.values())


def test_the_default_adapts_to_many_and_to_uneven_concepts(tiny_base, scene):
    light, paper = preset("light", tiny_base), preset("paper", tiny_base)
    assert adapted(light, scene) == light  # three concepts, nearly alike
    first, second = light.steps
    assert adapted(light, many(5)).steps == (round(first * 1.5), round(second * 1.5))
    assert adapted(light, many(8)).steps == (2 * first, 2 * second)
    assert adapted(light, many(5)).area_weighting == 0.0 and adapted(light, many(8)).area_weighting == 1.0
    assert adapted(paper, many(8)) == paper
    assert len(paper.steps) == 2 and paper.balance_sampling == paper.area_weighting == 0.0


def test_share_of_arranged_steps(tiny_base, scene):
    views, rng = TrainingData.encode(scene, tiny_base, 10), torch.Generator().manual_seed(0)
    drawn = [sample_subset_of_image(views, short(tiny_base, composition_prob=0.3), rng) for _ in range(2000)]
    assert abs(np.mean([view > 1 for view, _ in drawn]) - 0.3) < 0.03
    assert all(set(subset) <= set(views.visible[view]) for view, subset in drawn)
    assert any(len(subset) > 1 for view, subset in drawn if view > 1)
    assert all(view < 2 for view, _ in (sample_subset_of_image(views, short(tiny_base), rng) for _ in range(100)))
    alone = short(tiny_base, composition_prob=1.0, union_sampling=False)
    drawn = {(view, *subset) for view, subset in (sample_subset_of_image(views, alone, rng) for _ in range(1000))}
    assert drawn == {(view, k) for view in range(2, 12) for k in views.visible[view]}


def test_a_small_base_hears_the_names_in_the_order_of_its_captions(tiny_base, scene):
    """From left to right, on photos as on arrangements; the paper names in any order."""
    views, rng = TrainingData.encode(scene, tiny_base, 10), torch.Generator().manual_seed(0)
    columns = np.arange(views.masks.shape[-1])
    for ordered in (True, False):
        settings = short(tiny_base, composition_prob=0.3, left_to_right=ordered)
        drawn = [sample_subset_of_image(views, settings, rng) for _ in range(500)]
        middles = [[np.average(columns, weights=views.masks[view, k].sum(0)) for k in ks] for view, ks in drawn]
        assert all(places == sorted(places) for places in middles) is ordered
        assert ({(0, 1), (1, 0)} < {tuple(subset) for view, subset in drawn if view == 0}) is not ordered
    assert all(preset(name, tiny_base).left_to_right for name in PRESET_NAMES)


def test_a_run_with_arrangements_is_the_same_again(tiny_base, scene):
    settings = short(tiny_base, steps=(2, 1), composition_prob=0.7)
    one, two = (run_extraction(scene, tiny_base, settings) for _ in range(2))
    without = run_extraction(scene, tiny_base, dataclasses.replace(settings, composition_prob=0.0))
    assert one.losses == two.losses and one.losses != without.losses
