"""Scenes with many objects: the groups, one extraction of them all, and its run folder."""

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers.files import save_mask
from helpers.runs import short
from PIL import Image
from typer.testing import CliRunner

from benchmarks import counts
from breakascene.cli.app import app
from breakascene.data.handle_names import handles_of
from breakascene.data.scene import load_scene, make_scene
from breakascene.errors import UserError
from breakascene.evaluation.advice import MIN_AREA, scene_advice
from breakascene.evaluation.prompts import default_prompts
from breakascene.exporting import archive
from breakascene.generation.generate import generate, read_metadata
from breakascene.models.combined import combine
from breakascene.models.concepts import Concepts
from breakascene.models.grouped import load_run
from breakascene.training import checkpoint
from breakascene.training.groups import count_groups, group_scene, groups_of, move_map, plan_groups
from breakascene.training.loop import extract, run_extraction


def many_objects(count: int, size: int = 160):
    """Squares of different colors in rows of four, on gray."""
    pixels, masks, cell = np.full((size, size, 3), 128, np.uint8), [], size // 4
    for i in range(count):
        mask = np.zeros((size, size), bool)
        y, x = divmod(i, 4)
        mask[y * cell + 8 : y * cell + 32, x * cell + 8 : x * cell + 32] = True
        pixels[mask] = (15 * i, 255 - 15 * i, 80)
        masks.append(mask)
    return make_scene(Image.fromarray(pixels), masks, [f"square {i}" for i in range(count)])


@pytest.fixture(scope="module")
def nine():
    return many_objects(9)


@pytest.fixture(scope="module")
def settings(tiny_base):
    return short(tiny_base, "light", steps=(2, 2), prior_loss_weight=0.0, init_from_image=False)


@pytest.fixture(scope="module")
def whole(tiny_base, nine, settings, tmp_path_factory):
    """A finished run of nine objects, and its events."""
    out, events = tmp_path_factory.mktemp("groups") / "run", []
    run_extraction(nine, tiny_base, settings, out, events.append, maps_every=2, preview_every=4)
    return out, events


def test_groups_are_neighbors_of_nearly_equal_sizes():
    grid = [(x, y) for y in range(4) for x in range(4)]
    assert plan_groups(grid) == ((0, 1, 4, 5), (2, 3, 6, 7), (8, 9, 12, 13), (10, 11, 14, 15))
    row = [(float(x), 0.0) for x in (5, 1, 9, 3, 7, 0, 8, 2, 6)]
    assert plan_groups(row) == ((0, 4, 8), (1, 5, 7), (2, 6, 3)) or plan_groups(row) == (
        (0, 3, 8),
        (1, 5, 7),
        (2, 4, 6),
    )
    for count in range(1, 17):
        groups = plan_groups(np.random.default_rng(count).random((count, 2)))
        sizes = [len(group) for group in groups]
        assert sorted(i for group in groups for i in group) == list(range(count))
        assert max(sizes) <= 4 and max(sizes) - min(sizes) <= 1
        assert len(groups) == (count_groups(count) if count > 8 else -(-count // 4))
    assert plan_groups([(0.0, 0.0)] * 9)  # all in one place
    assert [count_groups(count) for count in (1, 8, 9, 12, 13, 16)] == [1, 1, 3, 3, 4, 4]


def test_advice_measures_objects_in_the_crop_of_their_group():
    scene = counts.bench_of(9).scene(0)
    assert scene.crop_masks(256).mean((1, 2)).max() < MIN_AREA and scene_advice(scene) == []
    assert scene_advice(replace(scene, background=True)) == []  # refused by the extraction, not here


def test_a_group_keeps_only_its_own_objects_in_all_photos(nine):
    scene = replace(nine, other_photos=(group_scene(nine, [0, 1, 8]), group_scene(nine, [5])))
    part = group_scene(scene, [1, 8, 2])
    assert part.names == ("square 1", "square 8", "square 2")
    assert [other.names for other in part.other_photos] == [("square 1", "square 8")]


def test_maps_move_from_the_crop_of_a_group_to_that_of_the_photo():
    values = np.zeros((16, 16), np.float32)
    values[4:8, 4:8] = 1
    moved = move_map(values, (40, 20, 80), (0, 0, 160))  # 4:8 are 20:40 of 80, at 60:80, 40:60 in the photo
    assert (moved[4:6, 6:8] > 0.5).all() and moved.sum() == pytest.approx(4, abs=0.5)
    np.testing.assert_allclose(move_map(values, (5, 5, 64), (5, 5, 64)), values)


def test_all_groups_are_one_run_with_one_progress(whole, tiny_base, nine, settings):
    out, events = whole
    groups = groups_of(nine)
    assert [event.step for event in events] == list(range(1, 13)) and {event.total for event in events} == {12}
    assert events[-1].seconds_left == 0 < events[0].seconds_left
    for number, group in enumerate(groups):
        own = {nine.handles[i] for i in group}
        of_group = events[4 * number : 4 * number + 4]
        assert {handle for event in of_group for handle in event.handles} <= own
        assert set(of_group[-1].previews) == set(of_group[-1].maps) == own
        assert of_group[-1].maps[min(own)].shape == (16, 16)
    concepts = load_run(out)
    assert concepts.handles == handles_of(9) and concepts.names == nine.names
    assert concepts.steps == 12 and len(concepts.losses) == 4 and set(concepts.leak) == set(nine.handles)
    assert load_scene(out / "scene").photo_hash == concepts.photo == nine.photo_hash
    assert not checkpoint.can_resume(out) and [path.name for path in out.parent.iterdir()] == ["run"]
    for number, group in enumerate(groups):  # each is the run of its objects alone
        alone = run_extraction(group_scene(nine, group), tiny_base, settings)
        assert alone.id == concepts.runs[number].id
        assert all((concepts.embeddings[i] == alone.embeddings[k]).all() for k, i in enumerate(group))


def test_its_images_are_those_of_the_group_alone(whole, tiny_base, nine):
    out, _ = whole
    concepts, group = load_run(out), groups_of(nine)[1]
    options = {"num_inference_steps": 3, "guidance_scale": 2.0, "seed": 3}
    place = group.index(group[1])
    image = next(generate(tiny_base, concepts, [f"a photo of <asset{group[1]}> at the beach"], **options))
    alone = next(generate(tiny_base, concepts.runs[1], [f"a photo of <asset{place}> at the beach"], **options))
    assert np.abs(np.asarray(image.image, int) - np.asarray(alone.image, int)).max() <= 1
    assert image.metadata["run"] == concepts.id
    both = combine([concepts, replace(concepts.runs[0], embeddings=concepts.runs[0].embeddings + 1)])
    assert both.handles[:2] == ("<square-0>", "<square-1>") and len(both.handles) == 9 + len(concepts.runs[0].handles)
    assert both.id.startswith(concepts.id + "+")


def test_a_stopped_extraction_resumes_to_the_same_run(whole, tiny_base, nine, settings, tmp_path):
    out, steps = tmp_path / "run", iter(range(100))
    stopped = run_extraction(nine, tiny_base, settings, out, save_every=1, stop=lambda: next(steps) >= 6)
    assert 4 < stopped.steps < 12 and checkpoint.can_resume(out) and load_run(out).id == stopped.id
    with pytest.raises(UserError, match="differs in seed"):
        run_extraction(nine, tiny_base, replace(settings, seed=5), out, resume=True)
    resumed = []
    finished = run_extraction(nine, tiny_base, settings, out, resumed.append, resume=True)
    assert finished.id == load_run(whole[0]).id and not checkpoint.can_resume(out)
    assert resumed[0].step == stopped.steps + 1 and resumed[-1].step == 12
    with pytest.raises(UserError, match="is finished"):
        run_extraction(nine, tiny_base, settings, out, resume=True)


def test_a_killed_extraction_resumes_in_the_group_that_it_reached(whole, tiny_base, nine, settings, tmp_path):
    out, events = tmp_path / "run", extract(nine, tiny_base, settings, tmp_path / "run", save_every=1)
    for _ in range(7):
        next(events)
    events.close()
    assert not out.exists() and checkpoint.can_resume(out)
    resumed = []
    assert run_extraction(nine, tiny_base, settings, out, resumed.append, resume=True).id == load_run(whole[0]).id
    assert 5 <= resumed[0].step <= 8


def test_run_files_hold_all_groups(whole, tiny_base, tmp_path):
    out, _ = whole
    archive.pack(out, tmp_path / "run.zip")
    archive.unpack(tmp_path / "run.zip", tiny_base, tmp_path / "copy")
    assert load_run(tmp_path / "copy").id == load_run(out).id
    assert sorted(p.name for p in (tmp_path / "copy").iterdir()) == sorted(p.name for p in out.iterdir())


def test_damaged_runs_are_refused_in_a_sentence(whole, tmp_path, tiny_base):
    manifest = json.loads((whole[0] / "manifest.json").read_text())
    for change in (
        {"groups": [[0, 1], [2]]},
        {"groups": "all"},
        {"groups": [[0] * 9]},
        {"names": ["x"] * 9},
        {"photo": 3},
    ):
        archive.pack(whole[0], tmp_path / "run.zip")
        archive.unpack(tmp_path / "run.zip", tiny_base, tmp_path / "run")
        (tmp_path / "run" / "manifest.json").write_text(json.dumps(manifest | change))
        with pytest.raises(UserError, match="is not a run folder or is damaged"):
            load_run(tmp_path / "run")
    with pytest.raises(UserError, match="objects that were learned in groups"):
        Concepts.load(whole[0])


def test_too_many_objects_and_the_background_are_refused(tiny_base, settings, tmp_path):
    with pytest.raises(UserError, match="There are 17 masks: keep at most 16"):
        many_objects(17, 200)
    scene = replace(many_objects(9), background=True)
    with pytest.raises(UserError, match="background cannot be extracted"):
        run_extraction(scene, tiny_base, settings, tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_the_command_line_extracts_groups_and_uses_them_as_one_run(nine, tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("BREAKASCENE_LIBRARY", str(tmp_path / "library"))
    run, photo, masks = tmp_path / "run", tmp_path / "photo.png", tmp_path / "masks"
    nine.photo.save(photo), masks.mkdir()
    for i, concept in enumerate(nine.concepts):
        save_mask(masks / f"mask{i}.png", concept.mask)

    def call(*arguments, code=0):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == code and "Traceback" not in result.output, result.output
        return result.stderr if code else result.stdout

    extract_it = ["extract", photo, "--mask", masks, "--steps", "1,0", "--base", tiny_folder, "--out", run]
    assert "the background cannot be extracted" in call(*extract_it, "--background", code=2)
    assert not run.exists()
    output = call(*extract_it)
    assert "1 + 0 steps in each of 3 groups" in output and "step 3 of 3" in output
    added = call("library", "add", run, "--name", "nine").strip()
    assert added == load_run(run).id and "<mask8>" in call("library", "list", "nine")
    assert len(list((tmp_path / "library" / added / "thumbs").iterdir())) == 9
    prompt = "a photo of <asset0> and <mask8>"
    image = call("generate", "nine", prompt, "--steps", "1", "--base", tiny_folder, "--out", tmp_path / "images")
    assert read_metadata(image.strip())["prompt"] == "a photo of <asset0> and <asset8>"
    out = tmp_path / "export"
    assert "learned in groups cannot be exported" in call("export", run, "--to", "kohya", "--out", out, code=2)
    assert not out.exists()


def test_the_evaluation_puts_many_objects_together_in_pairs():
    prompts = default_prompts(handles_of(9))
    assert len(prompts) == 9 * 4 + 4 * 4 and prompts[-1] == "a photo of <asset6> and <asset7> on a wooden table"
