"""Crops of a photo: the square crop that a model trains on, and crops of single objects."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

MARGIN = 0.10  # on each side of the square, as a fraction of the masks' extent
MAX_SQUARE_ASPECT = 1.1  # photos up to this aspect ratio are used whole


@dataclass(frozen=True, eq=False)
class SquareCrop:
    """A square, undistorted crop of a photo at the model's size, and the mapping back to the photo.

    It is the smallest square that contains all masks with a margin of 10 %, moved inside the photo, and at least
    min(short side of the photo, size) wide. With the background on, or on a nearly square photo, it is as large as
    the photo's short side. If the masks extend further than that, it reaches outside the photo, where the edge pixels
    are repeated.
    """

    pixels: np.ndarray  # (size, size, 3) uint8
    masks: np.ndarray  # (K, size, size) bool, False in the padding
    box: tuple[int, int, int]  # x0, y0, side in pixels of the photo; x0 or y0 is negative where the crop is padded
    valid: np.ndarray  # (size, size) bool, False in the padding
    photo_size: tuple[int, int]  # width, height

    def to_photo(self, array: np.ndarray) -> np.ndarray:
        """Map an array of the crop, (size, size[, C]) bool, uint8 or float, to photo pixels.

        Returns (H, W[, C]) of the same dtype, False or 0 outside the crop. Values are unchanged where no resizing is
        needed.
        """
        x0, y0, side = self.box
        width, height = self.photo_size
        left, top, right, bottom = max(x0, 0), max(y0, 0), min(x0 + side, width), min(y0 + side, height)
        resample = Image.Resampling.LANCZOS if array.dtype == np.uint8 else Image.Resampling.BILINEAR
        inside = _resize(array, (side, side), resample)[top - y0 : bottom - y0, left - x0 : right - x0]
        whole = np.zeros((height, width, *array.shape[2:]), inside.dtype)
        whole[top:bottom, left:right] = inside
        return whole


def square_box(masks: list[np.ndarray], size: int, background: bool) -> tuple[int, int, int]:
    """Return the box (x0, y0, side) of the SquareCrop around masks (H, W) for a model of `size` pixels."""
    height, width = masks[0].shape
    short, long = min(width, height), max(width, height)
    union = np.any(masks, axis=0)
    xs, ys = np.flatnonzero(union.any(axis=0)), np.flatnonzero(union.any(axis=1))
    x0, x1, y0, y1 = xs[0], xs[-1] + 1, ys[0], ys[-1] + 1
    extent = max(x1 - x0, y1 - y0)
    side = max(int(np.ceil(extent * (1 + 2 * MARGIN))), min(short, size))
    if background or long <= MAX_SQUARE_ASPECT * short:
        side = max(side, short)
    # Padding is not part of any real photo, so the margin is given up before the square leaves the photo.
    side = min(side, short if extent <= short else long)
    return _centered(x0, x1, side, width), _centered(y0, y1, side, height), side


def crop_box(array: np.ndarray, box: tuple[int, int, int], size: int, pad: str) -> np.ndarray:
    """Crop a box from (H, W[, C]) bool or uint8 and resize it to (size, size[, C]).

    Args:
        array: The photo or a mask.
        box: x0, y0 and side in pixels; it may reach outside the array.
        size: Side of the result in pixels.
        pad: Mode of np.pad for the pixels outside the array.
    """
    x0, y0, side = box
    is_mask = array.dtype == bool
    values = array.astype(np.uint8) * 255 if is_mask else array
    # The axis that needs no padding comes first: a long strip gets small before its short side is padded.
    for axis in sorted((0, 1), key=lambda axis: array.shape[axis] < side):
        start = (y0, x0)[axis]
        if array.shape[axis] < side:
            widths = [(0, 0)] * array.ndim
            widths[axis] = (-start, start + side - array.shape[axis])
            values = np.pad(values, widths, mode=pad)
        else:
            values = values.take(range(start, start + side), axis=axis)
        shape = list(values.shape[:2])
        shape[axis] = size
        values = _resize(values, tuple(shape), Image.Resampling.BILINEAR if is_mask else Image.Resampling.LANCZOS)
    if not is_mask:
        return values
    # An object thinner than a pixel of the crop would vanish at the usual threshold: keep its densest pixels.
    return values >= max(1, min(128, values.max()))


def transparent_crop(photo: Image.Image, mask: np.ndarray) -> Image.Image:
    """Crop a photo to its mask (H, W) bool; returns RGBA with everything outside the mask transparent."""
    alpha = Image.fromarray(mask.astype(np.uint8) * 255)
    image = photo.convert("RGBA")
    image.putalpha(alpha)
    return image.crop(alpha.getbbox())


def masked_crop(pixels: np.ndarray, mask: np.ndarray) -> Image.Image:
    """Crop (H, W, 3) pixels to a square around the mask (H, W) with a margin; pixels outside the mask are black."""
    ys, xs = np.nonzero(mask)
    side = int(max(np.ptp(ys), np.ptp(xs)) * 1.1) + 2
    top, left = (ys.min() + ys.max() - side) // 2, (xs.min() + xs.max() - side) // 2
    masked = Image.fromarray(pixels * mask[..., None].astype(np.uint8))
    return masked.crop((left, top, left + side, top + side))


def _centered(start: int, stop: int, side: int, length: int) -> int:
    """Return the start of an interval of `side` that is centered on start..stop, then moved inside 0..length."""
    if side >= length:
        return -((side - length) // 2)
    return int(np.clip((start + stop - side) // 2, 0, length - side))


def _resize(array: np.ndarray, shape: tuple[int, int], resample: Image.Resampling) -> np.ndarray:
    """Resize (H, W[, C]) to (*shape[, C]) of the same dtype; bool is thresholded at a coverage of one half."""
    if array.shape[:2] == shape:
        return array
    values = array.astype(np.uint8 if array.dtype == np.uint8 else np.float32)
    planes = values.reshape(*values.shape[:2], -1)
    resized = [
        np.asarray(Image.fromarray(np.ascontiguousarray(planes[..., i])).resize(shape[::-1], resample))
        for i in range(planes.shape[2])
    ]
    values = np.stack(resized, axis=-1).reshape(*shape, *array.shape[2:])
    return values >= 0.5 if array.dtype == bool else values.astype(array.dtype)
