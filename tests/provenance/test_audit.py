"""The audit log: what verify tells apart, killed and simultaneous writers, repairs, and the export."""

import getpass
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from breakascene.cli.app import app
from breakascene.errors import UserError
from breakascene.provenance import audit
from breakascene.provenance.audit import HEAD, LOG, append
from breakascene.provenance.audit_check import ADDED, CHANGED, CUT, HEADLESS, REMOVED, Fault, entries, verify

ROOT = Path(__file__).parents[2]
WRITER = """
import sys
from breakascene.provenance.audit import append
for n in range(int(sys.argv[2])):
    append(sys.argv[1], "generate", writer=sys.argv[3], n=n, text="x" * 3000)
    print(n, flush=True)
"""


@pytest.fixture
def log(tmp_path):
    """A log of six entries."""
    for n in range(6):
        append(tmp_path, "generate", n=n, prompt="a photo of <asset0> — 花")
    assert verify(tmp_path).faults == ()
    return tmp_path


def lines(folder):
    return (folder / LOG).read_bytes().splitlines(keepends=True)


def test_an_entry_says_who_did_what_when(log):
    *_, last = entries(log)
    assert (last["number"], last["action"], last["n"], last["who"]) == (6, "generate", 5, getpass.getuser())
    assert last["previous"] == json.loads(lines(log)[4])["hash"] and last["hash"] == audit.entry_hash(last)
    assert verify(log).head.hash == last["hash"]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda rows: [*rows[:2], rows[2].replace(b"photo", b"video"), *rows[3:]], Fault(CHANGED, 3, 3)),
        (lambda rows: [*rows[:5], rows[5].replace(b"photo", b"video")], Fault(CHANGED, 6, 6)),
        (lambda rows: [*rows[:2], b"not JSON\n", *rows[3:]], Fault(CHANGED, 3, 3)),
        (lambda rows: [*rows[:2], b"[" * 100_000 + b"\n", *rows[3:]], Fault(CHANGED, 3, 3)),
        (lambda rows: [*rows[:2], *rows[4:]], Fault(REMOVED, 3, 4)),
        (lambda rows: rows[1:], Fault(REMOVED, 1, 1)),
        (lambda rows: rows[:4], Fault(CUT, 5, 6)),
        (lambda rows: [*rows[:5], rows[5][:40]], Fault(CUT, 6, 6)),
        (lambda rows: [], Fault(CUT, 1, 6)),
        (lambda rows: [*rows[:3], rows[1], *rows[3:]], Fault(ADDED, 4, 4)),
    ],
)
def test_changed_removed_cut_and_added_entries_are_told_apart(log, change, fault):
    (log / LOG).write_bytes(b"".join(change(lines(log))))
    assert verify(log).faults == (fault,)
    append(log, "login")  # nothing that is written later hides it
    assert verify(log).faults


def test_an_entry_with_a_hash_that_fits_it_is_still_found(log):
    for position, number in ((2, 3), (5, 6)):
        before = (log / LOG).read_bytes()
        rows = lines(log)
        entry = {**json.loads(rows[position]), "who": "somebody else"}
        rows[position] = audit._json({**entry, "hash": audit.entry_hash(entry)}) + b"\n"
        (log / LOG).write_bytes(b"".join(rows))
        assert verify(log).faults == (Fault(CHANGED, number, number),)
        (log / LOG).write_bytes(before)


def test_a_whole_new_log_is_found_by_an_entry_kept_elsewhere(log):
    known = verify(log).head
    (log / LOG).unlink(), (log / HEAD).unlink()
    for n in range(8):
        append(log, "generate", n=n)
    assert verify(log).faults == ()
    assert verify(log, (known.count, known.hash)).faults == (Fault(CHANGED, 6, 6),)


def test_a_missing_head_is_found_and_noted_for_ever(log):
    (log / HEAD).unlink()
    (log / LOG).write_bytes(b"".join(lines(log)[:3]))
    assert verify(log).faults == (Fault(HEADLESS, 3, 3),)
    append(log, "login")
    assert [(entry["action"], entry.get("found")) for entry in entries(log)][3:] == [
        ("repair", "the head file was missing or damaged"), ("login", None),
    ]  # fmt: skip


def test_a_torn_line_is_removed_and_an_entry_says_so(log):
    torn = lines(log)[5][:50]
    with open(log / LOG, "ab") as file:
        file.write(torn)
    check = verify(log)
    assert check.faults == () and check.unfinished
    append(log, "login")
    assert verify(log).faults == () and not verify(log).unfinished
    repair, login = list(entries(log))[6:]
    assert (repair["number"], repair["found"]) == (7, "an incomplete last line was removed")
    assert (login["number"], login["action"]) == (8, "login")


def test_twenty_killed_writers_leave_a_log_that_verifies(tmp_path):
    """Each is killed with SIGKILL while it writes, at another moment; all entries that it reported are there."""
    reported = 0
    for turn in range(20):
        command = [sys.executable, "-c", WRITER, str(tmp_path), "1000000", str(turn)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
            for _ in range(1 + turn % 3):
                assert writer.stdout.readline()
            os.kill(writer.pid, signal.SIGKILL)
            rest = writer.stdout.read().splitlines()
        reported += 1 + turn % 3 + len(rest)
        check = verify(tmp_path)
        assert check.faults == ()
        assert check.head.count >= reported
    append(tmp_path, "login")
    assert verify(tmp_path).faults == () and not verify(tmp_path).unfinished
    written = [(entry["writer"], entry["n"]) for entry in entries(tmp_path) if entry["action"] == "generate"]
    assert len(set(written)) == len(written)


@pytest.mark.parametrize("stage", ["line", "half a line", "draft of the head"])
def test_a_kill_between_two_writes_loses_nothing(log, stage):
    """The states that lie between an entry and its head, each made by hand."""
    head = (log / HEAD).read_bytes()
    append(log, "generate", n=6)
    if stage == "half a line":
        (log / LOG).write_bytes((log / LOG).read_bytes()[:-30])
    if stage == "draft of the head":
        (log / f".{HEAD}.part").write_bytes(head[:10])
    (log / HEAD).write_bytes(head)
    assert verify(log).faults == () and verify(log).unfinished
    append(log, "login")
    assert verify(log).faults == ()
    assert ("n", 6) in {pair for entry in entries(log) for pair in entry.items()} or stage == "half a line"


def test_two_writers_share_a_log(tmp_path):
    commands = [[sys.executable, "-c", WRITER, str(tmp_path), "60", name] for name in "ab"]
    writers = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) for command in commands]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert verify(tmp_path).faults == () and verify(tmp_path).head.count == 120
    for name in "ab":
        assert [entry["n"] for entry in entries(tmp_path) if entry["writer"] == name] == list(range(60))


def test_the_module_imports_nothing_heavy():
    code = "import breakascene.provenance.audit, sys; print('torch' in sys.modules or 'PIL' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout == "False\n"


def test_a_log_that_cannot_be_written_stops_what_is_to_be_logged(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BREAKASCENE_AUDIT", str(tmp_path / "file" / "log"))
    with pytest.raises(UserError, match="audit log in .* cannot be written"):
        audit.record("login")


def test_the_commands_verify_and_export(log, monkeypatch, tmp_path):
    def run(*arguments):
        return CliRunner().invoke(app, ["audit", *arguments])

    monkeypatch.setenv("BREAKASCENE_AUDIT", str(log))
    audit.record("login", name="=HYPERLINK(1)")
    result = run("verify")
    assert result.exit_code == 0 and "7 entries, complete and unchanged" in result.output
    known = result.output.split("Last entry: ")[1].strip()
    assert run("verify", "--known", known).exit_code == 0
    today = list(entries(log))[0]["time"][:10]
    result = run("export", "--from", today)
    rows = result.output.splitlines()
    assert rows[0].startswith("number,time,who,action,hash,n,name,previous,prompt") and len(rows) == 8
    assert "'=HYPERLINK(1)" in rows[-1]  # no formula
    assert len(run("export", "--to", "2020-01-01").output.splitlines()) == 1
    assert run("export", "--out", str(tmp_path / "log.csv")).exit_code == 0
    assert len((tmp_path / "log.csv").read_text("utf-8").splitlines()) == 8
    (log / LOG).write_bytes(b"".join(lines(log)[:4]))
    result = run("verify")
    assert result.exit_code == 1 and "The end was cut off. Missing entries: 5 to 7." in result.output
    for arguments in (
        ("verify", "--log", str(tmp_path / "none")),
        ("verify", "--known", "3"),
        ("export", "--from", "2026-02-30"),
        ("export", "--from", "2026-02-02", "--to", "2026-02-01"),
    ):
        result = run(*arguments)
        assert result.exit_code == 2 and len(result.stderr.splitlines()) == 1, arguments
