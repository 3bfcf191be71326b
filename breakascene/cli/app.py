"""The command line application: its commands, and errors as one line on stderr.

Command modules import nothing heavy at module level, so that `--help` and argument errors answer at once.
"""

import errno
import io
import os
import sys
import warnings

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from breakascene.cli import (
    audit,
    crop,
    demo,
    edit,
    evaluate,
    export,
    extract,
    generate,
    library,
    masks,
    pilot,
    segment,
    sheet,
    studio,
    users,
    verify,
)
from breakascene.errors import UserError, resource_error, shortened

USER_ERROR = 2  # exit status


class CommandGroup(TyperGroup):
    """A command group that reports user errors and exhausted resources in one line on stderr, with exit status 2."""

    def main(self, *args, standalone_mode: bool = True, **extra):
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")  # a terminal in ASCII or Latin-1 lacks some of the characters
        try:
            status = super().main(*args, standalone_mode=False, **extra)
        except Exception as error:
            if not (message := " ".join(error_message(error).split())):
                raise
            print(message, file=sys.stderr)
            status = USER_ERROR
        sys.exit(status or 0)


def error_message(error: Exception) -> str:
    """Return the sentence for an error that the user can resolve, or "" for a bug in the program."""
    if isinstance(error, UserError):
        return shortened(str(error), 500)  # it may quote a long value
    if isinstance(error, TyperException):
        message = error.format_message().replace("Value error, ", "").rstrip(".")
        return f"{shortened(message, 300)}: see --help."  # it may quote a long value
    if isinstance(error, OSError) and error.errno in (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EINVAL):
        name = shortened(str(error.filename), 80)
        return f'"{name}" cannot be the name of a file ({error.strerror.lower()}): choose another one.'
    file = getattr(error, "filename", None) or "a file"
    messages = {
        "disk": "The disk is full: free some space and run the command again.",
        "rights": f"No permission to read or write {file}: change its permissions or choose another location.",
        "memory": "Memory ran out: close other programs, or use a smaller photo or base model.",
    }
    return messages.get(resource_error(error), "")


def configure(context: typer.Context) -> None:
    """Print the help if no command is given; otherwise silence the libraries."""
    if context.invoked_subcommand is None:
        print(context.get_help())
        return
    # Developer notices of the libraries would bury the one line that matters.
    warnings.simplefilter("ignore")
    for prefix in ("TRANSFORMERS", "DIFFUSERS", "HF_HUB"):
        os.environ.setdefault(f"{prefix}_VERBOSITY", "error")


app = typer.Typer(
    cls=CommandGroup,
    help="Break-A-Scene: extract the objects of one photo and generate them in new scenes.",
    add_completion=False,
    no_args_is_help=False,
    pretty_exceptions_enable=False,
)
app.callback(invoke_without_command=True)(configure)
for command in (
    demo.demo,
    segment.segment,
    extract.extract,
    generate.generate,
    sheet.sheet,
    crop.crop,
    edit.edit,
    export.export,
    masks.masks,
    evaluate.evaluate,
    verify.verify,
    studio.studio,
):
    app.command()(command)
app.add_typer(library.app, name="library")
app.add_typer(pilot.app, name="pilot")
app.add_typer(audit.app, name="audit")
app.add_typer(users.app, name="users")
