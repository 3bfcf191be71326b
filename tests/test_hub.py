"""Downloads from a stand-in for the Hub: progress, verification, and what is left if they fail."""

import hashlib
import shutil
from collections import namedtuple

import huggingface_hub
import pytest
from helpers.hub import running_hub

from breakascene import hub
from breakascene.hub import DownloadFailed, HubFile

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
