"""Image codes, and what pretraining derives from them: new objects and styles."""

import numpy as np
import pytest
import torch
from PIL import Image

from breakascene.models.image_codes import ImageCodes, canvases, features, vae_scale_factor
from breakascene.paths import TOYBOX
from breakascene.toybox.pretraining import image_codes
from breakascene.toybox.pretraining.generator import STAND_INS, Pool, Words, draw_scenes, load_vae
from breakascene.toybox.pretraining.sprites import picture
from breakascene.toybox.pretraining.styles import restyle
from breakascene.toybox.pretraining.text import tokenizer
from breakascene.toybox.pretraining.world import draw_scene
from breakascene.toybox.vocabulary import HELD_OUT, STYLES, TRAINING


@pytest.fixture(scope="module")
def vae():
    return load_vae(TOYBOX)


@pytest.fixture(scope="module")
def image_codes_map():
    return ImageCodes.load(TOYBOX)


def test_similar_images_have_similar_codes(vae, image_codes_map):
    names = TRAINING[:40]
    codes = image_codes_map.codes([picture(name) for name in names], vae)
    rotated = [picture(name).rotate(4, Image.Resampling.BICUBIC, expand=True) for name in names]
    nearest = torch.cdist(image_codes_map.codes(rotated, vae), codes).argmin(1)
    assert (nearest == torch.arange(40)).float().mean() > 0.9
    assert codes.shape == (40, 256) and 0.5 < codes.std() < 1.5


def test_save_and_load(vae, tmp_path):
    values = features(canvases([picture(name) for name in TRAINING[:20]], vae_scale_factor(vae)), vae)
    fitted = ImageCodes.of(values, 12)
    fitted.save(tmp_path)
    loaded = ImageCodes.load(tmp_path)
    assert fitted.axes.shape == (values.shape[1], 12) and torch.allclose(loaded.axes, fitted.axes, atol=1e-3)
    first = fitted.codes([picture(TRAINING[0])], vae)
    assert torch.allclose(first, (values[:1] - fitted.mean) @ fitted.axes, atol=1e-4)
    assert ImageCodes.load(tmp_path / "elsewhere") is None


@pytest.mark.parametrize("size", [(1, 400), (400, 1)])
def test_one_pixel_wide_images_have_codes(vae, image_codes_map, size):
    line = image_codes_map.codes([Image.new("RGBA", size, (200, 30, 30, 255))], vae)
    assert line.shape == (1, 256) and line.isfinite().all()


def test_new_things_come_from_no_held_out_thing(monkeypatch):
    used = []
    monkeypatch.setattr(image_codes, "picture", lambda name: used.append(name) or picture(name))
    image_codes._things.cache_clear()
    rng = np.random.default_rng(0)
    made = [image_codes.variant(rng) for _ in range(40)]
    assert used and not set(used) & set(HELD_OUT)
    image_codes._things.cache_clear()
    assert all(thing.mode == "RGBA" and thing.getchannel("A").getextrema()[1] > 200 for thing in made)
    again = image_codes.variant(np.random.default_rng(3))
    assert again.tobytes() == image_codes.variant(np.random.default_rng(3)).tobytes()


def test_words_beyond_the_list_take_their_codes():
    words = Words(5, 3)
    words.fresh = torch.tensor([[1.0, 2, 3], [4, 5, 6]])
    seen = words(torch.tensor([[0, 6, 5]]))
    assert torch.equal(seen[0, 1:], words.fresh.flip(0)) and torch.equal(seen[0, 0], words.weight[0])
    seen.sum().backward()
    assert words.weight.grad[0].eq(1).all() and words.weight.grad[1:].eq(0).all()
    assert "fresh" not in words.state_dict()


def test_a_batch_names_new_things_by_their_codes(vae, image_codes_map):
    scenes = draw_scenes(np.random.default_rng(1), 40, vae_scale_factor(vae))
    pool, known = Pool(vae, image_codes_map), len(tokenizer())
    pool.add(scenes)
    latents, shares, ids, codes = pool.draw(12)
    assert latents.shape == (12, 8, 16, 16) and shares.shape == (12, 1, 16, 16) and ids.shape == (12, 32)
    assert codes.shape == (12 * len(STAND_INS), 256) and not codes.requires_grad
    stand_ins = {tokenizer().convert_tokens_to_ids(f"{word}</w>") for word in STAND_INS}
    assert not stand_ins & set(ids.flatten().tolist())
    new = [(row, int(x) - known) for row, line in enumerate(ids) for x in line if x >= known]
    assert new and all(code // len(STAND_INS) == row for row, code in new)  # each of its own scene
    looks_of = image_codes_map.read(scenes.looks, vae)
    assert all((codes[code] - looks_of).norm(dim=1).min() < 1e-2 for _, code in new)


def test_the_pool_forgets_its_oldest(vae, image_codes_map, monkeypatch):
    monkeypatch.setattr("breakascene.toybox.pretraining.generator.POOL", 10)
    first, second = (draw_scenes(np.random.default_rng(seed), 6, vae_scale_factor(vae)) for seed in (1, 2))
    pool = Pool(vae, image_codes_map)
    pool.add(first)
    before = pool.latents.clone()
    pool.add(second)
    assert pool.count == 12 and len(pool.latents) == 10
    assert [bool(torch.equal(a, b)) for a, b in zip(before, pool.latents, strict=True)][:6] == [False] * 2 + [True] * 4


@pytest.mark.parametrize("style", STYLES)
def test_styles_keep_the_picture_and_change_its_manner(style):
    photo = draw_scene(np.random.default_rng(2), 128, ("apple", "whale"), "on the grass").pixels
    styled = restyle(photo, style)
    assert styled.shape == photo.shape and styled.dtype == np.uint8
    grey, before = styled.mean(2).ravel(), photo.mean(2).ravel()
    assert np.corrcoef(grey, before)[0, 1] > 0.3  # what was dark stays dark
    assert np.abs(styled.astype(int) - photo).mean() > 8
    if style == "a black and white photo":
        assert np.ptp(styled.astype(int), axis=2).max() == 0
