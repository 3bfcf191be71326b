"""Reading of photo and mask files of every kind, validated before anything else uses them."""

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from breakascene.errors import UserError

MAX_PIXELS = 40_000_000
MIN_SIDE = 16  # pixels
MAX_ASPECT = 20  # a longer strip contains no useful square crop

# Pillow checks this limit on the header, so that a small file cannot decompress into gigabytes.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
warnings.simplefilter("error", Image.DecompressionBombWarning)

Source = Path | str | Image.Image


def read_photo(source: Source) -> Image.Image:
    """Read a photo as an upright RGB image: EXIF rotation applied, transparent parts on white.

    Accepts all modes that Pillow reads, including 16-bit, palette and CMYK; of an animation, the first frame.

    Raises:
        UserError: If the file is missing, not an image, truncated, above 40 megapixels (checked before decoding),
            narrower than 16 pixels, or longer than 20 times its width.
    """
    image = _open(source)
    width, height = image.size
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
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def read_mask(source: Source, size: tuple[int, int]) -> np.ndarray:
    """Read a mask image as a (H, W) bool array for a photo of `size` (width, height) in pixels.

    White on black, or opaque on transparent: alpha counts if it varies, else luminance above 127. Upright like the
    photo. An image of the photo's aspect ratio (within 2 %) but another size is resized, nearest pixel.

    Raises:
        UserError: As read_photo does, and for another aspect ratio.
    """
    image = _open(source)
    (width, height), (photo_width, photo_height) = image.size, size
    stretch = (width / height) / (photo_width / photo_height)
    if not 1 / 1.02 <= stretch <= 1.02:
        raise UserError(
            f"{_label(source)} is {width} × {height} pixels but the photo is {photo_width} × {photo_height}: "
            "draw the mask on the photo itself."
        )
    grey = image.convert("L")
    if image.has_transparency_data:
        alpha = image.convert("RGBA").getchannel("A")
        lowest, highest = alpha.getextrema()
        grey = alpha if lowest < highest else image.convert("RGBA").convert("L")
    if image.size != size:
        grey = grey.resize(size, Image.Resampling.NEAREST)
    return np.asarray(grey) > 127  # (H, W)


def _label(source: Source) -> str:
    return "The image" if isinstance(source, Image.Image) else Path(source).name


def _open(source: Source) -> Image.Image:
    """Open, check the size in the header, decode, rotate upright, and reduce deep modes to eight bits."""
    label = _label(source)
    too_large = UserError(
        "{photo} has more than {most} megapixels: make it smaller first.",
        photo=label, most=MAX_PIXELS // 1_000_000,
    )  # fmt: skip
    try:
        image = source if isinstance(source, Image.Image) else Image.open(source)
        if image.width * image.height > MAX_PIXELS:
            raise too_large
        image.load()
        return _eight_bits(ImageOps.exif_transpose(image))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise too_large from error
    except FileNotFoundError as error:
        raise UserError(f"There is no file {source}: check the name.") from error
    except IsADirectoryError as error:
        raise UserError(f"{source} is a folder: give the image file itself.") from error
    except PermissionError as error:
        raise UserError(f"{source} cannot be read: change its permissions or copy it.") from error
    except UnidentifiedImageError as error:
        raise UserError("{photo} is not a readable image: use a JPEG, PNG or WebP file.", photo=label) from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error) as error:
        raise UserError("{photo} is damaged or truncated: copy or download it again.", photo=label) from error


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return image
    values = np.nan_to_num(np.asarray(image).astype(np.float32), posinf=0, neginf=0)
    maximum = float(values.max())
    if image.mode.startswith("I;16"):
        full = 65535
    else:  # 32-bit modes do not declare their range: 0..1, 0..255, 0..65535 or their own maximum
        full = next(limit for limit in (1 if image.mode == "F" else 255, 255, 65535, maximum) if maximum <= limit)
    return Image.fromarray((values.clip(0, full) * (255 / full)).round().astype(np.uint8))
