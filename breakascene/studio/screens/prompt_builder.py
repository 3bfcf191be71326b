"""Prompts put together from the buttons of step 3, and their variants for a contact sheet."""

import re
from collections.abc import Mapping, Sequence

from breakascene.data.handle_names import BACKGROUND
from breakascene.errors import UserError
from breakascene.studio import loaded, strings
from breakascene.toybox.vocabulary import join

PREPOSITION = re.compile(r"(at|in|on|under|by|near|with|over|beside|floating)\b", re.IGNORECASE)  # begins a place


def places() -> Mapping[str, str]:
    """Places that the base draws well: text in the prompt -> label of the button."""
    return strings.TOYBOX_PLACES if loaded.is_toybox() else strings.SD_PLACES


def styles() -> Mapping[str, str]:
    """Styles that the base draws well: text in the prompt -> label of the button."""
    return strings.TOYBOX_STYLES if loaded.is_toybox() else strings.SD_STYLES


def object_handles(handles: Sequence[str]) -> list[str]:
    """All handles but the background's."""
    return [handle for handle in handles if handle != BACKGROUND]


def with_place(text: str, place: str, handles: Sequence[str]) -> str:
    """The prompt with another place, which replaces one of the known places or is added at the end.

    A prompt that shows nothing yet, such as "a photo of", gets all objects.
    """
    text = (text or "").strip().rstrip(".")
    for known in places():
        if text.endswith(known):
            text = text[: -len(known)].rstrip(" ,")
    style = text.removesuffix(" of")
    if not text or style in styles():
        text = f"{style or 'a photo'} of {join(object_handles(handles))}"
    return f"{text} {place}"


def with_style(text: str, style: str, handles: Sequence[str]) -> str:
    """The prompt in another style: "a painting of …" instead of "a photo of …".

    A prompt that shows nothing yet, such as "at sunset", gets all objects.
    """
    text = (text or "").strip()
    for known in styles():
        if text == known or text.startswith(f"{known} of"):
            text = text[len(known) :].strip().removeprefix("of").strip()
            break
    if not text or PREPOSITION.match(text):
        text = f"{join(object_handles(handles))} {text}".strip()
    return f"{style} of {text}"


def with_object(text: str, handle: str, handles: Sequence[str]) -> str:
    """The prompt with another object in place of its one object, or of objects that are only listed in a row.

    Raises UserError if the prompt has no object, or several in different parts of the sentence.
    """
    known = "|".join(re.escape(own) for own in object_handles(handles))
    row = rf"(?:{known})(?:(?:\s*,\s*|\s+)(?:and\s+)?(?:{known}))*"  # <asset0>, <asset1> and <asset2>
    found = set(re.findall(row, text))
    if not found:
        raise UserError(strings.SHEET_NO_OBJECT)
    if len(found) > 1:
        raise UserError(strings.SHEET_SEVERAL_OBJECTS)
    return re.sub(row, handle, text)


def prompt_grid(
    text: str,
    objects: Sequence[str],
    chosen_styles: Sequence[str],
    chosen_places: Sequence[str],
    handles: Sequence[str],
) -> list[list[str]]:
    """The prompts of a contact sheet: a row for each line, style and place, a column for each object.

    Args:
        text: Prompts, one a line.
        objects: Handles that take turns; without any, a row is its line alone.
        chosen_styles, chosen_places: Without any, the lines keep theirs.
        handles: All handles of the run.

    Raises:
        UserError: As with_object does, or if there is no prompt.
    """
    lines = [" ".join(line.split()) for line in (text or "").splitlines() if line.strip()]
    if not lines:
        raise UserError(strings.NO_PROMPT)
    rows = [with_style(line, style, handles) for line in lines for style in chosen_styles] or lines
    rows = [with_place(row, place, handles) for row in rows for place in chosen_places] or rows
    return [[with_object(row, handle, handles) for handle in objects] or [row] for row in rows]
