"""The names of handles: "<asset0>", "<asset1>", … for the objects of a scene, and "<background>"."""

BACKGROUND = "<background>"


def handle_of(index: int) -> str:
    """Return the handle of object `index`, counted from 0."""
    return f"<asset{index}>"


def handles_of(count: int, background: bool = False) -> tuple[str, ...]:
    """Return the handles of `count` objects and, last, that of the background."""
    return tuple(map(handle_of, range(count))) + (BACKGROUND,) * background
