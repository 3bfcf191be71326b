"""The toybox's styles: image filters, one for each style that a prompt can ask for."""

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps


def _black_and_white(photo: Image.Image) -> Image.Image:
    return ImageOps.autocontrast(ImageOps.grayscale(photo), cutoff=1).convert("RGB")


def _old(photo: Image.Image) -> Image.Image:
    """Apply sepia tones and a vignette."""
    brown = ImageOps.colorize(ImageOps.grayscale(photo), (58, 36, 20), (247, 226, 186), (168, 128, 88))
    y, x = np.mgrid[-1 : 1 : photo.height * 1j, -1 : 1 : photo.width * 1j]
    shade = 1 - 0.35 * np.clip(np.hypot(x, y) - 0.6, 0, 1)[..., None]
    return Image.fromarray((np.asarray(brown) * shade).astype(np.uint8))


def _pencil(photo: Image.Image) -> Image.Image:
    """Turn local contrast into lines on paper."""
    tones = ImageOps.grayscale(photo)
    around = np.asarray(tones.filter(ImageFilter.GaussianBlur(photo.width / 24)), np.float32) + 1
    lines = np.clip(np.asarray(tones) / around, 0, 1) ** 2.5
    gray = np.clip(lines * (200 + np.asarray(tones, np.float32) * 0.22), 0, 255)
    return ImageOps.colorize(Image.fromarray(gray.astype(np.uint8)), (40, 42, 48), (252, 250, 244))


def _painting(photo: Image.Image) -> Image.Image:
    """Flatten regions and strengthen colors."""
    flat = photo.filter(ImageFilter.MedianFilter(5)).filter(ImageFilter.ModeFilter(5))
    return ImageEnhance.Color(ImageOps.posterize(flat, 3)).enhance(1.5)


FILTERS = {
    "a black and white photo": _black_and_white,
    "an old photo": _old,
    "a pencil drawing": _pencil,
    "a painting": _painting,
}


def restyle(pixels: np.ndarray, style: str) -> np.ndarray:
    """Apply one of vocabulary.STYLES to an image (S, S, 3), uint8."""
    return np.asarray(FILTERS[style](Image.fromarray(pixels)))
