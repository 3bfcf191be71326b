"""Stopped and abandoned runs resume to the same end, bit for bit."""

import dataclasses

import pytest
from helpers.models import assert_same_base, weights_of
from helpers.runs import assert_same, photo_latents, short, stop_after

from breakascene.data.scene import make_scene
from breakascene.errors import UserError
from breakascene.models.concepts import Concepts
from breakascene.training import checkpoint
from breakascene.training.loop import extract, run_extraction
from breakascene.training.monitor import attention_maps


@pytest.mark.parametrize("name", ["light", "paper"])
@pytest.mark.parametrize("at", [2, 3, 5])
def test_stopped_run_is_usable_and_resumes_to_the_same_end(tiny_base, scene, full_runs, tmp_path, name, at):
    settings, out = short(tiny_base, name), tmp_path / "run"
    part = run_extraction(scene, tiny_base, settings, out, stop=stop_after(at))
    assert part.steps == at and bool(part.delta) == (at >= 3)
    loaded = Concepts.load(out)
    assert_same(loaded, part)
    with loaded.applied(tiny_base):
        assert len(attention_maps(tiny_base, photo_latents(tiny_base, scene), loaded.handles)) == 3
    end = run_extraction(scene, tiny_base, settings, out, resume=True)
    assert_same(end, full_runs[name])
    assert_same(Concepts.load(out), full_runs[name])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]  # no checkpoint, no drafts


@pytest.mark.parametrize("steps", [1, 4, 6])
def test_abandoned_run_resumes_from_its_last_checkpoint(tiny_base, scene, full_runs, tmp_path, steps):
    before = weights_of(tiny_base)
    settings, out = short(tiny_base), tmp_path / "run"
    events = extract(scene, tiny_base, settings, out, save_every=2)
    for _ in range(steps):
        next(events)
    events.close()
    assert_same_base(tiny_base, before)
    assert not out.exists() and checkpoint.path_for(out).is_file()
    assert_same(run_extraction(scene, tiny_base, settings, out, resume=True), full_runs["light"])


def test_resuming_another_run_is_refused_with_the_settings_that_differ(tiny_base, scene, tmp_path):
    settings, out = short(tiny_base), tmp_path / "run"
    with pytest.raises(UserError, match="nothing to resume"):
        run_extraction(scene, tiny_base, settings, out, resume=True)
    run_extraction(scene, tiny_base, settings, out, stop=stop_after(1))
    other = dataclasses.replace(settings, seed=5, rank=3)
    with pytest.raises(UserError, match="differs in seed, rank:"):
        run_extraction(scene, tiny_base, other, out, resume=True)
    another = make_scene(scene.photo, [c.mask[::-1] for c in scene.concepts], ["ball", "cup"], background=True)
    with pytest.raises(UserError, match="photo and masks, names"):
        run_extraction(another, tiny_base, settings, out, resume=True)
    path = checkpoint.path_for(out)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(UserError, match="damaged"):
        run_extraction(scene, tiny_base, settings, out, resume=True)
