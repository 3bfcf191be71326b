"""Reading of JSON, text and tensors from unknown sources: limits before parsing, types and ranges after it.

All functions raise ValueError with a reason that fits into a sentence: "it is not valid JSON".
"""

import json
import math
import struct
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from breakascene.data.handle_names import MAX_CONCEPTS, handles_of

MAX_JSON_BYTES = 32_000_000
MAX_JSON_CONTAINERS = 110_000  # lists and objects; the losses of a long run are an object for each step
MAX_JSON_VALUES = 1_000_000
MAX_DIGITS = 40  # of a number; float64 needs 17
MAX_TEXT_BYTES = 64_000
MAX_TENSORS = 50_000
MAX_DIMENSIONS = 8  # of a tensor; PyTorch computes with at most 64
MAX_HEADER_BYTES = 16_000_000  # of a safetensors file
MAX_STEPS = 100_000


def read_json(path: Path, allow_nonfinite: bool = False) -> object:
    """Parse a JSON file whose size, structure and numbers are bounded."""
    return parse_json(_read_bytes(path, MAX_JSON_BYTES), allow_nonfinite)


def parse_json(data: bytes | str, allow_nonfinite: bool = False) -> object:
    """Parse JSON whose size, structure and numbers are bounded. Numbers are finite unless `allow_nonfinite` is set."""
    data = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    if (
        len(data) > MAX_JSON_BYTES
        or data.count(b"{") + data.count(b"[") > MAX_JSON_CONTAINERS
        or data.count(b",") > MAX_JSON_VALUES
    ):
        raise ValueError("its JSON is too large")

    def number(text: str) -> float:
        value = float(text)
        if len(text) > MAX_DIGITS or not (allow_nonfinite or math.isfinite(value)):
            raise ValueError("it has a number that is too long or not finite")
        return value

    def integer(text: str) -> int:
        number(text)
        return int(text)

    try:
        return json.loads(data.decode("utf-8"), parse_float=number, parse_int=integer, parse_constant=number)
    except RecursionError as error:
        raise ValueError("its JSON is nested too deeply") from error


def read_text(path: Path) -> str:
    """Read a small UTF-8 text file, with or without a byte order mark."""
    return _read_bytes(path, MAX_TEXT_BYTES).decode("utf-8-sig")


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Read the tensors and the metadata of a safetensors file whose header is bounded."""
    with open(path, "rb") as file:
        start = file.read(8)
    if len(start) < 8 or struct.unpack("<Q", start)[0] > MAX_HEADER_BYTES:
        raise ValueError("its tensors are not in safetensors format")
    try:
        with safe_open(path, "pt") as file:
            names = list(file.keys())
            if len(names) > MAX_TENSORS:
                raise ValueError("it has too many tensors")
            tensors, metadata = {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"its tensors cannot be read ({error})") from error
    if any(tensor.ndim > MAX_DIMENSIONS for tensor in tensors.values()):
        raise ValueError("it has a tensor of too many dimensions")
    return tensors, metadata


def checked_int(value: object, low: int, high: int, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{what} is not a whole number from {low} to {high}")
    return value


def checked_float(value: object, low: float, high: float, what: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{what} is not a number from {low:g} to {high:g}")
    return float(value)


def checked_text(value: object, most: int, what: str) -> str:
    if not isinstance(value, str) or len(value) > most or not value.isprintable():
        raise ValueError(f"{what} is not a text of at most {most} characters")
    return value


def checked_list(value: object, most: int, what: str) -> list:
    if not isinstance(value, list) or len(value) > most:
        raise ValueError(f"{what} is not a list of at most {most} values")
    return value


def checked_dict(value: object, what: str) -> dict:
    if not isinstance(value, dict):
        raise ValueError(f"{what} is not an object")
    return value


def checked_losses(value: object) -> list[dict[str, float]]:
    """Validate the losses of all steps: an object of numbers for each, "total" among them."""
    losses = checked_list(value, MAX_STEPS, "its list of losses")
    for step in losses:
        if not isinstance(step, dict) or "total" not in step or len(step) > 16:
            raise ValueError("its losses are not those of a run")
        if not all(isinstance(loss, float | int) and not isinstance(loss, bool) for loss in step.values()):
            raise ValueError("its losses are not numbers")
    return losses


def checked_handles(handles: object, names: object) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Validate the handles of a run, <asset0>, <asset1>, …, <background>, and their names."""
    names = checked_list(names, MAX_CONCEPTS + 1, "its list of names")
    names = tuple(checked_text(name, 60, "a name") for name in names)
    expected = [list(handles_of(len(names))), list(handles_of(len(names) - 1, background=True))]
    if not names or handles not in expected:
        raise ValueError("its handles do not match its names")
    if any(set(name) & set("<>") for name in names):
        raise ValueError("a name has < or > in it")
    return tuple(handles), names


def check_shape(tensor: torch.Tensor, shape: Sequence[int], dtypes: Sequence[torch.dtype], what: str) -> None:
    if tuple(tensor.shape) != tuple(shape) or tensor.dtype not in dtypes:
        raise ValueError(f"{what} has the wrong shape or type")


def _read_bytes(path: Path, limit: int) -> bytes:
    with open(path, "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"{Path(path).name} is too large")
    return data
