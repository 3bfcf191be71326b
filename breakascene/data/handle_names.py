"""The names of handles: "<asset0>", "<asset1>", … for the objects of a scene, and "<background>"."""

import re
from collections.abc import Sequence

BACKGROUND = "<background>"
MAX_CONCEPTS = 16  # objects of a scene


def handle_of(index: int) -> str:
    """Return the handle of object `index`, counted from 0."""
    return f"<asset{index}>"


def handles_of(count: int, background: bool = False) -> tuple[str, ...]:
    """Return the handles of `count` objects and, last, that of the background."""
    return tuple(map(handle_of, range(count))) + (BACKGROUND,) * background


def name_handles(handles: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """Return the handles made of the concepts' names: "<teapot>", and "<owl-2>" for the second owl.

    They also tell the concepts of several runs apart. The background of the first run stays "<background>".

    Args:
        handles: The handles of one or more runs, one after the other.
        names: The plain names of the concepts.
    """
    named = []
    for handle, name in zip(handles, names, strict=True):
        stem = re.sub(r"\W+", "-", name.casefold()).strip("-_") or "object"
        if handle == BACKGROUND:
            stem = "background"
        elif re.fullmatch(r"background|asset\d+", stem):  # else it would name the handle of another concept
            stem = f"object-{stem}"
        candidate, number = f"<{stem}>", 2
        while candidate in named:
            candidate, number = f"<{stem}-{number}>", number + 1
        named.append(candidate)
    return tuple(named)
