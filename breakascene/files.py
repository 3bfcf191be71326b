"""Atomic writing: into a draft beside the target, which os.replace then moves into place. File names made of text."""

import os
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from glob import escape
from pathlib import Path
from uuid import uuid4

from breakascene.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


@contextmanager
def atomic_file(path: Path | str) -> Iterator[Path]:
    """Yield a draft path to write to; the draft replaces `path` when the block succeeds.

    The draft has the file name of `path`, in a temporary folder beside it: some libraries choose the format by the
    suffix (Pillow), others write temporary files next to their target (safetensors).
    """
    path = real_path(path)
    with _parents(path):
        draft = path.parent / _draft_name(path.name, uuid4().hex[:8])
        draft.mkdir()
        try:
            yield draft / path.name
            _apply_umask(draft)
            os.replace(draft / path.name, path)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def write_private(path: Path | str, data: bytes) -> None:
    """Write a file atomically that only its owner can read (file mode 600), from the beginning."""
    path = real_path(path)
    with _parents(path):
        draft = path.parent / _draft_name(path.name, uuid4().hex[:8])
        try:
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(data)
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """Yield an empty draft folder beside `path`; the draft replaces `path` when the block succeeds.

    A mount point and the working directory cannot be replaced: there, the content is replaced.
    """
    path = real_path(path)
    if path.is_dir() and (os.path.ismount(path) or Path(os.path.realpath(".")).is_relative_to(path)):
        with _replaced_content(path) as draft:
            yield draft
        return
    with _parents(path):
        draft = path.parent / _draft_name(path.name, uuid4().hex[:8])
        draft.mkdir()
        try:
            yield draft
            _apply_umask(draft)
            old = draft.with_suffix(".old")
            if path.exists():
                os.replace(path, old)  # os.replace cannot overwrite a folder that holds files
            os.replace(draft, path)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def _replaced_content(path: Path) -> Iterator[Path]:
    draft = path / _draft_name(path.name, uuid4().hex[:8])
    draft.mkdir()
    try:
        yield draft
        _apply_umask(draft)
        old = draft / ".old"
        old.mkdir()
        for entry in list(path.iterdir()):
            if entry != draft:
                os.replace(entry, old / entry.name)
        for entry in list(draft.iterdir()):
            if entry != old:
                os.replace(entry, path / entry.name)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _apply_umask(draft: Path) -> None:
    """Give all files in a draft the permissions of the umask; safetensors makes its files private."""
    mode = draft.stat().st_mode & 0o666
    for path in draft.rglob("*"):
        if path.is_file():
            path.chmod(mode)


def real_path(path: Path | str) -> Path:
    """Return the absolute path without symbolic links; the target of a link need not exist."""
    return Path(os.path.realpath(path))


def remove_partial_files(path: Path | str) -> None:
    """Remove the drafts of `path` that killed processes left. No writer of `path` may be running."""
    path = real_path(path)
    for folder in (path.parent, path):
        for draft in folder.glob(_draft_name(escape(path.name), "?" * 8)):
            shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def locked(path: Path | str) -> Iterator[None]:
    """Keep other processes and threads that lock `path` out for the duration of a block.

    The lock is held on a file beside `path`, and is released by the system when the process dies.

    Raises:
        UserError: If another process or thread holds the lock.
    """
    path = real_path(path)
    lock = path.parent / f".{path.name}.lock"
    with _parents(path), ExitStack() as stack:
        while fcntl:
            file = stack.enter_context(open(lock, "a"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(
                    f"Another process is writing to {path}: wait for it, or choose another folder."
                ) from error
            except OSError:  # a file system without locks
                pass
            if lock.exists() and os.path.samestat(os.fstat(file.fileno()), lock.stat()):
                break  # else the last holder has just removed the file
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def require_writable(path: Path | str, kind: str) -> Path:
    """Check, before long work, that `path` can be written as a new "file" or "folder"; leave no trace of the check.

    Raises UserError if another kind of file is in the way, or if the disk or its permissions prevent writing.
    """
    path = Path(path)
    target = real_path(path)
    try:
        if target.is_symlink():
            raise UserError(f"{path} is a link that leads back to itself: choose another path.")
        if kind == "file" and path.is_dir():
            raise UserError(f"{path} is a folder: give the path of a file in it.")
        if kind == "folder" and path.exists() and not path.is_dir():
            raise UserError(f"{path} is a file: give the path of a folder.")
        parent = target if target.is_dir() else target.parent
        while not parent.exists():
            parent = parent.parent
        with tempfile.TemporaryFile(dir=parent):  # permission bits do not cover root, read-only disks and /proc
            pass
    except OSError as error:
        reason = error.strerror or "not possible"
        raise UserError(f"Cannot write to {path} ({reason.lower()}): choose another place.") from error
    return path


def require_empty(folder: Path | str) -> Path:
    """Raise UserError if the folder exists and is not empty."""
    folder = Path(folder)
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"The folder {folder} is not empty: choose a new or empty one.")
    return folder


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


def file_stem(text: str, default: str) -> str:
    """Return a file name without its ending, made of the words of a text in any language; `default` if it has none."""
    words = re.findall(r"\w+", unicodedata.normalize("NFKC", text))
    return "-".join(words)[:60].strip("-") or default
