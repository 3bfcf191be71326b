"""Mask refinement: a conditional random field over a window of neighboring pixels.

The masks of a small segmenter are coarse. Pixels that are close and have a similar color mostly belong to the same
object, so each pixel's logit is mixed with its neighbors', weighted by similarity, for several iterations: mean-field
inference in a fully connected CRF (Krähenbühl and Koltun, arXiv 1210.5644), limited to a window (ConvCRF, arXiv
1805.04777).
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional as F

# Tuned on scenes of the toybox's training objects: IoU after one click is 0.86 without refinement and 0.93 with it.
# Doubling the window or changing any value by half moves the IoU by less than 0.005.
WINDOW_RADIUS, WINDOW_STRIDE = 3, 2  # neighbors on each side, and pixels between them
DISTANCE_SIGMA = 5.0  # pixels
COLOR_SIGMA = 0.08  # RGB distance, channels in 0..1
UNARY_WEIGHT = 0.5  # of the segmenter's own logits
PAIRWISE_WEIGHT = 12.0  # of all neighbors together
ITERATIONS = 6
# A click also counts for similar pixels around it: IoU after three clicks is 0.93 without this and 0.95 with it.
CLICK_LOGIT, CLICK_DISTANCE_SIGMA, CLICK_COLOR_SIGMA = 20.0, 8.0, 0.08
# Components below this fraction of the largest one are dropped. Recognition in generated images of one, two and three
# objects is 0.84, 0.66 and 0.47 with them, and 0.87, 0.71 and 0.50 without.
MIN_COMPONENT = 0.1


def neighbor_offsets() -> list[tuple[int, int]]:
    """Return the (dy, dx) of a pixel's neighbors: a strided grid, and the eight adjacent pixels.

    Without the adjacent pixels, the grid would split the image into interleaved parts that never exchange messages.
    """
    radius = WINDOW_RADIUS * WINDOW_STRIDE
    strided, adjacent = range(-radius, radius + 1, WINDOW_STRIDE), range(-1, 2)
    return sorted({(dy, dx) for offsets in (strided, adjacent) for dy in offsets for dx in offsets} - {(0, 0)})


@torch.no_grad()
def refine_logits(pixels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Refine the masks of an image, (H, W, 3) uint8, given as logits (N, H, W); returns logits (N, H, W)."""
    height, width = pixels.shape[:2]
    radius = WINDOW_RADIUS * WINDOW_STRIDE
    offsets = neighbor_offsets()
    windows = [np.s_[..., radius + dy : radius + dy + height, radius + dx : radius + dx + width] for dy, dx in offsets]

    def padded(values: torch.Tensor) -> torch.Tensor:
        return F.pad(values, (radius,) * 4, mode="replicate")

    colors = torch.tensor(pixels.copy()).permute(2, 0, 1).float() / 255  # (3, H, W)
    padded_colors = padded(colors)
    color_distance = torch.stack([(padded_colors[window] - colors).square().sum(0) for window in windows])  # (K, H, W)
    distance = torch.tensor([dy * dy + dx * dx for dy, dx in offsets]).view(-1, 1, 1)  # (K, 1, 1)
    weights = torch.exp(-color_distance / (2 * COLOR_SIGMA**2) - distance / (2 * DISTANCE_SIGMA**2))
    weights /= weights.sum(0) + 1e-6  # a pixel without similar neighbors keeps the segmenter's own logit
    unary = UNARY_WEIGHT * torch.tensor(logits).float()
    refined = unary
    for _ in range(ITERATIONS):
        beliefs = padded(torch.tanh(refined / 2))  # P(inside) - P(outside), in -1..1
        message = torch.zeros_like(unary)
        for weight, window in zip(weights, windows, strict=True):
            message.addcmul_(weight, beliefs[window])
        refined = unary + PAIRWISE_WEIGHT * message
    return refined.numpy()


def click_logits(pixels: np.ndarray, points: Sequence[tuple[float, float]], labels: Sequence[bool]) -> np.ndarray:
    """Return the logits (H, W) that clicks add to a mask: high near a click, where the color is similar.

    pixels: (H, W, 3) uint8; points: x, y in these pixels; labels: whether each point is inside the object.
    """
    height, width = pixels.shape[:2]
    ys, xs = np.mgrid[:height, :width]
    colors, logits = pixels / 255, np.zeros((height, width))
    for (x, y), inside in zip(points, labels, strict=True):
        row, column = min(int(y), height - 1), min(int(x), width - 1)
        color_distance = np.square(colors - colors[row, column]).sum(-1)
        distance = np.square(ys - row) + np.square(xs - column)
        logit = CLICK_LOGIT * np.exp(
            -color_distance / (2 * CLICK_COLOR_SIGMA**2) - distance / (2 * CLICK_DISTANCE_SIGMA**2)
        )
        logits += logit if inside else -logit
    return logits


def drop_small_components(masks: np.ndarray) -> np.ndarray:
    """Remove from masks (N, H, W) bool the connected components below MIN_COMPONENT of their largest one.

    They are mostly lights and clouds of the object's color far away from it, not parts of the object.
    """
    inside = torch.from_numpy(masks).float()[:, None]
    # Each pixel starts with a distinct number; the highest one in a component spreads over the component.
    numbers = torch.arange(1.0, inside[0].numel() + 1).view(1, 1, *inside.shape[2:]) * inside
    while not torch.equal(spread := F.max_pool2d(numbers, 3, 1, 1) * inside, numbers):
        numbers = spread
    kept = []
    for components in numbers[:, 0].long().numpy():
        sizes = np.bincount(components.ravel())
        sizes[0] = 0
        kept.append((sizes >= max(1, MIN_COMPONENT * sizes.max()))[components])
    return np.stack(kept)
