"""The studio on machines as they are: behind a reverse proxy, with folders that it cannot write, with a quiet log."""

import os
import tempfile
from pathlib import Path

import httpx
import pytest
from gradio_client import Client, handle_file
from helpers.proxy import reverse_proxy
from helpers.studio import running_studio
from PIL import Image

from breakascene.errors import UserError
from breakascene.studio import launch
from breakascene.studio.folders import upload_settings


def test_behind_a_reverse_proxy(tiny_folder, tmp_path, scene, capfd):
    scene.photo.save(tmp_path / "photo.png")
    with running_studio(tmp_path / "data", base=str(tiny_folder), root_path="/objects/") as address:
        with reverse_proxy(address, "/objects") as public:
            client = Client(public, verbose=False)
            mask, scores = client.predict(
                handle_file(str(tmp_path / "photo.png")), [[45, 90, 1]], None, api_name="/segment"
            )
            assert Image.open(mask).size == scene.photo.size and len(scores) == 3
            page = httpx.get(f"{public}/", headers={"accept-language": "ja"}, follow_redirects=True)
            assert page.url.path == "/objects/ja" and page.status_code == 200
        with reverse_proxy(address, "/objects", scheme="https") as public:  # nginx ends TLS
            config = httpx.get(f"{public}/config").json()
            assert config["root"] == public.replace("http:", "https:")
    log = "".join(capfd.readouterr())
    assert "Loading weights" not in log and "gemm_4bit" not in log


def test_a_data_folder_that_cannot_be_written_is_one_sentence(monkeypatch):
    monkeypatch.setenv("BREAKASCENE_DATA", "/proc/studio")  # not even root can write there
    with pytest.raises(UserError, match="cannot write to its data folder /proc/studio: set BREAKASCENE_DATA"):
        launch(wait=False)


def test_a_studio_that_does_not_start_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("BREAKASCENE_DATA", str(tmp_path / "new" / "studio"))
    with pytest.raises(UserError, match="There is no base ./nowhere"):
        launch(base="./nowhere", wait=False)
    assert not list(tmp_path.iterdir())


def test_uploads_go_elsewhere_if_the_usual_folder_belongs_to_another_user(monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    assert upload_settings() == {}
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)  # as root, everything is writable
    folder = Path(upload_settings()["GRADIO_TEMP_DIR"])
    assert folder.is_dir() and folder.parent == Path(tempfile.gettempdir()) and folder != tmp_path
    folder.rmdir()
