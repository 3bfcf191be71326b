"""Reading of photo and mask files of every kind, validated before anything else uses them."""

import math
import os
import stat
import struct
import sys
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from pillow_heif import register_heif_opener

from breakascene.data.color import lab_to_rgb, to_srgb
from breakascene.data.mask_values import covers_edges, describe_classes, edge_agreement, split_classes
from breakascene.errors import UserError

# Only formats that Pillow decodes itself: it would run Ghostscript on an EPS file of any name.
FORMATS = ("AVIF", "BMP", "GIF", "HEIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
MAX_PIXELS = 40_000_000  # of a photo in use; a larger one is reduced on reading
MAX_DECODED_PIXELS = 100_000_000  # a larger file is refused as a decompression bomb
MAX_JPEG_PIXELS = 220_000_000  # JPEG files decode at a reduced size
MIN_SIDE = 16  # pixels
MAX_ASPECT = 20  # a longer strip contains no useful square crop
MAX_STRETCH = 1.02  # between the aspect ratios of a photo and its mask
BIT_DEPTHS = (255, 1023, 4095, 16383, 65535)  # maxima of 8, 10, 12, 14 and 16 bits
ORIENTATION = 0x0112  # EXIF tag
TRANSPOSES = {  # by EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Pillow checks this limit on the header, so that a small file cannot decompress into gigabytes.
Image.MAX_IMAGE_PIXELS = MAX_JPEG_PIXELS
warnings.simplefilter("error", Image.DecompressionBombWarning)
register_heif_opener(thumbnails=False)

Source = Path | str | Image.Image


def read_photo(source: Source) -> Image.Image:
    """Read a photo as an upright RGB image: EXIF rotation applied, colors in sRGB, transparent parts on white.

    Accepts all modes that Pillow reads, including 16-bit, palette and CMYK; of an animation, the first frame. A photo
    above 40 megapixels is reduced by a whole factor; `info["full_size"]` of the result is the upright size before
    that, and `info["orientation"]` the EXIF orientation that was applied.

    Raises:
        UserError: If the file is missing, not an image, truncated, a decompression bomb (checked before decoding),
            narrower than 16 pixels, or longer than 20 times its width.
    """
    image, full_size, orientation = _open(source)
    width, height = full_size
    if min(width, height) < MIN_SIDE:
        raise UserError(
            "{photo} is only {width} × {height} pixels: use a photo of at least 16 × 16.",
            photo=_label(source), width=width, height=height,
        )  # fmt: skip
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise UserError(
            "{photo} is {width} × {height} pixels, too long and narrow: crop it around the objects.",
            photo=_label(source), width=width, height=height,
        )  # fmt: skip
    photo = to_srgb(_eight_bits(image))
    if (factor := _reduction(photo.size)) > 1:
        photo = photo.reduce(factor)
    photo.info = {"full_size": full_size, "orientation": orientation}
    return photo


def scaled_clicks(photo: Image.Image, points: list[tuple], box: Sequence[float] | None) -> tuple[list, tuple | None]:
    """Scale points (x, y) and a box (x0, y0, x1, y1) from pixels of the full-size photo to those of read_photo's."""
    scale = photo.width / photo.info.get("full_size", photo.size)[0]
    return [(x * scale, y * scale) for x, y in points], box and tuple(edge * scale for edge in box)


def read_mask(
    source: Source, size: tuple[int, int], photo: Image.Image | None = None, allow_inverted: bool = False
) -> np.ndarray:
    """Read a mask image as a (H, W) bool array.

    A mask has two values, or clearly a bright and a dark part, whatever the values are; the object is the brighter
    part. Transparency counts if it carries the shape. The mask is upright like the photo; one that only fits the
    photo before its EXIF rotation is rotated with it. Another size of the same aspect ratio (within 2 %) is resized.

    Args:
        source: The mask. "FILE#CLASS" is one class of a label map, see read_masks.
        size: Width and height of the photo in pixels.
        photo: The photo as read_photo returned it, to detect masks made before its EXIF rotation.
        allow_inverted: Whether the mask may mark most of the photo with all its edges.

    Raises:
        UserError: As read_photo does, for another aspect ratio, and for a mask that is unclear, has several classes,
            or seems to be inverted or rotated.
    """
    source, label = _split_label(source)
    masks = read_masks(source, size, photo)
    name, classes = _label(source), describe_classes(masks)
    if label and label not in masks:
        raise UserError("{mask} has no class {label}: choose from {classes}.", mask=name, label=label, classes=classes)
    if not label and len(masks) > 1:
        raise UserError(
            "{mask} is a label map with {count} classes ({classes}): choose one, for example {mask}#{example}.",
            mask=name, count=len(masks), classes=classes, example=next(iter(masks)),
        )  # fmt: skip
    mask = masks[label] if label else next(iter(masks.values()))
    if not allow_inverted and covers_edges(mask):
        raise UserError(
            "{mask} marks {share:.0%} of the photo with all its edges, so it seems to be inverted: mark the object "
            "white on black. To learn the surroundings, use the background option.",
            mask=name, share=mask.mean(),
        )  # fmt: skip
    if photo is not None and (transpose := _ambiguous_rotation(source, size, photo)) is not None:
        unrotated = Image.fromarray(mask).transpose(transpose).resize(size, Image.Resampling.NEAREST)
        upright_score, unrotated_score = (edge_agreement(photo, m) for m in (mask, np.asarray(unrotated)))
        if unrotated_score > 1.5 * max(1, upright_score):
            raise UserError(
                "{mask} fits the photo before its EXIF rotation, not as it is displayed: rotate or mirror the mask.",
                mask=name,
            )
    return mask


def read_masks(source: Source, size: tuple[int, int], photo: Image.Image | None = None) -> dict[str, np.ndarray]:
    """Read a mask image as (H, W) bool masks by class; see read_mask for the arguments and errors.

    A label map gives one mask for each class, named by its value, its palette index or its color ("ff0000"), without
    the background and VOC's void class. Any other mask image gives one mask named "".
    """
    image, full_size, orientation = _open(source)
    photo_orientation = photo is not None and orientation == 1 and photo.info.get("orientation", 1)
    if photo_orientation in (5, 6, 7, 8) and _fits(full_size[::-1], size) and not _fits(full_size, size):
        image = image.transpose(TRANSPOSES[photo_orientation])
        full_size = image.size
    if not _fits(full_size, size):
        (width, height), (photo_width, photo_height) = full_size, size
        raise UserError(
            f"{_label(source)} is {width} × {height} pixels but the photo is {photo_width} × {photo_height}: "
            "draw the mask on the photo itself."
        )
    if image.width > size[0]:  # label maps are analyzed at their own size, but never at more than the photo's
        image = image.resize(size, Image.Resampling.NEAREST)
    masks = split_classes(image, _label(source))
    if image.size == size:
        return masks
    return {
        label: np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST)) for label, mask in masks.items()
    }


def _label(source: Source) -> str:
    return "The image" if isinstance(source, Image.Image) else Path(source).name


def _split_label(source: Source) -> tuple[Source, str]:
    """Split "FILE#CLASS", unless a file has that very name."""
    if isinstance(source, Image.Image) or "#" not in Path(source).name or os.path.lexists(source):
        return source, ""
    file, _, label = str(source).rpartition("#")
    return Path(file), label


def _fits(size: tuple[int, int], photo_size: tuple[int, int]) -> bool:
    stretch = (size[0] / size[1]) / (photo_size[0] / photo_size[1])
    return 1 / MAX_STRETCH <= stretch <= MAX_STRETCH


def _ambiguous_rotation(source: Source, size: tuple[int, int], photo: Image.Image) -> Image.Transpose | None:
    """Return the transposition by the photo's EXIF orientation if the mask's size fits with and without it."""
    orientation = photo.info.get("orientation", 1)
    if orientation == 1 or (orientation >= 5 and not _fits(size[::-1], size)):
        return None
    with _read_errors(source), _opened(source) as image:
        return TRANSPOSES[orientation] if _orientation(image) == 1 else None


def _orientation(image: Image.Image) -> int:
    orientation = image.getexif().get(ORIENTATION, 1)
    return orientation if orientation in TRANSPOSES else 1


def _reduction(size: tuple[int, int]) -> int:
    return math.ceil(math.sqrt(size[0] * size[1] / MAX_PIXELS))


@contextmanager
def _opened(source: Source) -> Iterator[Image.Image]:
    """Open a file of an allowed format, or yield an image as it is."""
    if isinstance(source, Image.Image):
        yield source
        return
    mode = os.stat(source).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # opening a pipe or a device could block for ever
        raise UserError(f"{source} is not a regular file: give the image file itself.")
    with Image.open(source, formats=FORMATS) as image:
        yield image


@contextmanager
def _read_errors(source: Source) -> Iterator[None]:
    """Turn the errors of reading an image file into UserErrors."""
    label = _label(source)
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(label, MAX_DECODED_PIXELS) from error
    except FileNotFoundError as error:
        raise UserError(f"There is no file {source}: check the name.") from error
    except IsADirectoryError as error:
        raise UserError(f"{source} is a folder: give the image file itself.") from error
    except PermissionError as error:
        raise UserError(f"{source} cannot be read: change its permissions or copy it.") from error
    except UnidentifiedImageError as error:
        raise UserError("{photo} is not a readable image: use a JPEG, PNG, WebP or HEIC file.", photo=label) from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error) as error:
        raise UserError("{photo} is damaged or truncated: copy or download it again.", photo=label) from error


def _too_large(label: str, limit: int) -> UserError:
    return UserError(
        "{photo} has more than {most} megapixels: make it smaller first.", photo=label, most=limit // 1_000_000
    )


def _open(source: Source) -> tuple[Image.Image, tuple[int, int], int]:
    """Decode an image and rotate it upright; returns it with its upright full size and its EXIF orientation.

    JPEG files above MAX_PIXELS are decoded at a reduced size.
    """
    with _read_errors(source), _opened(source) as image:
        jpeg = image.format in ("JPEG", "MPO")
        limit = MAX_JPEG_PIXELS if jpeg else MAX_DECODED_PIXELS
        if image.width * image.height > limit:
            raise _too_large(_label(source), limit)
        two_bytes = image.mode in ("RGB", "RGBA") and any(
            "16" in _raw_mode(tile) for tile in getattr(image, "tile", [])
        )
        full_size, orientation = image.size, _orientation(image)  # reading EXIF may decode a PNG
        if jpeg and not isinstance(source, Image.Image) and (factor := _reduction(image.size)) > 1:
            image.draft(None, (image.width // factor, image.height // factor))
        image.load()
        if two_bytes and not isinstance(source, Image.Image):
            image = _scaled_channels(image, source)
        upright = ImageOps.exif_transpose(lab_to_rgb(image) if image.mode == "LAB" else image)
    return upright, full_size if orientation < 5 else full_size[::-1], orientation


def _raw_mode(tile) -> str:
    return tile.args if isinstance(tile.args, str) else str(tile.args and tile.args[0])


def _scaled_channels(image: Image.Image, source: Path | str) -> Image.Image:
    """Scale 16-bit color by its range. Pillow keeps the high bytes, which lose an image of 8 to 14 bits.

    The low bytes are read as the high bytes of the opposite byte order.
    """
    high = np.asarray(image)[..., :3]  # (H, W, 3)
    if high.max() > BIT_DEPTHS[-2] >> 8:
        return image
    opposite = {"16B": "16L", "16L": "16B", "16N": "16B" if sys.byteorder == "little" else "16L"}

    def swapped(text):
        return text[:-3] + opposite[text[-3:]] if isinstance(text, str) and text[-3:] in opposite else text

    with Image.open(source, formats=FORMATS) as again:
        again.tile = [
            tile._replace(args=tuple(map(swapped, tile.args)) if isinstance(tile.args, tuple) else swapped(tile.args))
            for tile in again.tile
        ]
        try:
            low = np.asarray(again)[..., :3]
        except (ValueError, OSError):  # a layout without an opposite byte order, such as gray with alpha
            return image
    values = high.astype(np.uint16) << 8 | low
    full = next(limit for limit in BIT_DEPTHS if values.max() <= limit)
    scaled = Image.fromarray((values * (255 / full)).round().astype(np.uint8))
    if image.mode == "RGBA":
        scaled.putalpha(image.getchannel("A"))
    scaled.info = image.info
    return scaled


def _eight_bits(image: Image.Image) -> Image.Image:
    """Reduce 16- and 32-bit gray modes to eight bits by the range of their values."""
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return image
    values = np.nan_to_num(np.asarray(image).astype(np.float32), posinf=0, neginf=0)
    maximum = float(values.max())
    # No mode declares its range: integers have that of a bit depth, floats 0..1 or one of those.
    limits = (1, 255, 65535) if image.mode == "F" else BIT_DEPTHS
    full = next(limit for limit in (*limits, maximum) if maximum <= limit)
    eight = Image.fromarray((values.clip(0, full) * (255 / full)).round().astype(np.uint8))
    eight.info = image.info
    return eight
