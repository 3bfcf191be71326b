"""Masks and attention maps drawn over a photo."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from breakascene.data.scene import Scene
from breakascene.rendering.fonts import font_for
from breakascene.rendering.palette import INK, color_of

LEGEND_FONT_SIZE = 15  # pixels
MIN_LEGEND_WIDTH = 320  # pixels

# Black, violet, red, orange, pale yellow: brightness rises steadily, so the ramp reads without color vision.
_HEAT_RAMP = np.array([(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], np.float32)


def overlay(photo: Image.Image, masks: Sequence[np.ndarray]) -> Image.Image:
    """Tint and outline each mask in its own color.

    Args:
        photo: Image of any mode, W × H.
        masks: Boolean arrays of shape (H, W).

    Returns:
        An RGB image of the photo's size.
    """
    image = photo.convert("RGB")
    for i, mask in enumerate(masks):
        inside = Image.fromarray(mask.astype(np.uint8) * 255)
        outline = mask & (np.asarray(inside.filter(ImageFilter.MinFilter(5))) == 0)
        opacity = Image.fromarray(np.where(outline, 255, mask * 140).astype(np.uint8))
        image.paste(Image.new("RGB", image.size, color_of(i)), mask=opacity)
    return image


def scene_overlay(scene: Scene) -> Image.Image:
    """Draw the masks of all concepts over the photo, with a legend of handles and names below."""
    view = overlay(scene.photo, [concept.mask for concept in scene.concepts])
    line_height = LEGEND_FONT_SIZE + 7
    height = view.height + line_height * len(scene.concepts) + 6
    image = Image.new("RGB", (max(view.width, MIN_LEGEND_WIDTH), height), "white")
    image.paste(view)
    draw, font = ImageDraw.Draw(image), font_for(scene.names, LEGEND_FONT_SIZE)
    for i, concept in enumerate(scene.concepts):
        y = view.height + 4 + i * line_height
        draw.rectangle((4, y + 2, 4 + LEGEND_FONT_SIZE, y + 2 + LEGEND_FONT_SIZE), fill=color_of(i))
        draw.text((LEGEND_FONT_SIZE + 12, y), f"{scene.handles[i]}  {concept.name}", INK, font)
    return image


def heat_map(pixels: np.ndarray, attention: np.ndarray, strength: float = 0.65) -> Image.Image:
    """Blend an attention map with an image.

    Args:
        pixels: Image of shape (H, W, 3), uint8.
        attention: Map of shape (h, w) with values in [0, 1]; enlarged bicubically.
        strength: Opacity of the map.

    Returns:
        An RGB image, W × H.
    """
    height, width = pixels.shape[:2]
    enlarged = Image.fromarray(attention.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC)
    heat = np.asarray(enlarged).clip(0, 1)  # (H, W)
    stops = np.linspace(0, 1, len(_HEAT_RAMP))
    colors = np.stack([np.interp(heat, stops, _HEAT_RAMP[:, channel]) for channel in range(3)], axis=-1)
    blended = (1 - strength) * pixels + strength * colors
    return Image.fromarray(blended.round().clip(0, 255).astype(np.uint8))
