"""The commands of `users`: accounts of the studio with roles, and the deletion of a visitor's data."""

from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qs, urlsplit

import typer

from breakascene.errors import UserError
from breakascene.files import require_writable

app = typer.Typer(help="The accounts of the studio, and the data of its visitors.", no_args_is_help=True)
FileOption = Annotated[
    Path, typer.Option("--file", envvar="BREAKASCENE_USERS", help="The file of accounts.", show_default=False)
]
DataOption = Annotated[Path, typer.Option(envvar="BREAKASCENE_DATA", help="The studio's data folder.")]


class Role(StrEnum):
    """What an account may do besides using the studio."""

    OPERATOR = "operator"
    AUDITOR = "auditor"


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="The name to log in with.")],
    file: FileOption,
    role: Annotated[
        list[Role] | None, typer.Option(help="operator: sees the queue and failures; auditor: sees the audit log.")
    ] = None,
    password: Annotated[
        str,
        typer.Option(
            prompt=True, hide_input=True, confirmation_prompt=True, envvar="BREAKASCENE_NEW_PASSWORD",
            help="Asked for if it is not given.", show_default=False,
        ),
    ] = ...,
):  # fmt: skip
    """Add an account, or give one a new password and new roles. The file has hashes of the passwords only."""
    from breakascene.studio.accounts import new_account, read_accounts, write_accounts

    require_writable(file, "file")
    accounts = read_accounts(file) if file.exists() else {}
    known = name in accounts
    write_accounts(file, {**accounts, name: new_account(name, password, [one.value for one in role or []])})
    print(f"{'Changed' if known else 'Added'} {name}.")


@app.command("list")
def list_users(file: FileOption):
    """List the accounts and their roles, separated by tabs."""
    from breakascene.studio.accounts import read_accounts

    for name, account in read_accounts(file).items():
        print(name, ", ".join(account.roles), sep="\t")


@app.command()
def remove(name: Annotated[str, typer.Argument(help="The name of the account.")], file: FileOption):
    """Remove an account. Its data stay, see delete-data."""
    from breakascene.studio.accounts import read_accounts, write_accounts

    accounts = read_accounts(file)
    if name not in accounts:
        raise UserError(f'There is no account "{name[:80]}" in {file}: see users list.')
    if len(accounts) == 1:
        raise UserError(f'"{name}" is the last account: add another one first, or delete {file}.')
    write_accounts(file, {other: account for other, account in accounts.items() if other != name})


@app.command("delete-data")
def delete_data(
    visitor: Annotated[
        str,
        typer.Argument(help="A login name, the link of a session, or the name that the audit log has for a session."),
    ],
    data: DataOption = Path("runs/studio"),
):
    """Delete photos, masks, runs and images of a visitor for good. The audit log keeps their hashes.

    A running studio closes the visitor's sessions too.
    """
    from breakascene.generation.library import Library
    from breakascene.studio.state import deletion

    folders = _sessions_of(visitor, data)
    if not folders:
        raise UserError(f'There are no data of "{visitor[:80]}" in {data}: check the name, or give --data.')
    library = None
    with suppress(UserError):  # no home folder, so no library
        library = Library()
    for folder in folders:
        deletion.delete_all(folder, "operator", library)
    print(f"Deleted the data of {len(folders)} session{'s' * (len(folders) != 1)}.")


def _sessions_of(visitor: str, data: Path) -> list[Path]:
    """The folders of the sessions of a visitor."""
    from breakascene.studio.state import deletion
    from breakascene.studio.state.session import TOKEN, read_owner

    if not visitor.strip():  # the sessions without a login have the owner ""
        return []
    token = next(iter(parse_qs(urlsplit(visitor).query).get("session", [visitor])))
    folders = [folder for folder in data.glob("*/") if TOKEN.fullmatch(folder.name)]
    return [
        folder
        for folder in folders
        if token == folder.name or visitor in (read_owner(folder), deletion.session_id(folder.name))
    ]
