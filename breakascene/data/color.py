"""Color management: from any 8-bit mode and ICC profile to sRGB."""

import io

import numpy as np
from PIL import Image, ImageCms

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
MAX_DIFFERENCE = 3  # of 255; a profile this close to sRGB is taken for sRGB, and the pixels are left unchanged
MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # Pillow's mode for each color space of ICC


def to_srgb(image: Image.Image) -> Image.Image:
    """Convert an 8-bit image to RGB: its ICC profile applied if it has one, transparent parts on white."""
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    if image.mode in ("1", "L", "LA", "La"):
        color = image.convert("L")
    else:
        color = image if image.mode == "CMYK" else image.convert("RGB")
    if profile := image.info.get("icc_profile"):
        color = _apply_profile(color, profile)
    color = color.convert("RGB")
    if alpha is not None:
        color.putalpha(alpha)
        color = Image.alpha_composite(Image.new("RGBA", color.size, "white"), color).convert("RGB")
    return color


def lab_to_rgb(image: Image.Image) -> Image.Image:
    """Convert a CIELAB image, which only TIFF files hold, to sRGB; Image.convert cannot."""
    return ImageCms.profileToProfile(image, ImageCms.createProfile("LAB"), SRGB, outputMode="RGB")


def _apply_profile(image: Image.Image, icc: bytes) -> Image.Image:
    """Convert an RGB, L or CMYK image to sRGB; a damaged or unsuitable profile is ignored, as browsers do."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        mode = MODES.get(profile.profile.xcolor_space.strip())
        if mode == "RGB" and image.mode == "L":
            image = image.convert("RGB")
        if mode != image.mode:
            return image
        transform = ImageCms.buildTransform(
            profile, SRGB, mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
        )
        if mode == "RGB":
            probe = _color_grid()
            difference = np.asarray(ImageCms.applyTransform(probe, transform)).astype(int) - np.asarray(probe)
            if np.abs(difference).max() <= MAX_DIFFERENCE:
                return image
        return ImageCms.applyTransform(image, transform)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image


def _color_grid() -> Image.Image:
    levels = np.linspace(0, 255, 16).round().astype(np.uint8)
    return Image.fromarray(np.stack(np.meshgrid(levels, levels, levels), -1).reshape(64, 64, 3))
