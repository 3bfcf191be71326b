"""Options that several commands share, parsers for option values, and checks before long work."""

import math
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from breakascene.errors import UserError

BaseOption = Annotated[
    str, typer.Option(help="Base model: toybox, a folder in the diffusers layout, a .safetensors file, or a hub id.")
]
OtherBaseOption = Annotated[
    str | None, typer.Option(help="Base model, if it has moved since the extraction; otherwise the run's own.")
]
SeedOption = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="The same seed gives the same result.")]
GuidanceOption = Annotated[
    float | None, typer.Option(help="Guidance scale; higher follows the prompt more closely. Default: the base's own.")
]
LoraFiles = Annotated[
    list[str] | None,
    typer.Option(
        "--lora",
        metavar="FILE[:SCALE]",
        help="A LoRA of another program for this base (.safetensors, kohya or diffusers), or a folder that export "
        "wrote, with its strength; repeatable.",
    ),
]

PersonOption = Annotated[
    bool | None,
    typer.Option(
        "--person/--no-person",
        help="Whether the photo shows a person or a brand; else faces are looked for.",
        show_default=False,
    ),
]
AgreedByOption = Annotated[str, typer.Option(help="Who agreed, if a person or a brand is shown.")]
AgreedToOption = Annotated[str, typer.Option(help="To what they agreed, such as advertising.")]
AgreedUntilOption = Annotated[
    str, typer.Option(metavar="YYYY-MM-DD", help="The last day on which they agree; then nothing is drawn.")
]


def parse_numbers(text: str, count: int, option: str, form: str, whole: bool = False) -> list[float]:
    """Parse `count` numbers separated by commas.

    Args:
        text: The option's value.
        count: The number of values expected.
        option: The option's name, for the error message.
        form: The expected form, for the error message.
        whole: Accept integers only.

    Raises:
        UserError: If the text has another form, or a value that is not finite.
    """
    try:
        numbers = [int(part) if whole else float(part) for part in text.split(",")]
        if len(numbers) == count and all(abs(number) < 1e9 for number in numbers):  # false for nan too
            return numbers
    except ValueError:
        pass
    raise UserError(f'{option} "{text}" is not valid: write {form}, numbers separated by commas without spaces.')


def parse_point(text: str) -> tuple[float, float, bool]:
    """Parse "X,Y" or "X,Y,-" as x, y and whether the point is on the object."""
    inside = not text.endswith(",-")
    x, y = parse_numbers(text.removesuffix(",-").removesuffix(",+"), 2, "--point", "X,Y or X,Y,-")
    return x, y, inside


def parse_size(text: str | None) -> tuple[int, int] | None:
    """Parse "WIDTHxHEIGHT" in pixels; None stays None."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text.lower())
    if not match:
        raise UserError(f'--size "{text}" is not valid: write WIDTHxHEIGHT in pixels, for example 160x96.')
    return int(match[1]), int(match[2])


def parse_mask(text: str) -> tuple[Path, str]:
    """Parse "FILE" or "FILE:NAME". If a file of that whole name exists, the colon is part of its name."""
    file, colon, name = text.rpartition(":")
    return (Path(file), name) if colon and not Path(text).exists() else (Path(text), "")


def read_prompts(file: Path) -> list[str]:
    """Read a text file with one prompt per line; blank lines are skipped. Raises UserError."""
    try:
        if file.exists() and not file.is_file():
            raise OSError("a folder or a pipe, whose reading may never end")
        prompts = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is not a readable text file: give a file with one prompt per line.") from error
    if not prompts:
        raise UserError(f"{file} contains no prompts: write one prompt per line.")
    return prompts


def read_loras(texts: list[str] | None, base) -> list:
    """Read the LoRAs of --lora options."""
    from breakascene.exporting.importing import load_lora

    return [load_lora(file, base, scale) for file, scale in map(parse_lora, texts or [])]


def parse_lora(text: str) -> tuple[Path, float]:
    """Parse "FILE" or "FILE:SCALE"; a file whose name contains a colon is taken as it is."""
    file, colon, scale = text.rpartition(":")
    if not colon or Path(text).exists():
        return Path(text), 1.0
    try:
        value = float(scale)
    except ValueError:
        return Path(text), 1.0  # a path with a colon; reported as missing
    if not math.isfinite(value) or abs(value) > 10:
        raise UserError(f'--lora "{text}" has no usable strength: write FILE:SCALE with a scale from -10 to 10.')
    return Path(file), value


def open_base(name: str):
    """Load a base model."""
    from breakascene.models.loading import load_base

    return load_base(name)


def parse_prompts(prompt: str, negative: str, concepts, base=None, loras: Sequence = ()) -> tuple[str, str]:
    """Parse a prompt and a negative prompt with the handles of concepts and of LoRAs.

    Args:
        prompt, negative: As the user has written them.
        concepts: Concepts, or None.
        base: The base model. Without it only the handles are checked; with it, notes on how the prompts are read go to
            stderr.
        loras: LoRAs of other programs.

    Returns:
        The prompts for `generate` and `edit`.

    Raises:
        UserError: For an unknown handle.
    """
    from breakascene.models.prompts import parse_prompt

    handles, names = (concepts.handles, concepts.names) if concepts else ((), ())
    handles = (*handles, *(f"<{name}>" for lora in loras for name in lora.embeddings))
    parsed = [
        parse_prompt(prompt, handles, names, base),
        parse_prompt(negative, handles, names, base, plain_names=False),
    ]
    if base:
        print_notes(note for one in parsed for note in one.notes)
    return parsed[0].text, parsed[1].text


def print_notes(notes: Iterable[str]) -> None:
    """Print notes on stderr, each once."""
    for note in dict.fromkeys(notes):
        print(note, file=sys.stderr)
