"""Uploads that fail: the sentence that the visitor gets, and nothing left on the disk."""

import asyncio
from pathlib import Path

import httpx
import pytest
from helpers.disk import largest_file
from helpers.studio import running_studio
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from breakascene.studio import page
from breakascene.studio.uploads import CUT_OFF, DISK_FULL, UploadParser

BODY = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n' + bytes(5000)


def files(folder):
    return {path for path in folder.rglob("*") if path.is_file()}


def test_failed_uploads_are_reported_and_leave_no_files(tmp_path, monkeypatch):
    uploads = tmp_path / "uploads"
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(uploads))
    with running_studio(tmp_path / "data") as address:
        before = files(uploads)
        with largest_file(100_000):
            answer = httpx.post(f"{address}/gradio_api/upload", files={"files": ("a.png", bytes(500_000))})
        assert answer.status_code == DISK_FULL and "free some space" in answer.json()["detail"]
        parts = {f"{i}": (f"{i}.png", bytes(15 * 2**20)) for i in range(3)}  # each is small enough, but not all
        assert httpx.post(f"{address}/gradio_api/upload", files=parts).status_code == 413
        large = {"files": ("a.png", bytes(page.MAX_UPLOAD * 2**20 + 1))}
        assert httpx.post(f"{address}/gradio_api/upload", files=large).status_code == 413
        assert files(uploads) == before
        (path,) = httpx.post(f"{address}/gradio_api/upload", files={"files": ("a.png", bytes(500_000))}).json()
        assert files(uploads) == before | {Path(path)}


@pytest.mark.parametrize(
    ("error", "status"), [(ClientDisconnect(), CUT_OFF), (OSError(28, "No space left on device"), DISK_FULL)]
)
def test_an_upload_that_ends_early_leaves_no_file(tmp_path, error, status):
    async def stream():
        yield BODY
        assert files(tmp_path)
        raise error

    headers = Headers({"Content-Type": "multipart/form-data; boundary=x"})
    parser = UploadParser(headers, stream(), upload_dir=tmp_path, max_file_size=10_000)
    with pytest.raises(HTTPException) as refusal:
        asyncio.run(parser.parse())
    assert refusal.value.status_code == status and not files(tmp_path)
