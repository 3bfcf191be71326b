"""The sentence to draw, put together from the buttons of step 3, and its variants for a contact sheet."""

import re
from collections.abc import Mapping, Sequence

from breakascene.errors import UserError
from breakascene.models.handles import BACKGROUND
from breakascene.studio import engine, strings


def places() -> Mapping[str, str]:
    """Places that the base knows well: what it reads -> what stands on the button."""
    return strings.PLACES if engine.is_toybox() else strings.WIDE_PLACES


def manners() -> Mapping[str, str]:
    """Ways to make a picture that the base knows well, in the same manner."""
    return strings.MANNERS if engine.is_toybox() else strings.WIDE_MANNERS


def things_of(handles: Sequence[str]) -> list[str]:
    return [handle for handle in handles if handle != BACKGROUND]


def with_place(text: str, place: str, handles: Sequence[str]) -> str:
    """The sentence with another place: it replaces one of the known places, or is added at the end."""
    text = (text or "").strip().rstrip(".")
    if not text:
        text = f"a photo of {' and '.join(things_of(handles)[:2])}"
    for known in places():
        if text.endswith(known):
            text = text[: -len(known)].rstrip(" ,")
    return f"{text} {place}"


def with_manner(text: str, manner: str) -> str:
    """The sentence for a picture made in another way: "a painting of …" instead of "a photo of …"."""
    text = (text or "").strip()
    for known in manners():
        text = text.removeprefix(f"{known} of ")
    return f"{manner} of {text}"


def with_thing(text: str, thing: str, handles: Sequence[str]) -> str:
    """The sentence with another thing in the place of its one thing, or of things that are only told off in a row.

    Raises UserError if it has no thing, or several that each have a part of their own.
    """
    known = "|".join(re.escape(handle) for handle in things_of(handles))
    row = rf"(?:{known})(?:(?:\s*,\s*|\s+)(?:and\s+)?(?:{known}))*"  # <asset0>, <asset1> and <asset2>
    found = set(re.findall(row, text))
    if not found:
        raise UserError(strings.SHEET_NO_THING)
    if len(found) > 1:
        raise UserError(strings.SHEET_MANY_THINGS)
    return re.sub(row, thing, text)


def rows_and_columns(
    text: str, things: Sequence[str], chosen_places: Sequence[str], handles: Sequence[str]
) -> list[list[str]]:
    """The sentences of a contact sheet: a row for each line and place, in it a sentence for each thing.

    Without places the lines are the rows as they stand, and without things each row is its line alone.
    Raises UserError as with_thing does, or if there is no sentence.
    """
    lines = [" ".join(line.split()) for line in (text or "").splitlines() if line.strip()]
    if not lines:
        raise UserError(strings.NO_PROMPT)
    rows = [with_place(line, place, handles) for line in lines for place in chosen_places] or lines
    return [[with_thing(row, thing, handles) for thing in things] or [row] for row in rows]
