"""The command `studio`: the browser interface."""

import socket
from typing import Annotated

import typer

from breakascene.cli.options import BaseOption
from breakascene.errors import UserError


def studio(
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 accepts connections from other machines.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port; default: the first free one from 7860.")
    ] = None,
    base: BaseOption = "auto",
    login: Annotated[
        str,
        typer.Option(envvar="BREAKASCENE_LOGIN", help="NAME:PASSWORD that visitors must enter.", show_default=False),
    ] = "",
    users: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            envvar="BREAKASCENE_USERS",
            help="File of the accounts that visitors log in with, as users add writes it.",
            show_default=False,
        ),
    ] = "",
    mcp: Annotated[bool, typer.Option("--mcp", help="Also offer the endpoints as MCP tools.")] = False,
    trusted_hosts: Annotated[
        str,
        typer.Option(
            envvar="BREAKASCENE_TRUSTED_HOSTS",
            show_default=False,
            help="Host names by which visitors reach the studio, separated by commas; *.example.org for all below it, "
            "* for any. IP addresses and the name of this machine always work.",
        ),
    ] = "",
    root_path: Annotated[
        str, typer.Option(metavar="PATH", help="Path under which a reverse proxy serves the studio, such as /studio.")
    ] = "",
):
    """Open the studio in the browser."""
    require_host(host)
    if port is not None:
        require_free_port(host, port)
    from breakascene.studio.app import launch

    launch(host, port, base, login=login, users=users, mcp=mcp, trusted_hosts=trusted_hosts, root_path=root_path)


def require_host(host: str) -> None:
    """Raise UserError if no port can be opened on this address."""
    try:
        _open(host, 0)
    except (OSError, UnicodeError, TypeError) as error:  # TypeError: characters that are not text
        raise UserError(
            f'The --host "{host}" is not an address of this machine: give 127.0.0.1, or 0.0.0.0 for all its addresses.'
        ) from error


def require_free_port(host: str, port: int) -> None:
    """Raise UserError if the port cannot be opened on this address."""
    try:
        _open(host, port)
    except OSError as error:
        raise UserError(f"Port {port} on {host} is not available: choose another --port.") from error


def _open(host: str, port: int) -> None:
    address = host.removeprefix("[").removesuffix("]")  # of IPv6
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    if not address:
        raise OSError("no address")
    with socket.create_server((address, port), family=family):
        pass
