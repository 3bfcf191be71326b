"""Scenes drawn in torch: the NumPy drawing of the same layouts is the oracle."""

import numpy as np
import pytest
import torch
from PIL import Image

from breakascene.models.image_codes import canvases
from breakascene.toybox.pretraining import scenes
from breakascene.toybox.pretraining.batch_styles import restyle_batch
from breakascene.toybox.pretraining.drawing import (
    Textures,
    cutout_canvases,
    cutout_records,
    draw_scenes,
    object_cells,
    object_records,
)
from breakascene.toybox.pretraining.image_codes import (
    Recipe,
    make_cutout,
    make_object,
    sample_cutout_pose,
    sample_recipe,
    source_sprites,
)
from breakascene.toybox.pretraining.places import render_place
from breakascene.toybox.pretraining.scenes import STAND_INS, SceneDrawer, SceneSampler
from breakascene.toybox.pretraining.styles import restyle
from breakascene.toybox.pretraining.text import tokenizer
from breakascene.toybox.pretraining.world import draw_scene, random_scene, sample_content, sample_placements
from breakascene.toybox.vocabulary import STYLES, TRAINING


@pytest.fixture(autouse=True)
def few_places(monkeypatch):
    monkeypatch.setattr(scenes, "KEPT_PLACES", 5)


@pytest.fixture(scope="module")
def textures():
    return Textures.load(torch.device("cpu"))


def layouts(novel: bool, fixed: bool) -> list:
    """Eight layouts of one to four objects: place, light, recipes, placements."""
    out = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        pixels, ground, light = render_place(rng, 256, sample_content(rng)[1])
        count = seed % 4 + 1
        named = [Recipe(int(i), -1) for i in rng.choice(len(TRAINING), count)]
        recipes = [sample_recipe(rng) for _ in range(count)] if novel else named
        out.append((pixels, light, recipes, sample_placements(rng, count, ground, fixed)))
    return out


def sprite(recipe: Recipe) -> Image.Image:
    return make_object(recipe) if recipe.second >= 0 else source_sprites()[recipe.first]


@pytest.mark.parametrize(("novel", "fixed"), [(False, True), (False, False), (True, False)])
def test_torch_draws_the_layouts_that_numpy_draws(textures, novel, fixed):
    cases = layouts(novel, fixed)
    records = object_records(
        [(n, layer, r[p.index], p) for n, (_, _, r, ps) in enumerate(cases) for layer, p in enumerate(ps)]
    )
    places = torch.from_numpy(np.stack([case[0] for case in cases])).permute(0, 3, 1, 2)
    lights = torch.from_numpy(np.stack([case[1] for case in cases]))
    cells = object_cells(textures, records)
    images, masks = draw_scenes(places, lights, cells, records)
    drawn = (images * 255).round().permute(0, 2, 3, 1).numpy()
    overlaps = []
    for n, (pixels, light, recipes, placements) in enumerate(cases):
        expected, expected_masks = draw_scene(pixels, light, [sprite(recipe) for recipe in recipes], placements)
        assert np.abs(drawn[n] - expected).mean() < 2
        for layer, placement in enumerate(placements):
            mask, expected_mask = masks[n, layer].numpy(), expected_masks[placement.index]
            if expected_mask.any():
                overlaps.append((mask & expected_mask).sum() / (mask | expected_mask).sum())
    assert np.mean(overlaps) >= 0.99 and (novel or min(overlaps) >= 0.99)
    rng = np.random.default_rng(5)
    poses = [sample_cutout_pose(rng) for _ in records]
    sprites = [sprite(recipes[p.index]) for _, _, recipes, placements in cases for p in placements]
    expected = canvases([make_cutout(*pair) for pair in zip(sprites, poses, strict=True)], 16)
    posed = cutout_canvases(cells, records, cutout_records(list(enumerate(poses))), 16).numpy()
    assert np.abs(posed - expected.astype(int)).mean() < 2


def test_torch_styles_equal_the_filters():
    photos = [random_scene(np.random.default_rng(seed), 128).pixels for seed in range(3)]
    images = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2) / 255
    for style in STYLES:
        styled = (restyle_batch(images, style) * 255).round().permute(0, 2, 3, 1).numpy()
        assert max(np.abs(a - restyle(b, style)).mean() for a, b in zip(styled, photos, strict=True)) < 2, style


def test_samplers_share_places_and_drawers_keep_them():
    sampler, rng, drawer = SceneSampler(6), np.random.default_rng(0), SceneDrawer(torch.device("cpu"), 16)
    first = sampler(rng)
    assert len(first.new_places) == scenes.KEPT_PLACES and first.input_ids.shape == (6, scenes.CAPTIONS, 32)
    drawn = drawer.draw(first)
    assert drawn.images.shape == (6, 3, 256, 256) and drawn.images.min() >= 0 and drawn.images.max() <= 1
    assert len(drawn.canvases) == len(first.cutouts) == first.positions.shape[1]
    batches = [sampler(rng) for _ in range(12)]
    assert 0 < sum(len(batch.new_places) for batch in batches) < 12 and batches[-1].sampler == first.sampler
    for batch in batches:
        drawer.draw(batch)
    newest = next(batch for batch in reversed(batches) if len(batch.new_places))
    index = (newest.first_place + len(newest.new_places) - 1) % scenes.KEPT_PLACES
    kept = drawer.places[first.sampler][index].permute(1, 2, 0).numpy()
    assert np.array_equal(kept, newest.new_places[-1])


def test_stand_ins_appear_in_the_captions_of_their_scenes_alone():
    batch = SceneSampler(24)(np.random.default_rng(1))
    stand_ins = {tokenizer().convert_tokens_to_ids(f"{word}</w>") for word in STAND_INS}
    assert not stand_ins & set(batch.input_ids.flatten().tolist())
    positions = set(zip(*batch.positions.tolist(), strict=True))
    found = {(n, int(x) - len(tokenizer())) for n, ids in enumerate(batch.input_ids) for x in ids.ravel()}
    assert positions and {pair for pair in found if pair[1] >= 0} == positions


def test_an_empty_batch_is_an_empty_place(monkeypatch):
    monkeypatch.setattr(scenes, "EMPTY_PROB", 1)
    monkeypatch.setattr(scenes, "STYLE_PROB", 0)
    batch = SceneSampler(2)(np.random.default_rng(2))
    drawn = SceneDrawer(torch.device("cpu"), 16).draw(batch)
    assert not drawn.covered.any() and len(drawn.canvases) == 0
    place = batch.new_places[batch.places[0]]
    place = place[:, ::-1] if batch.mirrored[0] else place
    assert np.array_equal((drawn.images[0] * 255).round().permute(1, 2, 0).numpy(), place)
