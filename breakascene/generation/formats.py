"""Formats for listings and media: crops of a generated image that keep its objects in the frame, and its cut-out."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from breakascene.data.crop import transparent_crop
from breakascene.data.handle_names import BACKGROUND
from breakascene.data.image_io import read_photo
from breakascene.errors import UserError
from breakascene.files import atomic_file
from breakascene.generation.generate import KEY, GeneratedImage, read_metadata
from breakascene.provenance.credentials import EDITED, GENERATED, png_bytes
from breakascene.segmentation.segmenter import Segmenter

MIN_AREA, MAX_AREA = 0.005, 0.7  # of the image, of a region that may be an object
MARGIN = 0.06  # around the objects, of the longer side of their bounding box
BLUR = 0.06  # radius where an image is continued, of its shorter side
MIN_FEATHER, FEATHER = 0.04, 0.12  # width of the transition, which avoids the objects, of the shorter side


@dataclass(frozen=True)
class Format:
    """The proportions of an image, and its size in pixels if it is scaled."""

    width: int
    height: int
    scaled: bool = False


FORMATS = {
    "square": Format(1, 1),
    "4:5": Format(4, 5),
    "16:9": Format(16, 9),
    "shop": Format(2000, 2000, scaled=True),
    "story": Format(1080, 1920, scaled=True),
    "banner": Format(1920, 600, scaled=True),
}


CUTOUT = "cutout"  # the objects on a transparent background
NAMES = (*FORMATS, CUTOUT)


def check_format(name: str) -> None:
    """Raise UserError unless the name is one of NAMES."""
    if name not in NAMES:
        raise UserError('There is no format "{name}": choose {known}.', name=name, known=", ".join(NAMES))


def save_formats(
    file: Path,
    names: Sequence[str],
    segmenter: Segmenter,
    folder: Path,
    upscale: Callable[[GeneratedImage], GeneratedImage] | None = None,
) -> Iterator[Path]:
    """Write an image in formats to PNG files in a folder, with its metadata and provenance.

    Args:
        file: An image that `save_image` wrote, or any other one.
        names: Of NAMES.
        segmenter: Finds the objects.
        folder: Folder of the results, which are named after the image and the format.
        upscale: Enlarges the image for formats that are larger in pixels; without it they are reached by plain scaling.

    Yields:
        The paths.

    Raises:
        UserError: For an unknown format, or an image that is not readable or shows no object.
    """
    for name in names:
        check_format(name)
    image = read_photo(file)
    try:
        metadata = read_metadata(file)
    except UserError:  # an image of another program
        metadata = {}
    mask = find_objects(image, segmenter, metadata)
    original, enlarged = GeneratedImage(image, metadata), None
    provenance = {"photo": metadata.get("photo", ""), "source": EDITED if "edit" in metadata else GENERATED}
    for name in names:
        source = original
        if upscale and is_larger(name, image.size):
            source = enlarged = enlarged or upscale(original)
        result = _in_format(source.image, mask, name)
        text = {KEY: json.dumps(source.metadata)} if metadata else {}
        path = folder / f"{file.stem}-{name.replace(':', 'x')}.png"
        with atomic_file(path) as draft:
            draft.write_bytes(png_bytes(result, text, **provenance))
        yield path


def is_larger(name: str, size: tuple[int, int]) -> bool:
    """Whether a format has a size in pixels, and a larger one than an image of this width and height."""
    form = FORMATS.get(name)
    return form is not None and form.scaled and (form.width > size[0] or form.height > size[1])


def _in_format(image: Image.Image, mask: np.ndarray, name: str) -> Image.Image:
    """Return an image in a format; the mask of its objects may be that of the image at another size."""
    if image.size != mask.shape[::-1]:
        mask = np.asarray(Image.fromarray(mask).resize(image.size, Image.Resampling.NEAREST))
    return transparent_crop(image, mask) if name == CUTOUT else in_format(image, mask, name)


def find_objects(image: Image.Image, segmenter: Segmenter, metadata: dict | None = None) -> np.ndarray:
    """Find the objects of a generated image: as many of its largest regions as its prompt has handles, at least one.

    A region that touches two or more edges of the image counts as background, unless there is no other.

    Args:
        image: The image.
        segmenter: The segmenter.
        metadata: Of the image; see GeneratedImage.

    Returns:
        Their mask, (H, W) bool.

    Raises:
        UserError: If there is no such region.
    """
    regions = [mask for mask in segmenter.auto(image) if MIN_AREA < mask.mean() < MAX_AREA]  # the largest first
    if not regions:
        raise UserError("No object was found in the image: choose another one, or crop it by hand.")
    inside = [mask for mask in regions if sum(edge.any() for edge in (mask[0], mask[-1], mask[:, 0], mask[:, -1])) < 2]
    metadata = metadata or {}
    count = sum(handle in metadata["prompt"] for handle in metadata.get("handles", ()) if handle != BACKGROUND)
    return np.any((inside or regions)[: max(1, count)], axis=0)


def in_format(image: Image.Image, mask: np.ndarray, name: str) -> Image.Image:
    """Crop an image to a format, with the objects in the frame.

    The crop is the largest one of the format that is centered on the objects as far as the image allows. If they do not
    fit into it, the frame grows beyond the image, whose blurred edges are continued there.

    Args:
        image: The image.
        mask: The objects in it, (H, W) bool.
        name: A key of FORMATS.
    """
    check_format(name)
    form = FORMATS[name]
    aspect = form.width / form.height
    x0, y0, x1, y1 = Image.fromarray(mask).getbbox()
    width = min(image.width, image.height * aspect)
    if max(x1 - x0, (y1 - y0) * aspect) > width:  # the margin is given up before the frame leaves the image
        margin = 2 * MARGIN * max(x1 - x0, y1 - y0)
        width = max(x1 - x0 + margin, (y1 - y0 + margin) * aspect)
    frame = max(1, round(width)), max(1, round(width / aspect))
    left, top = (
        _start(low, high, side, length)
        for low, high, side, length in zip((x0, y0), (x1, y1), frame, image.size, strict=True)
    )
    cropped = _continued(image, (left, top, left + frame[0], top + frame[1]), (x0, y0, x1, y1))
    return cropped.resize((form.width, form.height), Image.Resampling.LANCZOS) if form.scaled else cropped


def _start(low: int, high: int, side: int, length: int) -> int:
    """Return the start of an interval of `side` around low..high: inside 0..length if it fits, else around it."""
    centered = round((low + high - side) / 2)
    return min(max(centered, min(0, length - side)), max(0, length - side))


def _continued(image: Image.Image, box: tuple[int, int, int, int], objects: tuple[int, int, int, int]) -> Image.Image:
    """Crop a box that may reach outside the image, whose blurred edges are continued there; see in_format.

    Args:
        image: The image.
        box: Left, top, right and bottom of the crop.
        objects: Those of the objects.
    """
    left, top, right, bottom = box
    before, after = (max(0, -left), max(0, -top)), (max(0, right - image.width), max(0, bottom - image.height))
    if not any((*before, *after)):
        return image.crop(box)
    pads = ((before[1], after[1]), (before[0], after[0]))
    short = min(image.size)
    extended = Image.fromarray(np.pad(np.asarray(image), (*pads, (0, 0)), mode="edge"))
    blurred = extended.filter(ImageFilter.GaussianBlur(BLUR * short))
    # The image shows through fully but for a feathered edge on the sides that are continued
    gaps = ((objects[1], image.height - objects[3]), (objects[0], image.width - objects[2]))
    inner = np.ones((image.height, image.width), np.float32)
    for axis in (0, 1):
        for reverse, padded, gap in zip((False, True), pads[axis], gaps[axis], strict=True):
            if padded:
                feather = max(1.0, MIN_FEATHER * short, min(gap, FEATHER * short))
                ramp = np.minimum(1, (np.arange(inner.shape[axis]) + 0.5) / feather)
                inner *= (ramp[::-1] if reverse else ramp).reshape((-1, 1) if axis == 0 else (1, -1))
    alpha = Image.fromarray((np.pad(inner, pads) * 255).round().astype(np.uint8))
    whole = Image.composite(extended, blurred, alpha)
    x, y = left + before[0], top + before[1]
    return whole.crop((x, y, x + right - left, y + bottom - top))
