"""Layouts: the boxes of an image in which objects are placed, and the prompts of its parts."""

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from breakascene.data import validation
from breakascene.data.handle_names import BACKGROUND, MAX_CONCEPTS
from breakascene.errors import UserError, shortened
from breakascene.models.prompts import parse_prompt

MIN_SIDE = 0.05  # of a box
EXAMPLE = '{"objects": [{"handle": "<asset0>", "box": [0.1, 0.4, 0.5, 0.9]}]}'
NO_SCENE = "a photo"  # the prompt of a scene that is not described


@dataclass(frozen=True)
class LayoutBox:
    """An object of a layout.

    Attributes:
        handle: Its handle.
        box: Left, top, right and bottom in 0..1 of the image's width and height. The object keeps its proportions: it
            fills the width or the height of the box, and stands at its bottom.
        flip: Whether it is mirrored.
    """

    handle: str
    box: tuple[float, float, float, float]
    flip: bool = False


@dataclass(frozen=True)
class Layout:
    """Objects in boxes, from back to front."""

    boxes: tuple[LayoutBox, ...]

    @property
    def handles(self) -> tuple[str, ...]:
        """The handles that are placed, each once."""
        return tuple(dict.fromkeys(one.handle for one in self.boxes))

    def to_json(self) -> dict:
        return {"objects": [asdict(one) | {"box": list(one.box)} for one in self.boxes]}


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
    """Parse a layout: an object with the list "objects", from back to front.

    Each of them has a "handle", or a name as in prompts, a "box" [left, top, right, bottom] in 0..1 of the image and,
    optionally, "flip", true or false. A handle may be there several times.

    Args:
        text: JSON.
        handles: The handles of the concepts in use.
        names: Their names.

    Raises:
        UserError: For anything else, an unknown handle, or a box outside the image.
    """
    try:
        values = validation.checked_dict(validation.parse_json(text), "it")
        _check_keys(values, {"objects"})
        entries = validation.checked_list(values["objects"], MAX_CONCEPTS, "its list of objects")
        if not entries:
            raise ValueError("it has no objects")
        boxes = [_checked_box(entry) for entry in entries]
    except KeyError as error:
        raise UserError("The layout has no {key}: write JSON such as {example}.", key=error, example=EXAMPLE) from error
    except (ValueError, TypeError) as error:
        reason = "it is not valid JSON" if isinstance(error, json.JSONDecodeError) else error
        raise UserError(
            "The layout cannot be read ({reason}): write JSON such as {example}.", reason=reason, example=EXAMPLE
        ) from error
    return Layout(tuple(_with_known_handle(one, handles, names) for one in boxes))


def _check_keys(values: dict, known: Collection[str]) -> None:
    if unknown := sorted(set(values) - set(known)):
        raise ValueError(f"{shortened(unknown[0], 40)!r} is unknown")


def _checked_box(entry: object) -> LayoutBox:
    """Validate an object of a layout; raises ValueError or KeyError."""
    if not isinstance(entry, dict):
        raise ValueError("one of its objects has no handle and box")
    _check_keys(entry, {"handle", "box", "flip"})
    box = entry["box"]
    if not isinstance(box, list) or len(box) != 4:
        raise ValueError("a box has not four numbers")
    if not isinstance(entry.get("flip", False), bool):
        raise ValueError("a flip is neither true nor false")
    handle = validation.checked_text(entry["handle"], 100, "a handle")
    if not handle.strip():
        raise ValueError("a handle is empty")
    return LayoutBox(handle, tuple(_checked_number(side) for side in box), entry.get("flip", False))


def _checked_number(side: object) -> float:
    if not isinstance(side, int | float) or isinstance(side, bool):
        raise ValueError("a side of a box is not a number")
    return float(side)


def _with_known_handle(one: LayoutBox, handles: Sequence[str], names: Sequence[str]) -> LayoutBox:
    handle = parse_prompt(one.handle, handles, names).text  # raises UserError for <asset9>
    if handle not in handles or handle == BACKGROUND:
        raise UserError(
            "The layout places {handle}, which is no object in use: the objects are {known}.",
            handle=one.handle, known=", ".join(known for known in handles if known != BACKGROUND),
        )  # fmt: skip
    x0, y0, x1, y1 = one.box
    if min(one.box) < 0 or max(one.box) > 1 or min(x1 - x0, y1 - y0) < MIN_SIDE:
        raise UserError(
            "The box of {handle} is too small or outside the image: write left, top, right and bottom as numbers from "
            "0 to 1, left and top first.",
            handle=handle,
        )  # fmt: skip
    return LayoutBox(handle, one.box, one.flip)


def check_prompt(layout: Layout, prompt: str) -> None:
    """Raise UserError if a prompt with exact handles lacks one of the layout."""
    for handle in layout.handles:
        if handle not in prompt:
            raise UserError(
                "{handle} is in the layout but not in the prompt: add it to the prompt, or take it out of the layout.",
                handle=handle,
            )  # fmt: skip


def scene_prompt(layout: Layout, prompt: str) -> str:
    """Return the prompt of the scene without the placed objects: "a photo at the beach"."""
    return without_handles(prompt, layout.handles)


def object_prompt(layout: Layout, handle: str, prompt: str) -> str:
    """Return the prompt of one of the placed objects in its surroundings: "a photo of <asset0> at the beach"."""
    return without_handles(prompt, set(layout.handles) - {handle})


def without_handles(prompt: str, handles: Collection[str]) -> str:
    """Return a prompt without these handles and the words that listed them: "a photo of <b> at sunset"."""
    for handle in handles:
        prompt = re.sub(rf"(?:,| and|,? with)?\s*(?:\b(?:an?|the)\s+)?{re.escape(handle)}(?=\W|$)", "", prompt)
    prompt = re.sub(r"\bof\s*(?:,|and)\s+", "of ", prompt)
    prompt = re.sub(r"^[\s,;]*(?:and\b)?\s*|\bof\s*$", "", " ".join(prompt.split())) if prompt.strip() else ""
    prompt = re.sub(r"\bof (?=(?:at|in|on|under|by|near|with)\b)", "", prompt)
    return " ".join(prompt.split()) or NO_SCENE
