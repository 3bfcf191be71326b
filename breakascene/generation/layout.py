"""Layouts: objects placed in boxes of the image.

In the first steps, the places of the objects are put back to the noised collage of their cut-outs after each step,
while the scene around them develops freely: SDEdit (arXiv 2108.01073) for the objects, blended as in Blended Latent
Diffusion (arXiv 2206.02779). The places outside the boxes attend to the prompt without the placed handles, those in a
box to the prompt with its own handle alone. The steps that are left blend objects and scene.
"""

import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import adaptive_avg_pool2d

from breakascene.data import validation
from breakascene.data.handle_names import BACKGROUND, MAX_CONCEPTS
from breakascene.data.scene import cutout, load_scene
from breakascene.errors import UserError
from breakascene.generation.generate import check_size
from breakascene.generation.start import Start
from breakascene.generation.variations import check_strength
from breakascene.models.attention import RegionalAttention
from breakascene.models.base import Base
from breakascene.models.combined import CombinedConcepts
from breakascene.models.concepts import Concepts
from breakascene.models.prompts import parse_prompt

STRENGTH = 0.35  # the default share of the steps in which the objects are generated freely
MIN_SIDE = 0.02  # of a box
MAX_SCALE = 10.0
GRAY = (128, 128, 128)
EXAMPLE = '{"objects": [{"handle": "<asset0>", "box": [0.1, 0.4, 0.5, 0.9]}]}'


@dataclass(frozen=True)
class Placement:
    """An object of a layout.

    Attributes:
        handle: Its handle.
        box: Left, top, right and bottom in 0..1 of the image's width and height. The cut-out is fitted into it and
            keeps its proportions.
        flip: Whether it is mirrored.
    """

    handle: str
    box: tuple[float, float, float, float]
    flip: bool = False


@dataclass(frozen=True)
class Layout:
    """Objects in boxes.

    Attributes:
        placements: From back to front.
        strength: Share of the steps in which the objects are generated freely, above 0 and up to 1: the lower, the
            closer they stay to their cut-outs and boxes.
    """

    placements: tuple[Placement, ...]
    strength: float = STRENGTH

    def to_json(self) -> dict:
        return {"strength": self.strength, "objects": [asdict(one) | {"box": list(one.box)} for one in self.placements]}


def read_layout(file: Path, handles: Sequence[str], names: Sequence[str]) -> Layout:
    """Read a layout from a JSON file; see parse_layout."""
    try:
        text = validation.read_text(file)
    except FileNotFoundError as error:
        raise UserError(f"There is no file {file}.") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{file} is not a short text file: give a layout in JSON.") from error
    return parse_layout(text, handles, names)


def parse_layout(text: str, handles: Sequence[str], names: Sequence[str]) -> Layout:
    """Parse a layout: an object with "objects" and, optionally, "strength".

    Each of the objects has a "handle", or a name as in prompts, a "box" [left, top, right, bottom] in 0..1 of the image
    and, optionally, "scale", by which the box is enlarged around its center, "flip" (true or false) and "order":
    objects of a higher one stand in front; by default it is the position in the list.

    Args:
        text: JSON.
        handles: The handles of the concepts in use.
        names: Their names.

    Raises:
        UserError: For anything else, an unknown handle, or a box outside the image.
    """
    try:
        values = validation.checked_dict(validation.parse_json(text), "it")
        if unknown := set(values) - {"objects", "strength"}:
            raise ValueError(f"{sorted(unknown)[0]!r} is unknown")
        entries = validation.checked_list(values["objects"], MAX_CONCEPTS, "its list of objects")
        if not entries:
            raise ValueError("it has no objects")
        ordered = sorted(
            (_checked_entry(entry, position) for position, entry in enumerate(entries)), key=lambda pair: pair[0]
        )
        strength = validation.checked_float(values.get("strength", STRENGTH), -math.inf, math.inf, "its strength")
    except KeyError as error:
        raise UserError("The layout has no {key}: write JSON such as {example}.", key=error, example=EXAMPLE) from error
    except (ValueError, TypeError) as error:
        reason = "it is not valid JSON" if isinstance(error, json.JSONDecodeError) else error
        raise UserError(
            "The layout cannot be read ({reason}): write JSON such as {example}.", reason=reason, example=EXAMPLE
        ) from error
    check_strength(strength)
    placements = tuple(_placement(entry, handles, names) for _, entry in ordered)
    placed = [placement.handle for placement in placements]
    if twice := next((handle for handle in placed if placed.count(handle) > 1), None):
        raise UserError("{handle} is twice in the layout: place each object once.", handle=twice)
    return Layout(placements, strength)


def _checked_entry(entry: object, position: int) -> tuple[float, dict]:
    """Return the order of an object and its validated values; raises ValueError or KeyError."""
    entry = validation.checked_dict(entry, "an object")
    if unknown := set(entry) - {"handle", "box", "scale", "flip", "order"}:
        raise ValueError(f"{sorted(unknown)[0]!r} is unknown")
    box = validation.checked_list(entry["box"], 4, "a box")
    if len(box) != 4:
        raise ValueError("a box has not four numbers")
    if not isinstance(entry.get("flip", False), bool):
        raise ValueError("a flip is neither true nor false")
    values = {
        "handle": validation.checked_text(entry["handle"], 100, "a handle"),
        "box": [validation.checked_float(value, -math.inf, math.inf, "a side of a box") for value in box],
        "scale": validation.checked_float(entry.get("scale", 1), 1 / MAX_SCALE, MAX_SCALE, "a scale"),
        "flip": entry.get("flip", False),
    }
    return validation.checked_float(entry.get("order", position), -1e6, 1e6, "an order"), values


def _placement(entry: dict, handles: Sequence[str], names: Sequence[str]) -> Placement:
    handle = parse_prompt(entry["handle"], handles, names).text  # raises UserError for <asset9>
    if handle not in handles or handle == BACKGROUND:
        raise UserError(
            "The layout places {handle}, which is no object in use: the objects are {known}.",
            handle=entry["handle"], known=", ".join(known for known in handles if known != BACKGROUND),
        )  # fmt: skip
    (x0, y0, x1, y1), scale = entry["box"], entry["scale"]
    half_width, half_height = (x1 - x0) / 2 * scale, (y1 - y0) / 2 * scale
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    box = (x - half_width, y - half_height, x + half_width, y + half_height)
    box = tuple(round(side, 6) + 0.0 for side in box)  # scaling leaves 1.0000000000000002
    if min(box) < 0 or max(box) > 1 or min(box[2] - box[0], box[3] - box[1]) < MIN_SIDE:
        raise UserError(
            "The box of {handle} is empty or outside the image: write left, top, right and bottom as numbers from 0 to "
            "1, left and top first.",
            handle=handle,
        )  # fmt: skip
    return Placement(handle, box, entry["flip"])


def cutouts_of(runs: Sequence[Path], handles: Sequence[str]) -> dict[str, Image.Image]:
    """Return the cut-outs (RGBA) of the objects of run folders by their handles in an image of all these runs."""
    found, handles = {}, iter(handles)
    for run in runs:
        scene = load_scene(run / "scene")
        for index, handle in zip(range(len(scene.handles)), handles, strict=False):
            if index < len(scene.concepts):
                found[handle] = cutout(scene, index)
    return found


def collage(
    layout: Layout, cutouts: Mapping[str, Image.Image], size: tuple[int, int]
) -> tuple[Image.Image, np.ndarray]:
    """Paste the cut-outs into their boxes on gray: the image of width and height `size`, and its opacity (H, W)."""
    image, opacity = Image.new("RGB", size, GRAY), Image.new("L", size)
    for placement in layout.placements:
        part = cutouts[placement.handle]
        part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if placement.flip else part
        x0, y0, x1, y1 = (side * size[i % 2] for i, side in enumerate(placement.box))
        scale = min((x1 - x0) / part.width, (y1 - y0) / part.height)
        part = part.resize([max(1, round(side * scale)) for side in part.size], Image.Resampling.LANCZOS)
        corner = round((x0 + x1 - part.width) / 2), round((y0 + y1 - part.height) / 2)
        image.paste(part, corner, part)
        opacity.paste(255, corner, part)
    return image, np.asarray(opacity, np.float32) / 255


def check_prompt(layout: Layout, prompt: str) -> None:
    """Raise UserError if a prompt with exact handles lacks one of the layout."""
    for placement in layout.placements:
        if placement.handle not in prompt:
            raise UserError(
                "{handle} is in the layout but not in the prompt: add it to the prompt, or take it out of the layout.",
                handle=placement.handle,
            )  # fmt: skip


def start_layout(
    base: Base,
    concepts: Concepts | CombinedConcepts,
    layout: Layout,
    cutouts: Mapping[str, Image.Image],
    prompt: str,
    size: tuple[int, int],
) -> Start:
    """Return the start of images with a layout, for `generate`.

    Args:
        base: The base model.
        concepts: The concepts of the handles. Combined ones have no regional prompts, because their deltas follow the
            tokens of the prompt.
        layout: The layout.
        cutouts: The cut-out (RGBA) of each of its handles.
        prompt: The prompt, with exact handles.
        size: Width and height in pixels of the images to generate.

    Raises:
        UserError: If the prompt lacks a handle of the layout, or for a size that the base cannot generate.
    """
    check_prompt(layout, prompt)
    check_size(base, *size)
    image, opacity = collage(layout, cutouts, size)
    latents = base.encode(np.asarray(image)[None])[0]  # (1, C, h, w)
    shape = latents.shape[2:]
    opacity = torch.from_numpy(opacity).to(base.device)[None, None]
    held = (adaptive_avg_pool2d(opacity, shape) > 0.5).float()  # (1, 1, h, w)

    def within(prompts: Sequence[str]) -> AbstractContextManager:
        if isinstance(concepts, CombinedConcepts):
            return nullcontext()
        return RegionalAttention(base.unet, *regional_prompts(base, layout, prompts, shape))

    def after_step(latents: torch.Tensor, start_latents: torch.Tensor, progress: float) -> torch.Tensor:
        return torch.where(held > 0, start_latents, latents) if progress <= 1 - layout.strength else latents

    metadata = {"strength": layout.strength, "layout": layout.to_json()}
    # No signal outside the objects, even where the first timestep is not pure noise
    return Start(latents * held, 1.0, after_step, metadata, within)


def regional_prompts(
    base: Base, layout: Layout, prompts: Sequence[str], shape: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the prompts of the regions for B prompts and latents of this shape, see RegionalAttention.

    The first region is what is outside all boxes: its prompt lacks the placed handles. In each box, the prompt has no
    other of them. Where boxes overlap, the object in front counts.
    """
    height, width = shape
    handles = [placement.handle for placement in layout.placements]
    regions = torch.zeros(1 + len(handles), height, width, device=base.device)
    regions[0] = 1
    for region, placement in zip(regions[1:], layout.placements, strict=True):
        x0, y0, x1, y1 = placement.box
        place = slice(int(y0 * height), math.ceil(y1 * height)), slice(int(x0 * width), math.ceil(x1 * width))
        regions[:, *place] = 0
        region[place] = 1
    encoded = [
        base.encode_prompts([without_handles(prompt, set(handles) - {kept}) for prompt in prompts])
        for kept in (None, *handles)
    ]
    return torch.stack([one["encoder_hidden_states"] for one in encoded]), regions


def without_handles(prompt: str, handles: Collection[str]) -> str:
    """Return a prompt without these handles and the words that listed them: "a photo of <b> at sunset"."""
    for handle in handles:
        known = re.escape(handle)
        prompt = re.sub(rf"(?:,| and|,? with)?\s*{known}(?=\W|$)", "", prompt)
    prompt = re.sub(r"\bof\s*(?:,|and)\s+", "of ", prompt)
    return " ".join(re.sub(r"\bof (?=at|in|on|under|by|near|with)\b", "", prompt).split())
