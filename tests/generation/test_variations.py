"""Variations of a photo: image-to-image with a strength, its view at each size, and the prompts."""

import numpy as np
import pytest
from PIL import Image

from breakascene.data.scene import make_scene
from breakascene.errors import UserError
from breakascene.generation.generate import generate, image_shapes
from breakascene.generation.variations import background_prompt, fitted, scene_view, start_from, variation_prompt


def pixels(image) -> np.ndarray:
    return np.asarray(image, dtype=int)


@pytest.mark.parametrize("name", ["tiny_base", "sdxl_base"])
def test_the_strength_decides_how_much_of_the_image_stays(request, name, scene):
    base = request.getfixturevalue(name)
    options = {"num_inference_steps": 8, "count": 2, "seed": 1}

    def image(strength):
        start = start_from(base, scene.photo, strength=strength)
        first, second = (pixels(one.image) for one in generate(base, None, ["a dog"], start=start, **options))
        assert (first != second).any()
        return first

    latents = start_from(base, scene.photo).latents
    kept = base.vae.decode(latents / base.vae.config.scaling_factor).sample[0].detach()  # (3, H, W)
    kept = (kept.clamp(-1, 1) * 127.5 + 127.5).permute(1, 2, 0).numpy()
    low, middle, high = (abs(image(strength) - kept).mean() for strength in (0.05, 0.5, 1))
    assert low < middle < high
    if name == "tiny_base":  # its last timestep is pure noise
        plain = pixels(next(generate(base, None, ["a dog"], **options)).image)
        assert abs(image(1) - plain).max() <= 1


def test_the_view_of_a_scene(tiny_base, scene):
    square, wide, tall = (scene_view(scene, size) for size in image_shapes(tiny_base).values())
    assert (pixels(square) == scene.square_crop(128).pixels).all()
    assert (wide.size, tall.size) == ((160, 96), (96, 160))
    mask = np.zeros((100, 400), bool)
    mask[40:60, 330:350] = True
    photo = np.zeros((100, 400, 3), np.uint8)
    photo[mask] = 255
    view = scene_view(make_scene(Image.fromarray(photo), [mask], ["cup"]), (96, 160))
    assert pixels(view).max() == 255  # the object is in view
    assert fitted(Image.new("L", (10, 40)), (20, 20)).mode == "RGB"


def test_the_prompts_of_variations_and_of_the_background(scene):
    assert variation_prompt(scene.handles, scene) == "a photo of <asset0> and <asset1> at <background>"
    mirrored = make_scene(scene.photo, [scene.concepts[1].mask, scene.concepts[0].mask])
    assert variation_prompt(mirrored.handles, mirrored) == "a photo of <asset1> and <asset0>"  # from left to right
    masks = [np.arange(400).reshape(20, 20) == i for i in range(12)]
    many = make_scene(Image.new("RGB", (20, 20)), masks)
    assert variation_prompt(many.handles, many).count("<asset") == 8
    assert background_prompt(scene.handles) == "a photo of <background>"
    with pytest.raises(UserError, match="extract the photo with its background"):
        background_prompt(mirrored.handles)


@pytest.mark.parametrize("strength", [0, -1, 1.1, float("nan")])
def test_a_strength_out_of_range(strength, scene, tiny_base):
    with pytest.raises(UserError, match="choose a number above 0"):
        start_from(tiny_base, scene.photo, strength=strength)
