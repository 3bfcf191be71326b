"""Read the audit log: verify that it is complete and unchanged, and write a period of it as CSV."""

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TextIO

from breakascene.errors import UserError
from breakascene.provenance.audit import (
    LOCK_SHARED,
    START,
    Head,
    entry_hash,
    open_locked,
    parse_line,
    read_head,
)

COLUMNS = ("number", "time", "who", "action")  # of the CSV, before the others, which are sorted
CHANGED, REMOVED, ADDED, CUT, HEADLESS = "changed", "removed", "added", "cut", "headless"


@dataclass(frozen=True)
class Fault:
    """Something that no writer leaves behind, not even one that was killed.

    Attributes:
        kind: "changed" (an entry is not as it was written), "removed" (entries are missing before others), "added"
            (a line is not the next entry), "cut" (entries are missing at the end) or "headless" (the head is missing).
        first, last: Numbers of the entries, or of the line for "added".
    """

    kind: str
    first: int
    last: int


@dataclass(frozen=True)
class Check:
    """The state of a log.

    Attributes:
        head: After the last entry.
        faults: Nothing if the log is complete and unchanged.
        unfinished: Whether the last write was interrupted; the next entry sets this right.
    """

    head: Head
    faults: tuple[Fault, ...]
    unfinished: bool = False


def verify(folder: Path | str, known: tuple[int, str] | None = None) -> Check:
    """Verify the log in a folder.

    Args:
        folder: Holds log.jsonl and head.json.
        known: The number and the hash of an entry that an earlier call reported, kept elsewhere. Whoever can write to
            the folder could make a whole new log with a head that fits; this entry would not be in it.

    Raises:
        UserError: If there is no log.
    """
    head, lines = _read(Path(folder))
    faults, state, unfinished = [], Head(), False
    unknown_previous = False  # after a changed entry, whose own hash may be changed too
    hashes = {0: START}
    for position, line in enumerate(lines, 1):
        if not line.endswith(b"\n"):
            unfinished = head is not None and state.count >= head.count
            break  # else its entry counts as cut
        entry = parse_line(line)
        if entry is None:
            faults.append(Fault(CHANGED, state.count + 1, state.count + 1))
            state, unknown_previous = Head(state.count + 1, "", 0), True
            continue
        number, changed = entry["number"], entry["hash"] != entry_hash(entry)
        if number <= state.count:
            faults.append(Fault(ADDED, position, position))
            continue
        if number > state.count + 1:
            faults.append(Fault(REMOVED, state.count + 1, number - 1))
        elif entry["previous"] != state.hash and not unknown_previous and not changed:
            faults.append(Fault(CHANGED, state.count, state.count))  # with a hash that fits it
        if changed:
            faults.append(Fault(CHANGED, number, number))
        hashes[number] = entry["hash"]
        state, unknown_previous = Head(number, entry["hash"], 0), changed
    if head is None:
        faults.append(Fault(HEADLESS, state.count, state.count))
    elif state.count < head.count:
        faults.append(Fault(CUT, state.count + 1, head.count))
    elif state.count > head.count + 1:
        faults.append(Fault(ADDED, head.count + 1, state.count))
    elif hashes.get(head.count) != head.hash and not any(fault.first <= head.count <= fault.last for fault in faults):
        faults.append(Fault(CHANGED, head.count, head.count))
    else:
        unfinished |= state.count > head.count
    if known and hashes.get(known[0]) != known[1]:
        faults.append(Fault(CHANGED, known[0], known[0]))
    return Check(state, tuple(dict.fromkeys(faults)), unfinished)


def entries(folder: Path | str, first: date | None = None, last: date | None = None) -> Iterator[dict]:
    """Yield the entries of a period of days in UTC, both included, in their order; damaged lines are left out."""
    start = datetime.combine(first, time(), UTC).isoformat() if first else ""
    end = datetime.combine(last + timedelta(1), time(), UTC).isoformat() if last else "~"
    for line in _read(Path(folder))[1]:
        entry = parse_line(line)
        if entry and start <= entry["time"] < end:
            yield entry


def write_csv(rows: Sequence[dict], file: TextIO) -> None:
    """Write entries as CSV, a column for each of their values; lists and objects as JSON."""
    others = sorted({key for row in rows for key in row} - set(COLUMNS))
    table = csv.writer(file)
    table.writerow([*COLUMNS, *map(_cell, others)])
    for row in rows:
        table.writerow([_cell(row.get(key, "")) for key in (*COLUMNS, *others)])


def _cell(value: object) -> object:
    """A value of a cell; a spreadsheet must not take a text that visitors wrote for a formula."""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value


def _read(folder: Path) -> tuple[Head | None, list[bytes]]:
    try:
        with open_locked(folder, LOCK_SHARED) as file:
            return read_head(folder), file.read().splitlines(keepends=True)
    except FileNotFoundError as error:
        if read_head(folder):  # a log was there
            return read_head(folder), []
        raise UserError(f"There is no audit log in {folder}: give the folder in BREAKASCENE_AUDIT.") from error
    except OSError as error:
        raise UserError(
            f"The audit log in {folder} cannot be read ({error.strerror}): check its permissions."
        ) from error
