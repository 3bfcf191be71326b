"""Signed, logged, checked and deleted: a visitor's images in a browser, from the API, a zip and the command line."""

import zipfile
from pathlib import Path

import httpx
import numpy as np
import pytest
from gradio_client import Client
from helpers.browser import LONG, expect, set_inference_steps, shot, visitor
from helpers.studio import add_session, running_studio
from PIL import Image
from typer.testing import CliRunner

from breakascene.cli.app import app
from breakascene.data.scene import load_scene
from breakascene.provenance import audit
from breakascene.provenance.audit_check import CHANGED, CUT, REMOVED, entries
from breakascene.provenance.audit_check import verify as verify_log
from breakascene.provenance.credentials import verify
from breakascene.studio import loaded
from breakascene.studio.screens.select_actions import samples
from breakascene.studio.strings import en, ja
from breakascene.training.loop import run_extraction
from breakascene.training.settings import preset


@pytest.fixture(scope="module")
def settings(tmp_path_factory, studio_data):
    """A studio that signs and logs, with its keys and its log in the data folder."""
    folder = tmp_path_factory.mktemp("provenance")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BREAKASCENE_CREDENTIALS", str(studio_data / "keys"))
        patch.setenv("BREAKASCENE_ORGANIZATION", "Teapots Ltd")
        patch.setenv("BREAKASCENE_AUDIT", str(studio_data / "log"))
        patch.setenv("GRADIO_TEMP_DIR", str(folder / "gradio"))
        yield folder


@pytest.fixture(scope="module")
def address(settings, studio_data):
    with running_studio(studio_data) as address:
        yield address


@pytest.fixture(scope="module")
def run(address, settings):
    """A short run of a sample, by the base of the running studio."""
    out = settings / "run"
    run_extraction(load_scene(samples()[1]), loaded.base(), preset("quick", loaded.base(), steps=(1, 0)), out)
    return out


def download(page, button, folder):
    with page.expect_download() as info:
        page.locator(button).click()
    path = folder / info.value.suggested_filename
    info.value.save_as(path)
    return path


def changed_copy(path: Path) -> Path:
    """A copy with one pixel changed in the file itself, its manifest untouched."""
    data = bytearray(path.read_bytes())
    data[data.index(b"IDAT") + 200] ^= 1
    copy = path.with_name(f"changed-{path.name}")
    copy.write_bytes(data)
    return copy


def test_images_verify_as_ours_wherever_they_leave_and_the_log_shows_any_change(
    browser, address, studio_data, settings, run, tmp_path
):
    start = add_session(studio_data, run)
    token = start.partition("=")[2]
    with visitor(browser, address, start=start) as page:
        # An image of the studio, single and in a zip
        page.get_by_role("tab", name="3 · Generate").click()
        set_inference_steps(page, 1)
        page.locator("#count input[type=number]").fill("1")
        page.locator("#generate").click()
        page.locator("#gallery img").first.click(timeout=LONG)
        single = download(page, "#download-image", tmp_path)
        with zipfile.ZipFile(download(page, "#download-all", tmp_path)) as archive:
            archive.extractall(tmp_path / "zip")
        zipped = sorted((tmp_path / "zip").glob("*.png"))  # the image and its contact sheet
        assert len(zipped) == 2
        # One of the API, one of the command line
        client = Client(address, verbose=False, download_files=str(tmp_path / "api"), headers={"X-Session": token})
        run_id = next((studio_data / token / "runs").iterdir()).name
        (served,) = client.predict(run_id, "a photo of <asset0>", 1, 0, 1, 2.0, "", api_name="/generate")
        command = ["generate", str(run), "a photo of <asset0>", "--out", str(tmp_path / "cli"), "--steps", "1"]
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
        for path in (single, *zipped, Path(served), Path(result.output.strip())):
            found = verify(path)
            assert (found.state, found.signer) == ("ours", "Teapots Ltd"), path
            assert CliRunner().invoke(app, ["verify", str(path)]).exit_code == 0
        edited = changed_copy(single)
        assert verify(edited).state == "changed"
        with Image.open(single) as image:
            Image.fromarray(255 - np.asarray(image)).save(tmp_path / "repainted.png")
        assert verify(tmp_path / "repainted.png").state == "unknown"

        # The check on the page
        page.locator("#provenance > button").click()
        expect(page.locator("#provenance")).to_contain_text("Images are signed by Teapots Ltd")
        for path, state in ((single, "ours"), (edited, "changed")):
            page.locator("#verify-file input[type=file]").set_input_files(path)
            expect(page.locator("#verify-result")).to_contain_text(en.VERIFICATION[state].format(signer="Teapots Ltd"))
            shot(page, f"provenance-{state}")
            page.locator("#verify-file button[aria-label=Clear]").click()

        # Everything is in the log, and any change of the log is found
        log = studio_data / "log"
        for private in (log / audit.LOG, studio_data / "keys" / "private_key.pem"):
            assert private.is_file()
            assert httpx.get(f"{address}/gradio_api/file={private}").status_code == 403
        served_image = next((studio_data / token / "pictures").iterdir())
        assert httpx.get(f"{address}/gradio_api/file={served_image}").status_code == 200
        recorded = list(entries(log))
        assert {entry["action"] for entry in recorded} == {"extract", "extracted", "generate", "download"}
        made = {entry["image"] for entry in recorded if entry["action"] == "generate"}
        assert {audit.hash_of(path) for path in (single, Path(served), Path(result.output.strip()))} <= made
        got = [entry for entry in recorded if entry["action"] == "download"]
        assert audit.hash_of(single) in {entry["sha256"] for entry in got}
        lines = (log / audit.LOG).read_bytes().splitlines(keepends=True)
        tampered = {
            CHANGED: [lines[0], lines[1].replace(b'"who":"', b'"who":"x'), *lines[2:]],
            REMOVED: [lines[0], *lines[2:]],
            CUT: lines[:-1],
        }
        for kind, rest in tampered.items():
            (log / audit.LOG).write_bytes(b"".join(rest))
            assert {fault.kind for fault in verify_log(log).faults} == {kind}
            assert CliRunner().invoke(app, ["audit", "verify"]).exit_code == 1
        (log / audit.LOG).write_bytes(b"".join(lines))
        assert CliRunner().invoke(app, ["audit", "verify"]).exit_code == 0

        # Nothing is left of the visitor but hashes
        page.locator("#delete-data").click()
        page.locator("#confirm-delete-data .cancel").click()
        page.locator("#delete-data").click()
        shot(page, "provenance-delete")
        page.locator("#confirm-delete-data .confirm").click()
        page.get_by_role("tab", name="3 · Generate").click()
        expect(page.get_by_text(en.GENERATE_EMPTY)).to_be_visible()
        assert not (studio_data / token).exists()
        assert not [path for path in (settings / "gradio").rglob("*.png") if verify(path).state == "ours"]
        deleted = list(entries(log))[-1]
        assert deleted["action"] == "delete" and audit.hash_of(single) in deleted["images"]
    with visitor(browser, address, width=390, theme="dark", locale="ja-JP") as page:
        page.locator("#provenance > button").click()
        expect(page.locator("#provenance")).to_contain_text(ja.SIGNED.format(organization="Teapots Ltd"))
        shot(page, "provenance-ja-dark")
