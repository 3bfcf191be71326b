"""Calibration of the verdict after an extraction: python -m benchmarks.verdicts collect | calibrate

`collect` extracts scenes of held-out objects with runs of very different quality, generates the images that the studio
compares with the cut-outs, and writes their similarities and contact sheets. A person looks at the sheets and writes a
label for each row to labels.json: 2 looks right, 1 partly, 0 not recognizable. `calibrate` finds the two thresholds
that agree best with the labels, and counts how often scenes left out of the fit are judged as the person did.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

from benchmarks.toybench import Bench
from breakascene.data.scene import Scene, cutout, load_scene
from breakascene.evaluation.judges import load_feature_extractor
from breakascene.evaluation.verdict import (
    MIN_FAMILIARITY,
    MIN_PARTLY,
    MIN_RIGHT,
    PARTLY,
    RIGHT,
    UNRECOGNIZABLE,
    comparison_images,
    familiarity,
    level,
    similarities,
)
from breakascene.files import atomic_file
from breakascene.models.loading import load_base
from breakascene.paths import SAMPLES
from breakascene.rendering.sheets import contact_sheet
from breakascene.segmentation.segmenter import Segmenter
from breakascene.toybox.judge import load_judge
from breakascene.training.loop import run_extraction
from breakascene.training.settings import preset

app = typer.Typer(add_completion=False)

RESULTS = Path(__file__).parent / "results" / "verdicts"
SCENES = Bench(
    seed=2211, scenes=6, object_counts=(2, 3)
)  # neither those of the benchmark nor those that chose the settings
RUNS = {  # name: preset, steps, scenes
    "handles-only": ("quick", (3, 0), 6),
    "early": ("quick", (4, 8), 6),
    "quick": ("quick", None, 6),
    "light": ("light", None, 3),
}
LEVELS = (UNRECOGNIZABLE, PARTLY, RIGHT)  # of the labels 0, 1 and 2


@app.command()
def collect(
    photos: Annotated[list[Path], typer.Option(help="Scene folders with real photos, extracted too.")] = (),
    only: Annotated[str, typer.Option(help="One run of RUNS.")] = "",
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = RESULTS,
) -> None:
    """Extract, generate and compare; what is already there is kept."""
    base, extractor = load_base("toybox"), load_feature_extractor("toybox")
    segmenter = Segmenter.load("toybox")
    for run, (name, steps, count) in RUNS.items():
        if only not in ("", run):
            continue
        scenes = {f"{index:02d}": SCENES.scene(index) for index in range(count)}
        if steps is None:
            scenes |= {folder.name: load_scene(folder) for folder in photos}
        for key, scene in scenes.items():
            path = out / f"{run}-{key}.json"
            if path.is_file():
                continue
            changes = {} if steps is None else {"steps": steps}
            concepts = run_extraction(scene, base, preset(name, base, **changes))
            images = comparison_images(base, concepts)
            rows = {
                handle: [[round(value, 4) for value in pair] for pair in pairs]
                for handle, pairs in similarities(scene, images, extractor, segmenter).items()
            }
            out.mkdir(parents=True, exist_ok=True)
            with atomic_file(path.with_suffix(".webp")) as draft:
                sheet(scene, images).save(draft, "WEBP", quality=80)
            with atomic_file(path) as draft:
                draft.write_text(json.dumps({"names": scene.names, "similarities": rows}, indent=1) + "\n")
            print(path.stem, rows, flush=True)


def sheet(scene: Scene, images: dict[str, list[Image.Image]]) -> Image.Image:
    """A row for each object: its cut-out, then its images."""
    tiles, captions = [], []
    for i, handle in enumerate(images):
        white = Image.new("RGB", cutout(scene, i).size, "white")
        white.paste(cutout(scene, i), mask=cutout(scene, i))
        size = images[handle][0].size
        tiles += [white.resize(size), *images[handle]]
        captions += [f"{handle} {scene.names[i]}"] + [""] * len(images[handle])
    return contact_sheet(tiles, captions, columns=1 + len(next(iter(images.values()))))


@app.command()
def calibrate(
    photos: Annotated[list[Path], typer.Option(help="Scene folders with real photos.")] = (),
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = RESULTS,
) -> None:
    """Print the thresholds that agree best with the labels, and how familiar photos are; write both to summary.json."""
    labels = json.loads((out / "labels.json").read_text())
    rows, real = [], []  # (scene, label, measured), of the toybox's scenes and of real photos
    for key, own in labels.items():
        found = json.loads((out / f"{key}.json").read_text())["similarities"].values()
        scene = key.rsplit("-", 1)[1]
        (rows if scene.isdigit() else real).extend((scene, *pair) for pair in zip(own, found, strict=True))
    held_out = [
        (label, judged(measured, fit([row for row in rows if row[0] != scene])))
        for scene in {scene for scene, *_ in rows}
        for own, label, measured in rows
        if own == scene
    ]
    in_use = [(label, LEVELS.index(level(measured))) for _, label, measured in rows]
    judge, sampled = load_judge("cpu"), sorted(path.parent for path in SAMPLES.glob("*/img.*"))
    own = [familiarity(scene, judge) for scene in (*map(load_scene, sampled), *map(SCENES.scene, range(6)))]
    summary = {
        "fitted": fit(rows),
        "held_out": agreement(held_out),
        "in_use": {"thresholds": [MIN_PARTLY, MIN_RIGHT], **agreement(in_use)},
        "real_photos": agreement([(label, LEVELS.index(level(measured, False))) for _, label, measured in real]),
        "familiarity": {
            "threshold": MIN_FAMILIARITY,
            "toybox": [round(min(own), 3), round(max(own), 3)],
            "photos": {folder.name: round(familiarity(load_scene(folder), judge), 3) for folder in photos},
        },
    }
    with atomic_file(out / "summary.json") as draft:
        draft.write_text(json.dumps(summary, indent=1) + "\n")
    print(json.dumps(summary, indent=1))


def agreement(pairs: Sequence[tuple[int, int]]) -> dict:
    """How often (label, level) agree, and the counts of levels (columns) for each label (rows)."""
    numbers = range(len(LEVELS))
    return {
        "objects": len(pairs),
        "agree": round(sum(label == found for label, found in pairs) / len(pairs), 3),
        "two_levels_apart": sum(bool(abs(label - found) == 2) for label, found in pairs),
        "confusion": [[pairs.count((label, found)) for found in numbers] for label in numbers],
    }


def fit(rows: Sequence[tuple]) -> tuple[float, float]:
    """Return the thresholds, in steps of 0.01, with the smallest sum of squared differences from the labels.

    A verdict that is better than the label counts twice: unfounded praise costs trust.
    """
    grid = [value / 100 for value in range(30, 100)]
    pairs = [(low, high) for low in grid for high in grid if low < high]

    def cost(pair: tuple[float, float]) -> float:
        differences = [judged(measured, pair) - label for _, label, measured in rows]
        return sum(difference**2 * (2 if difference > 0 else 1) for difference in differences)

    costs = {pair: cost(pair) for pair in pairs}
    best = [pair for pair in pairs if costs[pair] == min(costs.values())]
    return best[len(best) // 2]  # in the middle of those that agree equally well


def judged(measured: Sequence, thresholds: tuple[float, float]) -> int:
    worst = min(similarity for similarity, _ in measured)
    return sum(bool(worst >= threshold) for threshold in thresholds)


if __name__ == "__main__":
    app()
