"""The paper's comparison and ablations (section 4.1, appendix B.2) on ToyBench.

    python -m benchmarks.comparison --out runs/comparison

Runs every method on every scene. Results are kept in the folder, so an interrupted run resumes. On several cores,
processes with different methods may share the folder; run all methods once more for the table. summary.json,
scatter.png and grid.png cover the scenes done so far.
"""

import json
import platform
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from PIL import Image

from benchmarks.methods import METHODS, method_settings
from benchmarks.toybench import SMALL, TOYBENCH, Bench
from benchmarks.trials import METRICS, TestBed, image_file, interval, print_table, run_trial
from breakascene.data.handle_names import handle_of
from breakascene.files import atomic_file
from breakascene.rendering.overlay import overlay
from breakascene.rendering.scatter import ScatterPoint, scatter
from breakascene.rendering.sheets import contact_sheet
from breakascene.training.settings import Settings

GRID_SCENES = 4  # in grid.png, with two images for each method
GRID_SIDE = 128  # pixels of an image in grid.png


def grid_prompts(bench: Bench) -> list[str]:
    """Return the two prompts of grid.png: the first concept in the first place, two concepts in the last."""
    prompts = bench.prompts([handle_of(0), handle_of(1)])
    return [prompts[0], prompts[-1]]


def result_file(out: Path, method: str, index: int) -> Path:
    """Return the file of the result of a method on a scene."""
    return out / method.replace(" ", "-") / f"scene-{index:02d}.json"


def compare(results: dict[str, list[dict]], settings: dict[str, Settings]) -> dict:
    """Return the table.

    Args:
        results: Results of each method, scene by scene; the first method is the reference.
        settings: Settings of each method.

    Returns:
        {method: METRICS as (mean, low, high) over scenes, "against_first" (differences to the reference), "group",
        "pictures", "seconds_of_extraction", "settings"}.
    """
    table, (reference, *others) = {}, results
    for name, trials in results.items():
        pairs = list(zip(trials, results[reference], strict=True)) if name in others else []
        table[name] = {
            "group": METHODS[name].group,
            **{key: interval([trial[key] for trial in trials]) for key in METRICS},
            # Paired by scene, so that differences between scenes cancel.
            "against_first": {
                key: interval([one[key] - other[key] for one, other in pairs if None not in (one[key], other[key])])
                for key in METRICS
            },
            "pictures": sum(trial["pictures"] for trial in trials),
            "seconds_of_extraction": interval([trial["seconds"][0] for trial in trials])[0],
            "settings": settings[name].to_json(),
        }
    return table


def grid(out: Path, bench: Bench, results: dict[str, list[dict]]) -> Image.Image:
    """Return a contact sheet: photos and masks in the first row, then a row of images for each method."""
    scenes = range(min(GRID_SCENES, len(next(iter(results.values())))))
    images, captions = [], []
    for index in scenes:
        scene = bench.scene(index)
        images += [scene.photo, overlay(scene.photo, scene.masks())]
        below = f"below: {scene.names[0]} {bench.places[0]}, two objects {bench.places[-1]}"
        captions += [", ".join(scene.names), below]
    for name in results:
        for index in scenes:
            images += [Image.open(image_file(result_file(out, name, index), number)) for number in (0, 1)]
            captions += [name, ""]
    return contact_sheet(images, captions, columns=2 * len(scenes), side=GRID_SIDE)


def write(out: Path, bench: Bench, results: dict[str, list[dict]], settings: dict[str, Settings]) -> dict:
    """Write summary.json, scatter.png and grid.png of the scenes done so far; return the table."""
    table = compare(results, settings)
    summary = {
        "scenes": len(next(iter(results.values()))),
        "bench": asdict(bench),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "methods": table,
    }
    with atomic_file(out / "summary.json") as draft:
        draft.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    points = [ScatterPoint(name, row["group"], row["prompt"], row["identity"]) for name, row in table.items()]
    with atomic_file(out / "scatter.png") as draft:
        scatter(points, "prompt similarity", "identity similarity").save(draft)
    with atomic_file(out / "grid.png") as draft:
        grid(out, bench, results).save(draft)
    return table


def measure(
    out: Annotated[Path, typer.Option(help="Folder of the results.")],
    base_name: Annotated[str, typer.Option("--base", help="The base model.")] = "toybox",
    method: Annotated[list[str], typer.Option(help="A method of benchmarks/methods.py; default: all.")] = (),
    small: Annotated[bool, typer.Option("--small", help="Two scenes and few prompts.")] = False,
    scenes: Annotated[int | None, typer.Option(help="Number of scenes, from the first.")] = None,
    places: Annotated[int | None, typer.Option(help="Number of places, from the first.")] = None,
    largest: Annotated[int | None, typer.Option(help="Most handles in a prompt.")] = None,
    count: Annotated[int | None, typer.Option(help="Images for each prompt.")] = None,
    share: Annotated[float, typer.Option(help="Share of the steps of `paper` and the baselines.")] = 1.0,
) -> None:
    """Run the trials that are missing and print the table."""
    bench = SMALL if small else TOYBENCH
    given = {"scenes": scenes, "largest": largest, "count": count, "places": places and bench.places[:places]}
    bench = replace(bench, **{key: value for key, value in given.items() if value is not None})
    test_bed, names = TestBed.load(base_name), list(method or METHODS)
    settings = {name: method_settings(name, test_bed.base, share) for name in names}
    results = {name: [] for name in names}
    for index in range(bench.scenes):  # scene by scene, so that all methods can be compared at any time
        saved_prompts = grid_prompts(bench) if index < GRID_SCENES else ()
        for name in names:
            file = result_file(out, name, index)
            result = run_trial(test_bed, bench, index, settings[name], file, saved_prompts)
            results[name].append(result)
            metrics = f"identity {result['identity']:.3f}, prompt {result['prompt']:.3f}"
            print(f"scene {index} {name}: {metrics}, {sum(result['seconds']):.0f} s", flush=True)
        table = write(out, bench, results, settings)
    print_table("method", table)


if __name__ == "__main__":
    typer.run(measure)
