"""A fuzz case, and the first checks of files."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from safetensors import safe_open

from breakascene.data.image_io import FORMATS


@dataclass(frozen=True)
class Case:
    """One mutated input.

    Attributes:
        act: Reads the input and uses what was read.
        passes_first_check: Whether the file still opens as what it should be: an image, JSON, a zip, ….
        refusals: Errors besides UserError that the reader documents.
    """

    act: Callable[[], object]
    passes_first_check: Callable[[], object] = lambda: True
    refusals: tuple[type[Exception], ...] = ()


def is_image(path: Path) -> bool:
    Image.open(path, formats=FORMATS).close()
    return True


def is_json(path: Path) -> bool:
    json.loads(path.read_text(encoding="utf-8"))
    return True


def is_safetensors(path: Path) -> bool:
    with safe_open(path, "pt") as file:
        return bool(file.keys())


def still_opens(path: Path) -> bool:
    check = {".json": is_json, ".safetensors": is_safetensors, ".png": is_image}.get(path.suffix, Path.is_file)
    return check(path)
