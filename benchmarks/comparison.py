"""The paper's comparison (section 4.2, figure 5) on ToyBench: python -m benchmarks.comparison --out runs/comparison

Every method on every scene. Each result is kept in the folder, so that a run that was stopped goes on where it was; on
several cores let runs of different methods fill one folder, then run all for the table. summary.json, scatter.png and
grid.png show the scenes done so far.
"""

import json
import platform
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from PIL import Image

from benchmarks.methods import METHODS, settings
from benchmarks.toybench import SMALL, TOYBENCH, Bench
from benchmarks.trials import FIGURES, Lab, interval, picture, print_table, trial
from breakascene.files import atomic_file
from breakascene.models.handles import handle_of
from breakascene.rendering import plots
from breakascene.training.settings import Settings

SHOWN_SCENES = 4  # in the grid, two pictures each
SIDE = 128  # of a picture in the grid


def shown_prompts(bench: Bench) -> list[str]:
    """What the grid shows of a scene: the first thing in the first place, and two in the last."""
    asked = bench.prompts([handle_of(0), handle_of(1)])
    return [asked[0], asked[-1]]


def place_of(out: Path, name: str, index: int) -> Path:
    """The file of a result."""
    return out / name.replace(" ", "-") / f"scene-{index:02d}.json"


def compare(found: dict[str, list[dict]], chosen: dict[str, Settings]) -> dict:
    """The table: for each method its figures as (mean, low, high) over scenes, and its differences to the first."""
    table, (reference, *others) = {}, found
    for name, trials in found.items():
        pairs = list(zip(trials, found[reference], strict=True)) if name in others else []
        table[name] = {
            "group": METHODS[name].group,
            **{key: interval([one[key] for one in trials]) for key in FIGURES},
            # Of the same scenes, so that what makes a scene hard falls out.
            "against_first": {
                key: interval([one[key] - other[key] for one, other in pairs if None not in (one[key], other[key])])
                for key in FIGURES
            },
            "pictures": sum(one["pictures"] for one in trials),
            "seconds_of_extraction": interval([one["seconds"][0] for one in trials])[0],
            "settings": chosen[name].to_json(),
        }
    return table


def grid(out: Path, bench: Bench, found: dict[str, list[dict]]) -> Image.Image:
    """Photos with their masks above, below them a row of pictures for each method."""
    scenes = range(min(SHOWN_SCENES, len(next(iter(found.values())))))
    pictures, captions = [], []
    for index in scenes:
        scene = bench.scene(index)
        pictures += [scene.photo, plots.overlay(scene.photo, scene.masks())]
        below = f"below: {scene.names[0]} {bench.places[0]}, two things {bench.places[-1]}"
        captions += [", ".join(scene.names), below]
    for name in found:
        for index in scenes:
            pictures += [Image.open(picture(place_of(out, name, index), number)) for number in (0, 1)]
            captions += [name, ""]
    return plots.contact_sheet(pictures, captions, columns=2 * len(scenes), side=SIDE)


def write(out: Path, bench: Bench, found: dict[str, list[dict]], chosen: dict[str, Settings]) -> dict:
    """Write the summary, the scatter plot and the grid of the scenes done; returns the table."""
    table = compare(found, chosen)
    whole = {
        "scenes": len(next(iter(found.values()))),
        "bench": asdict(bench),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "methods": table,
    }
    with atomic_file(out / "summary.json") as draft:
        draft.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    dots = [plots.ScatterPoint(name, row["group"], row["prompt"], row["identity"]) for name, row in table.items()]
    with atomic_file(out / "scatter.png") as draft:
        plots.scatter(dots, "prompt similarity", "identity similarity").save(draft)
    with atomic_file(out / "grid.png") as draft:
        grid(out, bench, found).save(draft)
    return table


def measure(
    out: Annotated[Path, typer.Option(help="The folder that is filled.")],
    base_name: Annotated[str, typer.Option("--base")] = "toybox",
    method: Annotated[list[str], typer.Option(help="A method of benchmarks/methods.py; all by default.")] = (),
    small: Annotated[bool, typer.Option("--small", help="Begin from two scenes and few prompts.")] = False,
    scenes: Annotated[int | None, typer.Option(help="How many, from the first.")] = None,
    places: Annotated[int | None, typer.Option(help="How many, from the first.")] = None,
    largest: Annotated[int | None, typer.Option(help="Handles in a prompt, at most.")] = None,
    count: Annotated[int | None, typer.Option(help="Pictures of each prompt.")] = None,
    share: Annotated[float, typer.Option(help="Of the steps of `paper` and its like.")] = 1.0,
) -> None:
    """Run what is not done yet and print the table."""
    bench = SMALL if small else TOYBENCH
    given = {"scenes": scenes, "largest": largest, "count": count, "places": places and bench.places[:places]}
    bench = replace(bench, **{key: value for key, value in given.items() if value is not None})
    lab, names = Lab.of(base_name), list(method or METHODS)
    chosen = {name: settings(name, lab.base, share) for name in names}
    found = {name: [] for name in names}
    for index in range(bench.scenes):  # scene by scene, so that what is done so far can be compared
        shown = shown_prompts(bench) if index < SHOWN_SCENES else ()
        for name in names:
            done = trial(lab, bench, index, chosen[name], place_of(out, name, index), shown)
            found[name].append(done)
            line = f"identity {done['identity']:.3f}, prompt {done['prompt']:.3f}, {sum(done['seconds']):.0f} s"
            print(f"scene {index} {name}: {line}", flush=True)
        table = write(out, bench, found, chosen)
    print_table("method", table)


if __name__ == "__main__":
    typer.run(measure)
