"""The toybox: its scenes, its vocabulary, pretraining from scratch, and the quality of the embedded weights."""

import json
import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from breakascene.models.loading import load_base
from breakascene.paths import TOYBOX
from breakascene.segmentation.segmenter import Segmenter
from breakascene.toybox import judge
from breakascene.toybox.pretraining import (
    autoencoder,
    clicks,
    generator,
    image_codes,
    join_shards,
    scenes,
    segmenter,
    trainer,
)
from breakascene.toybox.pretraining.__main__ import COMPONENTS, pretrain
from breakascene.toybox.pretraining.places import render_place
from breakascene.toybox.pretraining.report import judge_accuracy
from breakascene.toybox.pretraining.sprites import load_sprite
from breakascene.toybox.pretraining.text import MAX_LENGTH, tokenize, tokenizer
from breakascene.toybox.pretraining.world import random_caption, random_scene, render_scene
from breakascene.toybox.vocabulary import ALL_NAMES, ALL_PLACES, HELD_OUT, TRAINING, caption, join, toy_objects


def test_sixty_objects_are_held_out():
    assert len(TRAINING) >= 250 and len(HELD_OUT) == 60
    assert len(set(ALL_NAMES)) == len(toy_objects())
    assert not set(TRAINING) & set(HELD_OUT)


@pytest.mark.parametrize("place", ALL_PLACES)
def test_every_place_is_rendered_at_any_size(place):
    for size in (64, 100):
        pixels, ground, light = render_place(np.random.default_rng(0), size, place)
        assert pixels.shape == (size, size, 3) and pixels.min() >= 0 and pixels.max() <= 1
        assert 0 < ground < 1 and light.shape == (3,)


def test_the_same_seed_renders_the_same_scene():
    first, second = (random_scene(np.random.default_rng(3), 128) for _ in range(2))
    assert np.array_equal(first.pixels, second.pixels) and first.names == second.names


def test_masks_cover_exactly_the_pixels_of_objects():
    names = ("fox", "mushroom")
    scene = render_scene(np.random.default_rng(5), 128, names, "on a white background")
    ground = render_place(np.random.default_rng(5), 128, "on a white background")[0]
    # Apart from shadows, which only darken gray, color appears inside the masks alone.
    color = np.ptp(scene.pixels.astype(int), axis=2) - np.ptp((ground * 255).astype(int), axis=2)
    assert scene.masks.shape == (2, 128, 128) and not (scene.masks[0] & scene.masks[1]).any()
    near = np.asarray(Image.fromarray(scene.masks.any(0)).resize((128, 128)))
    grown = np.pad(near, 2)
    grown = np.any([grown[2 + dy : 130 + dy, 2 + dx : 130 + dx] for dy in (-2, 0, 2) for dx in (-2, 0, 2)], axis=0)
    assert (color[scene.masks.any(0)] > 20).mean() > 0.7
    assert (color[~grown] < 12).all()


def test_training_scenes_never_contain_held_out_objects():
    rng = np.random.default_rng(0)
    names = {name for _ in range(60) for name in random_scene(rng, 32).names}
    assert names and not names & set(HELD_OUT)


def test_captions():
    assert caption(("fox", "mushroom"), "at the beach") == "a photo of a fox and a mushroom at the beach"
    assert caption(("apple",)) == "a photo of an apple"
    assert caption(("grapes",), "in the snow") == "a photo of grapes in the snow"
    assert join(["a", "b", "c"]) == "a, b and c" and join(["a"]) == "a"
    rng = np.random.default_rng(0)
    for _ in range(20):
        text = random_caption(rng, ("fox", "owl"), "at the beach")
        assert "fox" in text and "owl" in text and text.endswith("at the beach")


def test_names_have_one_token_a_word_and_captions_fit():
    toybox_tokenizer = tokenizer()
    for name in ALL_NAMES:
        assert len(toybox_tokenizer.tokenize(name)) == len(name.replace("-", " - ").split())
    longest = sorted(ALL_NAMES, key=len)[-3:]
    text = caption(longest, max(ALL_PLACES, key=len))
    assert len(toybox_tokenizer(text).input_ids) <= MAX_LENGTH
    assert tokenize(["a fox"]).shape == (1, MAX_LENGTH)


def test_an_untrained_vae_blurs():
    assert autoencoder.psnr(autoencoder.build(), count=5) > 18


def test_regions_for_the_judge_are_square_on_black():
    pixels = np.full((40, 60, 3), 200, np.uint8)
    mask = np.zeros((40, 60), bool)
    mask[10:20, 10:40] = True
    region = judge.crop_region(pixels, mask)
    assert region.shape == (64, 64, 3) and (region[0] < 20).all() and (region[32, 16:48] > 150).all()


def test_the_innermost_point_of_a_disc_is_its_center():
    yy, xx = np.mgrid[:50, :50]
    x, y = clicks.innermost_point((yy - 20) ** 2 + (xx - 30) ** 2 < 100)
    assert abs(x - 30) <= 1 and abs(y - 20) <= 1


@pytest.fixture(scope="module")
def few_scaling_scenes():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(autoencoder, "SCALING_SCENES", 4)
        yield


@pytest.fixture(scope="module")
def untrained_vae(few_scaling_scenes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("untrained")
    autoencoder.export(autoencoder.build(), folder)
    return folder


@pytest.mark.parametrize("component", COMPONENTS)
def test_each_component_trains_from_scratch_and_resumes(component, untrained_vae, tmp_path, monkeypatch):
    monkeypatch.setattr(generator, "BATCH", 8)
    monkeypatch.setattr(generator, "FIRST_SCENES", 16)
    monkeypatch.setattr(generator, "POOL", 100)
    monkeypatch.setattr(scenes, "KEPT_PLACES", 4)
    monkeypatch.setattr(image_codes, "NOVEL_OBJECTS", 100)
    monkeypatch.setattr(generator, "TRAINING", TRAINING[:40])
    monkeypatch.setattr(autoencoder, "BATCH", 2)
    monkeypatch.setattr(segmenter, "BATCH", 4)
    monkeypatch.setattr(segmenter, "POOL", 16)
    monkeypatch.setattr(segmenter, "FIRST_SCENES", 8)
    if component != "vae":
        shutil.copytree(untrained_vae, tmp_path, dirs_exist_ok=True)
    if component == "decoder":
        generator.export(generator.Generator(), tmp_path)
    for _ in range(2):
        pretrain(component, minutes=0.001, out=tmp_path, states=tmp_path / "states")
    state = torch.load(tmp_path / "states" / f"{component}.pt", weights_only=True)
    assert state["step"] >= 2
    pretrain(component, minutes=0.001, out=tmp_path, states=tmp_path / "other", from_exported=True)
    restarted = torch.load(tmp_path / "other" / f"{component}.pt", weights_only=True)
    assert restarted["step"] >= 1
    name = next(name for name, value in state["mean"].items() if value.numel() > 1000)
    assert torch.allclose(restarted["model"][name], state["mean"][name], atol=0.02)
    if component == "generator":
        pretrain(component, 0.001, tmp_path, tmp_path / "none", from_exported=True, shards=tmp_path / "shards")
        files = list((tmp_path / "shards").iterdir())
        assert not (tmp_path / "none").exists() and max(file.stat().st_size for file in files) < 16 * 2**20
        join_shards.join(tmp_path / "shards", out=tmp_path)
        base = load_base(tmp_path)
        assert base.image_size == 256 and base.prediction_type == "v_prediction" and base.attention_size == 16
    if component == "segmenter":
        assert json.loads((tmp_path / "segmenter" / "config.json").read_text()) == segmenter.CONFIG
        pretrain(component, 0.001, tmp_path, tmp_path / "none", from_exported=True, shards=tmp_path / "shards")
        trained = segmenter.load_exported(tmp_path)
        join_shards.join(tmp_path / "shards", join_shards.JoinedComponent.SEGMENTER, tmp_path)
        joined = segmenter.load_exported(tmp_path)
        buffer = next(name for name in joined if name.endswith("gaussian_matrix"))
        assert torch.equal(joined[buffer], trained[buffer])
        assert any(not torch.equal(joined[name], trained[name]) for name in joined if not name.startswith("outlines"))
        Segmenter.load(str(tmp_path / "segmenter"))


def test_workers_prefetch_batches_where_there_is_a_gpu(monkeypatch):
    def sample(rng):
        return os.getpid(), rng.random()

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    prefetched = trainer.prefetch(sample)
    batches = [prefetched(None) for _ in range(5)]
    assert os.getpid() not in {process for process, _ in batches} and len(set(batches)) == 5
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert trainer.prefetch(sample) is sample


def test_the_embedded_weights_are_small():
    total = sum(file.stat().st_size for file in TOYBOX.rglob("*") if file.is_file())
    assert total < 60 * 2**20


def test_the_embedded_vae_segmenter_and_judge():
    """Lower bounds of the report's metrics, on fewer scenes."""
    assert autoencoder.psnr(load_base("toybox").vae, count=12) > 28
    assert judge_accuracy(judge.load_judge(), count=100) > 0.9
    assert clicks.clicked_iou(Segmenter.load("toybox"), 1, count=25) > 0.7


def test_sprites_are_cropped_to_their_visible_part():
    fox = load_sprite("fox")
    assert fox.mode == "RGBA" and fox.getbbox() == (0, 0, *fox.size)
