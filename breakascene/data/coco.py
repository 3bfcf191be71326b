"""Masks in COCO's annotation format: polygons, and run-length encodings as lists or as compressed text."""

import math
from collections.abc import Sequence

import numpy as np

from breakascene.data.validation import checked_dict, checked_int, checked_list, checked_text

MAX_SIDE = 20_000  # pixels
MAX_RUNS = 2_000_000  # of one run-length encoding
MAX_OBJECTS = 1000  # annotations of one photo, and polygons of one annotation
MAX_PIXELS = 1_000_000_000  # of all masks of one photo
MAX_BOXES = 8  # areas of the boxes around the polygons of one mask, in those of its image
MAX_CROSSINGS = 10_000_000  # of the edges of a polygon with the rows of its image
MAX_SCALE = 4  # pixels of a mask, in those of its photo


def encode(masks: Sequence[np.ndarray], names: Sequence[str], file_name: str) -> dict:
    """Describe the masks (H, W) of one photo as a COCO dataset, as lossless run-length encodings."""
    height, width = masks[0].shape
    categories = {name: index for index, name in enumerate(dict.fromkeys(names), 1)}
    annotations = []
    for index, (mask, name) in enumerate(zip(masks, names, strict=True), 1):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        left, top = int(columns[0]), int(rows[0])
        annotations.append(
            {
                "id": index,
                "image_id": 1,
                "category_id": categories[name],
                "segmentation": {"size": [height, width], "counts": run_lengths(mask)},
                "area": int(mask.sum()),
                "bbox": [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1],
                "iscrowd": 1,  # readers of COCO expect run-length encodings with this flag
            }
        )
    return {
        "info": {"description": "Masks of Break-A-Scene Studio"},
        "images": [{"id": 1, "file_name": file_name, "width": width, "height": height}],
        "categories": [{"id": index, "name": name} for name, index in categories.items()],
        "annotations": annotations,
    }


def decode(dataset: object, file_name: str, photo_pixels: int) -> list[tuple[str, np.ndarray]]:
    """Return the names and masks (H, W) of a photo: of the image with that file name, or of the only image.

    Args:
        dataset: COCO JSON.
        file_name: Of the photo.
        photo_pixels: Of the photo; masks of a much larger size than the photo are refused before they are made.

    Raises:
        ValueError or KeyError: If the dataset is not in COCO's format, or has several images and none of that name.
    """
    dataset = checked_dict(dataset, "it")
    images = [checked_dict(image, "an image") for image in checked_list(dataset["images"], 10**5, "images")]
    matching = [image for image in images if str(image["file_name"]).replace("\\", "/").split("/")[-1] == file_name]
    if len(matching) != 1 and len(images) != 1:
        raise ValueError(f"it has {len(images)} images, and not one of them is {file_name}")
    image = (matching or images)[0]
    size = tuple(checked_int(image[side], 1, MAX_SIDE, f"its {side}") for side in ("height", "width"))
    categories = {
        category["id"]: checked_text(category["name"], 200, "a category")
        for category in map(dict, checked_list(dataset.get("categories", []), 10**4, "categories"))
    }
    annotations = map(dict, checked_list(dataset["annotations"], 10**6, "annotations"))
    annotations = [annotation for annotation in annotations if annotation["image_id"] == image["id"]]
    pixels = math.prod(size)
    if len(annotations) > MAX_OBJECTS or len(annotations) * pixels > MAX_PIXELS or pixels > MAX_SCALE * photo_pixels:
        raise ValueError("it has too many or too large masks")
    return [
        (categories.get(annotation.get("category_id"), ""), decode_segmentation(annotation["segmentation"], size))
        for annotation in annotations
    ]


def decode_segmentation(segmentation: object, size: tuple[int, int]) -> np.ndarray:
    """Return the mask (H, W) of a list of polygons or a run-length encoding. Raises ValueError or KeyError."""
    if isinstance(segmentation, list):
        return _fill_polygons(segmentation, size)
    segmentation = checked_dict(segmentation, "a segmentation")
    if tuple(segmentation["size"]) != size:
        raise ValueError("a mask has another size than its image")
    counts = segmentation["counts"]
    if isinstance(counts, str):
        counts = _decompress(counts)
    counts = _numbers(checked_list(counts, MAX_RUNS, "a run-length encoding"), np.int64)
    if (counts < 0).any() or counts.sum() != math.prod(size):
        raise ValueError("a run-length encoding does not cover its image")
    values = np.arange(len(counts)) % 2 == 1  # runs of 0 and 1 in turn, column by column
    return np.repeat(values, counts).reshape(size, order="F")


def run_lengths(mask: np.ndarray) -> list[int]:
    """Return the lengths of the runs of 0 and 1 in turn, column by column; the first may be 0."""
    values = np.concatenate([[False], mask.ravel(order="F")])
    changes = np.flatnonzero(values[1:] != values[:-1])
    return np.diff([0, *changes, mask.size]).tolist()


def _numbers(values: list, dtype: type) -> np.ndarray:
    try:
        numbers = np.array(values, dtype)
    except (ValueError, TypeError, OverflowError):
        numbers = None
    if numbers is None or numbers.ndim != 1:
        raise ValueError("it has a value that is not a number")
    return numbers


def _decompress(text: str) -> list[int]:
    """Decode COCO's compressed counts: five bits a character, low bits first, from the third on as differences."""
    if len(text) > 5 * MAX_RUNS:
        raise ValueError("a run-length encoding is too long")
    counts: list[int] = []
    value = shift = 0
    for byte in text.encode("ascii"):
        digit = byte - 48
        if not 0 <= digit < 64 or shift > 60:
            raise ValueError("a run-length encoding is damaged")
        value |= (digit & 31) << shift
        shift += 5
        if digit & 32:
            continue
        if digit & 16:  # negative
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    return counts


def _fill_polygons(polygons: list, size: tuple[int, int]) -> np.ndarray:
    """Return the union of polygons, of the pixels whose centers lie inside (even-odd rule)."""
    union, area = np.zeros(size, bool), 0
    for polygon in checked_list(polygons, MAX_OBJECTS, "polygons"):
        points = _numbers(checked_list(polygon, 200_000, "a polygon"), np.float64)
        if len(points) < 6 or len(points) % 2 or not (abs(points) <= 2 * MAX_SIDE).all():
            raise ValueError("a polygon does not have three or more points in the image")
        points = points.reshape(-1, 2)
        left, top = (max(0, math.floor(low)) for low in points.min(0))
        right, bottom = (min(side, math.ceil(high)) for high, side in zip(points.max(0), size[::-1], strict=True))
        area += max(0, right - left) * max(0, bottom - top)
        if area > MAX_BOXES * math.prod(size):
            raise ValueError("it has too many or too large masks")
        if right > left and bottom > top:
            union[top:bottom, left:right] |= _fill_polygon(points - (left, top), bottom - top, right - left)
    return union


def _fill_polygon(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the mask (H, W) of a polygon with these corners (x, y)."""
    (x0, y0), (x1, y1) = points.T, np.roll(points, -1, 0).T
    # The rows whose center line each edge crosses
    first, last = (np.ceil(end(y0, y1) - 0.5).clip(0, height).astype(np.int64) for end in (np.minimum, np.maximum))
    counts = last - first
    if counts.sum() > MAX_CROSSINGS:
        raise ValueError("a polygon has too many corners")
    edges = np.repeat(np.arange(len(points)), counts)
    rows = np.arange(len(edges)) + np.repeat(first - counts.cumsum() + counts, counts)
    x = x0[edges] + (rows + 0.5 - y0[edges]) * (x1 - x0)[edges] / (y1 - y0)[edges]
    columns = np.ceil(x - 0.5).clip(0, width).astype(np.int64)  # the next pixel
    crossings = np.zeros((height, width + 1), np.uint8)
    np.bitwise_xor.at(crossings, (rows, columns), 1)
    return np.bitwise_xor.accumulate(crossings, axis=1)[:, :width].astype(bool)
