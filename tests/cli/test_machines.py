"""Machines as they are: users without an account, read-only folders, terminals without Unicode, odd file names."""

import getpass
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from helpers.files import save_mask
from typer.testing import CliRunner

from breakascene import paths
from breakascene.cli.app import app
from breakascene.errors import UserError
from breakascene.evaluation.judges import load_feature_extractor
from breakascene.models.concepts import Concepts
from breakascene.models.loading import load_base
from breakascene.segmentation.segmenter import Segmenter

ROOT = Path(__file__).parents[2]
NOBODY = 54321  # a user id without an account
setpriv = shutil.which("setpriv")


@pytest.fixture
def photo(tmp_path, scene) -> Path:
    scene.photo.save(tmp_path / "photo.png")
    save_mask(tmp_path / "ball.png", scene.masks()[0])
    return tmp_path / "photo.png"


def test_a_user_without_a_name_and_a_home_gets_both(monkeypatch, tmp_path):
    def no_account():
        raise KeyError("getpwuid(): uid not found: 54321")

    monkeypatch.setattr(getpass, "getuser", no_account)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    for name in ("USER", "HOME"):
        monkeypatch.setenv(name, "")
    paths.set_missing_user()
    assert os.environ["USER"] == f"breakascene-{os.getuid()}"
    assert Path(os.environ["HOME"]) == Path(tempfile.gettempdir()) / os.environ["USER"]


@pytest.mark.skipif(os.getuid() != 0 or not setpriv, reason="needs root and setpriv to become another user")
def test_a_run_without_account_home_and_unicode_in_a_read_only_folder(photo, tiny_folder, tmp_path):
    """In a container with --user 54321, and a strict umask."""
    target, cwd = Path(tempfile.mkdtemp(prefix="nobody-")), tmp_path / "cwd"
    cwd.mkdir()
    os.chown(target, NOBODY, NOBODY)
    out = target / "a b#c?d%e"
    photo, mask = (shutil.copy(path, target) for path in (photo, photo.with_name("ball.png")))
    # The capability to read everything, because the test's Python may lie in root's home
    user = f"{setpriv} --reuid={NOBODY} --regid={NOBODY} --clear-groups --inh-caps=+dac_read_search "
    user += "--ambient-caps=+dac_read_search"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    environment |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    arguments = [
        "extract", photo, "--mask", f"{mask}:Bälle", "--steps", "1,0", "--base", tiny_folder,
    ]  # fmt: skip
    try:
        result = subprocess.run(
            [*user.split(), sys.executable, "-m", "breakascene", *map(str, arguments), "--out", str(out)],
            cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, preexec_fn=lambda: os.umask(0o027),
        )  # fmt: skip
        assert result.returncode == 0 and result.stderr == "", result.stderr
        assert "<asset0> (B?lle)" in result.stdout
        assert Concepts.load(out).names == ("Bälle",)
        modes = {stat.S_IMODE(path.stat().st_mode) for path in out.rglob("*") if path.is_file()}
        assert modes == {0o640} and not list(cwd.iterdir())
    finally:
        shutil.rmtree(target)


def test_addresses_in_a_report_are_quoted(photo, tiny_folder, tmp_path, monkeypatch):
    run = tmp_path / "a b#c?d%e"
    call("extract", photo, "--mask", photo.with_name("ball.png"), "--steps", "1,0", "--base", tiny_folder, "--out", run)
    (tmp_path / "prompts.txt").write_text("a photo of <asset0>")
    call("evaluate", run, "--prompts", tmp_path / "prompts.txt", "--out", tmp_path / "report")
    page = (tmp_path / "report" / "index.html").read_text()
    assert 'src="a%20b%23c%3Fd%25e/photo.png"' in page and 'src="a b' not in page


def call(*arguments) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result.stdout


@pytest.mark.parametrize("host", ["256.1.1.1", "no such host", "", "192.0.2.1", "\ud800"])
def test_a_host_that_is_none_is_one_sentence(host):
    result = CliRunner().invoke(app, ["studio", "--host", host])
    assert result.exit_code == 2 and "is not an address of this machine" in result.stderr


def test_a_name_that_is_too_long_is_one_sentence(tiny_folder):
    result = CliRunner().invoke(app, ["generate", "x" * 5000, "a photo", "--out", "images"])
    assert result.exit_code == 2 and result.stderr.count("\n") == 1 and len(result.stderr) < 300


@pytest.mark.parametrize("kind", ["base", "feature extractor", "segmenter"])
def test_a_hub_that_is_not_reached_is_asked_once(kind, monkeypatch, tmp_path):
    """The hub's client retries each request for half a minute; a request that just fails must end the look-up."""
    connections = []
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    server.close()  # from here on, connections to this port are refused
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{port}")
    connect = socket.socket.connect

    def counted(self, address):
        connections.append(address)
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", counted)
    look_up = {"base": load_base, "feature extractor": load_feature_extractor, "segmenter": Segmenter.load}[kind]
    with pytest.raises(UserError, match="cannot be|could not be"):
        look_up("vit_h" if kind == "segmenter" else "nobody/nothing")
    assert len([address for address in connections if address[1] == port]) <= 1
