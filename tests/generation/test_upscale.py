"""Upscaling in tiles: it keeps the image, adds details, shows no seams, and gives the same result again."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from breakascene.errors import UserError
from breakascene.generation.generate import GeneratedImage, generate
from breakascene.generation.upscale import Tiles, upscale
from breakascene.models.loading import load_base


def pixels(image) -> np.ndarray:
    return np.asarray(image, dtype=int)


def first(base, **options) -> GeneratedImage:
    return next(generate(base, None, ["a dog"], num_inference_steps=4, **options))


@pytest.mark.parametrize("name", ["tiny_base", "sd_base", "sd2_base", "sdxl_base"])
def test_an_image_is_doubled(name, request):
    base = request.getfixturevalue(name)
    wide = tuple(base.image_size * n // 4 for n in (5, 3))
    image = first(base, size=wide)
    upscaled = upscale(base, None, image, strength=0.5, num_inference_steps=4)
    again = upscale(base, None, image, strength=0.5, num_inference_steps=4, batch_size=1)
    assert upscaled.image.size == (2 * wide[0], 2 * wide[1])
    assert abs(pixels(upscaled.image) - pixels(again.image)).max() <= 1  # however many tiles at once
    added = {"width": 2 * wide[0], "height": 2 * wide[1]}
    added["upscale"] = {"factor": 2, "strength": 0.5, "num_inference_steps": 4}
    assert upscaled.metadata == {**image.metadata, **added}
    other = replace(image, metadata={**image.metadata, "seed": 9})
    other = upscale(base, None, other, strength=0.5, num_inference_steps=4)
    assert abs(pixels(other.image) - pixels(upscaled.image)).max() > 1
    plain = image.image.resize(upscaled.image.size, Image.Resampling.LANCZOS)
    off = cv2.GaussianBlur((pixels(upscaled.image) - pixels(plain)).astype(np.float32), (0, 0), 24)
    assert abs(off).mean() < 4  # colors and coarse shapes stay
    simple = upscale(base, None, image, strength=0)
    assert abs(pixels(simple.image) - pixels(plain)).max() > 1 and simple.metadata["upscale"]["strength"] == 0


def test_images_of_the_toybox_get_sharper_and_keep_the_rest():
    base = load_base("toybox")
    image = next(generate(base, None, ["a photo of a fox at the beach"], num_inference_steps=10))
    upscaled = upscale(base, None, image)
    assert upscaled.metadata["upscale"]["strength"] == 0
    assert abs(pixels(upscaled.image.reduce(2)) - pixels(image.image)).mean() < 3
    plain = image.image.resize(upscaled.image.size, Image.Resampling.LANCZOS)
    sharpness = [(np.diff(pixels(one.convert("L"))) ** 2).mean() for one in (plain, upscaled.image)]
    assert sharpness[1] > 1.05 * sharpness[0]


def test_what_is_upscaled_once_can_be_upscaled_again(tiny_base):
    twice = first(tiny_base, size=(64, 128))
    for factor in (2, 4):
        twice = upscale(tiny_base, None, twice, num_inference_steps=2)
        assert twice.metadata["upscale"]["factor"] == factor
    assert twice.image.size == (256, 512)
    with pytest.raises(UserError, match="256 × 512 pixels, and .* sides from 64 to 320: choose another one"):
        upscale(tiny_base, None, twice)


@pytest.mark.parametrize("size", [(256, 256), (131, 167), (128, 128), (640, 290)])
def test_tiles_without_a_change_give_the_image(size, tiny_base):
    image = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    tiles = Tiles.covering(size, tiny_base)
    cut = tiles.cut(image)
    assert cut.shape[1:] == (128, 128, 3)
    assert (tiles.blend(cut) == image).all()
    noise = tiles.noise(3, 4)
    assert noise.shape == (len(cut), 4, 16, 16)
    field = torch.full((4, 200, 200), torch.nan)
    for (x, y), tile in zip(tiles.corners, noise, strict=True):  # neighbors have the same noise
        part = field[:, y // 8 : y // 8 + 16, x // 8 : x // 8 + 16]
        assert (part.isnan() | (part == tile)).all()
        part[:] = tile
    inner = [x for x, _ in tiles.corners if x] and sorted({x for x, _ in tiles.corners})
    assert all(128 - (right - left) >= 28 for left, right in zip(inner, inner[1:], strict=False))  # overlap


def test_a_transparent_image_and_a_strength_out_of_range(tiny_base):
    image = first(tiny_base)
    with pytest.raises(UserError, match="transparent parts: upscale the image that they were cut from"):
        upscale(tiny_base, None, replace(image, image=image.image.convert("RGBA")))
    for strength in (-0.1, 1.5, float("nan")):
        with pytest.raises(UserError, match=f"The strength {strength} cannot be used"):
            upscale(tiny_base, None, image, strength=strength)
    for size in ((1, 1), (63, 200), (5000, 100)):
        with pytest.raises(UserError, match=f"The image is {size[0]} × {size[1]} pixels"):
            upscale(tiny_base, None, replace(image, image=Image.new("RGB", size)))


def test_an_image_with_a_lora_is_refused_without_it(tiny_base):
    image = first(tiny_base)
    image = replace(image, metadata={**image.metadata, "loras": {"style": 0.8}})
    with pytest.raises(UserError, match="generated with a LoRA"):
        upscale(tiny_base, None, image, strength=0.5)
