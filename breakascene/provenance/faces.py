"""Find faces in photos, locally, with the cascades that come with OpenCV 4."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from threading import Lock

import numpy as np
from PIL import Image

from breakascene.errors import UserError

CASCADES = ("haarcascade_frontalface_alt2.xml", "haarcascade_profileface.xml")
SIDE = 800  # pixels of the longer side at which a photo is searched
CROP_SIDE = 400  # the same for the surroundings of an object, in which small faces are larger
MIN_NEIGHBORS = 5  # overlapping hits that make a face; fewer find more, and more that is none
MIN_SHARE = 0.06  # of the shorter side, below which patterns are taken for faces
MARGIN = 0.2  # around an object, of its size
MAX_SCALE = 1.5  # enlargement of a small photo
MIN_GAIN = 1.3  # enlargement of an object over that in the photo, below which it is not searched once more

_lock = Lock()


def count_faces(photo: Image.Image, masks: Sequence[np.ndarray] = ()) -> int:
    """Return how many faces are found: in the photo, or in the surroundings of one mask if there are more.

    The cascades find upright faces from the front or the side. They may take a pattern for a face, and miss one that is
    turned, covered or small.

    Args:
        photo: RGB.
        masks: (H, W) bool, in pixels of the photo.
    """
    crops = [photo.crop(_box(mask)) for mask in masks if mask.any()]
    scale = _scale(photo, SIDE)
    scales = [_scale(crop, CROP_SIDE) for crop in crops]
    searched = [(crop, own) for crop, own in zip(crops, scales, strict=True) if own >= MIN_GAIN * scale]
    return max(_count(image, own) for image, own in [(photo, scale), *searched])


def _scale(image: Image.Image, side: int) -> float:
    return min(side / max(image.size), MAX_SCALE)


def _count(image: Image.Image, scale: float) -> int:
    gray = image.convert("L").resize([max(1, round(length * scale)) for length in image.size])
    pixels = np.asarray(gray)
    smallest = max(20, round(MIN_SHARE * min(pixels.shape)))
    found = 0
    for name in CASCADES:
        views = [pixels] if "frontal" in name else [pixels, pixels[:, ::-1].copy()]  # its profiles look to the left
        for view in views:
            with _lock:  # OpenCV's classifiers keep their state between calls, and the studio has several threads
                boxes = _cascade(name).detectMultiScale(view, 1.1, MIN_NEIGHBORS, minSize=(smallest, smallest))
            found = max(found, len(boxes))
    return found


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a mask with a margin."""
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    margin = round(MARGIN * max(np.ptp(ys), np.ptp(xs)))
    height, width = mask.shape
    return (
        max(0, int(xs[0]) - margin), max(0, int(ys[0]) - margin),
        min(width, int(xs[-1]) + 1 + margin), min(height, int(ys[-1]) + 1 + margin),
    )  # fmt: skip


@cache
def _cascade(name: str):
    import cv2

    if not hasattr(cv2, "CascadeClassifier"):  # OpenCV 5 has none
        raise UserError("Faces are looked for with OpenCV 4: install it (pip install -r requirements.txt).")
    return cv2.CascadeClassifier(str(Path(cv2.data.haarcascades) / name))
