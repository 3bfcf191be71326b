"""Downloads from a stand-in for the Hub: progress, verification, and what is left if they fail."""

import hashlib
import shutil
import socket
from collections import namedtuple
from contextlib import suppress

import huggingface_hub
import pytest
from helpers.hub import running_hub

from breakascene import hub
from breakascene.errors import UserError
from breakascene.evaluation.judges import load_feature_extractor, load_judges
from breakascene.hub import DownloadFailed, HubFile
from breakascene.models.loading import load_base
from breakascene.segmentation.segmenter import Segmenter

DATA = bytes(range(256)) * 4000
FILE = HubFile("owner/model", "folder/weights.pth", len(DATA), hashlib.sha256(DATA).hexdigest())
MODEL = {"config.json": b"{}", "preprocessor_config.json": b"{ }", "pytorch_model.bin": b"old", "README.md": b"text"}


def files_in(folder):
    return [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock")]


def test_a_file_is_downloaded_once_with_progress(tmp_path):
    reports = []
    with running_hub({"owner/model/folder/weights.pth": DATA}, tmp_path):
        assert FILE.cached() is None
        path = hub.download(FILE, lambda *report: reports.append(report))
        assert path.read_bytes() == DATA and FILE.cached() == path
    assert reports[-1] == (len(DATA), len(DATA)) and reports == sorted(reports)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        assert hub.download(FILE) == path


def test_a_damaged_file_is_refused_and_not_kept(tmp_path):
    wrong = DATA[:-1] + b"!"
    with running_hub({"owner/model/folder/weights.pth": wrong}, tmp_path):
        with pytest.raises(DownloadFailed, match="arrived damaged: try again") as caught:
            hub.download(FILE)
        assert caught.value.reason == hub.DAMAGED and FILE.cached() is None
        assert all(path.stat().st_size < 1000 for path in files_in(tmp_path))


def test_a_file_of_another_size_in_the_cache_is_downloaded_again(tmp_path):
    with running_hub({"owner/model/folder/weights.pth": DATA}, tmp_path):
        hub.download(FILE).resolve().write_bytes(DATA[:100])
        assert FILE.cached() is None
        assert hub.download(FILE).read_bytes() == DATA


def test_no_room_and_no_connection(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DownloadFailed, match="connect to the internet") as caught:
        hub.download(FILE)
    assert caught.value.reason == hub.OFFLINE
    usage = namedtuple("usage", "total used free")
    with running_hub({"owner/model/folder/weights.pth": DATA}, tmp_path):
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10, 10, 0))
        with pytest.raises(DownloadFailed, match="There is no room for owner/model") as caught:
            hub.download(FILE)
    assert caught.value.reason == hub.NO_ROOM and not files_in(tmp_path)


def test_a_hub_that_never_answers_is_given_up(tmp_path, monkeypatch):
    """It accepts connections and is silent. Each look-up asks it once or twice, and waits TIMEOUT for each answer."""
    assert 2 * hub.TIMEOUT < 15
    monkeypatch.setattr(hub, "TIMEOUT", 0.2)
    constants = huggingface_hub.constants
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        for look_up in (lambda: load_base("owner/model"), lambda: load_feature_extractor("owner/model")):
            with pytest.raises(UserError, match="owner/model c(annot|ould not) be"):
                look_up()
        with pytest.raises(UserError, match="segment-anything could not be"):
            Segmenter.load("vit_h")
        assert len(load_judges("sd").notes) == 2
        monkeypatch.undo()
        server.settimeout(0)
        connections = 0
        with suppress(BlockingIOError):
            while True:
                server.accept()[0].close()
                connections += 1
    assert connections == 5


def test_a_transformers_model_without_its_other_files(tmp_path):
    reports = []
    with running_hub({f"owner/model/{name}": data for name, data in MODEL.items()}, tmp_path):
        assert hub.cached_model("owner/model") is None
        folder = hub.download_model("owner/model", lambda *report: reports.append(report))
        assert folder == hub.cached_model("owner/model")
        assert sorted(path.name for path in folder.iterdir()) == sorted(MODEL.keys() - {"README.md"})
    assert reports[-1] == (8, 8)
    with running_hub({}, tmp_path / "empty"), pytest.raises(DownloadFailed):
        hub.download_model("owner/other")
