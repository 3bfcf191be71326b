"""The prompts of a contact sheet: each object in places and styles."""

from collections.abc import Sequence

from breakascene.data.handle_names import BACKGROUND

STYLE = "a photo"  # the default


def sheet_prompts(handles: Sequence[str], places: Sequence[str] = (), styles: Sequence[str] = ()) -> list[list[str]]:
    """Return a row of prompts for each style and place, with a prompt for each object.

    Args:
        handles: Of the run; the background gets no column.
        places: Such as "at the beach"; without any, the prompts name no place.
        styles: Such as "a painting"; without any, a photo.
    """
    objects = [handle for handle in handles if handle != BACKGROUND]
    return [
        [f"{style} of {handle} {place}".strip() for handle in objects]
        for style in styles or [STYLE]
        for place in places or [""]
    ]
