"""The filters of `styles.py`, for many images at once in torch. Images are (N, 3, S, S), floats in [0, 1]."""

import numpy as np
import torch
import torch.nn.functional as F

from breakascene.toybox.pretraining.drawing import send
from breakascene.toybox.pretraining.resampling import blur_matrix


def restyle_batch(images: torch.Tensor, style: str) -> torch.Tensor:
    """Apply one of vocabulary.STYLES."""
    return FILTERS[style](torch.round(images * 255)).clamp(0, 255) / 255


def _gray(images: torch.Tensor) -> torch.Tensor:
    """Return lightness, (N, 1, S, S)."""
    return torch.round(0.299 * images[:, :1] + 0.587 * images[:, 1:2] + 0.114 * images[:, 2:])


def _colorize(gray: torch.Tensor, *colors: tuple[int, int, int]) -> torch.Tensor:
    """Map 0 to the first color, 255 to the last one and 127 to the middle one if there are three."""
    stops = send(np.array(colors, np.float32), gray.device).view(-1, 1, 3, 1, 1)
    if len(stops) == 2:
        return torch.lerp(stops[0], stops[1], gray / 255)
    dark, light = torch.lerp(stops[0], stops[1], gray / 127), torch.lerp(stops[1], stops[2], (gray - 127) / 128)
    return torch.where(gray < 127, dark, light)


def _black_and_white(images: torch.Tensor) -> torch.Tensor:
    """Stretch the contrast; the darkest and the lightest hundredth are cut off."""
    gray = _gray(images)
    ordered, cut = gray.flatten(1).sort(1).values, gray[0].numel() // 100
    low, high = (ordered[:, i].view(-1, 1, 1, 1) for i in (cut, -1 - cut))
    return torch.round((gray - low) * 255 / (high - low).clamp(min=1)).expand_as(images)


def _old(images: torch.Tensor) -> torch.Tensor:
    axis = torch.linspace(-1, 1, images.shape[-1], device=images.device)
    shade = 1 - 0.35 * (torch.hypot(axis[:, None], axis) - 0.6).clamp(0, 1)
    return torch.floor(_colorize(_gray(images), (58, 36, 20), (168, 128, 88), (247, 226, 186)) * shade)


def _pencil(images: torch.Tensor) -> torch.Tensor:
    gray, size = _gray(images), images.shape[-1]
    blur = blur_matrix(size, size / 24, images.device)
    lines = (gray / (blur @ gray @ blur.T + 1)).clamp(0, 1) ** 2.5
    return _colorize((lines * (200 + gray * 0.22)).clamp(0, 255), (40, 42, 48), (252, 250, 244))


def _painting(images: torch.Tensor) -> torch.Tensor:
    flat = _neighbors(images)[..., 12]  # the median
    ordered = _neighbors(flat)
    # The most frequent value around each pixel, the lowest one of several, if it occurs more than twice.
    run = torch.ones_like(flat)
    best, mode = run.clone(), flat.clone()
    for i in range(1, ordered.shape[-1]):
        run = torch.where(ordered[..., i] == ordered[..., i - 1], run + 1, 1)
        longer = (run > best) & (run > 2)
        best, mode = torch.where(longer, run, best), torch.where(longer, ordered[..., i], mode)
    coarse = torch.floor(mode / 32) * 32
    return torch.lerp(_gray(coarse), coarse, 1.5)


def _neighbors(images: torch.Tensor) -> torch.Tensor:
    """Return the values of the 5 × 5 pixels around each one in ascending order, (N, 3, S, S, 25)."""
    padded = F.pad(images, (2, 2, 2, 2), mode="replicate")
    return padded.unfold(2, 5, 1).unfold(3, 5, 1).flatten(-2).sort(-1).values


FILTERS = {
    "a black and white photo": _black_and_white,
    "an old photo": _old,
    "a pencil drawing": _pencil,
    "a painting": _painting,
}
