"""The login beyond Gradio's own: it slows down guessing, asks MCP clients by HTTP Basic, and keeps files apart."""

import asyncio
import base64
import binascii
import ipaddress
import threading
import time
from collections import deque
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from breakascene.files import real_path
from breakascene.studio import strings
from breakascene.studio.accounts import Accounts
from breakascene.studio.protection import path_of
from breakascene.studio.state.session import SessionStore

FILE_PATHS = ("/gradio_api/file=", "/gradio_api/file/")
MAX_FAILURES = 10  # of one network in WINDOW_SECONDS
WINDOW_SECONDS = 300


class Throttle:
    """Counts failed logins of the last WINDOW_SECONDS by the client's network.

    Args:
        now: Returns a time in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic):
        self.now, self._lock = now, threading.Lock()
        self._failures: deque[tuple[float, str]] = deque()  # time and network, oldest first

    def wait_seconds(self, address: str) -> int:
        """How long an address has to wait before its next attempt; 0 if it need not."""
        network = network_of(address)
        with self._lock:
            while self._failures and self._failures[0][0] <= self.now() - WINDOW_SECONDS:
                self._failures.popleft()
            own = [at for at, other in self._failures if other == network]
            return 0 if len(own) < MAX_FAILURES else max(1, round(own[-MAX_FAILURES] + WINDOW_SECONDS - self.now()))

    def add_failure(self, address: str) -> None:
        with self._lock:
            self._failures.append((self.now(), network_of(address)))

    def forget(self, address: str) -> None:
        """Forget the failures of an address, after it has logged in."""
        network = network_of(address)
        with self._lock:
            self._failures = deque(entry for entry in self._failures if entry[1] != network)


def network_of(address: str) -> str:
    """The address, or the /64 network of an IPv6 address: a single client has as many of these as it likes."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    return address if ip.version == 4 else str(ipaddress.ip_network((ip, 64), strict=False))


class Login:
    """ASGI middleware before Gradio's login page, and the only login of the paths in `basic_paths`.

    Args:
        accounts: Names and passwords.
        basic_paths: Asked for by HTTP Basic, since their clients have no page to log in on.
    """

    def __init__(self, app: ASGIApp, accounts: Accounts, basic_paths: tuple[str, ...], throttle: Throttle):
        self.app, self.accounts, self.basic_paths, self.throttle = app, accounts, basic_paths, throttle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = path_of(scope).rstrip("/") if scope["type"] == "http" else ""
        form, basic = path == "/login" and scope["method"] == "POST", path in self.basic_paths
        if not (form or basic):
            return await self.app(scope, receive, send)
        address = scope["client"][0] if scope.get("client") else ""
        if seconds := self.throttle.wait_seconds(address):
            response = PlainTextResponse(strings.TOO_MANY_LOGINS, 429, {"Retry-After": str(seconds)})
            return await response(scope, receive, send)
        if basic:
            headers = Headers(scope=scope)
            given = basic_credentials(headers.get("authorization", ""))
            if given and await self.basic_login(*given, known="mcp-session-id" in headers):
                return await self.app(scope, receive, send)
            if given:
                self.throttle.add_failure(address)
            response = PlainTextResponse(strings.LOGIN_REQUIRED, 401, {"WWW-Authenticate": 'Basic realm="studio"'})
            return await response(scope, receive, send)
        self.throttle.add_failure(address)  # at once, so that attempts at the same time count too

        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < 400:
                self.throttle.forget(address)
            await send(message)

        await self.app(scope, receive, send_counted)

    async def basic_login(self, name: str, password: str, known: bool) -> bool:
        """Whether the name and the password of a request are right; only the first request of a client is a login."""
        if known and await asyncio.to_thread(self.accounts.check, name, password):
            return True
        return await self.accounts.log_in(name, password)


class OwnFiles:
    """ASGI middleware that serves the files of a session to the login that it belongs to only.

    Gradio serves the data folder to everybody who has logged in and knows a path, such as from the link of a session.

    Args:
        gradio_app: Knows the logins by their cookies.
    """

    def __init__(self, app: ASGIApp, sessions: SessionStore, gradio_app):
        self.app, self.sessions, self.gradio_app = app, sessions, gradio_app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = path_of(scope) if scope["type"] == "http" else ""
        start = next((start for start in FILE_PATHS if path.startswith(start)), None)
        if start and self.owner_of(path.removeprefix(start)) not in ("", self.user_of(scope)):
            return await PlainTextResponse("Forbidden", 403)(scope, receive, send)
        await self.app(scope, receive, send)

    def owner_of(self, file: str) -> str:
        """The login that a file belongs to, or ""."""
        try:
            path, folder = real_path(file), real_path(self.sessions.folder)
            inside = path.relative_to(folder).parts if path.is_relative_to(folder) else ()
            return self.sessions.owner_of(inside[0]) if inside else ""
        except (OSError, ValueError):  # no file can have this name
            return ""

    def user_of(self, scope: Scope) -> str | None:
        cookies, cookie_id = HTTPConnection(scope).cookies, self.gradio_app.cookie_id
        names = (f"access-token-{cookie_id}", f"access-token-unsecure-{cookie_id}")
        return self.gradio_app.tokens.get(next(filter(None, map(cookies.get, names)), None))


def basic_credentials(header: str) -> tuple[str, str] | None:
    """Name and password of an Authorization header of HTTP Basic; None if there are none."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return (name, password) if colon else None
