"""The comparison's parts: the fixed scenes, the methods as settings, and a small run through to its table and plot."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import typer
from helpers.models import weights_of
from PIL import Image, ImageColor
from typer.testing import CliRunner

from benchmarks import comparison, counts, rates
from benchmarks.methods import METHODS, settings
from benchmarks.toybench import ASKED, ELSEWHERE, SMALL, TOYBENCH, TUNING
from benchmarks.trials import FIGURES, interval
from breakascene.rendering import plots
from breakascene.toybox.vocabulary import HELD_OUT
from breakascene.training.augment import TrainingData
from breakascene.training.loop import extract, run_extraction
from breakascene.training.settings import preset
from breakascene.training.step import sample_subset_of_image

SHARE = 0.005  # 400 + 400 steps become 2 + 2


def run_command(command, *options: str) -> str:
    app = typer.Typer()
    app.command()(command)
    result = CliRunner().invoke(app, options, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_scenes_are_fixed_and_of_held_out_things():
    scenes = [TOYBENCH.scene(index) for index in range(TOYBENCH.scenes)]
    names = [name for scene in scenes for name in scene.names]
    assert len(scenes) >= 20 and {len(scene.names) for scene in scenes} == {2, 3, 4}
    assert len(set(names)) == len(names) and set(names) <= set(HELD_OUT)
    assert all(scene.masks().mean((1, 2)).min() > 0.02 and scene.masks().sum(0).max() == 1 for scene in scenes)
    assert np.array_equal(SMALL.scene(1).photo, scenes[1].photo) and SMALL.scene(1).names == scenes[1].names
    photos = {scene.photo.tobytes() for scene in scenes}
    assert not any(TUNING.scene(index).photo.tobytes() in photos for index in range(20))
    assert len(ASKED) == 10 and len(ELSEWHERE) > 2 and not set(ASKED) & set(ELSEWHERE)


def test_prompts_are_all_subsets_in_all_places():
    handles = ("<asset0>", "<asset1>", "<asset2>", "<asset3>")
    assert [len(set(TOYBENCH.prompts(handles[:n]))) for n in (2, 3, 4)] == [30, 70, 140]
    assert "a photo of <asset0>, <asset2> and <asset3> at the beach" in TOYBENCH.prompts(handles)
    assert SMALL.prompts(handles[:2])[-1] == "a photo of <asset0> and <asset1> in the snow"


def test_methods_have_one_start_and_one_budget(tiny_base):
    made = {name: settings(name, tiny_base, times=1.0) for name in METHODS}
    groups = {name: method.group for name, method in METHODS.items()}
    for name, group in groups.items():  # an ablation has the budget of `light`, a baseline that of `paper`
        budget = {"ablation": "light", "baseline": "paper"}.get(group)
        assert budget is None or (made[name].total, made[name].train_batch_size) == (
            made[budget].total,
            made[budget].train_batch_size,
        )
    assert all(made[name] == preset(name, tiny_base, init_from_image=True) for name in ("light", "quick", "paper"))
    assert len({(s.init_from_image, s.seed, s.prior_loss_weight, s.num_prior_images) for s in made.values()}) == 1
    assert sum(group == "ablation" for group in groups.values()) == 4
    assert made["start"].total == 0 and len(set(made.values())) == len(made)
    tripled = settings("CD-m", tiny_base, times=3.0)
    assert tripled.weight_lr == pytest.approx(3 * made["CD-m"].weight_lr)
    assert settings("paper", tiny_base, SHARE).steps == (2, 2)


@pytest.mark.parametrize("name", ["TI-m", "DB-m", "CD-m"])
def test_baselines_touch_the_weights_that_are_theirs(tiny_base, scene, name):
    before = weights_of(tiny_base)
    keys_and_values = {key for key in before if key.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))}
    # The VAE is nobody's, the words' table neither.
    everything = {key for key in before if not key.startswith("vae.") and "token_embedding" not in key}
    theirs = {"TI-m": set(), "CD-m": keys_and_values, "DB-m": everything}[name]
    steps = 0
    for event in extract(scene, tiny_base, settings(name, tiny_base, SHARE)):
        now, steps = weights_of(tiny_base), event.step
        moved = {key for key in before if key in now and not (now[key] == before[key]).all()}
        # A last bias of the text encoder may be of no account to the loss, but nearly all have to move.
        assert moved <= theirs and len(moved) >= 0.9 * len(theirs)
    assert steps == 4
    change = run_extraction(scene, tiny_base, settings(name, tiny_base, SHARE)).delta
    assert {key.rpartition(".")[0] for key in change} == theirs


def test_baselines_see_cut_outs_only_half_of_them_mirrored(tiny_base, scene):
    chosen, rng = settings("DB-m", tiny_base), torch.Generator().manual_seed(0)
    assert chosen.flip_compositions and not chosen.masked_loss and chosen.attention_loss_weight == 0
    views = TrainingData.encode(scene, tiny_base, 4)
    assert all(sample_subset_of_image(views, chosen, rng)[0] > 1 for _ in range(50))  # never the photo
    mirrored = 0
    for seed in range(12):
        plain, drawn = (TrainingData.encode(scene, tiny_base, 1, seed, flip=flip).masks[2] for flip in (False, True))
        mirrored += torch.equal(drawn, plain.flip(-1))
        assert torch.equal(drawn, plain) or torch.equal(drawn, plain.flip(-1))
    assert 2 < mirrored < 10


def test_interval_over_scenes():
    few, many = interval([0.2, 0.8, 0.5]), interval([0.2, 0.8, 0.5] * 12)
    assert few[0] == many[0] == 0.5 and few[1] < many[1] < 0.5 < many[2] < few[2]
    assert interval([0.3, None, 0.3]) == (0.3, 0.3, 0.3) and interval([None]) is None
    values = np.random.default_rng(1).normal(0, 1, 400)
    assert interval(values)[2] == pytest.approx(values.mean() + 1.96 / 20, abs=0.02)  # as the normal law has it


@pytest.mark.parametrize("peak", [-2, 0, 1, 2])
def test_search_walks_to_the_best(peak):
    tried = []
    assert rates.search(lambda power: tried.append(power) or -((power - peak) ** 2)) == peak
    assert len(tried) == len(set(tried)) and {peak - 1, peak + 1} <= set(tried)


def test_search_ends_at_the_farthest():
    assert rates.search(lambda power: power) == rates.FARTHEST


def test_scatter_sets_dots_where_they_belong():
    dots = [
        plots.ScatterPoint("low", "a", (0.2, 0.1, 0.3), (0.2, 0.1, 0.3)),
        plots.ScatterPoint("high", "b", (0.8,) * 3, (0.9,) * 3),
    ]
    panel = np.asarray(plots.scatter(dots, "x", "y"))[:, : plots.SQUARE[0]].astype(int)
    middles = []
    for colour in plots.PALETTE[:2]:
        near = np.abs(panel - ImageColor.getrgb(colour)).max(-1) < 40
        middles.append([axis.mean() for axis in np.nonzero(near)])  # y, x
    (low_y, low_x), (high_y, high_x) = middles
    assert low_x < high_x - 200 and low_y > high_y + 200


@pytest.fixture(scope="module")
def small_run(tiny_folder, tmp_path_factory):
    """Two methods on ToyBench's corner, on random weights; returns a way to run it again, and its folder."""
    out = tmp_path_factory.mktemp("comparison")

    def run(*more: str) -> str:
        options = ["--base", str(tiny_folder), "--small", "--places", "1", "--share", str(SHARE), "--out", str(out)]
        return run_command(comparison.measure, *options, *more)

    run("--method", "paper", "--method", "TI-m")
    return run, out


def test_comparison_ends_in_a_table_a_plot_and_a_grid(small_run):
    _, out = small_run
    whole = json.loads((out / "summary.json").read_text())
    assert whole["scenes"] == 2 and list(whole["methods"]) == ["paper", "TI-m"]
    ours, theirs = whole["methods"].values()
    assert ours["pictures"] == theirs["pictures"] == 3 + 6  # subsets of two and of three things, in one place
    assert theirs["settings"]["steps"] == [4, 0] and ours["settings"]["steps"] == [2, 2]
    for key in ("identity", "prompt"):
        assert ours[key][1] <= ours[key][0] <= ours[key][2] and ours["against_first"][key] is None
        assert theirs["against_first"][key][0] == pytest.approx(theirs[key][0] - ours[key][0], abs=2e-4)
    assert theirs["identity"] != ours["identity"]
    scene = json.loads((out / "TI-m" / "scene-01.json").read_text())
    assert scene["names"] == list(SMALL.scene(1).names) and set(FIGURES) <= set(scene)
    for name in ("scatter.png", "grid.png"):
        assert len(np.unique(np.asarray(Image.open(out / name)).reshape(-1, 3), axis=0)) > 50
    assert not list(out.rglob("*.part*"))


def test_comparison_goes_on_where_it_was(small_run):
    run, out = small_run
    results = sorted(out.glob("*/*.json"))
    before = {path: (path.stat().st_mtime_ns, json.loads(path.read_text())) for path in results}
    lost = out / "paper" / "scene-01.json"
    lost.unlink()
    printed = run("--method", "paper", "--method", "TI-m")
    assert "identity" in printed and "scene 1 TI-m" in printed
    for path, (made, known) in before.items():
        assert (path.stat().st_mtime_ns == made) == (path != lost)
        now = json.loads(path.read_text())
        assert {**now, "seconds": None} == {**known, "seconds": None}  # the same again, bit for bit


def test_comparison_does_again_what_was_done_otherwise(small_run):
    run, out = small_run
    path = out / "TI-m" / "scene-00.json"
    before = path.read_text()
    run("--method", "TI-m", "--scenes", "1", "--share", str(2 * SHARE))
    assert json.loads(path.read_text())["trial"]["settings"]["steps"] == [8, 0] and path.read_text() != before


def test_counts_go_through_from_one_thing_to_many(tiny_folder, tmp_path):
    options = ["--base", str(tiny_folder), "--scenes", "1", "--most", "2", "--share", "0.04", "--out", str(tmp_path)]
    printed = run_command(counts.measure, *options)
    table = json.loads((tmp_path / "summary.json").read_text())["counts"]
    assert list(table) == ["1", "2"] and "| 2 " in printed
    for things, row in table.items():
        done = json.loads((tmp_path / f"{things}-things" / "scene-00.json").read_text())
        assert len(done["names"]) == int(things) and row["identity"][0] == done["identity"]
        assert done["pictures"] == 2 * int(things)  # each thing alone in two places


def test_eight_things_fit_into_a_photo():
    scene = replace(TUNING, things=(8,)).scene(0)
    assert len(scene.names) == 8 and scene.masks().mean((1, 2)).min() > 0.004


def test_rates_are_searched_and_written(tiny_folder, tmp_path):
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
