"""Accounts with roles: the file and its commands, two users of one studio, what each role sees, and quotas."""

import re
import stat
import threading
from contextlib import suppress
from types import SimpleNamespace

import gradio as gr
import httpx
import pytest
from gradio.context import LocalContext
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError, AuthenticationError
from helpers.browser import expect, shot, visitor
from helpers.studio import running_studio
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from typer.testing import CliRunner

from breakascene.cli.app import app
from breakascene.errors import UserError
from breakascene.provenance.audit_check import entries
from breakascene.studio import launch
from breakascene.studio.accounts import AUDITOR, OPERATOR, Accounts, hash_password
from breakascene.studio.jobs import JobQueue
from breakascene.studio.login import OwnFiles
from breakascene.studio.quotas import Quotas
from breakascene.studio.screens.administration import requiring
from breakascene.studio.screens.select_actions import samples
from breakascene.studio.state.deletion import session_id
from breakascene.studio.state.session import SessionStore

PASSWORDS = {"anna": "correct horse", "ben": "battery staple", "carla": "open sesame"}


@pytest.fixture(scope="module")
def users(tmp_path_factory):
    """A file with a visitor, an operator and an auditor, written by the command."""
    file = tmp_path_factory.mktemp("users") / "users.json"
    for name, *roles in (("anna",), ("ben", "--role", "operator"), ("carla", "--role", "auditor")):
        result = invoke("add", name, "--file", str(file), *roles, input=f"{PASSWORDS[name]}\n" * 2)
        assert result.exit_code == 0, result.output
    return file


def invoke(*arguments, **options):
    return CliRunner().invoke(app, ["users", *arguments], **options)


def test_the_file_has_hashes_only_and_its_owner_reads_it(users):
    text = users.read_text()
    assert not any(password in text for password in PASSWORDS.values())
    assert stat.S_IMODE(users.stat().st_mode) == 0o600
    assert invoke("list", "--file", str(users)).output == "anna\t\nben\toperator\ncarla\tauditor\n"


def test_commands_add_change_and_remove_accounts(tmp_path):
    file = tmp_path / "users.json"
    for name, password in (("anna", "first password"), ("ben", "second password"), ("anna", "third password")):
        assert invoke("add", name, "--file", str(file), "--password", password).exit_code == 0
    accounts = Accounts(file=file)
    assert accounts.check("anna", "third password") and not accounts.check("anna", "first password")
    assert invoke("remove", "anna", "--file", str(file)).exit_code == 0
    assert not accounts.check("anna", "third password")  # counts at once
    for arguments, message in (
        (("remove", "anna"), "no account"),
        (("remove", "ben"), "last account"),
        (("add", "a:b", "--password", "long enough"), "other characters"),
        (("add", "carla", "--password", "short"), "too short"),
        (("add", "carla", "--password", "long enough", "--role", "king"), "king"),
    ):
        result = invoke(*arguments, "--file", str(file))
        assert result.exit_code == 2 and message in result.stderr and len(result.stderr.splitlines()) == 1


def test_only_the_right_pair_is_accepted(users):
    accounts = Accounts(file=users)
    for _ in range(2):  # also once it is known
        assert accounts.check("anna", PASSWORDS["anna"])
        for pair in (("anna", PASSWORDS["ben"]), ("nobody", PASSWORDS["anna"]), ("anna", ""), ("", "")):
            assert not accounts.check(*pair)
    assert (accounts.roles("anna"), accounts.roles("ben"), accounts.roles("nobody")) == ((), (OPERATOR,), ())
    assert hash_password("same") != hash_password("same")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"anna": "secret"}', '{"anna": {"password": "secret", "roles": []}}']
)
def test_a_file_that_is_none_of_ours_is_refused(tmp_path, text):
    (tmp_path / "users.json").write_text(text)
    with pytest.raises(UserError, match="is not a file of users"):
        launch(users=str(tmp_path / "users.json"))
    with pytest.raises(UserError, match="exclude each other"):
        launch(login="anna:secret", users=str(tmp_path / "users.json"))


def test_an_action_needs_the_role(users):
    act = requiring(Accounts(file=users), AUDITOR, lambda session: "the log")
    for name, allowed in (("carla", True), ("anna", False), ("ben", False), (None, False)):
        request = LocalContext.request.set(gr.Request(username=name))
        try:
            if allowed:
                assert act(None) == "the log"
            else:
                with pytest.raises(UserError, match="does not have the role"):
                    act(None)
        finally:
            LocalContext.request.reset(request)


def test_two_users_have_sessions_of_their_own_and_see_what_their_role_allows(users, browser, tmp_path, monkeypatch):
    monkeypatch.setenv("BREAKASCENE_AUDIT", str(tmp_path / "log"))
    monkeypatch.setenv("BREAKASCENE_JOBS_PER_DAY", "1")
    monkeypatch.setenv("BREAKASCENE_PILOT", "on")
    sample = samples()[0]
    photo = handle_file(str(next(sample.glob("img.*"))))
    masks = [handle_file(str(sample / "mask0.png"))]
    with running_studio(tmp_path / "data", host="0.0.0.0", users=str(users)) as address:
        with pytest.raises((AuthenticationError, ValueError)):
            Client(address, verbose=False, auth=("anna", "wrong"))
        anna = Client(address, verbose=False, auth=("anna", PASSWORDS["anna"]))
        run = anna.predict(photo, masks, ["one"], False, "quick", [1, 0], 0, None, api_name="/extract")
        ben = Client(address, verbose=False, auth=("ben", PASSWORDS["ben"]), headers={"X-Session": run["session"]})
        with pytest.raises(AppError, match="was not found"):  # the link of a session serves its owner only
            ben.predict(run["run"], "a photo of <asset0>", 1, 0, 1, 2.0, "", api_name="/generate")
        with pytest.raises(AppError, match="1 jobs today"):
            anna.predict(run["run"], "a photo of <asset0>", 1, 0, 1, 2.0, "", api_name="/generate")
        log = list(entries(tmp_path / "log"))
        logins = [(entry["who"], entry["outcome"]) for entry in log if entry["action"] == "login"]
        assert logins == [("anna", "refused"), ("anna", "accepted"), ("ben", "accepted")]
        started = next(entry for entry in log if entry["action"] == "extract")
        assert (started["who"], started["session"]) == ("anna", session_id(run["session"]))
        file = tmp_path / "data" / run["session"] / "runs" / run["run"] / "scene" / "img.png"
        for name, status in (("anna", 200), ("ben", 403)):
            with httpx.Client(base_url=address) as client:
                client.post("/login", data={"username": name, "password": PASSWORDS[name]})
                for way in ("file=", "file/"):
                    assert client.get(f"/gradio_api/{way}{file}").status_code == status, (name, way)
        for name, own, other in (("ben", "#operation", "#audit-log"), ("carla", "#audit-log", "#operation")):
            with visitor(browser, address) as page:
                page.locator("input:not([type=password]), textarea").first.fill(name)
                page.locator("input[type=password]").fill(PASSWORDS[name])
                page.get_by_role("button", name=re.compile("log ?in", re.I)).click()
                page.locator(f"{own} > button").click()
                expect(page.locator(other)).to_be_hidden()
                expect(page.get_by_role("tab", name="Pilot")).to_have_count(int(name == "ben"))
                if name == "ben":
                    expect(page.locator("#operation-tables")).to_contain_text("No job is running or waiting.")
                else:
                    page.locator("#show-log").click()
                    expect(page.locator("#log-entries")).to_contain_text("it is complete and unchanged")
                    expect(page.locator("#log-entries tr").nth(1)).to_contain_text("carla")
                shot(page, f"role-{name}")


def test_files_of_a_session_are_served_to_its_login_only(tmp_path):
    sessions = SessionStore(tmp_path / "data")
    anna, guest = sessions.open(None, "anna"), sessions.open(None)
    (tmp_path / "link").symlink_to(tmp_path / "data")

    async def serve(scope, receive, send):
        await PlainTextResponse("served")(scope, receive, send)

    gradio_app = SimpleNamespace(cookie_id="id", tokens={"a": "anna", "b": "ben"})
    client = TestClient(OwnFiles(serve, sessions, gradio_app))
    own, paths = f"{anna.folder}/pictures/0.png", (f"{tmp_path}/link/{anna.token}/x", f"{guest.folder}/../{anna.token}")
    for cookies, status in (("a", 200), ("b", 403), ("c", 403), (None, 403)):
        headers = {"Cookie": f"access-token-unsecure-id={cookies}"} if cookies else {}
        for path in (own, *paths):
            for way in ("file=", "file/"):
                assert client.get(f"/gradio_api/{way}{path}", headers=headers).status_code == status
        (tmp_path / "data" / "file").touch()
        others = (
            f"{guest.folder}/0.png",
            "/etc/hosts",
            f"{tmp_path}/data",
            f"{tmp_path}/data/file",
            "%00",
            "x" * 5000,
            "",
        )
        for path in others:
            assert client.get(f"/gradio_api/file={path}", headers=headers).status_code == 200  # Gradio decides


def test_jobs_of_a_day_are_counted_by_visitor_and_survive_a_restart(tmp_path):
    sessions, day = SessionStore(tmp_path), ["2026-11-27"]
    quotas = Quotas(sessions, jobs_per_day=2, today=lambda: day[0])
    anna, again, guest = sessions.open(None, "anna"), sessions.open(None, "anna"), sessions.open(None)
    queue = JobQueue(quotas=quotas)
    try:
        for session in (anna, again):
            queue.submit(session.token, "work", str)
        for session in (anna, again):
            with pytest.raises(UserError, match="2 jobs today"):
                queue.submit(session.token, "work", str)
        queue.submit(guest.token, "work", str)
        with pytest.raises(UserError), Quotas(SessionStore(tmp_path), 2, today=lambda: day[0]).one_job(anna.token):
            pass
        day[0] = "2026-11-28"
        queue.submit(anna.token, "work", str)
    finally:
        queue.close()


def test_the_disk_of_all_sessions_of_a_login_counts(tmp_path):
    sessions = SessionStore(tmp_path)
    anna, again, ben = sessions.open(None, "anna"), sessions.open(None, "anna"), sessions.open(None, "ben")
    quotas = Quotas(sessions, disk_bytes=3 * 2**20)
    for session in (anna, again):
        (session.folder / "run").mkdir()
        (session.folder / "run" / "file").write_bytes(bytes(2 * 2**20))
    quotas.check_disk(ben.token)
    with pytest.raises(UserError, match="Your data take 4 MB, and each visitor may use 3 MB"):
        quotas.check_disk(anna.token)


def test_of_jobs_submitted_at_once_no_more_than_the_quota_are_accepted(tmp_path):
    sessions = SessionStore(tmp_path)
    visitors = [sessions.open(None, "anna") for _ in range(8)]
    queue, start, accepted = JobQueue(quotas=Quotas(sessions, jobs_per_day=2)), threading.Barrier(8), []

    def submit(session):
        start.wait()
        with suppress(UserError):
            accepted.append(queue.submit(session.token, "work", str))

    threads = [threading.Thread(target=submit, args=(session,)) for session in visitors]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(accepted) == 2
    finally:
        queue.close()


def test_failed_jobs_are_kept_for_the_operator():
    def fail(job):
        raise RuntimeError("no\nluck")

    queue = JobQueue()
    try:
        job = queue.submit("token", "generate", fail)
        with job.changed:
            job.changed.wait_for(lambda: job.ended, 60)
        (failure,) = queue.failures()
        assert (failure.kind, failure.owner, failure.error) == ("generate", "token", "RuntimeError: no luck")
        assert not queue.jobs()
    finally:
        queue.close()
