"""Formats of generated images: crops with the objects in the frame, and cut-outs."""

import numpy as np
import pytest
from PIL import Image

from breakascene.data.scene import load_scene
from breakascene.errors import UserError
from breakascene.generation.formats import FORMATS, NAMES, find_objects, in_format, save_formats
from breakascene.paths import SAMPLES
from breakascene.segmentation.segmenter import Segmenter


def picture(box, size=(256, 256)):
    """A photo with a red object in a box, and its mask."""
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    mask = (x >= box[0]) & (x < box[2]) & (y >= box[1]) & (y < box[3])
    pixels = np.stack([0 * x, 60 + x // 4, 60 + y // 4], -1).astype(np.uint8)
    pixels[mask] = (255, 0, 0)
    return Image.fromarray(pixels), mask


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("box", [(10, 10, 60, 70), (180, 150, 250, 250), (30, 20, 230, 240), (6, 100, 250, 160)])
def test_the_object_is_in_the_frame(name, box):
    image, mask = picture(box)
    result, form = in_format(image, mask, name), FORMATS[name]
    assert result.width / result.height == pytest.approx(form.width / form.height, rel=0.02)
    if form.scaled:
        assert result.size == (form.width, form.height)
    pixels = np.asarray(result, int)
    red = (pixels[..., 0] > 200) & (pixels[..., 1] < 60)
    ys, xs = np.nonzero(red)
    aspect = (box[2] - box[0]) / (box[3] - box[1])
    assert (np.ptp(xs) + 1) / (np.ptp(ys) + 1) == pytest.approx(aspect, rel=0.15)  # whole, and not distorted


def test_a_crop_inside_the_image_changes_no_pixel():
    image, mask = picture((180, 150, 250, 250))
    tall = np.asarray(in_format(image, mask, "4:5"))
    assert tall.shape == (256, 205, 3) and (tall == np.asarray(image)[:, 51:]).all()


def test_unknown_format_and_an_image_without_objects():
    image, mask = picture((10, 10, 60, 70))
    with pytest.raises(UserError, match='no format "poster": choose square, 4:5'):
        in_format(image, mask, "poster")
    with pytest.raises(UserError, match="No object was found"):
        find_objects(Image.new("RGB", (128, 128), "white"), Segmenter.load("toybox"))


def test_the_objects_of_the_prompt_are_found():
    scene, segmenter = load_scene(SAMPLES / "teapot-and-owl"), Segmenter.load("toybox")
    handles = dict(zip(scene.handles, scene.names, strict=True))
    both = find_objects(scene.photo, segmenter, {"prompt": "<asset0> and <asset1>", "handles": handles})
    union = scene.concepts[0].mask | scene.concepts[1].mask
    assert (both & union).sum() / (both | union).sum() > 0.8


def test_formats_are_written_as_files(tmp_path):
    file = SAMPLES / "teapot-and-owl" / "img.png"
    paths = list(save_formats(file, NAMES, Segmenter.load("toybox"), tmp_path))
    assert [path.name for path in paths[:3]] == ["img-square.png", "img-4x5.png", "img-16x9.png"]
    cutout = Image.open(paths[-1])
    assert cutout.mode == "RGBA" and cutout.getextrema()[3] == (0, 255)
    assert [Image.open(path).size for path in paths[3:6]] == [(2000, 2000), (1080, 1920), (1920, 600)]
