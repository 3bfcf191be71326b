"""Image codes of sprites."""

import pytest
import torch
from PIL import Image

from breakascene.models.image_codes import FILE, OLD_FILE, ImageCodes, canvases, features, vae_scale_factor
from breakascene.paths import TOYBOX
from breakascene.toybox.pretraining.autoencoder import load_vae
from breakascene.toybox.pretraining.sprites import load_sprite
from breakascene.toybox.vocabulary import TRAINING


@pytest.fixture(scope="module")
def vae():
    return load_vae(TOYBOX)


@pytest.fixture(scope="module")
def image_codes_map():
    return ImageCodes.load(TOYBOX)


def test_similar_images_have_similar_codes(vae, image_codes_map):
    names = TRAINING[:40]
    codes = image_codes_map.encode([load_sprite(name) for name in names], vae)
    rotated = [load_sprite(name).rotate(4, Image.Resampling.BICUBIC, expand=True) for name in names]
    nearest = torch.cdist(image_codes_map.encode(rotated, vae), codes).argmin(1)
    assert (nearest == torch.arange(40)).float().mean() > 0.9
    assert codes.shape == (40, 256) and 0.5 < codes.std() < 1.5


def test_save_and_load(vae, tmp_path):
    values = features(canvases([load_sprite(name) for name in TRAINING[:20]], vae_scale_factor(vae)), vae)
    fitted = ImageCodes.fit(values, 12)
    fitted.save(tmp_path)
    loaded = ImageCodes.load(tmp_path)
    assert fitted.axes.shape == (values.shape[1], 12) and torch.allclose(loaded.axes, fitted.axes, atol=1e-3)
    first = fitted.encode([load_sprite(TRAINING[0])], vae)
    assert torch.allclose(first, (values[:1] - fitted.mean) @ fitted.axes, atol=1e-4)
    (tmp_path / FILE).rename(tmp_path / OLD_FILE)
    assert torch.equal(ImageCodes.load(tmp_path).axes, loaded.axes)
    assert ImageCodes.load(tmp_path / "missing") is None


@pytest.mark.parametrize("size", [(1, 400), (400, 1)])
def test_one_pixel_wide_images_have_codes(vae, image_codes_map, size):
    line = image_codes_map.encode([Image.new("RGBA", size, (200, 30, 30, 255))], vae)
    assert line.shape == (1, 256) and line.isfinite().all()
