"""Plans: what is read, and one sentence with file and line for each mistake."""

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers.files import save_mask
from PIL import Image

from breakascene.data import coco
from breakascene.data.consent import Consent
from breakascene.data.scene import save_scene
from breakascene.errors import UserError
from breakascene.pilot.plan import Prices, Thresholds, read_plan
from breakascene.pilot.task import expand_prompts
from breakascene.toybox.pretraining.pilot_photos import write_pilot_photos


@pytest.fixture(scope="module")
def pilot(tmp_path_factory):
    """A folder with a plan of three photos, and broken files."""
    folder = tmp_path_factory.mktemp("pilot") / "pilot"
    write_pilot_photos(folder, 3)
    (folder / "copy.png").write_bytes((folder / "photos" / "001.png").read_bytes())
    (folder / "empty").mkdir()
    return folder


def test_the_sample_plan_names_photos_masks_and_prices(pilot):
    plan = read_plan(pilot)
    assert plan == read_plan(pilot / "plan.yaml")
    assert [photo.id for photo in plan.photos] == ["001", "002", "003"]
    assert plan.presets == ("quick",) and plan.base == "toybox" and plan.inference_steps == 12
    assert plan.thresholds == Thresholds(None, None, 0.5, 0.8)
    assert plan.prices == Prices("EUR", 0.1, 45, 1.5, 0.25, 60)
    photo, masks = plan.photos[0].read()
    files = sorted(path.stem for path in (pilot / "masks" / "001").iterdir())
    assert [name for name, _ in masks] == files and all(mask.shape == photo.size[::-1] for _, mask in masks)


def test_masks_are_found_beside_the_photos_of_a_folder(tmp_path, scene):
    masks = scene.masks()[:2]
    for name in ("a", "b", "c", "d"):
        Image.fromarray(np.roll(np.asarray(scene.photo), ord(name), 0)).save(tmp_path / f"{name}.png")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "a").mkdir()
    save_mask(tmp_path / "a" / "ball.png", masks[0])
    save_mask(tmp_path / "b.mask.png", masks[1])
    (tmp_path / "annotations.json").write_text(json.dumps(coco.encode(masks, ["ball", "mug"], "c.png")))
    found = {photo.id: photo.read()[1] for photo in read_plan(tmp_path).photos}
    assert {key: value and [name for name, _ in value] for key, value in found.items()} == {
        "a": ["ball"], "b": [""], "c": ["ball", "mug"], "d": None,
    }  # fmt: skip
    assert np.array_equal(found["b"][0][1], masks[1]) and np.array_equal(found["c"][1][1], masks[1])


def test_a_list_of_photos_gives_each_its_masks_and_names(pilot):
    text = "photos:\n- {photo: photos/001.png, masks: masks/001, objects: [left one, right one]}\n- photos/002.png\n"
    (pilot / "list.yaml").write_text(text + "masks: auto\nsizes: [256x256, 320x192]\nprompts: a photo of {object}\n")
    plan = read_plan(pilot / "list.yaml")
    first, second = plan.photos
    assert [name for name, _ in first.read()[1]] == ["left one", "right one"] and second.read()[1] is None
    assert plan.sizes == ((256, 256), (320, 192)) and plan.prompts == ("a photo of {object}",)


def test_consent_is_that_of_the_photo_its_scene_or_the_plan(pilot, scene):
    company = Consent(True, "A. Person", "advertising", "2999-12-31")
    save_scene(replace(scene, consent=company), pilot / "scene")
    (pilot / "consent.yaml").write_text(
        "photos:\n- {photo: photos/001.png, consent: {who: B. Person, scope: catalog, until: 2000-01-01}}\n"
        "- scene\n- photos/002.png\nconsent: nobody\n"
    )
    found = [photo.consent for photo in read_plan(pilot / "consent.yaml").photos]
    assert found == [Consent(True, "B. Person", "catalog", "2000-01-01"), company, Consent(False)]


def test_a_changed_mask_changes_the_content(pilot):
    photo = read_plan(pilot).photos[0]
    before = photo.content_hash()
    assert photo.content_hash() == before
    file = next((pilot / "masks" / "001").iterdir())
    content = file.read_bytes()
    save_mask(file, np.ones((256, 256), bool))
    assert photo.content_hash() != before
    file.write_bytes(content)


@pytest.mark.parametrize(
    "text, line, part",
    [
        ("photos: [a", 1, "not valid YAML"),
        ("photos: nowhere", 1, "no folder"),
        ("photos: empty", 1, "has no photos"),
        ("photos:\n- photos/001.png\n- photos/009.png", 3, "no photo photos/009.png"),
        ("photos:\n- photos/001.png\n- photos/002.png\n- copy.png", 4, "(also in plan.yaml, line 2): remove one"),
        ("photos: photos\nprices:\n  reshoot: 12 EUR", 3, '"12 EUR": write a number from 0 to 1000000'),
        ("photos: photos\ncounts: 2", 2, '"counts" is not known'),
        ("photos: photos\ncount: 1.5", 2, "write a whole number from 1 to 64"),
        ("photos: photos\ncount: yes", 2, "write a whole number"),
        ("photos: photos\nphotos: empty", 2, "for the second time"),
        ("photos: photos\nprompts:\n- a photo of a cat", 3, "names no object"),
        ("photos: photos\nprompts:\n- a cat < a dog", 3, "names no object"),
        ("photos: photos\nprompts: a photo of {subject}", 2, "braces that mean nothing"),
        ("photos: photos\npresets: [fast]", 2, "choose light, quick, paper"),
        ("photos: photos\nmasks: none", 2, "write masks: auto"),
        ("photos: photos\nmasks: empty", 2, "no masks of 001.png"),
        ("photos: photos\nsizes: [big]", 2, "write WIDTHxHEIGHT"),
        ("photos: photos\nsizes:\n- 512x512\n- 500x501", 4, "multiples of 8"),
        ("photos: photos\nsizes: [99999x99999]", 2, "from 64 to 4096 pixels"),
        ("photos: photos\nsteps: [1, 2, 3]", 2, "steps of both phases"),
        ("photos: photos\nthresholds: {photo: 50}", 2, "from 0 to 1"),
        ("photos: photos\nconsent: yes", 2, "choose nobody"),
        ("photos: photos\nconsent: {who: A. Person}", 2, "consent: A part of the consent is missing"),
        ("photos: &x photos\nname: *x", 2, "references"),
        ("photos: photos\n? [name]\n: x", 2, "a key has to be a word"),
        ("name: mine", 1, "no photos"),
        ("- photos", 1, "key: value"),
        ("photos:\n- masks: masks/001", 2, "has no photo"),
    ],
)
def test_a_broken_plan_is_one_sentence_with_its_line(pilot, text, line, part):
    file = pilot / "broken" / "plan.yaml"
    file.parent.mkdir(exist_ok=True)
    for name in ("photos", "masks", "empty", "copy.png"):
        link = file.parent / name
        if not link.exists():
            link.symlink_to(pilot / name)
    file.write_text(text)
    with pytest.raises(UserError) as raised:
        read_plan(file)
    message = str(raised.value)
    assert message.startswith(f"plan.yaml, line {line}: ") and part in message and "\n" not in message


def test_no_plan_at_all(tmp_path):
    with pytest.raises(UserError, match="no file"):
        read_plan(tmp_path / "plan.yaml")
    (tmp_path / "plan.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="UTF-8"):
        read_plan(tmp_path / "plan.yaml")
    (tmp_path / "plan.yaml").write_text("")
    with pytest.raises(UserError, match="empty"):
        read_plan(tmp_path)


def test_prompts_are_expanded_for_the_objects_of_a_photo():
    handles = ("<asset0>", "<asset1>", "<background>")
    prompts = ("a {object} at sea", "{objects} in snow", "<asset0> and <asset2>")
    assert expand_prompts(prompts, handles) == [
        "a <asset0> at sea", "a <asset1> at sea", "<asset0> and <asset1> in snow",
    ]  # fmt: skip
    assert expand_prompts(("{object}", "{objects}"), handles[:1]) == ["<asset0>"]
