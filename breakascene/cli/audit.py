"""The commands of `audit`: verify the audit log, and export a period of it as CSV."""

import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from breakascene.errors import UserError

app = typer.Typer(help="Verify and export the audit log, the record of what was done with photos and images.",
                  no_args_is_help=True)  # fmt: skip
FolderOption = Annotated[
    Path | None,
    typer.Option("--log", envvar="BREAKASCENE_AUDIT", help="Folder of the log.", show_default=False),
]
SENTENCES = {
    "changed": "Changed entries: {entries}.",
    "removed": "Removed entries: {entries}.",
    "added": "Added line: {entries}. It is not the entry that was written there.",
    "cut": "The end was cut off. Missing entries: {entries}.",
    "headless": "head.json is missing or damaged, so that a cut end cannot be ruled out.",
}


@app.command()
def verify(
    log: FolderOption = None,
    known: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER:HASH",
            help="An entry that an earlier call printed and that was kept elsewhere: it must still be there.",
        ),
    ] = None,
):
    """Check that no entry of the log was changed, removed or cut off; exit status 1 if one was."""
    from breakascene.provenance.audit_check import verify as check_log

    folder = _require(log)
    check = check_log(folder, _parse_known(known))
    for fault in check.faults:
        print(SENTENCES[fault.kind].format(entries=_numbers(fault.first, fault.last)))
    if check.unfinished:
        print("The last write was interrupted; the next entry sets that right.")
    if check.faults:
        raise typer.Exit(1)
    print(f"{folder}: {check.head.count} entries, complete and unchanged.")
    print(f"Last entry: {check.head.count}:{check.head.hash}")


@app.command()
def export(
    log: FolderOption = None,
    first: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First day (UTC).", show_default=False)
    ] = None,
    last: Annotated[
        datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="Last day (UTC).", show_default=False)
    ] = None,
    out: Annotated[Path | None, typer.Option(help="A CSV file; default: standard output.")] = None,
):
    """Write the entries of a period as CSV."""
    from breakascene.files import atomic_file, require_writable
    from breakascene.provenance.audit_check import entries, write_csv

    if first and last and last < first:
        raise UserError("The day of --to is before that of --from: exchange them.")
    rows = list(entries(_require(log), first and first.date(), last and last.date()))
    if out is None:
        return write_csv(rows, sys.stdout)
    require_writable(out, "file")
    with atomic_file(out) as draft, open(draft, "w", encoding="utf-8", newline="") as file:
        write_csv(rows, file)
    print(f"{out}: {len(rows)} entries")


def _require(folder: Path | None) -> Path:
    if folder is None:
        raise UserError("There is no audit log: give its folder with --log, or set BREAKASCENE_AUDIT.")
    return folder


def _parse_known(text: str | None) -> tuple[int, str] | None:
    if text is None:
        return None
    number, _, entry_hash = text.partition(":")
    if not number.isdecimal() or len(entry_hash) != 64:
        raise UserError(f'--known "{text[:80]}" is not valid: give NUMBER:HASH as audit verify prints it.')
    return int(number), entry_hash


def _numbers(first: int, last: int) -> str:
    return str(first) if first == last else f"{first} to {last}"
