"""ToyBench, the methods of the comparison, small runs of the benchmarks, and the committed results."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from helpers.models import weights_of
from PIL import Image
from typer.testing import CliRunner

from benchmarks import comparison, counts, rates
from benchmarks.methods import METHODS, method_settings
from benchmarks.toybench import PHOTO_PLACES, PROMPT_PLACES, SMALL, TOYBENCH, TUNING
from benchmarks.trials import METRICS, interval
from breakascene.toybox.vocabulary import HELD_OUT
from breakascene.training.augment import TrainingData
from breakascene.training.groups import count_groups, groups_of
from breakascene.training.loop import extract, run_extraction
from breakascene.training.modes import PRESET_NAMES
from breakascene.training.settings import Settings, preset
from breakascene.training.step import sample_subset_of_image

SHARE = 0.005  # 400 + 400 steps become 2 + 2


def run_command(command, *options: str) -> str:
    app = typer.Typer()
    app.command()(command)
    result = CliRunner().invoke(app, options, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_scenes_are_fixed_and_have_held_out_objects():
    scenes = [TOYBENCH.scene(index) for index in range(TOYBENCH.scenes)]
    names = [name for scene in scenes for name in scene.names]
    assert len(scenes) >= 20 and {len(scene.names) for scene in scenes} == {2, 3, 4}
    assert len(set(names)) == len(names) and set(names) <= set(HELD_OUT)
    assert all(scene.masks().mean((1, 2)).min() > 0.02 and scene.masks().sum(0).max() == 1 for scene in scenes)
    assert np.array_equal(SMALL.scene(1).photo, scenes[1].photo) and SMALL.scene(1).names == scenes[1].names
    photos = {scene.photo.tobytes() for scene in scenes}
    assert not any(TUNING.scene(index).photo.tobytes() in photos for index in range(20))
    assert len(PROMPT_PLACES) == 10 and len(PHOTO_PLACES) > 2 and not set(PROMPT_PLACES) & set(PHOTO_PLACES)


def test_prompts_are_all_subsets_in_all_places():
    handles = ("<asset0>", "<asset1>", "<asset2>", "<asset3>")
    assert [len(set(TOYBENCH.prompts(handles[:n]))) for n in (2, 3, 4)] == [30, 70, 140]
    assert "a photo of <asset0>, <asset2> and <asset3> at the beach" in TOYBENCH.prompts(handles)
    assert SMALL.prompts(handles[:2])[-1] == "a photo of <asset0> and <asset1> in the snow"


def test_methods_have_one_start_and_one_budget(tiny_base):
    chosen = {name: method_settings(name, tiny_base, lr_factor=1.0) for name in METHODS}
    groups = {name: method.group for name, method in METHODS.items()}
    for name, group in groups.items():  # an ablation has the budget of `light`, a baseline that of `paper`
        budget = {"ablation": "light", "baseline": "paper"}.get(group)
        assert budget is None or (chosen[name].total, chosen[name].train_batch_size) == (
            chosen[budget].total,
            chosen[budget].train_batch_size,
        )
    assert all(chosen[name] == preset(name, tiny_base, init_from_image=True) for name in PRESET_NAMES)
    assert len({(s.init_from_image, s.seed, s.prior_loss_weight, s.num_prior_images) for s in chosen.values()}) == 1
    assert sum(group == "ablation" for group in groups.values()) == 4
    assert chosen["start"].total == 0 and len(set(chosen.values())) == len(chosen)
    tripled = method_settings("CD-m", tiny_base, lr_factor=3.0)
    assert tripled.weight_lr == pytest.approx(3 * chosen["CD-m"].weight_lr)
    assert method_settings("paper", tiny_base, SHARE).steps == (2, 2)


@pytest.mark.parametrize("name", ["TI-m", "DB-m", "CD-m"])
def test_baselines_change_only_their_own_weights(tiny_base, scene, name):
    before = weights_of(tiny_base)
    keys_and_values = {key for key in before if key.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))}
    # No method trains the VAE or the token embedding table.
    all_weights = {key for key in before if not key.startswith("vae.") and "token_embedding" not in key}
    theirs = {"TI-m": set(), "CD-m": keys_and_values, "DB-m": all_weights}[name]
    steps = 0
    for event in extract(scene, tiny_base, method_settings(name, tiny_base, SHARE)):
        now, steps = weights_of(tiny_base), event.step
        moved = {key for key in before if key in now and not (now[key] == before[key]).all()}
        # The loss may not depend on the last bias of a text encoder, but nearly all weights must change.
        assert moved <= theirs and len(moved) >= 0.9 * len(theirs)
    assert steps == 4
    delta = run_extraction(scene, tiny_base, method_settings(name, tiny_base, SHARE)).delta
    assert {key.rpartition(".")[0] for key in delta} == theirs


def test_baselines_train_on_compositions_half_of_them_mirrored(tiny_base, scene):
    chosen, rng = method_settings("DB-m", tiny_base), torch.Generator().manual_seed(0)
    assert chosen.flip_compositions and not chosen.masked_loss and chosen.attention_loss_weight == 0
    data = TrainingData.encode(scene, tiny_base, 4)
    assert all(sample_subset_of_image(data, chosen, rng)[0] > 1 for _ in range(50))  # never the photo
    mirrored = 0
    for seed in range(12):
        plain, flipped = (TrainingData.encode(scene, tiny_base, 1, seed, flip=flip).masks[2] for flip in (False, True))
        mirrored += torch.equal(flipped, plain.flip(-1))
        assert torch.equal(flipped, plain) or torch.equal(flipped, plain.flip(-1))
    assert 2 < mirrored < 10


def test_bootstrap_interval():
    few, many = interval([0.2, 0.8, 0.5]), interval([0.2, 0.8, 0.5] * 12)
    assert few[0] == many[0] == 0.5 and few[1] < many[1] < 0.5 < many[2] < few[2]
    assert interval([0.3, None, 0.3]) == (0.3, 0.3, 0.3) and interval([None]) is None
    values = np.random.default_rng(1).normal(0, 1, 400)
    assert interval(values)[2] == pytest.approx(values.mean() + 1.96 / 20, abs=0.02)  # as for a normal distribution


@pytest.mark.parametrize("peak", [-2, 0, 1, 2])
def test_search_finds_the_maximum(peak):
    tried = []
    assert rates.search(lambda power: tried.append(power) or -((power - peak) ** 2)) == peak
    assert len(tried) == len(set(tried)) and {peak - 1, peak + 1} <= set(tried)


def test_search_ends_at_the_largest_power():
    assert rates.search(lambda power: power) == rates.MAX_POWER


@pytest.fixture(scope="module")
def small_run(tiny_folder, tmp_path_factory):
    """Run two methods on SMALL with random weights; return a function that runs them again, and the folder."""
    out = tmp_path_factory.mktemp("comparison")

    def run(*more: str) -> str:
        options = ["--base", str(tiny_folder), "--small", "--places", "1", "--share", str(SHARE), "--out", str(out)]
        return run_command(comparison.measure, *options, *more)

    run("--method", "paper", "--method", "TI-m")
    return run, out


def test_comparison_writes_a_summary_a_plot_and_a_grid(small_run):
    _, out = small_run
    summary = json.loads((out / "summary.json").read_text())
    assert summary["scenes"] == 2 and list(summary["methods"]) == ["paper", "TI-m"]
    ours, theirs = summary["methods"].values()
    assert ours["pictures"] == theirs["pictures"] == 3 + 6  # subsets of two and of three concepts, in one place
    assert theirs["settings"]["steps"] == [4, 0] and ours["settings"]["steps"] == [2, 2]
    for key in ("identity", "prompt"):
        assert ours[key][1] <= ours[key][0] <= ours[key][2] and ours["against_first"][key] is None
        assert theirs["against_first"][key][0] == pytest.approx(theirs[key][0] - ours[key][0], abs=2e-4)
    assert theirs["identity"] != ours["identity"]
    scene = json.loads((out / "TI-m" / "scene-01.json").read_text())
    assert scene["names"] == list(SMALL.scene(1).names) and set(METRICS) <= set(scene)
    for name in ("scatter.png", "grid.png"):
        assert len(np.unique(np.asarray(Image.open(out / name)).reshape(-1, 3), axis=0)) > 50
    assert not list(out.rglob("*.part*"))


def test_comparison_resumes(small_run):
    run, out = small_run
    results = sorted(out.glob("*/*.json"))
    before = {path: (path.stat().st_mtime_ns, json.loads(path.read_text())) for path in results}
    lost = out / "paper" / "scene-01.json"
    lost.unlink()
    printed = run("--method", "paper", "--method", "TI-m")
    assert "identity" in printed and "scene 1 TI-m" in printed
    for path, (mtime, known) in before.items():
        assert (path.stat().st_mtime_ns == mtime) == (path != lost)
        now = json.loads(path.read_text())
        assert {**now, "seconds": None} == {**known, "seconds": None}  # bit for bit


def test_comparison_repeats_trials_with_other_settings(small_run):
    run, out = small_run
    path = out / "TI-m" / "scene-00.json"
    before = path.read_text()
    run("--method", "TI-m", "--scenes", "1", "--share", str(2 * SHARE))
    assert json.loads(path.read_text())["trial"]["settings"]["steps"] == [8, 0] and path.read_text() != before


def test_counts(tiny_folder, tmp_path):
    options = ["--base", str(tiny_folder), "--scenes", "1", "--count", "1", "--count", "2"]
    options += ["--share", "0.04", "--out", str(tmp_path)]
    printed = run_command(counts.measure, *options)
    table = json.loads((tmp_path / "summary.json").read_text())["counts"]
    assert list(table) == ["1", "2"] and "| 2 " in printed
    for count, row in table.items():
        done = json.loads((tmp_path / f"{count}-objects" / "scene-00.json").read_text())
        assert len(done["names"]) == int(count) and row["identity"][0] == done["identity"]
        assert done["pictures"] == 2 * int(count)  # each concept alone in two places


@pytest.mark.parametrize("count", [9, 12, 16])
def test_many_objects_are_tiles_and_these_are_the_groups(count):
    bench = counts.bench_of(count)
    scenes = [bench.scene(index) for index in range(2)]
    sizes = [len(group) for group in groups_of(scenes[0])]
    assert sizes == [len(part) for part in np.array_split(range(count), count_groups(count))]
    assert groups_of(scenes[1]) == tuple(tuple(part) for part in np.array_split(range(count), len(sizes)))
    assert len(set(scenes[0].names + scenes[1].names)) == 2 * count


def test_eight_objects_fit_into_a_photo():
    scene = replace(TUNING, object_counts=(8,)).scene(0)
    assert len(scene.names) == 8 and scene.masks().mean((1, 2)).min() > 0.004


def test_rates_are_searched_and_saved(tiny_folder, tmp_path):
    found = tmp_path / "rates.json"
    found.write_text('{"light": 0.5}')
    options = ["--base", str(tiny_folder), "--method", "TI-m", "--scenes", "1", "--places", "1", "--share", str(SHARE)]
    options += ["--out", str(tmp_path / "trials"), "--rates", str(found)]
    run_command(rates.find, *options)
    now = json.loads(found.read_text())
    tried = {float(path.parent.name): json.loads(path.read_text()) for path in tmp_path.glob("trials/TI-m/*/*.json")}
    score = {times: one["identity"] + one["prompt"] for times, one in tried.items()}
    assert now["light"] == 0.5 and len(tried) >= 3
    assert score[min(score, key=lambda times: abs(times - now["TI-m"]))] == max(score.values())
    assert len({one["trial"]["settings"]["handle_lr"] for one in tried.values()}) == len(tried)


RESULTS = Path(comparison.__file__).with_name("results")
OPTIONS = ["--places", "2", "--largest", "2", "--count", "1"]


@pytest.mark.parametrize(
    ("name", "options"),
    [("comparison", [*OPTIONS, "--share", "0.25"]), ("ablations", [*OPTIONS, "--scenes", "4"])],
)
def test_committed_results_are_read_and_never_computed_again(name, options, tmp_path):
    """They hold the field names of Settings as of November 2026."""
    folder = tmp_path / name
    shutil.copytree(RESULTS / name, folder)
    committed = json.loads((folder / "summary.json").read_text())
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/*")}
    committed["methods"].pop("paper", None)  # measured before its settings followed the public code
    methods = [option for method in committed["methods"] for option in ("--method", method)]
    run_command(comparison.measure, *options, *methods, "--out", str(folder))
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*/*")} == before
    written = json.loads((folder / "summary.json").read_text())
    for method, row in written["methods"].items():
        assert row.pop("settings").keys() == Settings().to_json().keys()
        committed["methods"][method].pop("settings")
    assert {**written, "machine": None} == {**committed, "machine": None}


def test_committed_counts_are_read_and_never_computed_again(tmp_path):
    folder = tmp_path / "counts"
    shutil.copytree(RESULTS / "counts", folder)
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/*")}
    run_command(counts.measure, "--scenes", "2", "--out", str(folder))
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*/*")} == before
    assert json.loads((folder / "summary.json").read_text()) == json.loads(
        (RESULTS / "counts/summary.json").read_text()
    )
