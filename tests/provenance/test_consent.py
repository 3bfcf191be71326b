"""Consent: faces found in a drawn face, what must be declared before a photo is learned, and expired consents."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter
from typer.testing import CliRunner

from breakascene.cli.app import app
from breakascene.data.consent import Consent, declare_consent
from breakascene.data.scene import load_scene, make_scene, save_scene
from breakascene.errors import UserError
from breakascene.exporting import archive
from breakascene.generation.generate import generate
from breakascene.models.combined import combine
from breakascene.models.concepts import Concepts
from breakascene.provenance import faces
from breakascene.provenance.audit_check import entries
from breakascene.provenance.consent import check_scene, check_start, has_face
from breakascene.studio.api import parse_consent
from breakascene.studio.screens import consent as screen
from breakascene.training.loop import run_extraction
from breakascene.training.settings import preset

DAY = "2999-12-31"
ANNA = declare_consent(True, "Anna", "catalog", DAY)
EXPIRED = Consent(True, "Anna", "catalog", "2020-01-01")


def drawn_face(size=200) -> Image.Image:
    """A face of ellipses that the detector finds; no photo of a person is in this repository."""
    image = Image.new("RGB", (256, 256), (150, 160, 170))
    draw = ImageDraw.Draw(image)
    draw.ellipse((62, 28, 194, 232), (70, 50, 40))  # hair
    draw.ellipse((72, 48, 184, 228), (224, 188, 164))
    for x in (104, 152):
        draw.ellipse((x - 20, 104, x + 20, 124), (150, 110, 95))
        draw.rectangle((x - 22, 92, x + 22, 99), (70, 50, 40))
        draw.ellipse((x - 13, 106, x + 13, 121), (245, 240, 235))
        draw.ellipse((x - 7, 105, x + 7, 121), (40, 30, 30))
    draw.polygon((122, 118, 134, 118, 142, 162, 114, 162), (205, 165, 142))
    draw.ellipse((114, 154, 142, 168), (190, 145, 125))
    draw.ellipse((104, 180, 152, 200), (165, 85, 85))
    draw.rectangle((104, 188, 152, 191), (110, 50, 50))
    return image.filter(ImageFilter.GaussianBlur(2.2)).resize((size, size))


@pytest.fixture(scope="module")
def portrait():
    """A scene with a small drawn face at the lower right, and a mask on it."""
    photo = Image.new("RGB", (1600, 1200), (90, 120, 90))
    photo.paste(drawn_face(120), (1300, 900))
    mask = np.zeros((1200, 1600), bool)
    mask[910:1010, 1310:1410] = True
    return make_scene(photo, [mask], ["doll"])


def test_a_face_is_found_also_where_it_is_small(portrait, scene):
    assert has_face(make_scene(drawn_face(), [np.eye(200, dtype=bool)], ["line"]))
    assert has_face(portrait) and not has_face(scene)


@pytest.mark.parametrize(
    ("mode", "consent", "outcome"),
    [
        ("", None, "warned"),
        ("", Consent(True), "warned"),
        ("", ANNA, "accepted"),
        ("", EXPIRED, "ended on"),
        ("required", None, "say who agreed"),
        ("required", Consent(True), "say who agreed"),
        ("required", Consent(False), "accepted"),
        ("required", ANNA, "accepted"),
        ("off", None, "accepted"),
        ("off", EXPIRED, "ended on"),
        ("never", None, "BREAKASCENE_CONSENT is 'never'"),
    ],
)
def test_a_face_asks_for_consent(portrait, monkeypatch, mode, consent, outcome):
    monkeypatch.setenv("BREAKASCENE_CONSENT", mode)
    declared = replace(portrait, consent=consent)
    if outcome in ("warned", "accepted"):
        assert bool(check_scene(declared)) == (outcome == "warned")
    else:
        with pytest.raises(UserError, match=outcome):
            check_scene(declared)


def test_a_declared_person_without_a_face_needs_consent_too(scene, monkeypatch):
    monkeypatch.setenv("BREAKASCENE_CONSENT", "required")
    assert check_scene(scene) == []
    with pytest.raises(UserError, match="say who agreed"):
        check_scene(replace(scene, consent=Consent(True)))


def test_a_further_photo_needs_consent_too(scene, portrait, monkeypatch):
    monkeypatch.setenv("BREAKASCENE_CONSENT", "required")
    other = replace(portrait, concepts=(replace(portrait.concepts[0], name="ball"),))
    with pytest.raises(UserError, match="say who agreed"):
        check_scene(replace(scene, other_photos=(other,)))
    assert check_scene(replace(scene, other_photos=(replace(other, consent=ANNA),))) == []


def test_faces_can_be_refused_whatever_is_declared(portrait, scene, monkeypatch):
    monkeypatch.setenv("BREAKASCENE_FACES", "refused")
    for refused in (portrait, replace(portrait, consent=ANNA), replace(scene, consent=ANNA)):
        with pytest.raises(UserError, match="not taken here"):
            check_scene(refused)
    assert check_scene(scene) == []


def test_a_photo_that_generation_starts_from_is_checked_too(scene, monkeypatch):
    face = drawn_face()
    assert len(check_start(face)) == 1 and check_start(scene.photo) == []
    monkeypatch.setenv("BREAKASCENE_CONSENT", "required")
    assert check_start(scene.photo) == []
    with pytest.raises(UserError, match="extract the photo with the consent"):
        check_start(face)
    monkeypatch.setenv("BREAKASCENE_FACES", "refused")
    monkeypatch.setenv("BREAKASCENE_CONSENT", "off")
    with pytest.raises(UserError, match="not taken here"):
        check_start(face)


def test_the_answer_is_in_the_run_its_images_its_file_and_the_log(tmp_path, tiny_base, scene, monkeypatch):
    monkeypatch.setenv("BREAKASCENE_AUDIT", str(tmp_path / "log"))
    declared = replace(scene, consent=ANNA)
    settings = preset("quick", tiny_base, steps=(1, 0))
    concepts = run_extraction(declared, tiny_base, settings, tmp_path / "run")
    assert Concepts.load(tmp_path / "run").consents == concepts.consents == (ANNA,)
    assert load_scene(tmp_path / "run" / "scene").consent == ANNA
    (image,) = generate(tiny_base, concepts, ["a photo of <asset0>"], num_inference_steps=1)
    assert image.metadata["consents"] == [ANNA.to_json()]
    assert next(entries(tmp_path / "log"))["consents"] == [ANNA.to_json()]
    archive.pack(tmp_path / "run", tmp_path / "run.zip")
    assert archive.unpack(tmp_path / "run.zip", tiny_base, tmp_path / "imported").consents == (ANNA,)
    assert load_scene(tmp_path / "imported" / "scene").consent == ANNA

    # Once it has expired
    for folder in ("run", "imported"):
        manifest = json.loads((tmp_path / folder / "manifest.json").read_text("utf-8"))
        manifest["consents"] = [EXPIRED.to_json()]
        (tmp_path / folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    expired = Concepts.load(tmp_path / "run")
    other = replace(expired, consents=(), embeddings=expired.embeddings + 1)
    for refused in (expired, combine([other, expired])):
        with pytest.raises(UserError, match="The consent of Anna ended on"):
            generate(tiny_base, refused, ["a photo"])
    assert list(generate(tiny_base, other, ["a photo"], num_inference_steps=1))


def test_a_saved_scene_keeps_its_answer_and_a_damaged_one_is_reported(tmp_path, scene):
    save_scene(scene, tmp_path / "none")
    assert load_scene(tmp_path / "none").consent is None
    save_scene(replace(scene, consent=ANNA), tmp_path / "scene")
    assert load_scene(tmp_path / "scene").consent == ANNA
    for text in ('{"shown": "yes"}', "[]", "{", json.dumps({**ANNA.to_json(), "until": "soon"})):
        (tmp_path / "scene" / "consent.json").write_text(text)
        with pytest.raises(UserError, match="not a declaration of consent"):
            load_scene(tmp_path / "scene")


def test_declarations_are_checked():
    assert declare_consent(None) is None and declare_consent(False) == Consent(False)
    assert declare_consent(None, " Anna \n", "a\x00b", "2030/1/5") == Consent(True, "Anna", "a b", "2030-01-05")
    bad = [(False, "Anna", "catalog", "2030-01-01"), (True, "Anna", "", "2030-01-01"), (True, "Anna", "x", "soon"),
           (True, "Anna", "x", "2030-02-30"), (True, "x" * 201, "x", "2030-01-01")]  # fmt: skip
    for values in bad:
        with pytest.raises(UserError):
            declare_consent(*values)


def test_page_and_api_declare_the_same(portrait, scene, monkeypatch):
    assert screen.declared("shown", "Anna", "catalog", DAY) == ANNA
    assert (
        screen.declared("nobody", "left over", "", "") == Consent(False) and screen.declared(None, "", "", "") is None
    )
    assert parse_consent({"who": "Anna", "scope": "catalog", "until": DAY}) == ANNA
    assert parse_consent(None) is None and parse_consent({"shown": False}) == Consent(False)
    for values in ([], {"person": True}, {"shown": 1}, {"who": 3}):
        with pytest.raises(UserError, match="Give the consent as"):
            parse_consent(values)
    assert "Answer" in screen.notice(portrait) and not screen.notice(scene) and not screen.notice(None)
    monkeypatch.setenv("BREAKASCENE_CONSENT", "required")
    assert "cannot be extracted" in screen.notice(portrait)
    monkeypatch.setenv("BREAKASCENE_FACES", "refused")
    assert "does not take photos of people" in screen.notice(portrait)


def test_the_command_asks_before_it_learns(portrait, tmp_path, monkeypatch):
    portrait.photo.save(tmp_path / "photo.png")
    Image.fromarray(portrait.concepts[0].mask).save(tmp_path / "mask.png")
    command = ["extract", str(tmp_path / "photo.png"), "--mask", f"{tmp_path / 'mask.png'}:doll", "--base", "none",
               "--out", str(tmp_path / "run")]  # fmt: skip
    monkeypatch.setenv("BREAKASCENE_CONSENT", "required")
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2 and "say who agreed" in result.stderr and not (tmp_path / "run").exists()
    agreed = ["--agreed-by", "Anna", "--agreed-to", "catalog", "--agreed-until", DAY]
    for options in (agreed, ["--no-person"]):
        result = CliRunner().invoke(app, [*command, *options])
        assert result.exit_code == 2 and "none" in result.stderr and "agreed" not in result.stderr  # the base


def test_opencv_without_cascades_is_named_with_its_remedy(monkeypatch):
    """OpenCV 5 has none, and other packages may bring it."""
    monkeypatch.delattr(cv2, "CascadeClassifier")
    faces._cascade.cache_clear()
    with pytest.raises(UserError, match="looked for with OpenCV 4: install it"):
        faces.count_faces(Image.new("RGB", (64, 64)))
