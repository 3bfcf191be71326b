"""Content credentials: what an image says about its origin, and what becomes of it when the image is changed."""

import io
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from breakascene.cli.app import app
from breakascene.errors import UserError
from breakascene.files import write_private
from breakascene.generation.generate import GeneratedImage, read_metadata, save_image
from breakascene.provenance import certificates
from breakascene.provenance.certificates import create_identity, load_identity
from breakascene.provenance.credentials import EDITED, GENERATED, png_bytes, verify

PHOTO = "0" * 63 + "f"
METADATA = {
    "index": 0, "prompt": "a photo of <asset0>", "negative_prompt": "", "seed": 1, "num_inference_steps": 20,
    "guidance_scale": 3.0, "handles": {"<asset0>": "ball"}, "photo": PHOTO,
}  # fmt: skip


def image(seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8))


@pytest.fixture
def keys(tmp_path, monkeypatch):
    """Images are signed with a key in this folder, which does not exist yet."""
    monkeypatch.setenv("BREAKASCENE_CREDENTIALS", str(tmp_path / "keys"))
    monkeypatch.setenv("BREAKASCENE_ORGANIZATION", "Teapots Ltd")
    return tmp_path / "keys"


def test_every_image_says_that_it_was_generated(tmp_path):
    path = save_image(GeneratedImage(image(), METADATA), tmp_path)
    with Image.open(path) as saved:
        assert GENERATED in saved.text["XML:com.adobe.xmp"]
        assert np.array_equal(saved, image())
    result = verify(path)
    assert (result.state, result.source) == ("unsigned", "trainedAlgorithmicMedia")


def test_a_signed_image_verifies_as_ours_and_keeps_its_metadata(tmp_path, keys):
    path = save_image(GeneratedImage(image(), METADATA), tmp_path)
    result = verify(path)
    assert (result.state, result.signer, result.source) == ("ours", "Teapots Ltd", "trainedAlgorithmicMedia")
    assert result.photo == PHOTO
    assert read_metadata(path) == METADATA
    assert np.array_equal(Image.open(path), image())
    assert (keys / certificates.PRIVATE_KEY).stat().st_mode & 0o777 == 0o600
    key = (keys / certificates.PRIVATE_KEY).read_bytes()
    png_bytes(image(1))
    assert (keys / certificates.PRIVATE_KEY).read_bytes() == key  # made once


def test_an_edited_photo_says_so(tmp_path, monkeypatch):
    for folder, state in (("", "unsigned"), (str(tmp_path / "keys"), "ours")):
        monkeypatch.setenv("BREAKASCENE_CREDENTIALS", folder)
        (tmp_path / "edited.png").write_bytes(png_bytes(image(), photo=PHOTO, source=EDITED))
        result = verify(tmp_path / "edited.png")
        assert (result.state, result.source) == (state, "compositeWithTrainedAlgorithmicMedia")


def test_a_changed_pixel_and_a_changed_text_are_noticed(tmp_path, keys):
    path = save_image(GeneratedImage(image(), METADATA), tmp_path)
    data = path.read_bytes()
    for part in (b"IDAT", b"breakascene", b"adobe:ns:meta", b"c2pa.actions"):
        changed = bytearray(data)
        changed[data.index(part) + len(part) + 8] ^= 1
        (tmp_path / "changed.png").write_bytes(changed)
        assert verify(tmp_path / "changed.png").state == "changed", part


def test_a_damaged_file_that_was_never_signed_is_not_said_to_be_changed(tmp_path):
    image().save(tmp_path / "whole.png")
    data = (tmp_path / "whole.png").read_bytes()
    for length, state in ((len(data) // 2, "unknown"), (8, None)):
        (tmp_path / "cut.png").write_bytes(data[:length])
        if state:
            assert verify(tmp_path / "cut.png").state == state
        else:
            with pytest.raises(UserError, match="is not an image that can be read"):
                verify(tmp_path / "cut.png")


def test_a_copy_without_its_manifest_is_not_taken_for_ours(tmp_path, keys):
    path = save_image(GeneratedImage(image(), METADATA), tmp_path)
    with Image.open(path) as signed:
        signed.convert("RGB").save(tmp_path / "copy.png")
        signed.convert("RGB").save(tmp_path / "copy.jpg")
    assert verify(tmp_path / "copy.png").state == verify(tmp_path / "copy.jpg").state == "unknown"


def test_a_manifest_of_another_image_or_another_key_is_not_ours(tmp_path, keys, monkeypatch):
    path = save_image(GeneratedImage(image(), METADATA), tmp_path)
    manifest = chunk(path.read_bytes(), b"caBX")
    other = png_bytes(image(1))
    (tmp_path / "borrowed.png").write_bytes(other.replace(chunk(other, b"caBX"), manifest))
    assert verify(tmp_path / "borrowed.png").state == "changed"

    monkeypatch.setenv("BREAKASCENE_CREDENTIALS", str(tmp_path / "others"))
    monkeypatch.setenv("BREAKASCENE_ORGANIZATION", "Kettles Ltd")
    (tmp_path / "foreign.png").write_bytes(png_bytes(image()))
    result = verify(tmp_path / "foreign.png", keys)
    assert (result.state, result.signer) == ("foreign", "Kettles Ltd")


def chunk(png, kind):
    """A whole chunk of a PNG."""
    start = png.index(kind) - 4
    return png[start : start + 12 + int.from_bytes(png[start : start + 4], "big")]


def test_after_a_renewal_images_of_the_old_key_still_verify(tmp_path, keys):
    path = save_image(GeneratedImage(image(), METADATA), tmp_path)
    (keys / certificates.CERTIFICATES).rename(keys / "certificates-2026.pem")
    (keys / certificates.PRIVATE_KEY).unlink()
    (tmp_path / "new.png").write_bytes(png_bytes(image()))
    assert verify(path).state == verify(tmp_path / "new.png").state == "ours"


def test_an_expired_certificate_signs_nothing_and_its_images_are_reported(tmp_path, keys):
    create_identity(keys, start=datetime.now(UTC) - certificates.LIFETIME - timedelta(days=1))
    with pytest.raises(UserError, match="expired on"):
        save_image(GeneratedImage(image(), METADATA), tmp_path / "images")
    assert not list(tmp_path.rglob("*.png"))
    folder = Path(__file__).parent / "expired"  # signed on 2026-11-27 with a certificate valid for some seconds
    result = verify(folder / "image.png", folder)
    assert (result.state, result.signer) == ("expired", "Teapots Ltd")
    assert verify(folder / "image.png", keys).state == "foreign"  # anyone can put that name into a certificate


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"certificates.pem": "-"}, "has no private_key.pem"),
        ({"private_key.pem": "-"}, "has no certificates.pem"),
        ({"certificates.pem": "no certificate", "private_key.pem": "no key"}, "is damaged"),
    ],
)
def test_bad_keys_are_one_sentence(tmp_path, files, message):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        load_identity(tmp_path)


def test_a_key_is_readable_by_its_owner_alone_and_whole_from_the_beginning(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(os, "replace", lambda draft, path: seen.append((path, draft.stat(), draft.read_bytes())))
    write_private(tmp_path / "key.pem", b"secret")
    ((path, status, data),) = seen
    assert (path, stat.S_IMODE(status.st_mode), data) == (tmp_path / "key.pem", 0o600, b"secret")
    assert list(tmp_path.iterdir()) == []  # no draft is left


def test_a_key_of_another_certificate_is_refused(tmp_path):
    create_identity(tmp_path / "one")
    create_identity(tmp_path / "two")
    (tmp_path / "two" / "private_key.pem").replace(tmp_path / "one" / "private_key.pem")
    with pytest.raises(UserError, match="does not belong"):
        load_identity(tmp_path / "one")


def test_a_visible_mark_is_drawn_into_the_corner(monkeypatch):
    monkeypatch.setenv("BREAKASCENE_MARK", "AI")
    marked = np.asarray(Image.open(io.BytesIO(png_bytes(Image.new("RGB", (96, 96), "red")))))
    assert (marked[:40, :40] == (255, 0, 0)).all()
    assert (marked[-24:, -24:] == 0).all(axis=2).any() and (marked[-24:, -24:] > 200).all(axis=2).any()


def test_the_command_says_what_an_image_is(tmp_path, keys):
    path = save_image(GeneratedImage(image(), METADATA), tmp_path)
    result = CliRunner().invoke(app, ["verify", str(path)])
    assert result.exit_code == 0
    assert "generated by a model, signed by Teapots Ltd with our key, and unchanged since" in result.output
    image().save(tmp_path / "other.png")
    result = CliRunner().invoke(app, ["verify", str(tmp_path / "other.png")])
    assert (result.exit_code, "without content credentials" in result.output) == (1, True)
    (tmp_path / "text.png").write_text("no image")
    result = CliRunner().invoke(app, ["verify", str(tmp_path / "text.png")])
    assert result.exit_code == 2 and "is not an image" in result.stderr
