"""Training data of the generator: novel objects, their codes in captions, the pool of scenes, styles, the export."""

import json

import numpy as np
import pytest
import torch

from breakascene.models.image_codes import ImageCodes
from breakascene.models.loading import load_base
from breakascene.paths import TOYBOX
from breakascene.toybox.pretraining import autoencoder, generator, image_codes, scenes
from breakascene.toybox.pretraining.generator import ExtendedEmbedding, Pool
from breakascene.toybox.pretraining.scenes import STAND_INS, SceneSampler
from breakascene.toybox.pretraining.sprites import load_sprite
from breakascene.toybox.pretraining.styles import restyle
from breakascene.toybox.pretraining.text import tokenizer
from breakascene.toybox.pretraining.world import render_scene
from breakascene.toybox.vocabulary import HELD_OUT, STYLES


@pytest.fixture(autouse=True)
def few_places(monkeypatch):
    monkeypatch.setattr(scenes, "KEPT_PLACES", 5)


@pytest.fixture(scope="module")
def vae():
    return autoencoder.load_vae(TOYBOX)


@pytest.fixture(scope="module")
def toybox_codes():
    return ImageCodes.load(TOYBOX)


def test_novel_objects_never_use_held_out_sprites(monkeypatch):
    used = []
    monkeypatch.setattr(image_codes, "load_sprite", lambda name: used.append(name) or load_sprite(name))
    image_codes.source_sprites.cache_clear()
    rng = np.random.default_rng(0)
    sprites = [image_codes.novel_object(rng) for _ in range(40)]
    assert used and not set(used) & set(HELD_OUT)
    image_codes.source_sprites.cache_clear()
    assert all(sprite.mode == "RGBA" and sprite.getchannel("A").getextrema()[1] > 200 for sprite in sprites)
    first, second = (image_codes.novel_object(np.random.default_rng(3)) for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_ids_after_the_vocabulary_select_extra_embeddings():
    embedding = ExtendedEmbedding(5, 3)
    embedding.extra_embeddings = torch.tensor([[1.0, 2, 3], [4, 5, 6]])
    output = embedding(torch.tensor([[0, 6, 5]]))
    assert torch.equal(output[0, 1:], embedding.extra_embeddings.flip(0))
    assert torch.equal(output[0, 0], embedding.weight[0])
    output.sum().backward()
    assert embedding.weight.grad[0].eq(1).all() and embedding.weight.grad[1:].eq(0).all()
    assert "extra_embeddings" not in embedding.state_dict()


def test_captions_of_a_batch_name_novel_objects_by_their_codes(vae, toybox_codes):
    batch = SceneSampler(24)(np.random.default_rng(1))
    pool, vocabulary_size = Pool(vae, toybox_codes), len(tokenizer())
    pool.add(batch)
    latents, coverage, ids, codes = pool.sample(12)
    assert latents.shape == (12, 8, 16, 16) and coverage.shape == (12, 1, 16, 16) and ids.shape == (12, 32)
    assert codes.shape == (12 * len(STAND_INS), 256) and not codes.requires_grad
    stand_ins = {tokenizer().convert_tokens_to_ids(f"{word}</w>") for word in STAND_INS}
    assert not stand_ins & set(ids.flatten().tolist())
    novel = [(row, int(x) - vocabulary_size) for row, line in enumerate(ids) for x in line if x >= vocabulary_size]
    assert novel and all(code // len(STAND_INS) == row for row, code in novel)  # each of its own scene
    codes_of_scenes = toybox_codes.encode_canvases(pool.drawer.draw(batch).canvases, vae)
    assert all((codes[code] - codes_of_scenes).norm(dim=1).min() < 1e-2 for _, code in novel)


def test_the_pool_replaces_its_oldest_scenes(vae, toybox_codes, monkeypatch):
    monkeypatch.setattr(generator, "POOL", 10)
    sampler, rng = SceneSampler(6), np.random.default_rng(1)
    first, second = sampler(rng), sampler(rng)
    pool = Pool(vae, toybox_codes)
    pool.add(first)
    before = pool.latents.clone()
    pool.add(second)
    assert pool.count == 12 and len(pool.latents) == 10
    assert [bool(torch.equal(a, b)) for a, b in zip(before, pool.latents, strict=True)][:6] == [False] * 2 + [True] * 4


def test_the_exported_generator_declares_its_family(tmp_path):
    autoencoder.export(autoencoder.build(), tmp_path)
    generator.export(generator.Generator(), tmp_path)
    exported, committed = (json.loads((folder / "model_index.json").read_text()) for folder in (tmp_path, TOYBOX))
    assert exported == committed and exported["_family"] == "toybox"
    assert load_base(tmp_path).family == "toybox"


@pytest.mark.parametrize("style", STYLES)
def test_styles_keep_the_content(style):
    photo = render_scene(np.random.default_rng(2), 128, ("apple", "whale"), "on the grass").pixels
    styled = restyle(photo, style)
    assert styled.shape == photo.shape and styled.dtype == np.uint8
    assert np.corrcoef(styled.mean(2).ravel(), photo.mean(2).ravel())[0, 1] > 0.3  # what was dark stays dark
    assert np.abs(styled.astype(int) - photo).mean() > 8
    if style == "a black and white photo":
        assert np.ptp(styled.astype(int), axis=2).max() == 0
