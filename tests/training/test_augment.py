"""The training data: photos, mirror images and compositions, and how a step samples them."""

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
from breakascene.training.modes import PRESET_NAMES
from breakascene.training.settings import adapted, preset
from breakascene.training.step import area_weights, sample_subset_of_image


def disc(color, size=40):
    yy, xx = np.mgrid[:size, :size] - size / 2
    alpha = Image.fromarray(((yy**2 + xx**2 < 300) * 255).astype(np.uint8))
    image = Image.new("RGB", (size, size), color)
    image.putalpha(alpha)
    return image


@pytest.mark.parametrize("seed", range(8))
def test_composed_cutouts_are_where_their_masks_are(seed):
    colors = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255)])
    cutouts = [disc(tuple(color.tolist())) for color in colors]
    pixels, masks = compose(cutouts, 128, np.random.default_rng(seed))
    assert pixels.shape == (128, 128, 3) and masks.shape == (3, 128, 128) and masks.any()
    assert masks.sum(0).max() == 1  # hidden parts are not in the mask
    for color, mask in zip(colors, masks, strict=True):
        if mask.any():
            assert np.abs(pixels[mask] - color).max(1).mean() < 20
    bare = pixels[~masks.any(0)]
    assert np.median(np.abs(bare - np.median(bare, 0)).max(1)) == 0  # one plain color


def overlap(one, two):
    return (one & two).sum() / (one | two).sum()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_compositions_match_the_layout_of_toybox_scenes(count):
    """With other sizes and positions the handles would learn what the base cannot generate."""
    names, rng = TRAINING[:count], np.random.default_rng(0)
    cutouts = [load_sprite(name) for name in names]
    expected = render_scene(rng, 128, names, "at the beach", fixed_layout=True).masks
    composed = [compose(cutouts, 128, rng)[1] for _ in range(80)]
    in_order = [masks for masks in composed if all(overlap(*pair) > 0.85 for pair in zip(masks, expected, strict=True))]
    assert in_order and {int(masks.any((1, 2)).sum()) for masks in composed} == set(range(1, count + 1))


def test_training_data_holds_photo_mirror_image_and_compositions(tiny_base, scene):
    data = TrainingData.encode(scene, tiny_base, 10, seed=1)
    assert len(data.latent_mean) == len(data.visible) == 12 and data.latent_mean.shape[1:] == data.latent_std.shape[1:]
    everything = tuple(range(len(scene.handles)))
    assert data.visible[0] == data.visible[1] == everything
    assert all(set(visible) < set(everything) for visible in data.visible[2:])  # never the photo's background
    for visible, masks in zip(data.visible, data.masks, strict=True):
        assert tuple(np.flatnonzero(masks.amax((1, 2)).numpy())) == visible
    again = TrainingData.encode(scene, tiny_base, 10, seed=1)
    assert torch.equal(data.latent_mean, again.latent_mean) and not torch.equal(
        data.latent_mean, TrainingData.encode(scene, tiny_base, 10, 2).latent_mean
    )


def test_mirrored_compositions_have_mirrored_masks(tiny_base, scene, monkeypatch):
    composed, encoded, encode, mirrored = [], [], tiny_base.encode, 0
    monkeypatch.setattr(
        "breakascene.training.augment.compose", lambda *args: composed.append(compose(*args)) or composed[-1]
    )
    monkeypatch.setattr(type(tiny_base), "encode", lambda _, pixels: encoded.extend(pixels) or encode(pixels))
    data = TrainingData.encode(scene, tiny_base, 12, flip=True)
    for (pixels, masks), used, small in zip(composed, encoded[2:], data.masks[2:], strict=True):
        if not np.array_equal(used, pixels):
            mirrored, pixels, masks = mirrored + 1, pixels[:, ::-1], masks[..., ::-1]
        assert np.array_equal(used, pixels)
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


def test_further_photos_are_further_training_images(tiny_base, scene, two_photos):
    one, two = TrainingData.encode(scene, tiny_base), TrainingData.encode(two_photos, tiny_base)
    assert torch.allclose(two.latent_mean[:2], one.latent_mean, atol=1e-3)  # batches of another size round differently
    assert torch.equal(two.masks[:2], one.masks) and two.num_photos == 2
    assert two.visible == ((0, 1, 2), (0, 1, 2), (0,), (0,))
    square = two_photos.other_photos[0].square_crop(128)
    mean, _ = tiny_base.encode(square.pixels[None])
    assert torch.allclose(two.latent_mean[2:3], mean, atol=1e-3)
    assert torch.equal(two.masks[3], two.masks[2].flip(-1)) and not two.masks[2, 1:].any()


def test_steps_sample_all_photos_and_only_concepts_visible_in_them(tiny_base, two_photos):
    data, rng = TrainingData.encode(two_photos, tiny_base, 6), torch.Generator().manual_seed(0)
    samples = [sample_subset_of_image(data, short(tiny_base), rng) for _ in range(2000)]
    assert all(abs(np.mean([index == image for index, _ in samples]) - 0.25) < 0.03 for image in range(4))
    assert all(subset == [0] for image, subset in samples if image > 1)
    composed = [sample_subset_of_image(data, short(tiny_base, composition_prob=1.0), rng)[0] for _ in range(200)]
    assert set(composed) == set(range(4, 10))


def test_compositions_use_cutouts_of_all_photos(tiny_base, two_photos, monkeypatch):
    used = []

    def recorded(cutouts, *rest):
        used.append(cutouts)
        return compose(cutouts, *rest)

    monkeypatch.setattr("breakascene.training.augment.compose", recorded)
    TrainingData.encode(two_photos, tiny_base, 20)
    sizes = {cutouts[0].size for cutouts in used}
    assert sizes == {(59, 59), (39, 39)} and all(len(cutouts) == 2 for cutouts in used)  # the ball of either photo


def test_a_run_with_two_photos(tiny_base, scene, two_photos, tmp_path):
    settings = short(tiny_base, steps=(2, 1), composition_prob=0.3)
    concepts = run_extraction(two_photos, tiny_base, settings, tmp_path / "run")
    assert concepts.handles == scene.handles
    assert concepts.losses == run_extraction(two_photos, tiny_base, settings).losses
    assert concepts.losses != run_extraction(scene, tiny_base, settings).losses
    identity = checkpoint.identity(two_photos, tiny_base, settings)
    assert checkpoint.identity(load_scene(tmp_path / "run" / "scene"), tiny_base, settings) == identity
    assert checkpoint.identity(scene, tiny_base, settings) != identity


def test_balanced_sampling_takes_small_concepts_more_often(tiny_base, scene):
    data, rng = TrainingData.encode(scene, tiny_base), torch.Generator().manual_seed(0)
    areas = data.areas[0].numpy()
    assert areas[2] > 4 * areas[0]  # the background
    settings = short(tiny_base, balance_sampling=1.0)
    subsets = [subset for _, subset in (sample_subset_of_image(data, settings, rng) for _ in range(3000))]
    sizes = Counter(map(len, subsets))
    assert all(abs(sizes[size] / 3000 - 1 / 3) < 0.03 for size in (1, 2, 3))  # subset sizes as in the paper
    alone = Counter(subset[0] for subset in subsets if len(subset) == 1)
    expected = (1 / areas) / (1 / areas).sum()
    for k in range(3):
        assert abs(alone[k] / sizes[1] - expected[k]) < 0.04


def test_area_weights_give_all_concepts_equal_weight(tiny_base, scene):
    data = TrainingData.encode(scene, tiny_base)
    for image in (0, 1):
        weights = area_weights(data, image, [2, 0], 1.0)
        totals = weights * data.areas[image, [2, 0]]
        assert torch.allclose(totals[0], totals[1]) and weights[0] < 1 < weights[1]
    assert torch.equal(area_weights(data, 0, [0, 1, 2], 0.0), torch.ones(3))


def test_area_weight_is_the_factor_of_a_small_concepts_loss(tiny_base, scene):
    data = TrainingData.encode(scene, tiny_base)
    losses = {}
    with torch.no_grad(), with_handles(tiny_base, scene.handles, initial_embeddings(tiny_base, scene.names)):
        for power in (0.0, 1.0):
            for seed in range(30):
                settings = short(tiny_base, area_weighting=power, random_flip=False)
                found = step(tiny_base, data, scene.handles, None, settings, torch.Generator().manual_seed(seed))
                losses[power, seed] = found.losses["reconstruction"], found.handles
    singles = [seed for seed in range(30) if len(losses[0.0, seed][1]) == 1]
    assert singles
    for seed in singles:
        (plain, handles), (weighted, _) = losses[0.0, seed], losses[1.0, seed]
        weight = area_weights(data, 0, [scene.handles.index(handles[0])], 1.0).item()
        assert math.isclose(weighted, weight * plain, rel_tol=1e-4)


def scene_of(count):
    """A scene of `count` objects of increasing size, side by side."""
    masks = np.zeros((count, 160, 160), bool)
    for k, mask in enumerate(masks):
        mask[100 - 8 * k : 110, 20 * k : 20 * k + 10 + k] = True
    pixels = np.random.default_rng(0).integers(0, 256, (160, 160, 3), dtype=np.uint8)
    return make_scene(Image.fromarray(pixels), list(masks), [f"object {k}" for k in range(count)], background=True)


@pytest.mark.parametrize("count", [5, 6, 7, 8])
def test_five_to_eight_concepts_can_be_extracted(tiny_base, count):
    scene, sampled = scene_of(count), set()
    settings = short(
        tiny_base,
        "quick",
        steps=(8, 4),
        composition_prob=0.5,
        balance_sampling=0.5,
        area_weighting=1.0,
        train_batch_size=2,
    )
    concepts = run_extraction(scene, tiny_base, settings, on_event=lambda event: sampled.update(event.handles))
    assert sampled == set(scene.handles) == set(concepts.leak) and len(sampled) == count + 1
    assert all(math.isfinite(value) for losses in concepts.losses for value in losses.values())


def test_presets_adapt_to_many_concepts_and_to_uneven_areas(tiny_base, scene):
    light, paper = preset("light", tiny_base), preset("paper", tiny_base)
    assert adapted(light, scene) == light  # three concepts of similar area
    first, second = light.steps
    assert adapted(light, scene_of(5)).steps == (round(first * 1.5), round(second * 1.5))
    assert adapted(light, scene_of(8)).steps == (2 * first, 2 * second)
    assert adapted(light, scene_of(5)).area_weighting == 0.0 and adapted(light, scene_of(8)).area_weighting == 1.0
    assert adapted(paper, scene_of(8)) == paper
    assert len(paper.steps) == 2 and paper.balance_sampling == paper.area_weighting == 0.0


def test_share_of_steps_on_compositions(tiny_base, scene):
    data, rng = TrainingData.encode(scene, tiny_base, 10), torch.Generator().manual_seed(0)
    samples = [sample_subset_of_image(data, short(tiny_base, composition_prob=0.3), rng) for _ in range(2000)]
    assert abs(np.mean([image > 1 for image, _ in samples]) - 0.3) < 0.03
    assert all(set(subset) <= set(data.visible[image]) for image, subset in samples)
    assert any(len(subset) > 1 for image, subset in samples if image > 1)
    assert all(image < 2 for image, _ in (sample_subset_of_image(data, short(tiny_base), rng) for _ in range(100)))
    alone = short(tiny_base, composition_prob=1.0, union_sampling=False)
    samples = {(image, *subset) for image, subset in (sample_subset_of_image(data, alone, rng) for _ in range(1000))}
    assert samples == {(image, k) for image in range(2, 12) for k in data.visible[image]}


def test_prompts_name_the_concepts_from_left_to_right_for_the_toybox(tiny_base, scene):
    """Its captions have that order, for photos and compositions; with left_to_right off the order is random."""
    data, rng = TrainingData.encode(scene, tiny_base, 10), torch.Generator().manual_seed(0)
    columns = np.arange(data.masks.shape[-1])
    for ordered in (True, False):
        settings = short(tiny_base, composition_prob=0.3, left_to_right=ordered)
        samples = [sample_subset_of_image(data, settings, rng) for _ in range(500)]
        centers = [[np.average(columns, weights=data.masks[image, k].sum(0)) for k in ks] for image, ks in samples]
        assert all(positions == sorted(positions) for positions in centers) is ordered
        assert ({(0, 1), (1, 0)} < {tuple(subset) for image, subset in samples if image == 0}) is not ordered
    assert all(preset(name, tiny_base).left_to_right for name in PRESET_NAMES)


def test_a_run_with_compositions_is_reproducible(tiny_base, scene):
    settings = short(tiny_base, steps=(2, 1), composition_prob=0.7)
    one, two = (run_extraction(scene, tiny_base, settings) for _ in range(2))
    without = run_extraction(scene, tiny_base, dataclasses.replace(settings, composition_prob=0.0))
    assert one.losses == two.losses and one.losses != without.losses


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
