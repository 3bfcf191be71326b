"""Scaling, rotation, blur and colors of many small images at once in torch.

Cells are square textures (M, 4, C, C): red, green and blue times alpha, and alpha, floats in [0, 1]. Scaling is a
product with a matrix of bicubic weights along each axis, as in Pillow.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F


def resample(
    cells: torch.Tensor, source: Sequence, target: Sequence, size: int, flipped: torch.Tensor | None = None
) -> torch.Tensor:
    """Scale a box of each cell to a box of a new one, bicubically and without aliasing.

    Args:
        cells: (M, 4, C, C).
        source: Left, top, width and height in the cells, each (M,).
        target: The same in the new cells; lefts and tops are integers.
        size: Side of the new cells.
        flipped: Which to mirror, (M,).
    """
    x0, y0, w0, h0 = source
    x1, y1, w1, h1 = target
    columns = resampling_matrix(x0, w0, x1, w1, cells.shape[-1], size, flipped)  # (M, size, C)
    rows = resampling_matrix(y0, h0, y1, h1, cells.shape[-1], size)
    return limited(rows[:, None] @ (cells @ columns[:, None].mT))


def limited(cells: torch.Tensor) -> torch.Tensor:
    """Limit alpha to 1 and colors to alpha, in place: large temporary tensors are slow on a CPU."""
    alpha = cells[:, 3:].clamp_(0, 1)
    torch.minimum(cells[:, :3].clamp_(min=0), alpha, out=cells[:, :3])
    return cells


def resampling_matrix(start0, length0, start1, length1, cells: int, size: int, flipped=None) -> torch.Tensor:
    """Return Pillow's bicubic weights along one axis, (M, size, cells); zero outside the target."""
    start0, length0, start1, length1 = (value.float().reshape(-1, 1) for value in (start0, length0, start1, length1))
    ratio = length0 / length1
    inside = torch.arange(size, device=ratio.device) + 0.5 - start1  # (M, size)
    position = inside * ratio
    if flipped is not None:
        position = torch.where(flipped[:, None], length0 - position, position)
    texel = torch.arange(cells, device=ratio.device) + 0.5 - start0  # (M, cells)
    d = ((texel[:, None] - position[..., None]) / ratio.clamp(min=1)[..., None]).abs()
    weights = torch.where(d < 1, (1.5 * d - 2.5) * d * d + 1, ((-0.5 * d + 2.5) * d - 4) * d + 2) * (d < 2)
    weights = weights * ((texel > 0) & (texel < length0))[:, None]
    weights = weights / weights.sum(2, keepdim=True).clamp(min=1e-6)
    return weights * ((inside > 0) & (inside < length1))[..., None]


def rotate(cells, angle, centers, sources, size: int, zoom=None) -> torch.Tensor:
    """Rotate each cell counterclockwise around a point.

    Args:
        cells: (M, 4, C, C).
        angle: In degrees, (M,).
        centers: Point in the new cells, x and y, (M, 2).
        sources: The same point in the old cells, (M, 2).
        size: Side of the new cells.
        zoom: Old pixels for each new one, along the old x and y, (M, 2); negative ones mirror.
    """
    axis = torch.arange(size, device=cells.device) + 0.5
    dx = (axis - centers[:, :1])[:, None]  # (M, 1, size)
    dy = (axis - centers[:, 1:])[:, :, None]  # (M, size, 1)
    cos, sin = (f(torch.deg2rad(angle)).view(-1, 1, 1) for f in (torch.cos, torch.sin))
    offsets = torch.stack([cos * dx - sin * dy, sin * dx + cos * dy], 3)
    grid = offsets * (1 if zoom is None else zoom[:, None, None]) + sources[:, None, None]
    rotated = F.grid_sample(cells, (grid * 2 / cells.shape[-1] - 1).float(), mode="bicubic", align_corners=False)
    return limited(rotated)


def blur_matrix(size: int, radius: float, device: torch.device) -> torch.Tensor:
    """Return the weights of a Gaussian blur along an axis, which repeats the pixels at the border. (S, S)"""
    reach = int(4 * radius)
    positions = torch.arange(-reach, size + reach, device=device)
    weights = (-((torch.arange(size, device=device)[:, None] - positions) ** 2) / (2 * radius**2)).exp()
    matrix = torch.zeros(size, size, device=device)
    matrix.index_add_(1, positions.clamp(0, size - 1), weights / weights.sum(1, keepdim=True))
    return matrix


def recolor(cells: torch.Tensor, hue, saturation, value) -> torch.Tensor:
    """Rotate the hues, in 256ths, and scale saturation and value, each (M, 1, 1)."""
    alpha = cells[:, 3:]
    colors = (cells[:, :3] / alpha.clamp(min=1e-3)).clamp(0, 1)
    r, g, b = colors.unbind(1)
    high, low = colors.amax(1), colors.amin(1)
    spread = (high - low).clamp(min=1e-6)
    sector = torch.where(
        high == r, (g - b) / spread, torch.where(high == g, 2 + (b - r) / spread, 4 + (r - g) / spread)
    )
    sector = sector + hue * 6 / 256
    bright = (high * value).clamp(max=1)
    chroma = bright * ((high - low) / high.clamp(min=1e-6) * saturation).clamp(max=1)
    shifted = torch.stack([(n + sector) % 6 for n in (5, 3, 1)], 1)
    recolored = bright[:, None] - chroma[:, None] * torch.minimum(shifted, 4 - shifted).clamp(0, 1)
    return torch.cat([recolored * alpha, alpha], 1)


def bounding_boxes(cells: torch.Tensor) -> torch.Tensor:
    """Return left, top, width and height of the visible part of each cell, (M, 4)."""
    visible, size = cells[:, 3] > 0.5 / 255, cells.shape[-1]
    edges = []
    for axis in (1, 2):
        line = visible.any(axis).byte()
        start = line.argmax(1)
        edges.append((start, size - line.flip(1).argmax(1) - start))
    (left, width), (top, height) = edges
    return torch.stack([left, top, width, height], 1).double()
