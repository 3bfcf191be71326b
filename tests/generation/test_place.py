"""Objects in the boxes of a layout, on small models of the real architectures."""

import numpy as np
import pytest
from helpers.models import assert_same_base, weights_of
from PIL import Image, ImageDraw

from breakascene.data.scene import cutout, photo_hash
from breakascene.errors import UserError
from breakascene.generation.generate import generate, read_metadata, save_image
from breakascene.generation.layout import Layout, LayoutBox
from breakascene.generation.place import STRENGTH, ObjectCrop, cutouts_of, place
from breakascene.models.combined import combine
from breakascene.models.grouped import load_run
from breakascene.segmentation.segmenter import Segmenter
from breakascene.training.loop import run_extraction
from breakascene.training.settings import preset

OPTIONS = {"seed": 2, "num_inference_steps": 4}
LEFT, RIGHT = LayoutBox("<asset0>", (0.05, 0.4, 0.4, 0.8)), LayoutBox("<asset1>", (0.55, 0.2, 0.9, 0.6), True)


@pytest.fixture(scope="module")
def segmenter():
    return Segmenter.load("toybox", "cpu")


@pytest.fixture(scope="module")
def cutouts(scene) -> dict:
    return {handle: cutout(scene, i) for i, handle in enumerate(scene.handles[:2])}


def concepts_of(base, scene):
    return run_extraction(scene, base, preset("light", base, steps=(1, 0), prior_loss_weight=0.0))


def changed_share(before: Image.Image, after: Image.Image, box) -> tuple[float, float]:
    """Shares of the pixels that differ in a box and outside a box that is larger by its height on each side."""
    differs = (np.asarray(before) != np.asarray(after)).any(-1)
    height, width = differs.shape
    x0, y0, x1, y1 = (round(side * (width, height)[i % 2]) for i, side in enumerate(box))
    outside, margin = np.ones(differs.shape, bool), y1 - y0
    outside[max(0, y0 - margin) : y1 + margin, max(0, x0 - margin) : x1 + margin] = False
    return differs[y0:y1, x0:x1].mean(), differs[outside].mean()


@pytest.mark.parametrize("name", ["tiny_base", "sd_base", "sdxl_base"])
def test_objects_are_put_into_the_scene_and_the_base_is_restored(name, request, scene, cutouts, segmenter, tmp_path):
    base = request.getfixturevalue(name)
    concepts, before = concepts_of(base, scene), weights_of(base)
    layout, prompt = Layout((LEFT,)), "a photo of <asset0> at the beach"
    one, two = place(base, concepts, layout, cutouts, prompt, segmenter, count=2, **OPTIONS)
    assert_same_base(base, before)
    (empty,) = generate(base, concepts, ["a photo at the beach"], **OPTIONS)
    inside, outside = changed_share(empty.image, one.image, LEFT.box)
    assert inside > 0.3 and outside == 0
    (again,) = place(base, concepts, layout, cutouts, prompt, segmenter, **{**OPTIONS, "seed": 3})
    assert abs(np.asarray(again.image, int) - np.asarray(two.image, int)).max() <= 2  # up to the batch's rounding
    metadata = read_metadata(save_image(two, tmp_path))
    expected = {"prompt": prompt, "seed": 2, "index": 1, "strength": STRENGTH, "layout": layout.to_json()}
    assert {key: metadata[key] for key in expected} == expected


def test_objects_are_put_into_a_photo_of_any_size(tiny_base, scene, cutouts, segmenter):
    noise = np.random.default_rng(0).integers(0, 255, (150, 420, 3), np.uint8)
    photo, concepts = Image.fromarray(noise), concepts_of(tiny_base, scene)
    layout, prompt = Layout((LEFT, RIGHT)), "a photo of <asset0> and <asset1>"
    (placed,) = place(tiny_base, concepts, layout, cutouts, prompt, segmenter, photo=photo, **OPTIONS)
    assert placed.image.size == photo.size and placed.metadata["start"] == photo_hash(photo)
    assert (placed.metadata["width"], placed.metadata["height"]) == photo.size
    assert photo_hash(photo) in placed.metadata["photo"]
    for one in layout.boxes:
        assert changed_share(photo, placed.image, one.box)[0] > 0.15  # a disc in a wide box
    assert (np.asarray(placed.image)[:, 205:215] == noise[:, 205:215]).all()  # between the two


def drawn_crop(crop: ObjectCrop, scale: float, shift: int) -> Image.Image:
    """A generated crop with the object of the right side red and the left side blue, somewhat off its place."""
    image = Image.new("RGB", (crop.size, crop.size), (90, 160, 90))
    left, top, width, height = crop.target
    x0, y1 = left + shift + width * (1 - scale) / 2, top + height + shift
    box = (x0, y1 - height * scale, x0 + width * scale, y1)
    draw = ImageDraw.Draw(image)
    draw.rectangle(box, fill=(20, 20, 220))
    draw.rectangle(((box[0] + box[2]) / 2, *box[1:]), fill=(220, 20, 20))
    return image


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(("size", "box"), [((256, 256), (0.5, 0.1, 0.9, 0.7)), ((900, 500), (0.0, 0.6, 0.3, 1.0))])
def test_what_is_drawn_off_its_place_is_put_exactly_into_the_box(segmenter, flip, size, box):
    image = Image.new("RGB", size, (90, 160, 90))
    cut_out = Image.new("RGBA", (60, 90), (200, 20, 200, 255))
    crop = ObjectCrop.around(LayoutBox("<asset0>", box, flip), cut_out, size, 256)
    result = np.asarray(crop.put(image, drawn_crop(crop, 0.85, 9), segmenter), int)
    red = (result[..., 0] > 150) & (result[..., 2] < 100)
    blue = (result[..., 2] > 150) & (result[..., 0] < 100)
    ys, xs = np.nonzero(red | blue)
    x0, y0, x1, y1 = (side * size[i % 2] for i, side in enumerate(box))
    height = min(y1 - y0, (x1 - x0) * 1.5)  # as large as fits, at the bottom in the middle
    width, center = height / 1.5, (x0 + x1) / 2
    expected = (center - width / 2, y1 - height, center + width / 2, y1)
    assert (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) == pytest.approx(expected, abs=4 + 0.03 * height)
    assert (np.nonzero(red)[1].mean() < np.nonzero(blue)[1].mean()) == flip


def test_the_crop_starts_from_the_image_with_the_cut_out_in_its_place():
    image = Image.new("RGB", (300, 200), (90, 160, 90))
    cut_out = Image.new("RGBA", (40, 40), (200, 20, 200, 255))
    crop = ObjectCrop.around(LayoutBox("<asset0>", (0.4, 0.2, 0.6, 0.5)), cut_out, image.size, 256)
    start = np.asarray(crop.start(image), int)
    ys, xs = np.nonzero(start[..., 1] < 90)
    side = np.ptp(xs) + 1
    assert side == pytest.approx(0.6 * 256, abs=3) and ys.max() == pytest.approx(0.86 * 256, abs=3)
    assert (xs.min() + xs.max()) / 2 == pytest.approx(128, abs=3) and tuple(start[5, 5]) == (90, 160, 90)


def test_later_objects_stand_in_front(tiny_base, scene, cutouts, segmenter):
    concepts, prompt = concepts_of(tiny_base, scene), "a photo of <asset0> and <asset1>"
    box = (0.3, 0.3, 0.7, 0.7)
    back, front = LayoutBox("<asset0>", box), LayoutBox("<asset1>", box)
    options = {**OPTIONS, "strength": 0.05, "num_inference_steps": 1}
    one, other = (
        next(place(tiny_base, concepts, Layout(boxes), cutouts, prompt, segmenter, **options)).image
        for boxes in ((back, front), (front, back))
    )
    assert (np.asarray(one) != np.asarray(other)).any()


def test_objects_of_several_runs_are_placed_and_bad_input_is_refused(tiny_base, scene, segmenter, tmp_path):
    runs = [tmp_path / "one", tmp_path / "two"]
    for seed, run in enumerate(runs):
        run_extraction(scene, tiny_base, preset("light", tiny_base, steps=(1, 1), num_prior_images=1, seed=seed), run)
    both = combine([load_run(run) for run in runs])
    cutouts = cutouts_of(runs, both.handles)
    assert list(cutouts) == ["<ball>", "<mug>", "<ball-2>", "<mug-2>"]
    layout = Layout((LayoutBox("<ball>", (0, 0, 0.5, 0.5)), LayoutBox("<mug-2>", (0.5, 0.5, 1, 1))))

    def placed(prompt="a photo of <ball> and <mug-2>", **options):
        return place(tiny_base, both, layout, cutouts, prompt, segmenter, **{**OPTIONS, **options})

    assert next(placed(size=(160, 96))).image.size == (160, 96)
    with pytest.raises(UserError, match="<mug-2> is in the layout but not in the prompt"):
        placed("a photo of <ball>")
    with pytest.raises(UserError, match="The strength 0 cannot be used"):
        placed(strength=0)
    with pytest.raises(UserError, match="is too small to be drawn: make its box larger, or use a larger image"):
        placed(photo=Image.new("RGB", (8, 8)))
    with pytest.raises(UserError, match="The image size 100 × 96 is not supported"):
        placed(size=(100, 96))
