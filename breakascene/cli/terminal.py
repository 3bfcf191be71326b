"""What the commands share at the terminal: mistakes in one line, options that hold several values, progress."""

import re
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from typer.core import TyperGroup
from typer.exceptions import TyperException

from breakascene.errors import UserError, resource_error
from breakascene.files import atomic_folder

MISTAKE = 2  # exit status


class Plain(TyperGroup):
    """A command group that tells the user's mistakes, and a full disk or memory, in one line on stderr."""

    def main(self, *args, standalone_mode: bool = True, **extra):
        try:
            status = super().main(*args, standalone_mode=False, **extra)
        except Exception as error:
            if not (line := explain(error)):
                raise
            print(" ".join(line.split()), file=sys.stderr)
            status = MISTAKE
        sys.exit(status or 0)


def explain(error: Exception) -> str:
    """The sentence for what the person at the terminal can mend; "" for a fault of the program."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, TyperException):
        said = error.format_message().replace("Value error, ", "").rstrip(".")
        return f"{said}: see --help."
    file = getattr(error, "filename", None) or "A file"
    sentences = {
        "disk": "The disk is full: free some space and run the command again.",
        "rights": f"{file} may not be written or read: change its rights or choose another place.",
        "memory": "Memory ran out: close other programs, or use a smaller photo or base.",
    }
    return sentences.get(resource_error(error), "")


def parse_numbers(text: str, count: int, option: str, form: str, whole: bool = False) -> list[float]:
    """Read numbers with commas between them. Raises UserError that shows the right form."""
    try:
        numbers = [int(part) if whole else float(part) for part in text.split(",")]
        if len(numbers) == count and all(abs(n) < 1e9 for n in numbers):  # false for nan too
            return numbers
    except ValueError:
        pass
    raise UserError(f'{option} "{text}" cannot be read: write {form}, numbers with commas and no spaces.')


def parse_point(text: str) -> tuple[float, float, bool]:
    """Read "X,Y" or "X,Y,-" as x, y and whether the point is in the thing."""
    inside = not text.endswith(",-")
    x, y = parse_numbers(text.removesuffix(",-").removesuffix(",+"), 2, "--point", "X,Y or X,Y,-")
    return x, y, inside


def parse_size(text: str | None) -> tuple[int, int] | None:
    """Read "WIDTHxHEIGHT"; None stays None."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text.lower())
    if not found:
        raise UserError(f'--size "{text}" cannot be read: write WIDTHxHEIGHT in pixels, for example 160x96.')
    return int(found[1]), int(found[2])


def parse_mask(text: str) -> tuple[Path, str]:
    """Read "FILE" or "FILE:NAME"; a file whose own name has a colon is taken as it is."""
    file, colon, name = text.rpartition(":")
    return (Path(file), name) if colon and not Path(text).exists() else (Path(text), "")


def open_base(name: str):
    from transformers.utils.logging import disable_progress_bar

    from breakascene.models.loading import load_base

    disable_progress_bar()  # of reading local weights; a download still shows one
    return load_base(name)


def read_lines(file: Path) -> list[str]:
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read as text: give a text file with a prompt a line.") from error
    if not lines:
        raise UserError(f"{file} has no prompts: write one a line.")
    return lines


def require_empty(folder: Path) -> None:
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"The folder {folder} has other files in it: choose a new or empty one for --out.")


def require_free(host: str, port: int) -> None:
    try:
        with socket.create_server((host, port)):
            pass
    except OSError as error:
        raise UserError(f"Port {port} on {host} cannot be had: choose another --port.") from error


def mask_picture(mask):
    import numpy as np
    from PIL import Image

    return Image.fromarray(mask.astype(np.uint8) * 255)


def write_all(masks, photo, out: Path) -> None:
    from breakascene.rendering.overlay import overlay

    if not masks:
        raise UserError("Nothing was found: mark the things with --point or --box.")
    with atomic_folder(out) as draft:
        for i, mask in enumerate(masks):
            mask_picture(mask).save(draft / f"mask{i}.png")
        overlay(photo, masks).save(draft / "overlay.png")
    print(f"{out}: {len(masks)} masks, largest first, and overlay.png")


@contextmanager
def progress() -> Iterator[Callable]:
    """Give a function that shows a StepEvent: one line that renews itself on a terminal, else a line every 50 steps."""
    from breakascene.cli.demo import clock

    live = sys.stdout.isatty()
    shown, memory = False, None

    def tell(event) -> None:
        nonlocal shown, memory
        if event.memory != memory:
            memory = event.memory
            print(f"\r\x1b[K{memory}" if live else memory, flush=True)
        last = event.step == event.total
        loss = event.losses["total"]
        left = clock(event.seconds_left)
        line = f"phase {event.phase}, step {event.step} of {event.total}, loss {loss:.3f}, {left} left"
        if live:
            print(f"\r\x1b[K{line}", end="\n" if last else "", flush=True)
            shown = not last
        elif last or event.step % 50 == 0:
            print(line, flush=True)

    try:
        yield tell
    finally:
        if shown:
            print()


@contextmanager
def stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Ctrl-C once asks to stop after this step; twice ends at once."""
    asked = False

    def ask(*_) -> None:
        nonlocal asked
        asked = True
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)
