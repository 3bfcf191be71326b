"""A region of a photo that is repainted: the crop around it, its mask on the latents, and the seam in the photo."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import torch
from PIL import Image

from breakascene.errors import UserError
from breakascene.models.base import Base

CONTEXT = 1.25  # side of the crop, by the extent of the region
MIN_SIDE = 1 / 4  # of the crop, by the base's images: a smaller region is not enlarged further
MAX_OUTSIDE = 0.15  # share of the crop that may lie outside the photo, on each side
MAX_ASPECT = 4  # of a crop around a region that is longer than the photo is high
MIN_RADIUS = 1 / 10  # of the widest place in a region, by the side of the latents: a thinner mask grows
COVERED = 0.1  # share of a latent cell from which it is repainted: less would leave traces of what was there
FEATHER = 0.5  # width of the seam, by a latent cell
SHRUNK = 0.5  # progress at which a mask that has grown has its own size again
COLOR_SIGMA = 1 / 16  # reach of the color match, by the side of the crop


def box_region(size: tuple[int, int], box: Sequence[float]) -> np.ndarray:
    """Return a box as a region (H, W) bool.

    Args:
        size: Width and height of the photo in pixels.
        box: Two opposite corners x0, y0, x1, y1 in pixels of the photo; the right and lower edges are outside.

    Raises:
        UserError: If the box is empty or reaches outside the photo.
    """
    width, height = size
    x0, x1 = sorted((box[0], box[2]))
    y0, y1 = sorted((box[1], box[3]))
    if not (x0 >= 0 and y0 >= 0 and x1 <= width and y1 <= height):  # false for NaN as well
        raise UserError(
            "The box reaches outside the photo, which is {width} × {height} pixels: give two corners inside it.",
            width=width, height=height,
        )  # fmt: skip
    region = np.zeros((height, width), bool)
    region[math.floor(y0) : math.ceil(y1), math.floor(x0) : math.ceil(x1)] = True
    check_region(region, size)
    return region


def check_region(region: np.ndarray, size: tuple[int, int]) -> None:
    """Raise UserError unless a region (H, W) bool has the size of the photo and is not empty."""
    if region.shape != size[::-1]:
        raise UserError(
            "The region is {width} × {height} pixels but the photo {photo_width} × {photo_height}: mark it on the "
            "photo itself.",
            width=region.shape[-1], height=region.shape[0], photo_width=size[0], photo_height=size[1],
        )  # fmt: skip
    if not region.any():
        raise UserError("The region is empty: mark the part of the photo to repaint.")


def extent_of(region: np.ndarray) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of a region (H, W); the right and lower edges are outside."""
    ys, xs = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    return int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1


@dataclass(frozen=True, eq=False)
class RegionCrop:
    """The part of a photo around a region, at a size that the base generates.

    A square, unless the region is longer than the photo is high; then as wide as needed, up to MAX_ASPECT. It may reach
    outside the photo, which is mirrored there: models like their objects in the middle, also at the edge of a photo.

    Attributes:
        region: (H, W) bool.
        box: Left, top, right and bottom in pixels of the photo.
        latent_size: Height and width of its latents.
        cell: Pixels along the side of a latent cell.
    """

    region: np.ndarray
    box: tuple[int, int, int, int]
    latent_size: tuple[int, int]
    cell: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height at the size of the base, in pixels."""
        height, width = self.latent_size
        return width * self.cell, height * self.cell

    @property
    def enlargement(self) -> float:
        """By how much what the base paints is enlarged to fit the photo."""
        return (self.box[2] - self.box[0]) / self.size[0]

    def pixels(self, photo: Image.Image) -> np.ndarray:
        """Crop a photo: (h, w, 3) uint8."""
        crop = Image.fromarray(cut_box(np.asarray(photo), self.box))
        return np.asarray(crop.resize(self.size, Image.Resampling.LANCZOS))

    def latent_mask(self, progress: float) -> torch.Tensor:
        """Return the latents that are repainted, (h, w) bool, when a share `progress` of the steps is done.

        A thin or small mask would leave the model no room for an object: it starts wider and shrinks over the steps
        (Blended Latent Diffusion, section 4.4).
        """
        # Of a region that is thinner than a cell everywhere, its densest cells
        mask = (self._coverage >= min(COVERED, self._coverage.max())).astype(np.uint8)
        radius = cv2.distanceTransform(np.pad(mask, 1), cv2.DIST_L2, cv2.DIST_MASK_PRECISE).max()
        missing = max(0.0, MIN_RADIUS * min(self.latent_size) - radius)
        growth = round(missing * max(0.0, 1 - progress / SHRUNK))
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * growth + 1, 2 * growth + 1))
        return torch.from_numpy(cv2.dilate(mask, disc).astype(bool))

    @cached_property
    def _coverage(self) -> np.ndarray:
        """Share of each latent cell that the region covers, (h, w) float."""
        cut = cut_box(self.region, self.box).astype(np.float32)
        return cv2.resize(cut, self.latent_size[::-1], interpolation=cv2.INTER_AREA)

    def paste(self, photo: Image.Image, painted: Image.Image) -> Image.Image:
        """Return the photo with the region from a painted crop; all pixels outside the region are unchanged.

        The colors are matched to the photo at the border, and the seam is feathered inside the region.
        """
        x0, y0, x1, y1 = self.box
        left, top, right, bottom = extent_of(self.region)
        matched = self._match_colors(np.asarray(photo), np.asarray(painted))
        # Only the region's part of the crop is enlarged
        scale = self.size[0] / (x1 - x0), self.size[1] / (y1 - y0)
        part = [(left - x0) * scale[0], (top - y0) * scale[1], (right - x0) * scale[0], (bottom - y0) * scale[1]]
        part = np.clip(part, 0, [*self.size, *self.size]).tolist()  # rounding errors
        inner = Image.fromarray(matched).resize((right - left, bottom - top), Image.Resampling.LANCZOS, box=part)
        result = photo.copy()
        result.paste(inner, (left, top), Image.fromarray(self._opacity()))
        return result

    def _opacity(self) -> np.ndarray:
        """Opacity of the painted pixels in the extent of the region, (h, w) uint8: less near the border, 0 outside."""
        left, top, right, bottom = extent_of(self.region)
        height, width = self.region.shape
        pad = [int(top > 0), int(bottom < height), int(left > 0), int(right < width)]  # the photo's edge is no seam
        cut = self.region[top - pad[0] : bottom + pad[1], left - pad[2] : right + pad[3]].astype(np.uint8)
        if cut.all():  # the whole photo
            return np.full((bottom - top, right - left), 255, np.uint8)
        distance = cv2.distanceTransform(cut, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        feather = min(FEATHER * self.cell * self.enlargement, distance.max() / 2)
        opacity = (255 * distance / (feather + 1)).round().clip(0, 255).astype(np.uint8)
        return opacity[pad[0] : pad[0] + bottom - top, pad[2] : pad[2] + right - left]

    def _match_colors(self, photo: np.ndarray, painted: np.ndarray) -> np.ndarray:
        """Shift the colors of a painted crop (h, w, 3) by how much they are off outside the region, near its border."""
        size = self.size
        outside = ~cut_box(self.region, self.box)
        known = cv2.resize(outside.astype(np.float32), size, interpolation=cv2.INTER_AREA)  # 0..1
        original = self.pixels(Image.fromarray(photo)).astype(np.float32)
        sigma = COLOR_SIGMA * min(size)

        def near(values: np.ndarray) -> np.ndarray:
            return cv2.GaussianBlur(values, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)

        off = near((original - painted) * known[..., None]) / (near(known)[..., None] + 0.05)
        return (painted + off).round().clip(0, 255).astype(np.uint8)


def cut_box(values: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """Cut a box out of (H, W[, C]); outside, where regions are empty, images are mirrored."""
    x0, y0, x1, y1 = box
    height, width = values.shape[:2]
    outside = [(max(0, -y0), max(0, y1 - height)), (max(0, -x0), max(0, x1 - width))]
    inner = values[max(0, y0) : y1, max(0, x0) : x1]
    if not any(map(any, outside)):
        return inner
    return np.pad(inner, outside + [(0, 0)] * (values.ndim - 2), mode="constant" if values.dtype == bool else "reflect")


def crop_around(region: np.ndarray, base: Base) -> RegionCrop:
    """Choose the crop around a region (H, W) bool for a base."""
    height, width = region.shape
    left, top, right, bottom = extent_of(region)
    cell = base.image_size // base.latent_size
    longest = max(right - left, bottom - top)
    side = max(math.ceil(CONTEXT * longest), math.ceil(MIN_SIDE * base.image_size))
    short, long = min(width, height), max(width, height)
    if side <= short:
        rows = columns = base.latent_size
        across = down = side
    else:
        aspect = min(max(longest, short, min(side, long)) / short, MAX_ASPECT)
        step = max(1, base.latent_size // 8)  # the UNet halves its latents several times
        longer, shorter = (step * round(base.latent_size * ratio / step) for ratio in (aspect**0.5, aspect**-0.5))
        # The whole short side, and as much of the long one; of a longer region, all of it
        along = max(round(short * longer / shorter), longest)
        against = round(along * shorter / longer)
        wide = width >= height
        across, down = (along, against) if wide else (against, along)
        columns, rows = (longer, shorter) if wide else (shorter, longer)
    x0, y0 = _start(left, right, across, width), _start(top, bottom, down, height)
    return RegionCrop(region, (x0, y0, x0 + across, y0 + down), (rows, columns), cell)


def _start(start: int, stop: int, length: int, limit: int) -> int:
    """Return the start of an interval of `length` centered on start..stop, within MAX_OUTSIDE of 0..limit."""
    if length >= limit:
        return -((length - limit) // 2)
    outside = int(MAX_OUTSIDE * length)
    return min(max((start + stop - length) // 2, -outside), limit - length + outside)
