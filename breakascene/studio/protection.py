"""What stands before the app on every request: trusted hosts, one origin, a limit of the body, and safe headers."""

import ipaddress
import socket
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import gradio as gr
from gradio_client.utils import is_http_url_like
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from breakascene.studio import strings

MAX_JSON = 2 * 2**20  # bytes of a request that is neither an upload nor a message of an MCP client
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
OUTSIDE_PATHS = ("/gradio_api/file=http", "/gradio_api/proxy=")  # Gradio would fetch them from other servers
UNUSED_PATHS = (  # of Gradio: recordings are converted by ffmpeg, deep links write a page's values to the disk
    "/gradio_api/process_recording", "/gradio_api/deep_link", "/gradio_api/component_server", "/gradio_api/stream",
    "/gradio_api/custom_component", "/gradio_api/run-history", "/gradio_api/runs", "/gradio_api/vibe",
    "/gradio_api/dev", "/gradio_api/profiling", "/monitoring",
)  # fmt: skip
# Gradio compiles the scripts of its pages ("unsafe-eval") and writes styles and its configuration into them.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors {ancestors}"
)


class Protection:
    """ASGI middleware that refuses requests from elsewhere, and adds the headers that a browser heeds.

    Args:
        hosts: Names in the Host header besides this machine's own; "*.example.org" for all below it, "*" for all.
        limits: Path -> bytes that the body of a request may have; MAX_JSON for all other paths.
        ancestors: Sites that may show the page in a frame, besides the studio itself.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str], limits: dict[str, int], ancestors: str = "'self'"):
        self.app, self.limits = app, limits
        self.hosts = {"localhost", *own_names(), *(host.lower() for host in hosts)}
        self.headers = {
            "Content-Security-Policy": POLICY.format(ancestors=ancestors),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "same-origin",  # the address of a page holds the token of its session
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":  # the studio has none
            return await send({"type": "websocket.close", "code": 1008})
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers = Headers(scope=scope)
        if refusal := self.refusal(scope, headers):
            return await PlainTextResponse(*refusal, headers=self.headers)(scope, receive, send)
        if not same_origin(headers):  # Gradio would let any origin read what a visitor's cookie opens
            scope = {**scope, "headers": [(name, value) for name, value in scope["headers"] if name != b"origin"]}

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self.headers)
            await send(message)

        limit = self.limits.get(path_of(scope).rstrip("/"), MAX_JSON)
        await BodyLimit(self.app, limit)(scope, receive, send_with_headers)

    def refusal(self, scope: Scope, headers: Headers) -> tuple[str, int] | None:
        """The text and status of the answer to a request that goes no further, or None."""
        host = host_name(headers.get("host", ""))
        if not self.trusts(host):
            return strings.HOST_NOT_TRUSTED.format(host=ascii(host)), 421
        if not same_origin(headers) and (scope["method"] not in SAFE_METHODS or scope["method"] == "OPTIONS"):
            return strings.OTHER_ORIGIN, 403
        path = path_of(scope).lower()
        if path.startswith(OUTSIDE_PATHS):
            return strings.OUTSIDE_FILE, 404
        if path.startswith(UNUSED_PATHS):
            return "Not Found", 404
        return None

    def trusts(self, host: str) -> bool:
        """Whether a host is an IP address, which no other site's name can lead to, or a trusted name."""
        try:
            return bool(ipaddress.ip_address(host))
        except ValueError:
            return "*" in self.hosts or bool(self.hosts & set(patterns(host)))


class BodyLimit:
    """ASGI middleware that answers 413 to a request whose body is larger than `limit` bytes."""

    def __init__(self, app: ASGIApp, limit: int):
        self.app, self.limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        declared, received, started = Headers(scope=scope).get("content-length", ""), 0, False
        too_large = declared.isdecimal() and len(declared) < 20 and int(declared) > self.limit

        async def receive_counted() -> Message:
            nonlocal received, too_large
            message = await receive()
            received += len(message.get("body", b""))
            too_large = too_large or received > self.limit
            return {"type": "http.disconnect"} if too_large else message

        async def send_unless_refused(message: Message) -> None:
            nonlocal started
            if not too_large or started:
                started = True
                await send(message)

        try:
            if not too_large:
                await self.app(scope, receive_counted, send_unless_refused)
        except Exception:
            if not too_large:
                raise
        if too_large and not started:
            await PlainTextResponse(strings.BODY_TOO_LARGE, 413, {"Connection": "close"})(scope, receive, send)


def refuse_outside_files(demo: gr.Blocks) -> None:
    """Refuse the files that clients name by an address: Gradio would download them, whatever their size."""

    def guarded(move: Callable) -> Callable:
        async def move_unless_outside(path: Path | str | None) -> str | None:
            if is_http_url_like(str(path)):
                raise gr.Error(strings.OUTSIDE_FILE, print_exception=False)
            return await move(path)

        return move_unless_outside

    for block in demo.blocks.values():
        block.async_move_resource_to_block_cache = guarded(block.async_move_resource_to_block_cache)


class AtPath:
    """ASGI middleware that passes the requests for one path to another app."""

    def __init__(self, app: ASGIApp, path: str, other: ASGIApp):
        self.app, self.path, self.other = app, path, other

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        here = scope["type"] == "http" and path_of(scope).rstrip("/") == self.path
        await (self.other if here else self.app)(scope, receive, send)


def path_of(scope: Scope) -> str:
    return scope["path"].removeprefix(scope.get("root_path", ""))


def own_names() -> set[str]:
    """The names of this machine."""
    name = socket.gethostname().lower()
    return {name, f"{name}.local"}


def host_name(host: str) -> str:
    """The host of "host:port", without the brackets of an IPv6 address."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def patterns(host: str) -> Iterator[str]:
    """What a host may be called in the list of trusted hosts: "a.b.c", "*.b.c", "*.c"."""
    yield host
    labels = host.split(".")
    for i in range(1, len(labels)):
        yield ".".join(["*", *labels[i:]])


def same_origin(headers: Headers) -> bool:
    """Whether a request does not come from a page of another site; programs send no origin."""
    if (origin := headers.get("origin")) is None:
        return True
    try:
        host = urlsplit(origin).netloc.lower()  # "" for "null", the origin of a page without one
    except ValueError:
        return False
    return host != "" and host in (headers.get(name, "").lower() for name in ("host", "x-forwarded-host"))
