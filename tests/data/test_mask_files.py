"""Masks that go to other programs and come back, and files of masks that cannot be used."""

import json

import numpy as np
import pytest
from helpers.files import listing
from PIL import Image, ImageDraw

from breakascene.data import coco
from breakascene.data.image_io import read_photo
from breakascene.data.mask_files import FORMATS, file_stems, read_mask_files, write_masks
from breakascene.errors import UserError

# A disc of radius 14 at (22, 18) in 50 × 40 pixels, encoded by pycocotools 2.0
DISC = "e;;k04M2N2N2N2N2O0O2O00000000000000000001N101N2N2N2N2N3LUa0"


def disc():
    y, x = np.mgrid[:40, :50]
    return (x - 22) ** 2 + (y - 18) ** 2 < 14**2


@pytest.mark.parametrize("to", FORMATS)
def test_masks_come_back_as_they_went_out(to, scene, tmp_path):
    write_masks(scene, to, tmp_path / "out")
    source = tmp_path / "out" / "annotations.json" if to == "coco" else tmp_path / "out"
    found = dict(read_mask_files(source, scene.photo, "photo.png"))
    assert found.keys() == {"ball", "mug"}
    for concept in scene.concepts:
        assert np.array_equal(found[concept.name], concept.mask)
    with pytest.raises(UserError, match="exists already"):
        write_masks(scene, to, tmp_path / "out")


def test_files_have_the_names_that_other_programs_expect(scene, tmp_path):
    for to in FORMATS:
        write_masks(scene, to, tmp_path / to)
    assert set(listing(tmp_path / "onetrainer")) == {
        "ball.png", "ball-masklabel.png", "ball.txt", "mug.png", "mug-masklabel.png", "mug.txt",
    }  # fmt: skip
    with Image.open(tmp_path / "cutouts" / "mug.png") as image:
        assert image.mode == "RGBA" and image.size == scene.photo.size
        assert np.array_equal(np.asarray(image)[..., 3] > 0, scene.concepts[1].mask)
    dataset = json.loads((tmp_path / "coco" / "annotations.json").read_text())
    assert [category["name"] for category in dataset["categories"]] == ["ball", "mug"]
    first = dataset["annotations"][0]
    x, y, width, height = first["bbox"]
    mask = scene.concepts[0].mask
    assert mask[y : y + height, x : x + width].sum() == mask.sum() == first["area"]
    assert file_stems(["owl", "Owl", "a/b", "..", "owl"]) == ["owl", "Owl 2", "ab", "object", "owl 3"]


def test_run_length_encodings_of_coco():
    mask = disc()
    assert np.array_equal(coco.decode_segmentation({"size": [40, 50], "counts": DISC}, (40, 50)), mask)
    for other in (mask, ~mask, np.zeros((3, 4), bool), np.ones((1, 5), bool)):
        runs = {"size": list(other.shape), "counts": coco.run_lengths(other)}
        assert np.array_equal(coco.decode_segmentation(runs, other.shape), other)


def test_polygons_fill_the_pixels_whose_centers_they_contain():
    square = coco.decode_segmentation([[10, 10, 30, 10, 30, 25, 10, 25]], (40, 50))
    assert square.sum() == 300 and square[10:25, 10:30].all()
    assert coco.decode_segmentation([[-5, -5, 60, -5, 60, 60, -5, 60]], (40, 50)).all()
    two = coco.decode_segmentation([[0, 0, 4, 0, 4, 4, 0, 4], [10, 10, 12, 10, 12, 12, 10, 12]], (40, 50))
    assert two.sum() == 16 + 4
    angles = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    circle = np.stack([22.5 + 14 * np.cos(angles), 18.5 + 14 * np.sin(angles)], 1).ravel()
    assert (coco.decode_segmentation([circle.tolist()], (40, 50)) ^ disc()).mean() < 0.01


def test_polygons_are_filled_as_pillow_fills_them():
    rng = np.random.default_rng(0)
    for _ in range(20):
        corners = rng.uniform(-20, 80, (7, 2))  # some of them outside, and edges that cross each other
        filled = coco.decode_segmentation([corners.ravel().tolist()], (40, 50))
        image = Image.new("1", (500, 400))
        ImageDraw.Draw(image).polygon([tuple(corner) for corner in corners * 10], fill=1)
        assert (filled != np.array(image)[5::10, 5::10]).mean() < 0.02


def test_polygons_that_take_long_are_refused():
    for polygons in ([[0, 0, 50, 400] * 50_000], [[0, 0, 50, 0, 0, 400]] * 9):
        with pytest.raises(ValueError, match="too many"):
            coco.decode_segmentation(polygons, (400, 50))


@pytest.mark.parametrize("segmentation", [[["a", 1, 2, 3, 4, 5]], [[[1, 2], [3, 4], [5]]], {"counts": [[2000]]}])
def test_values_that_are_no_numbers_are_said_so(segmentation):
    segmentation = {**segmentation, "size": [40, 50]} if isinstance(segmentation, dict) else segmentation
    with pytest.raises(ValueError, match="it has a value that is not a number"):
        coco.decode_segmentation(segmentation, (40, 50))


def dataset(**changes):
    annotation = {"image_id": 1, "category_id": 1, "segmentation": [[10, 10, 30, 10, 30, 25, 10, 25]]}
    images = [{"id": 1, "file_name": "a/photo.png", "width": 50, "height": 40}]
    categories = [{"id": 1, "name": "teapot"}]
    return {"images": images, "annotations": [annotation], "categories": categories, **changes}


def test_the_annotations_of_the_photo_are_chosen_and_scaled(tmp_path):
    other = {"image_id": 2, "category_id": 1, "segmentation": {"size": [4, 5], "counts": [20]}}
    images = [*dataset()["images"], {"id": 2, "file_name": "other.png", "width": 5, "height": 4}]
    (tmp_path / "a.json").write_text(json.dumps(dataset(images=images, annotations=[other, *dataset()["annotations"]])))
    photo = read_photo(Image.new("RGB", (100, 80)))
    ((name, mask),) = read_mask_files(tmp_path / "a.json", photo, "photo.png")
    assert name == "teapot" and mask.shape == (80, 100) and mask[20:50, 20:60].all() and mask.sum() == 1200
    with pytest.raises(UserError, match=r"2 images, and not one of them is third\.png"):
        read_mask_files(tmp_path / "a.json", photo, "third.png")


@pytest.mark.parametrize(
    "content",
    [
        "{", "[]", "{}", '{"images": 3}', json.dumps(dataset(annotations=[])),
        json.dumps(dataset(annotations=[{"image_id": 1, "segmentation": [[1, 2]]}])),
        json.dumps(dataset(annotations=[{"image_id": 1, "segmentation": {"size": [40, 50], "counts": "zz"}}])),
        json.dumps(dataset(annotations=[{"image_id": 1, "segmentation": {"size": [40, 50], "counts": [1, -1]}}])),
        json.dumps(dataset(annotations=[{"image_id": 1, "segmentation": {"size": [4, 5], "counts": [20]}}])),
        json.dumps(dataset(images=[{"id": 1, "file_name": "photo.png", "width": 20000, "height": 16000}])),
        json.dumps(dataset(annotations=[{"image_id": 1, "segmentation": [[0, 0, 50, 0, 0, 40]] * 9}])),
        json.dumps(dataset(images=[{"id": 1, "file_name": "photo.png", "width": 20000, "height": 20000}] * 1) | {
            "annotations": dataset()["annotations"] * 3}),
    ],
)  # fmt: skip
def test_other_json_is_refused_in_one_sentence(content, tmp_path):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(UserError, match=r"a\.json has no masks of this photo, .*COCO JSON") as caught:
        read_mask_files(tmp_path / "a.json", read_photo(Image.new("RGB", (50, 40))), "photo.png")
    assert "\n" not in str(caught.value)


def test_folders_without_masks_and_masks_of_another_photo_are_refused(scene, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="has 0 masks: give a folder"):
        read_mask_files(tmp_path / "empty", scene.photo, "photo.png")
    write_masks(scene, "scene", tmp_path / "scene")
    with pytest.raises(UserError, match="do not fit the photo"):
        read_mask_files(tmp_path / "scene", read_photo(Image.new("RGB", (200, 80))), "photo.png")
    with pytest.raises(UserError, match="no masks of the format"):
        write_masks(scene, "yolo", tmp_path / "yolo")
