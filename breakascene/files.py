"""Atomic writing: into a draft beside the target, which os.replace then moves into place."""

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
    """Yield a draft path to write to; the draft replaces `path` when the block succeeds.

    The draft has the file name of `path`, in a temporary folder beside it: some libraries choose the format by the
    suffix (Pillow), others write temporary files next to their target (safetensors).
    """
    path = Path(path)
    with _parents(path):
        draft = path.parent / _draft_name(path.name, uuid4().hex[:8])
        draft.mkdir()
        try:
            yield draft / path.name
            os.replace(draft / path.name, path)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """Yield an empty draft folder beside `path`; the draft replaces `path` when the block succeeds."""
    path = Path(path)
    with _parents(path):
        draft = path.parent / _draft_name(path.name, uuid4().hex[:8])
        draft.mkdir()
        try:
            yield draft
            old = draft.with_suffix(".old")
            if path.exists():
                os.replace(path, old)  # os.replace cannot overwrite a folder that holds files
            os.replace(draft, path)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def remove_partial_files(path: Path | str) -> None:
    """Remove the drafts of `path` that killed processes left beside it. No writer of `path` may be running."""
    path = Path(path)
    for draft in path.parent.glob(_draft_name(escape(path.name), "?" * 8)):
        shutil.rmtree(draft, ignore_errors=True)


def require_writable(path: Path | str, kind: str) -> Path:
    """Check, before long work, that `path` can be written as a new "file" or "folder"; leave no trace of the check.

    Raises UserError if another kind of file is in the way, or if the disk or its permissions prevent writing.
    """
    path = Path(path)
    try:
        if kind == "file" and path.is_dir():
            raise UserError(f"{path} is a folder: give --out the name of a file in it.")
        if kind == "folder" and path.exists() and not path.is_dir():
            raise UserError(f"{path} is a file: give --out the name of a folder.")
        parent = path if path.is_dir() else path.absolute().parent
        while not parent.exists():
            parent = parent.parent
        with tempfile.TemporaryFile(dir=parent):  # permission bits do not cover root, read-only disks and /proc
            pass
    except OSError as error:
        reason = error.strerror or "not possible"
        raise UserError(f"Cannot write to {path} ({reason.lower()}): choose another place for --out.") from error
    return path


@contextmanager
def _parents(path: Path) -> Iterator[None]:
    """Create the missing parent folders of `path`, and remove those that are still empty if the block fails."""
    missing = [folder for folder in path.parents if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for folder in missing:  # the deepest first
            with suppress(OSError):
                folder.rmdir()
        raise


def _draft_name(name: str, suffix: str) -> str:
    return f".{name}.{suffix}.part"
