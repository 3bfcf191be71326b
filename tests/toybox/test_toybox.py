"""The toybox: its world, its words, that each part can be pretrained from zero, and what the shipped weights can do."""

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
from breakascene.toybox.pretraining import autoencoder, generator, image_codes, segmenter, trainer
from breakascene.toybox.pretraining.__main__ import ROOMS, pretrain
from breakascene.toybox.pretraining.places import draw_place
from breakascene.toybox.pretraining.report import judge_accuracy
from breakascene.toybox.pretraining.sprites import picture
from breakascene.toybox.pretraining.text import LENGTH, encode, tokenizer
from breakascene.toybox.pretraining.world import draw_scene, random_scene, varied_caption
from breakascene.toybox.vocabulary import EVERYTHING, EVERYWHERE, HELD_OUT, TRAINING, caption, join, things


def test_the_list_holds_enough_things_and_keeps_sixty_out():
    assert len(TRAINING) >= 250 and len(HELD_OUT) == 60
    assert len(set(EVERYTHING)) == len(things())
    assert not set(TRAINING) & set(HELD_OUT)


@pytest.mark.parametrize("place", EVERYWHERE)
def test_every_place_is_drawn_at_any_size(place):
    for size in (64, 100):
        pixels, ground, light = draw_place(np.random.default_rng(0), size, place)
        assert pixels.shape == (size, size, 3) and pixels.min() >= 0 and pixels.max() <= 1
        assert 0 < ground < 1 and light.shape == (3,)


def test_the_same_seed_draws_the_same_scene():
    first, second = (random_scene(np.random.default_rng(3), 128) for _ in range(2))
    assert np.array_equal(first.pixels, second.pixels) and first.names == second.names


def test_masks_show_exactly_where_things_changed_the_picture():
    names = ("fox", "mushroom")
    drawn = draw_scene(np.random.default_rng(5), 128, names, "on a white background")
    ground = draw_place(np.random.default_rng(5), 128, "on a white background")[0]
    # Apart from shadows (which only darken grey) colour appears inside the masks alone.
    colour = np.ptp(drawn.pixels.astype(int), axis=2) - np.ptp((ground * 255).astype(int), axis=2)
    assert drawn.masks.shape == (2, 128, 128) and not (drawn.masks[0] & drawn.masks[1]).any()
    near = np.asarray(Image.fromarray(drawn.masks.any(0)).resize((128, 128)))
    grown = np.pad(near, 2)
    grown = np.any([grown[2 + dy : 130 + dy, 2 + dx : 130 + dx] for dy in (-2, 0, 2) for dx in (-2, 0, 2)], axis=0)
    assert (colour[drawn.masks.any(0)] > 20).mean() > 0.7
    assert (colour[~grown] < 12).all()


def test_scenes_for_training_never_show_a_held_out_thing():
    rng = np.random.default_rng(0)
    shown = {name for _ in range(60) for name in random_scene(rng, 32).names}
    assert shown and not shown & set(HELD_OUT)


def test_captions():
    assert caption(("fox", "mushroom"), "at the beach") == "a photo of a fox and a mushroom at the beach"
    assert caption(("apple",)) == "a photo of an apple"
    assert caption(("grapes",), "in the snow") == "a photo of grapes in the snow"
    assert join(["a", "b", "c"]) == "a, b and c" and join(["a"]) == "a"
    rng = np.random.default_rng(0)
    for _ in range(20):
        said = varied_caption(rng, ("fox", "owl"), "at the beach")
        assert "fox" in said and "owl" in said and said.endswith("at the beach")


def test_every_name_is_made_of_whole_words_and_captions_fit():
    words = tokenizer()
    for name in EVERYTHING:
        assert len(words.tokenize(name)) == len(name.replace("-", " - ").split())
    longest = sorted(EVERYTHING, key=len)[-3:]
    said = caption(longest, max(EVERYWHERE, key=len))
    assert len(words(said).input_ids) <= LENGTH
    assert encode(["a fox"]).shape == (1, LENGTH)


def test_a_vae_begins_as_a_blur_and_not_as_noise():
    assert autoencoder.psnr(autoencoder.build(), count=5) > 18


def test_the_judge_cuts_a_region_square_with_other_pixels_black():
    pixels = np.full((40, 60, 3), 200, np.uint8)
    mask = np.zeros((40, 60), bool)
    mask[10:20, 10:40] = True
    cut = judge.region(pixels, mask)
    assert cut.shape == (64, 64, 3) and (cut[0] < 20).all() and (cut[32, 16:48] > 150).all()


def test_innermost_is_the_middle_of_a_disc():
    yy, xx = np.mgrid[:50, :50]
    x, y = segmenter._innermost((yy - 20) ** 2 + (xx - 30) ** 2 < 100)
    assert abs(x - 30) <= 1 and abs(y - 20) <= 1


@pytest.fixture(scope="module")
def untrained_vae(tmp_path_factory):
    folder = tmp_path_factory.mktemp("untrained")
    autoencoder.export(autoencoder.build(), folder)
    return folder


@pytest.mark.parametrize("part", ROOMS)
def test_each_part_is_pretrained_from_zero_and_goes_on(part, untrained_vae, tmp_path, monkeypatch):
    monkeypatch.setattr(generator, "BATCH", 8)  # the first step draws four batches of scenes
    monkeypatch.setattr(generator, "POOL", 100)
    monkeypatch.setattr(image_codes, "VARIANTS", 100)
    monkeypatch.setattr(generator, "TRAINING", TRAINING[:40])
    monkeypatch.setattr(autoencoder, "BATCH", 4)
    if part != "vae":
        shutil.copytree(untrained_vae, tmp_path, dirs_exist_ok=True)
    if part == "decoder":
        generator.export(generator.Generator(), tmp_path)
    for _ in range(2):
        pretrain(part, minutes=0.001, out=tmp_path, states=tmp_path / "states")
    state = torch.load(tmp_path / "states" / f"{part}.pt", weights_only=True)
    assert state["step"] >= 2
    pretrain(part, minutes=0.001, out=tmp_path, states=tmp_path / "elsewhere", from_shipped=True)
    fresh = torch.load(tmp_path / "elsewhere" / f"{part}.pt", weights_only=True)
    assert fresh["step"] >= 1
    name = next(name for name, value in state["mean"].items() if value.numel() > 1000)
    assert torch.allclose(fresh["model"][name], state["mean"][name], atol=0.02)
    if part == "generator":
        base = load_base(tmp_path)
        assert base.image_size == 256 and base.prediction_type == "v_prediction" and base.attention_size == 16
    if part == "segmenter":
        assert json.loads((tmp_path / "segmenter" / "config.json").read_text()) == segmenter.CONFIG


def test_beside_a_gpu_processes_draw_ahead(monkeypatch):
    def draw(rng):
        return os.getpid(), rng.random()

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    fresh = trainer.drawing(draw)
    seen = [fresh(None) for _ in range(5)]
    assert os.getpid() not in {process for process, _ in seen} and len(set(seen)) == 5
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert trainer.drawing(draw) is draw


def test_the_shipped_weights_are_small():
    total = sum(file.stat().st_size for file in TOYBOX.rglob("*") if file.is_file())
    assert total < 60 * 2**20


def test_the_shipped_vae_segmenter_and_judge_do_their_work():
    """The bars of the report, on fewer scenes and with a little room for chance."""
    assert autoencoder.psnr(load_base("toybox").vae, count=12) > 28
    assert judge_accuracy(judge.load_judge(), count=100) > 0.9
    assert segmenter.clicked_iou(Segmenter.load("toybox"), clicks=1, count=25) > 0.7


def test_a_sprite_is_cut_to_what_shows():
    fox = picture("fox")
    assert fox.mode == "RGBA" and fox.getbbox() == (0, 0, *fox.size)
