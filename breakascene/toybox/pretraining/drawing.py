"""The scenes of `world.py` and the novel objects of `image_codes.py`, drawn for many scenes at once in torch.

Cells are square textures (M, 4, C, C) of objects in the upper left corner or anywhere else: red, green and blue times
alpha, and alpha, floats in [0, 1] (see `resampling.py`). Nothing reads a result back, so that a GPU never waits for the
host.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from breakascene.models.image_codes import CELLS, GRAY
from breakascene.toybox.pretraining.image_codes import CutoutPose, Recipe, source_sprites
from breakascene.toybox.pretraining.resampling import (
    blur_matrix,
    bounding_boxes,
    limited,
    recolor,
    resample,
    resampling_matrix,
    rotate,
)
from breakascene.toybox.pretraining.sprites import CELL
from breakascene.toybox.pretraining.world import Placement

SHADOW_ROWS = 32  # at least a sixth of the tallest object, at 256 px
CUTOUT_CELL = 192  # pixels; holds a stretched and rotated sprite

_OBJECT = (
    "scene layer first second outline cut hue saturation value stretch recipe_mirrored "
    "side center bottom mirrored angle brightness side_light"
).split()
_CUTOUT = "object angle red green blue crop crop_left".split()


def object_records(objects: Sequence[tuple[int, int, Recipe, Placement]]) -> np.ndarray:
    """Return records of objects: each the index of its scene, its layer from 0 at the back, recipe and placement."""
    rows = [
        (scene, layer, r.first, r.second, r.outline, r.cut, r.hue, r.saturation, r.value, r.stretch, r.mirrored)
        + (p.side, p.center, p.bottom, p.pose.mirrored, p.pose.angle, p.pose.brightness, p.pose.side_light)
        for scene, layer, r, p in objects
    ]
    return np.array(rows, np.dtype([(name, np.float64) for name in _OBJECT]))


def cutout_records(cutouts: Sequence[tuple[int, CutoutPose]]) -> np.ndarray:
    """Return records of cut-outs: each the index of its object and its pose."""
    rows = [(index, pose.angle, *pose.light, pose.crop, pose.crop_left) for index, pose in cutouts]
    return np.array(rows, np.dtype([(name, np.float64) for name in _CUTOUT]))


def send(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """Copy an array to a device without waiting for the device."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def _columns(records: np.ndarray, device: torch.device) -> dict[str, torch.Tensor]:
    table = send(records.view(np.float64).reshape(len(records), len(records.dtype)).T, device)  # one transfer
    return dict(zip(records.dtype.names, table, strict=True))


@dataclass(frozen=True, eq=False)
class Textures:
    """Cells of all source sprites, in the upper left corner.

    Args:
        pixels: (N, 4, C, C) uint8.
        sizes: Width and height of each, (N, 2).
    """

    pixels: torch.Tensor
    sizes: torch.Tensor

    @classmethod
    def load(cls, device: torch.device) -> "Textures":
        sprites = source_sprites()
        pixels = np.zeros((len(sprites), CELL, CELL, 4), np.uint8)
        for cell, sprite in zip(pixels, sprites, strict=True):
            cell[: sprite.height, : sprite.width] = np.asarray(sprite.convert("RGBa"))
        sizes = torch.tensor([sprite.size for sprite in sprites], dtype=torch.float64)
        return cls(torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().to(device), sizes.to(device))


@dataclass(frozen=True, eq=False)
class Cells:
    """M objects as textures.

    Args:
        pixels: Cells, (M, 4, C, C).
        boxes: Left, top, width and height of each in its cell, (M, 4).
        sizes: Width and height it is meant to have, which differ from the box if it is stretched, (M, 2).
    """

    pixels: torch.Tensor
    boxes: torch.Tensor
    sizes: torch.Tensor


def object_cells(textures: Textures, records: np.ndarray) -> Cells:
    """Return the objects of records from `object_records`, made by their recipes."""
    device = textures.pixels.device
    first = send(records["first"].astype(np.int64), device)
    pixels, sizes = textures.pixels[first].float() / 255, textures.sizes[first]
    boxes = torch.cat([torch.zeros_like(sizes), sizes], 1)
    novel = np.flatnonzero(is_novel(records))
    if len(novel):
        made, rows = novel_cells(textures, records[novel]), send(novel, device)
        for stored, new in ((pixels, made.pixels), (boxes, made.boxes), (sizes, made.sizes)):
            stored[rows] = new
    return Cells(pixels, boxes, sizes)


def is_novel(records: np.ndarray) -> np.ndarray:
    """Return which objects are not simply a sprite."""
    return records["second"] >= 0


def novel_cells(textures: Textures, records: np.ndarray) -> Cells:
    """Make novel objects, as `image_codes.make_object` does, except that mirroring is left to the drawing."""
    column = _columns(records, textures.pixels.device)
    first, second = column["first"].long(), column["second"].long()
    outline, zero = column["outline"].bool(), torch.zeros_like(column["cut"])
    size = torch.where(outline[:, None], textures.sizes[second], textures.sizes[first])  # (M, 2)
    sprite, other = (
        resample(
            textures.pixels[index].float() / 255, (zero, zero, *textures.sizes[index].T), (zero, zero, *size.T), CELL
        )
        for index in (first, second)
    )
    # The colors of the first in the outline of the second, on its mean color.
    color, alpha = sprite[:, :3], sprite[:, 3:]
    mean = color.sum((2, 3), keepdim=True) / alpha.sum((2, 3), keepdim=True)
    outlined = torch.cat([(color + mean * (1 - alpha)) * other[:, 3:], other[:, 3:]], 1)
    # The upper part of the first on the lower part of the second.
    rows = torch.arange(CELL, device=size.device)
    upper = rows < torch.floor(size[:, 1] * column["cut"])[:, None]
    combined = torch.where(upper[:, None, :, None], sprite, other)
    cells = torch.where(outline[:, None, None, None], outlined, combined)
    cells = recolor(cells, *(column[name].float().view(-1, 1, 1) for name in ("hue", "saturation", "value")))
    boxes, stretch = bounding_boxes(cells), torch.stack([column["stretch"], -column["stretch"]], 1)
    stretched = torch.where(stretch == 0, size, torch.round(size * stretch.exp()).clamp(min=8))
    return Cells(cells, boxes, torch.round(boxes[:, 2:] * stretched / size).clamp(min=1))


def draw_scenes(
    places: torch.Tensor, lights: torch.Tensor, cells: Cells, records: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw objects into places with soft shadows, as `world.draw_scene` does.

    Args:
        places: Images of places, (N, 3, S, S), floats in [0, 1].
        lights: Color of each place's light on objects, (N, 3).
        cells: M objects.
        records: Their scenes, layers and placements, from `object_records`.

    Returns:
        The images, (N, 3, S, S), floats in [0, 1], and the visible pixels of the objects, by layers from the back,
        (N, layers, S, S), bool.
    """
    device, size, layers = places.device, places.shape[-1], int(records["layer"].max(initial=0)) + 1
    images, masks = places.clone(), places.new_zeros(len(places), layers, size, size)
    column = _columns(records, device)
    left, top, width, height, upright = _geometry(column, cells, size)
    flipped = column["mirrored"] != column["recipe_mirrored"]
    objects = resample(cells.pixels, cells.boxes.T, upright, size, flipped)  # (M, 4, S, S)
    if len(rotated := np.flatnonzero(records["angle"])):
        rows = send(rotated, device)
        centers = torch.stack([left + width / 2, top + height / 2], 1)[rows]
        sources = torch.stack([upright[0] + upright[2] / 2, upright[1] + upright[3] / 2], 1)[rows]
        objects[rows] = rotate(objects[rows], column["angle"][rows], centers, sources, size)
    across = (torch.arange(size, device=device) - left[:, None]) / (width[:, None] - 1) * 2 - 1
    shade = column["brightness"][:, None] + column["side_light"][:, None] * across  # (M, S)
    objects[:, :3] *= shade.float()[:, None, None]
    colors, alpha = limited(objects).split([3, 1], 1)
    shadows = _shadows(alpha[:, 0], left, top, width, height, size)[:, None]
    for layer in range(layers):
        chosen = np.flatnonzero(records["layer"] == layer)
        if not len(chosen):
            continue
        rows, scenes = send(chosen, device), send(records["scene"][chosen].astype(np.int64), device)
        opacity, transparency = alpha[rows], 1 - alpha[rows]
        behind = images[scenes] * ((1 - shadows[rows]) * transparency)
        images[scenes] = behind.addcmul_(colors[rows], lights[scenes][:, :, None, None])
        masks[scenes] = masks[scenes] * transparency
        masks[scenes, layer] = opacity[:, 0]
    return images.clamp_(0, 1), masks > 0.5


def cutout_canvases(cells: Cells, records: np.ndarray, cutouts: np.ndarray, cell: int) -> torch.Tensor:
    """Pose objects as cut-outs and place them on canvases, as `make_cutout` and `models.image_codes.canvases` do.

    Args:
        cells: Objects.
        records: Their recipes, from `object_records`.
        cutouts: The poses of M of them, from `cutout_records`.
        cell: Pixels along the side of a latent cell.

    Returns:
        (M, S, S, 4) uint8.
    """
    device, side = cells.pixels.device, CELLS * cell
    if not len(cutouts):
        return torch.zeros(0, side, side, 4, dtype=torch.uint8, device=device)
    column = _columns(cutouts, device)
    rows = column["object"].long()
    boxes, sizes = cells.boxes[rows], cells.sizes[rows]
    flip = send(1 - 2 * records["recipe_mirrored"][cutouts["object"].astype(np.int64)], device)
    zoom = boxes[:, 2:] / sizes * torch.stack([flip, torch.ones_like(flip)], 1)
    corners = torch.floor((CUTOUT_CELL - sizes) / 2)
    centers = boxes[:, :2] + boxes[:, 2:] / 2
    posed = rotate(cells.pixels[rows], column["angle"], corners + sizes / 2, centers, CUTOUT_CELL, zoom)
    light = torch.stack([column[name] for name in ("red", "green", "blue")], 1).float()[:, :, None, None]
    posed[:, :3] *= light
    posed = limited(posed)
    left, top, width, height = bounding_boxes(posed).T
    cut = torch.floor(width * column["crop"])
    left, width = left + cut * column["crop_left"], width - cut
    scale = side / torch.maximum(width, height)
    w, h = (torch.round(length * scale).clamp(min=1) for length in (width, height))
    target = (torch.floor((side - w) / 2), side - h, w, h)
    canvas = resample(posed, (left, top, width, height), target, side)
    canvas[:, :3] += GRAY[0] / 255 * (1 - canvas[:, 3:])
    return (canvas * 255 + 0.5).clamp(0, 255).byte().permute(0, 2, 3, 1)


def _geometry(column: dict, cells: Cells, size: int) -> tuple:
    """Return left, top, width and height of each object as drawn, and the same before its rotation, each (M,)."""
    scale = column["side"] * size / cells.sizes.amax(1)
    w, h = (torch.round(length * scale).clamp(min=4) for length in cells.sizes.T)
    angle = torch.deg2rad(column["angle"]).abs()
    half_width = (w * angle.cos() + h * angle.sin()) / 2
    half_height = (w * angle.sin() + h * angle.cos()) / 2
    width = torch.where(angle == 0, w, torch.ceil(w / 2 + half_width) - torch.floor(w / 2 - half_width))
    height = torch.where(angle == 0, h, torch.ceil(h / 2 + half_height) - torch.floor(h / 2 - half_height))
    left = (column["center"] * size - width / 2).clamp(1 - 0.06 * width, size - 0.94 * width).trunc()
    top = (column["bottom"] * size - height).clamp(min=0.02 * size).trunc()
    # A rotated object is scaled in the middle first, where all of it fits.
    before_left = torch.where(angle == 0, left, torch.floor((size - w) / 2))
    before_top = torch.where(angle == 0, top, torch.floor((size - h) / 2))
    return left, top, width, height, (before_left, before_top, w, h)


def _shadows(alpha: torch.Tensor, left, top, width, height, size: int) -> torch.Tensor:
    """Return the darkening by each object's shadow: its outline flattened at its bottom and blurred. (M, S, S)"""
    blur = blur_matrix(size, size / 45, alpha.device)
    flat = torch.floor(height / 6).clamp(min=3)
    rows = torch.arange(SHADOW_ROWS, device=alpha.device)
    flattened = resampling_matrix(top, height, torch.zeros_like(flat), flat, size, SHADOW_ROWS) @ alpha  # (M, 32, S)
    lines = (top + height - flat + torch.floor(height / 30).clamp(min=1)).long()[:, None] + rows  # (M, 32)
    columns = torch.floor(width / 20).long()[:, None] + torch.arange(size, device=alpha.device)  # (M, S)
    down = blur[:, lines.clamp(max=size - 1)].transpose(0, 1) * (lines < size)[:, None]  # (M, S, 32)
    across = blur[:, columns.clamp(max=size - 1)].transpose(0, 1) * (columns < size)[:, None]  # (M, S, S)
    return 0.45 * (down @ (flattened @ across.mT))
