"""Writing so that nothing half-written stays: a temporary name beside the target, then os.replace."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from uuid import uuid4

from breakascene.errors import UserError


@contextmanager
def atomic_file(path: Path | str) -> Iterator[Path]:
    """Give a temporary path to write to; the file takes the place of `path` when the block ends well.

    It has the name of `path`, in a folder of its own beside it: some libraries look at the ending (Pillow), others put
    drafts of their own beside what they write (safetensors).
    """
    path = Path(path)
    with _parents(path):
        draft = path.parent / _draft(path.name, uuid4().hex[:8])
        draft.mkdir()
        try:
            yield draft / path.name
            os.replace(draft / path.name, path)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """Give an empty temporary folder beside `path`; it takes the place of `path` when the block ends well."""
    path = Path(path)
    with _parents(path):
        draft = path.parent / _draft(path.name, uuid4().hex[:8])
        draft.mkdir()
        try:
            yield draft
            old = draft.with_suffix(".old")
            if path.exists():
                os.replace(path, old)  # a folder cannot be replaced in one step while it holds files
            os.replace(draft, path)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def sweep(path: Path | str) -> None:
    """Remove what writers of `path` that were killed left half-written beside it. None may be at work."""
    path = Path(path)
    for draft in path.parent.glob(_draft(escape(path.name), "?" * 8)):
        shutil.rmtree(draft, ignore_errors=True)


def require_writable(path: Path | str, kind: str) -> Path:
    """Check before long work that `path` can be written as a new "file" or "folder"; nothing is left behind.

    Raises UserError if it cannot: a file stands in the way, or the disk or its rights forbid it.
    """
    path = Path(path)
    try:
        if kind == "file" and path.is_dir():
            raise UserError(f"{path} is a folder: give --out the name of a file in it.")
        if kind == "folder" and path.exists() and not path.is_dir():
            raise UserError(f"{path} is a file: give --out the name of a folder.")
        there = path if path.is_dir() else path.absolute().parent
        while not there.exists():
            there = there.parent
        with tempfile.TemporaryFile(dir=there):  # rights alone do not tell: root, read-only disks, /proc
            pass
    except OSError as error:
        reason = error.strerror or "not possible"
        raise UserError(f"Cannot write to {path} ({reason.lower()}): choose another place for --out.") from error
    return path


@contextmanager
def _parents(path: Path) -> Iterator[None]:
    """Make the folders above `path`; those that were not there go again, if empty, when the block fails."""
    missing = [folder for folder in path.parents if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for folder in missing:  # the deepest first
            with suppress(OSError):
                folder.rmdir()
        raise


def _draft(name: str, mark: str) -> str:
    return f".{name}.{mark}.part"
