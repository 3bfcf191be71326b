"""An audit log: who did what and when, in a file that shows any later change.

BREAKASCENE_AUDIT names its folder; without it nothing is logged. Each line of log.jsonl is a JSON object with a number,
its own hash and the hash of the line before. head.json holds how many entries there are and the hash of the last one,
so that a cut end is noticed too. Entries name photos and images by their hashes and hold no pixels.

This module imports nothing heavy: a command or another program can write to the log at once.
"""

import getpass
import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

from breakascene.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOG, HEAD = "log.jsonl", "head.json"
START = "0" * 64  # in place of the hash of the entry before the first
REPAIR = "repair"  # the action of entries that tell what was found wrong
LOCK_SHARED, LOCK_EXCLUSIVE = (fcntl.LOCK_SH, fcntl.LOCK_EX) if fcntl else (1, 2)

actor: ContextVar[Mapping[str, str]] = ContextVar("actor", default=MappingProxyType({}))
"""Who acts in this context: "who" and further values of its entries; by default the user of the operating system."""

_writing = threading.Lock()  # fcntl locks processes, where there is one


@dataclass(frozen=True)
class Head:
    """The state of the log after an entry.

    Attributes:
        count: Entries so far, which is the number of the last one.
        hash: Of the last entry.
        size: Bytes of the log.
    """

    count: int = 0
    hash: str = START
    size: int = 0


def folder_from_settings() -> Path | None:
    """The folder of the log, BREAKASCENE_AUDIT; None if nothing is logged."""
    folder = os.environ.get("BREAKASCENE_AUDIT")
    return Path(folder) if folder else None


def record(action: str, **fields: Any) -> None:
    """Append an entry to the log, if there is one; it is on the disk when this returns.

    Args:
        action: "extract", "generate", "download", "export", "delete", "login" and the like.
        fields: Further values of the entry, as JSON; those that are None are left out.

    Raises:
        UserError: If the log cannot be written. What is to be logged must then not happen.
    """
    if (folder := folder_from_settings()) is not None:
        append(folder, action, **fields)


def append(folder: Path | str, action: str, **fields: Any) -> None:
    """Append an entry to the log in a folder; see `record`."""
    folder = Path(folder)
    fields = {key: value for key, value in fields.items() if value is not None}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _writing, open_locked(folder, LOCK_EXCLUSIVE) as file:
            head = _repaired(folder, file)
            _write(folder, file, head, action, fields)
    except OSError as error:
        raise UserError(
            "The audit log in {folder} cannot be written ({reason}): free some space, or change the folder's "
            "permissions.",
            folder=str(folder), reason=(error.strerror or "not possible").lower(),
        ) from error  # fmt: skip


def hash_of(path: Path | str) -> str:
    """SHA-256 of a file, as hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_of_bytes(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def entry_hash(entry: Mapping) -> str:
    """The hash of an entry: SHA-256 of its JSON without the hash itself, with sorted keys."""
    values = {key: value for key, value in entry.items() if key != "hash"}
    return hash_of_bytes(_json(values))


def _json(values: Mapping) -> bytes:
    return json.dumps(values, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


@contextmanager
def open_locked(folder: Path, kind: int) -> Iterator[BinaryIO]:
    """Open the log, and keep other processes out (LOCK_EXCLUSIVE) or other writers (LOCK_SHARED)."""
    mode = "a+b" if kind == LOCK_EXCLUSIVE else "rb"
    with open(folder / LOG, mode, buffering=0) as file:
        if fcntl:
            fcntl.flock(file, kind)
        yield file


def _write(folder: Path, file: BinaryIO, head: Head, action: str, fields: Mapping) -> Head:
    entry = {
        "who": _system_user(),
        **actor.get(),
        **fields,
        "number": head.count + 1,
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "action": action,
        "previous": head.hash,
    }
    entry = json.loads(_json(entry))  # as a reader will see it
    entry["hash"] = entry_hash(entry)
    line = _json(entry) + b"\n"
    while line:
        line = line[file.write(line) :]
    os.fsync(file.fileno())
    head = Head(entry["number"], entry["hash"], file.seek(0, os.SEEK_END))
    _write_head(folder, head)
    return head


def _write_head(folder: Path, head: Head) -> None:
    draft = folder / f".{HEAD}.part"  # only the holder of the lock writes it
    with open(draft, "wb") as file:
        file.write(_json(vars(head)))
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, folder / HEAD)
    if fcntl:  # the new name too must be on the disk
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_head(folder: Path) -> Head | None:
    """The head, or None if it is missing or damaged."""
    try:
        head = Head(**json.loads((folder / HEAD).read_bytes()))
        valid = isinstance(head.hash, str) and all(type(n) is int and n >= 0 for n in (head.count, head.size))
        return head if valid else None
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def _repaired(folder: Path, file: BinaryIO) -> Head:
    """Return the head to append to, after what a killed writer left unfinished was set right.

    A line that is complete but not counted is counted. An incomplete last line is removed, and an entry says so. What
    no killed writer leaves (a missing head, a shorter log) stays as it is, for `verify` to find; an entry notes it.
    """
    size, head = file.seek(0, os.SEEK_END), read_head(folder)
    if head is None and size == 0:
        head = Head()
        _write_head(folder, head)  # before the first line, so that a log without a head was never left by a kill
    if head is not None and head.size == size:
        return head
    if head is None:
        *_, last = [Head(), *_counted(file, Head())]
        return _write(folder, file, last, REPAIR, {"found": "the head file was missing or damaged"})
    if size < head.size:
        if size and _byte_at(file, size - 1) != b"\n":
            file.write(b"\n")
        return _write(folder, file, head, REPAIR, {"found": f"the log was {head.size - size} bytes shorter"})
    file.seek(head.size)
    rest = file.read()
    *_, head = [head, *_counted(file, head)]
    if torn := rest.rpartition(b"\n")[2]:
        file.truncate(size - len(torn))
        found = {"found": "an incomplete last line was removed", "sha256": hash_of_bytes(torn)}
        return _write(folder, file, head, REPAIR, found)
    return head


def _byte_at(file: BinaryIO, position: int) -> bytes:
    file.seek(position)
    return file.read(1)


def _counted(file: BinaryIO, head: Head) -> Iterator[Head]:
    """The heads after each complete entry that follows on a head, to the first line that is none."""
    file.seek(head.size)
    for line in file.read().splitlines(keepends=True):
        entry = parse_line(line)
        if not line.endswith(b"\n") or entry is None or entry["hash"] != entry_hash(entry):
            return
        head = Head(entry["number"], entry["hash"], head.size + len(line))
        yield head


def parse_line(line: bytes) -> dict | None:
    """The entry in a line, or None if it is not one."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict) or type(entry.get("number")) is not int:
        return None
    texts = ("time", "who", "action", "previous", "hash")
    return entry if all(isinstance(entry.get(key), str) for key in texts) else None


def _system_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no account
        return "unknown"
