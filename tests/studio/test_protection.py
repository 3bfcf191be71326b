"""A hostile visitor at the studio's HTTP server: other hosts and origins, large bodies, guessed logins."""

import os
import socket
import urllib.request

import httpx
import pytest
from helpers.studio import running_studio
from starlette.datastructures import Headers

from breakascene.errors import UserError
from breakascene.studio import app, launch
from breakascene.studio.api import Endpoints
from breakascene.studio.login import MAX_FAILURES, WINDOW_SECONDS, Throttle
from breakascene.studio.protection import MAX_JSON, host_name, same_origin
from breakascene.studio.state.session import SessionStore

GUEST = {"username": "guest", "password": "open sesame"}


@pytest.fixture(scope="module")
def protected_data(tmp_path_factory):
    return tmp_path_factory.mktemp("protected")


@pytest.fixture(scope="module")
def address(protected_data):
    with running_studio(protected_data, trusted_hosts="studio.example.org, *.lab.example") as address:
        yield address


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("localhost:7860", 200),
        ("[::1]:7860", 200),
        ("192.168.1.20:7860", 200),
        (f"{socket.gethostname()}:7860", 200),
        ("Studio.Example.org", 200),
        ("studio.example.org.", 200),
        ("gpu.lab.example:443", 200),
        ("a.b.lab.example", 200),
        ("lab.example", 421),
        ("evil.example", 421),
        ("studio.example.org.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("evil.example@127.0.0.1", 200),  # the host is what follows the @
        ("127.0.0.1@evil.example", 421),
        ("[::1", 421),
        ("", 421),
    ],
)
def test_only_trusted_hosts_are_answered(address, host, status):
    """A page of another site cannot reach the studio by a name of its own that leads to this machine's address."""
    for path in ("/", "/config", "/gradio_api/info", "/theme.css"):
        answer = httpx.get(address + path, headers={"Host": host}, follow_redirects=False)
        assert answer.status_code == status
        assert status == 200 or "--trusted-hosts" in answer.text


def test_every_answer_has_the_safe_headers(address):
    for path in ("/", "/ja", "/config", "/nothing-here", "/gradio_api/file=/etc/passwd", "/theme.css"):
        headers = httpx.get(address + path).headers
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "same-origin"
        policy = headers["content-security-policy"]
        assert "default-src 'self'" in policy and "frame-ancestors 'self'" in policy and "object-src 'none'" in policy
        assert "http:" not in policy and "https:" not in policy and "*" not in policy


def test_other_origins_can_neither_read_nor_write(address):
    here = address.removeprefix("http://")
    for host, origin in (
        (here, "https://evil.example"),
        ("studio.example.org", "https://evil.example"),
        (here, "null"),
    ):
        headers = {"Host": host, "Origin": origin}
        read = httpx.get(f"{address}/config", headers=headers)
        assert not any(name.startswith("access-control-allow-origin") for name in read.headers)
        asked = {**headers, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-session"}
        assert httpx.request("OPTIONS", f"{address}/gradio_api/queue/join", headers=asked).status_code == 403
        for path in ("/gradio_api/upload", "/gradio_api/queue/join", "/gradio_api/call/segment", "/login"):
            assert httpx.post(address + path, headers=headers, json={}).status_code == 403
    own = {"Host": "studio.example.org", "Origin": "https://studio.example.org"}
    assert httpx.post(f"{address}/gradio_api/queue/join", headers=own, json={}).status_code == 422


def test_the_origin_behind_a_proxy_that_replaces_the_host():
    forwarded = {"host": "127.0.0.1:7860", "x-forwarded-host": "studio.example.org"}
    assert same_origin(Headers({**forwarded, "origin": "https://studio.example.org"}))
    assert not same_origin(Headers({**forwarded, "origin": "https://evil.example"}))
    assert same_origin(Headers(forwarded)) and not same_origin(Headers({"host": "a", "origin": "http://[a"}))
    assert host_name("[::1]:80") == "::1" and host_name("a:b:c") == "a"


def body(size):
    for _ in range(size // 2**16 + 1):
        yield b" " * 2**16


def test_large_bodies_are_refused_with_and_without_a_declared_length(address):
    headers = {"Content-Type": "application/json"}
    for path in ("/gradio_api/queue/join", "/gradio_api/call/segment", "/gradio_api/run/segment", "/nothing-here"):
        for content in (bytes(MAX_JSON + 1), body(MAX_JSON)):
            assert httpx.post(address + path, content=content, headers=headers).status_code in (404, 405, 413)
    assert httpx.post(f"{address}/gradio_api/queue/join", content=body(MAX_JSON), headers=headers).status_code == 413
    assert httpx.post(f"{address}/gradio_api/queue/join", content=b"[" * 100_000, headers=headers).status_code < 500


def test_the_studio_fetches_nothing_from_other_servers(address):
    for path in ("file=http://127.0.0.1:1/a.png", "file=https://example.org/a.png", "file=HTTP://example.org/a.png",
                 "file=http%3A//example.org/a.png", "proxy=https://example.org/a.png"):  # fmt: skip
        assert httpx.get(f"{address}/gradio_api/{path}").status_code == 404


def test_configuration_names_no_folder_of_the_machine(address):
    home, here = os.path.expanduser("~"), os.getcwd()
    for path in ("/", "/ja", "/config", "/gradio_api/info"):
        text = httpx.get(address + path, headers={"Accept-Language": "en"}).text
        assert here not in text and f"{home}/" not in text


def test_guessing_a_login_is_slowed_down(tmp_path):
    with running_studio(tmp_path, login="guest:open sesame") as address:
        program = httpx.Client(base_url=address)
        for _ in range(MAX_FAILURES - 1):
            assert program.post("/login", data={**GUEST, "password": "wrong"}).status_code == 400
        assert program.post("/login/", data=GUEST).status_code == 200  # forgets the failures
        for _ in range(MAX_FAILURES):
            assert program.post("/login", data={**GUEST, "password": "wrong"}).status_code == 400
        refused = program.post("/login", data=GUEST)
        assert refused.status_code == 429 and "wait a few minutes" in refused.text
        assert 0 < int(refused.headers["retry-after"]) <= WINDOW_SECONDS
        assert program.get("/config").status_code == 200  # whoever is logged in stays so


def test_failed_logins_are_counted_by_network_and_forgotten():
    now = 0
    throttle = Throttle(lambda: now)
    for i in range(MAX_FAILURES):
        assert throttle.wait_seconds("2001:db8::1") == 0
        now = i
        throttle.add_failure(f"2001:db8::{i:x}")  # one client has as many addresses of its /64 as it likes
    assert throttle.wait_seconds("2001:db8::ffff") == WINDOW_SECONDS - MAX_FAILURES + 1
    assert throttle.wait_seconds("2001:db8:0:1::1") == throttle.wait_seconds("203.0.113.1") == 0
    now = WINDOW_SECONDS
    assert throttle.wait_seconds("2001:db8::ffff") == 0
    for address in ("203.0.113.1", "not an address"):
        for _ in range(MAX_FAILURES):
            throttle.add_failure(address)
        assert throttle.wait_seconds(address) == WINDOW_SECONDS
        throttle.forget(address)
        assert throttle.wait_seconds(address) == 0


def test_unused_sessions_are_deleted_while_nobody_comes(tmp_path, monkeypatch):
    monkeypatch.setenv("BREAKASCENE_KEEP_HOURS", "0.5")
    monkeypatch.setattr(app, "SWEEP_SECONDS", 0.01)
    old, new = tmp_path / ("o" * 24), tmp_path / ("n" * 24)
    new.mkdir()
    with running_studio(tmp_path) as address:
        old.mkdir()
        os.utime(old, (0, 0))
        asked = 0
        while old.exists() and asked < 2000:
            asked += urllib.request.urlopen(f"{address}/theme.css").status // 200
        assert not old.exists() and new.exists()


@pytest.mark.parametrize("name", ["BREAKASCENE_KEEP_HOURS", "BREAKASCENE_VISITOR_MEMORY", "BREAKASCENE_ALL_MEMORY"])
@pytest.mark.parametrize("value", ["many", "0", "-1", "nan", "inf"])
def test_a_wrong_limit_is_refused(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=f"{name} is '{value}': set it to a number above 0"):
        launch()


def call(address, name, data, headers=None):
    """Call an endpoint as curl does: the events of the answer as text."""
    asked = httpx.post(f"{address}/gradio_api/call/{name}", json={"data": data}, headers=headers)
    if asked.status_code != 200:
        return asked.text
    return httpx.get(f"{address}/gradio_api/call/{name}/{asked.json()['event_id']}", timeout=60, headers=headers).text


def file_data(path, **more):
    return {"path": path, "meta": {"_type": "gradio.FileData"}, **more}


def test_files_named_by_an_address_or_a_path_of_the_machine_are_refused(address):
    outside = "https://o.example/a.png"
    for photo in (file_data(outside), file_data("/etc/passwd"), file_data("../../a.png"), file_data(__file__),
                  file_data("/etc/passwd", url=outside), outside, "/etc/passwd", 7, [], {"path": None}):  # fmt: skip
        for name, data in (
            ("segment", [photo, [[5, 5, 1]], None]),
            ("generate", ["run", photo, 1, 0, 1, 1, "", "wide"]),
        ):
            answer = call(address, name, data)
            assert "event: complete" not in answer and "root:" not in answer and "Traceback" not in answer
    assert "does not fetch files from other servers" in call(address, "segment", [file_data(outside), [], None])


def test_odd_types_get_an_error_and_the_studio_goes_on(address):
    odd = [None, True, -1, 1e308, "\x00", [], {}, [[[]]], {"a": {"b": []}}, "x" * 10_000, [None] * 1000]
    for value in odd:
        for data in ([value] * 8, ["run", "a photo", value, value, value, value, value, value]):
            assert "event: complete" not in call(address, "generate", data)
        for data in ([value] * 7, [value], {"0": value}):
            assert "event: complete" not in call(address, "extract", data)
    for content in (b"", b"[]", b"null", b"{", b'{"data": 1}', b'{"data": []}', b"\xff", b'{"data": NaN}'):
        headers = {"Content-Type": "application/json"}
        for path in ("call/segment", "queue/join", "run/segment", "cancel", "reset"):
            assert httpx.post(f"{address}/gradio_api/{path}", content=content, headers=headers).status_code < 600
    assert httpx.get(f"{address}/config").status_code == 200


def test_programs_without_an_identity_do_not_share_a_session(tmp_path):
    endpoints = Endpoints(SessionStore(tmp_path), None)
    assert endpoints.session_for({}, None) is not endpoints.session_for({}, None)
    mine = endpoints.session_for({}, "me")
    assert endpoints.session_for({}, "me") is mine is endpoints.session_for({"x-session": mine.token}, "you")
    assert endpoints.session_for({"x-session": "../" + mine.token}, "they") is not mine


def test_paths_of_the_machine_and_of_gradio_that_nobody_needs_are_closed(address, protected_data):
    token = "s" * 24
    (protected_data / token).mkdir(exist_ok=True)
    (protected_data / token / "names.json").write_text("{}")
    repository = os.getcwd()
    for path in (
        f"{repository}/pyproject.toml", f"{repository}/breakascene/studio/../../README.md",
        "/etc/passwd", "..%2f..%2fetc/passwd",
        f"{protected_data}", f"{protected_data}/", f"{protected_data}/../passwd", f"{protected_data}/{token}",
        f"{protected_data}/*/names.json", f"{protected_data}/%00/names.json", "file:///etc/passwd", "~/.bashrc",
    ):  # fmt: skip
        answer = httpx.get(f"{address}/gradio_api/file={path}")
        assert answer.status_code in (400, 403, 404) and "root:" not in answer.text, path
    for path in (
        "process_recording",
        "component_server",
        "vibe-edit/",
        "deep_link?session_hash=a",
        "run-history/records",
    ):
        for method in ("GET", "POST"):
            assert httpx.request(method, f"{address}/gradio_api/{path}").status_code == 404
    for path in (
        "/static/../../config.py",
        "/assets/..%2f..%2f..%2fblocks.py",
        "/monitoring",
        "/svelte/..%2f..%2fa.py",
    ):
        assert httpx.get(address + path).status_code in (403, 404)
