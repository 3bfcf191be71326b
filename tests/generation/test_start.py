import numpy as np
import pytest
import torch
from diffusers import StableDiffusionImg2ImgPipeline
from PIL import Image

from breakascene.data.scene import make_scene
from breakascene.errors import UserError
from breakascene.generation.generate import generate, image_shapes
from breakascene.generation.start import Start, background_prompt, fitted, scene_view, variation_prompt


def pixels(image) -> np.ndarray:
    return np.asarray(image, dtype=int)


@pytest.mark.parametrize("name", ["sd_base", "sd2_base"])
@pytest.mark.parametrize("strength", [0.3, 0.8])
def test_the_result_is_that_of_diffusers_image_to_image(request, name, strength, scene):
    base = request.getfixturevalue(name)
    size = image_shapes(base)["wide"]
    start, options = Start(scene.photo, strength), {"num_inference_steps": 6, "guidance_scale": 2.0}
    (ours,) = generate(base, None, ["a dog"], seed=3, size=size, start=start, **options)
    pipeline = StableDiffusionImg2ImgPipeline(
        **base.pipeline().components | {"safety_checker": None}, requires_safety_checker=False
    )
    theirs = pipeline(
        "a dog",
        image=start.encode(base, size),
        strength=strength,
        generator=torch.Generator().manual_seed(3),
        **options,
    )
    assert abs(pixels(ours.image) - pixels(theirs.images[0])).max() <= 1
    assert ours.metadata["start"]["strength"] == strength


@pytest.mark.parametrize("name", ["tiny_base", "sdxl_base"])
def test_the_strength_decides_how_much_of_the_image_stays(request, name, scene):
    base = request.getfixturevalue(name)
    options = {"num_inference_steps": 8, "count": 2, "seed": 1}

    def images(strength):
        found = [
            pixels(one.image) for one in generate(base, None, ["a dog"], start=Start(scene.photo, strength), **options)
        ]
        assert (found[0] != found[1]).any()
        return found[0]

    plain = pixels(next(generate(base, None, ["a dog"], **options)).image)
    unchanged = base.vae.decode(
        Start(scene.photo).encode(base, (base.image_size,) * 2) / base.vae.config.scaling_factor
    )
    kept = (unchanged.sample[0].detach().clamp(-1, 1) * 127.5 + 127.5).permute(1, 2, 0).numpy()
    low, middle, high = (abs(images(strength) - kept).mean() for strength in (0.05, 0.5, 1))
    assert low < middle < high
    if name == "tiny_base":  # its last timestep is pure noise
        assert abs(images(1) - plain).max() <= 1


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
    masks = [np.roll(np.eye(20, dtype=bool)[:, :1] & np.ones((20, 20), bool), i, 0) for i in range(12)]
    many = make_scene(Image.new("RGB", (20, 20)), masks)
    assert variation_prompt(many.handles, many).count("<asset") == 8
    assert background_prompt(scene.handles) == "a photo of <background>"
    with pytest.raises(UserError, match="extract the photo with its background"):
        background_prompt(mirrored.handles)


@pytest.mark.parametrize("strength", [0, -1, 1.1, float("nan")])
def test_a_strength_out_of_range(strength, scene):
    with pytest.raises(UserError, match="choose a number above 0"):
        Start(scene.photo, strength)
