"""The studio's limits from environment variables; docs/deploy.md lists them."""

import math
import os

from breakascene.errors import UserError
from breakascene.studio import strings


def hours(name: str) -> float | None:
    """The hours of a variable in seconds; None if it is not set."""
    value = positive_number(name)
    return None if value is None else value * 3600


def megabytes(name: str, default: int) -> int:
    """The megabytes of a variable in bytes; `default` if it is not set."""
    value = positive_number(name)
    return default if value is None else int(value * 2**20)


def positive_number(name: str) -> float | None:
    """The number above 0 of a variable; None if it is not set or empty. Raises UserError for anything else."""
    if not (text := os.environ.get(name, "").strip()):
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < 1e9:
        raise UserError(strings.INVALID_LIMIT.format(name=name, value=ascii(text)))
    return value


def switch(name: str, default: bool) -> bool:
    """Whether a variable is "on"; `default` if it is not set. Raises UserError for anything but on and off."""
    text = os.environ.get(name, "").strip().lower()
    if text not in ("", "on", "off"):
        raise UserError(strings.INVALID_SWITCH.format(name=name, value=ascii(text)))
    return text == "on" if text else default
