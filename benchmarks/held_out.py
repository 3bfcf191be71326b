"""Identity and place on things that the toybox has never seen: python -m benchmarks.held_out [--scenes 10]

Each scene shows two held-out things. Every handle is drawn in several places; the judge says which of all 310 things a
picture shows and which of all places. The same is asked of the base without extraction, with the things' names.
"""

import ast
import json
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from breakascene.data.scene import Scene, make_scene
from breakascene.generation.generate import generate
from breakascene.models.loading import load_base
from breakascene.rendering import plots
from breakascene.segmentation.segmenter import Segmenter
from breakascene.toybox.judge import load_judge
from breakascene.toybox.pretraining.report import recognized
from breakascene.toybox.pretraining.world import draw_scene
from breakascene.toybox.vocabulary import HELD_OUT, PLACES, join, thing_words
from breakascene.training.loop import run_extraction
from breakascene.training.settings import preset

ASKED = ("at the beach", "in the snow", "on a wooden table", "under the night sky")


def scenes(count: int, seed: int) -> list[Scene]:
    """Scenes of two held-out things in a place that is not asked for later."""
    elsewhere = [place for place in PLACES if place not in ASKED]
    found = []
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        names = tuple(str(name) for name in rng.choice(HELD_OUT, 2, replace=False))
        drawn = draw_scene(rng, 256, names, str(rng.choice(elsewhere)))
        found.append(make_scene(Image.fromarray(drawn.pixels), list(drawn.masks), list(names)))
    return found


def measure(
    count: Annotated[int, typer.Option("--scenes")] = 10,
    name: Annotated[str, typer.Option("--preset")] = "light",
    change: Annotated[list[str], typer.Option("--set", help="A field of Settings, as field=value.")] = (),
    seed: int = 7,
    guidance: float | None = None,
    json_file: Annotated[Path | None, typer.Option("--json")] = None,
    sheet_file: Annotated[Path | None, typer.Option("--sheet", help="Where a sheet of the pictures goes.")] = None,
) -> None:
    """Print the share of right things and places, with extraction and without."""
    base, judge, finder = load_base("toybox"), load_judge(), Segmenter.load("toybox")
    changes = {key: ast.literal_eval(value) for key, value in (item.split("=", 1) for item in change)}
    settings = preset(name, base, **changes)
    shown, texts, rows = [], [], []
    for scene in scenes(count, seed):
        started = time.perf_counter()
        concepts = run_extraction(scene, base, settings)
        spent = time.perf_counter() - started
        row = {"names": scene.names, "seconds": round(spent, 1)}
        both = f"a photo of {join(scene.handles)} {ASKED[0]}"
        for kind, known, words in (("with", concepts, scene.handles), ("without", None, map(thing_words, scene.names))):
            asked = [(name, word, place) for name, word in zip(scene.names, words, strict=True) for place in ASKED]
            prompts = [f"a photo of {word} {place}" for _, word, place in asked]
            images = [p.image for p in generate(base, known, prompts, seed=seed, guidance_scale=guidance)]
            found = [recognized(judge, finder, image) for image in images]
            row[kind] = [asked_name in names for (asked_name, _, _), names in zip(asked, found, strict=True)]
            seen = judge.place([np.asarray(image) for image in images])
            row[f"place_{kind}"] = [place == answer for (_, _, place), answer in zip(asked, seen, strict=True)]
            if known:
                together = next(iter(generate(base, known, [both], seed=seed, guidance_scale=guidance))).image
                row["both"] = set(scene.names) <= recognized(judge, finder, together)
                shown += [scene.photo.resize((base.image_size,) * 2), *images, together]
                texts += [join(scene.names), *(f"{name} {place}" for name, _, place in asked), "both at the beach"]
        rows.append(row)
        print(f"{join(scene.names)}: {sum(row['with'])} of {len(row['with'])} right, {spent:.0f} s", flush=True)
    figures = {
        "right_thing": float(np.mean([row["with"] for row in rows])),
        "right_place": float(np.mean([row["place_with"] for row in rows])),
        "both_right": float(np.mean([row["both"] for row in rows])),
        "right_thing_without_extraction": float(np.mean([row["without"] for row in rows])),
        "right_place_without_extraction": float(np.mean([row["place_without"] for row in rows])),
        "seconds_of_extraction": float(np.mean([row["seconds"] for row in rows])),
    }
    for key, value in figures.items():
        print(f"{key:32} {value:.3f}")
    if json_file:
        json_file.write_text(json.dumps({"settings": settings.to_json(), **figures, "scenes": rows}, indent=2) + "\n")
    if sheet_file:
        plots.contact_sheet(shown, texts, columns=2 + 2 * len(ASKED), side=192).save(sheet_file)


if __name__ == "__main__":
    typer.run(measure)
