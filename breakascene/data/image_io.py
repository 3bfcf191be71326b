"""Pictures that people bring: photos and masks of any kind, checked before anything else sees them."""

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from breakascene.errors import UserError

MAX_PIXELS = 40_000_000
MIN_SIDE = 16  # pixels
MAX_ASPECT = 20  # a longer strip has no square worth learning from

# Pillow looks at the header alone for this limit, so that a small file cannot unfold into gigabytes.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
warnings.simplefilter("error", Image.DecompressionBombWarning)

Source = Path | str | Image.Image


def read_photo(source: Source) -> Image.Image:
    """Read a picture as an upright RGB image: EXIF rotation applied, transparent parts on white.

    Takes every size and mode that Pillow reads, 16-bit, palette and CMYK among them; of an animation, the first frame.
    Raises UserError if it is missing, not a picture, cut off, above 40 megapixels (checked before decoding), narrower
    than 16 px or longer than 20 times its width.
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
            "{photo} is {width} × {height} pixels, too long a strip: crop it around the things.",
            photo=_label(source), width=width, height=height,
        )  # fmt: skip
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def read_mask(source: Source, size: tuple[int, int]) -> np.ndarray:
    """Read a mask picture as a (H, W) bool array for a photo of `size` (width, height) in pixels.

    White on black, or opaque on transparent: alpha decides if it varies, else luminance above 127. Upright like the
    photo. Another size of the same shape (within 2 %) is resized to the photo's, nearest pixel.
    Raises UserError as read_photo does, and for a size that does not fit.
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
    return "The picture" if isinstance(source, Image.Image) else Path(source).name


def _open(source: Source) -> Image.Image:
    """Open, check the size by the header, decode whole, turn upright, and bring deep modes to eight bits."""
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
        raise UserError(f"{source} is a folder: give the picture file itself.") from error
    except PermissionError as error:
        raise UserError(f"{source} may not be read: change its rights or copy it.") from error
    except UnidentifiedImageError as error:
        raise UserError(
            "{photo} is not a picture that can be read: use a JPEG, PNG or WebP file.", photo=label
        ) from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error) as error:
        raise UserError("{photo} is damaged or cut off: copy or download it again.", photo=label) from error


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return image
    values = np.nan_to_num(np.asarray(image).astype(np.float32), posinf=0, neginf=0)
    top = float(values.max())
    if image.mode.startswith("I;16"):
        full = 65535
    else:  # 32-bit modes do not say their range: 0..1, 0..255, 0..65535 or up to their own brightest value
        full = next(limit for limit in (1 if image.mode == "F" else 255, 255, 65535, top) if top <= limit)
    return Image.fromarray((values.clip(0, full) * (255 / full)).round().astype(np.uint8))
