"""Recognition of held-out objects after extraction: python -m benchmarks.held_out [--scenes 10]

Each scene has two objects that the toybox's generator has never seen. Each handle is placed in several places; the
judge classifies objects (out of 310) and places. The same prompts with the objects' names are given to the base
without extraction.
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
from breakascene.rendering.sheets import contact_sheet
from breakascene.segmentation.segmenter import Segmenter
from breakascene.toybox.judge import load_judge
from breakascene.toybox.pretraining.report import recognized_objects
from breakascene.toybox.pretraining.world import render_scene
from breakascene.toybox.vocabulary import HELD_OUT, PLACES, join, with_article
from breakascene.training.loop import run_extraction
from breakascene.training.settings import preset

PROMPT_PLACES = ("at the beach", "in the snow", "on a wooden table", "under the night sky")


def scenes(count: int, seed: int) -> list[Scene]:
    """Return scenes of two held-out objects, in places that no prompt names."""
    photo_places = [place for place in PLACES if place not in PROMPT_PLACES]
    result = []
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        names = tuple(str(name) for name in rng.choice(HELD_OUT, 2, replace=False))
        rendered = render_scene(rng, 256, names, str(rng.choice(photo_places)))
        result.append(make_scene(Image.fromarray(rendered.pixels), list(rendered.masks), list(names)))
    return result


def measure(
    count: Annotated[int, typer.Option("--scenes", help="Number of scenes.")] = 10,
    name: Annotated[str, typer.Option("--preset", help="The preset.")] = "light",
    change: Annotated[list[str], typer.Option("--set", help="A field of Settings, as field=value.")] = (),
    seed: Annotated[int, typer.Option(help="Seed of scenes and images.")] = 7,
    guidance: Annotated[float | None, typer.Option(help="Guidance scale; default: the base's own.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="File for the metrics.")] = None,
    sheet_file: Annotated[Path | None, typer.Option("--sheet", help="File for a contact sheet.")] = None,
) -> None:
    """Print the shares of recognized objects and places, with and without extraction."""
    base, judge, segmenter = load_base("toybox"), load_judge(), Segmenter.load("toybox")
    changes = {key: ast.literal_eval(value) for key, value in (item.split("=", 1) for item in change)}
    settings = preset(name, base, **changes)
    sheet_images, captions, rows = [], [], []
    for scene in scenes(count, seed):
        start = time.perf_counter()
        concepts = run_extraction(scene, base, settings)
        seconds = time.perf_counter() - start
        row = {"names": scene.names, "seconds": round(seconds, 1)}
        joint_prompt = f"a photo of {join(scene.handles)} {PROMPT_PLACES[0]}"
        phrases = {"with": scene.handles, "without": [with_article(name) for name in scene.names]}
        for kind, known in (("with", concepts), ("without", None)):
            targets = [
                (name, phrase, place)
                for name, phrase in zip(scene.names, phrases[kind], strict=True)
                for place in PROMPT_PLACES
            ]
            prompts = [f"a photo of {phrase} {place}" for _, phrase, place in targets]
            images = [g.image for g in generate(base, known, prompts, seed=seed, guidance_scale=guidance)]
            found = [recognized_objects(judge, segmenter, image) for image in images]
            row[kind] = [name in names for (name, _, _), names in zip(targets, found, strict=True)]
            places = judge.classify_places([np.asarray(image) for image in images])
            row[f"place_{kind}"] = [place == answer for (_, _, place), answer in zip(targets, places, strict=True)]
            if known:
                together = next(iter(generate(base, known, [joint_prompt], seed=seed, guidance_scale=guidance))).image
                row["both"] = set(scene.names) <= recognized_objects(judge, segmenter, together)
                sheet_images += [scene.photo.resize((base.image_size,) * 2), *images, together]
                captions += [join(scene.names), *(f"{name} {place}" for name, _, place in targets), "both at the beach"]
        rows.append(row)
        print(f"{join(scene.names)}: {sum(row['with'])} of {len(row['with'])} right, {seconds:.0f} s", flush=True)
    metrics = {
        "right_thing": float(np.mean([row["with"] for row in rows])),
        "right_place": float(np.mean([row["place_with"] for row in rows])),
        "both_right": float(np.mean([row["both"] for row in rows])),
        "right_thing_without_extraction": float(np.mean([row["without"] for row in rows])),
        "right_place_without_extraction": float(np.mean([row["place_without"] for row in rows])),
        "seconds_of_extraction": float(np.mean([row["seconds"] for row in rows])),
    }
    for key, value in metrics.items():
        print(f"{key:32} {value:.3f}")
    if json_file:
        json_file.write_text(json.dumps({"settings": settings.to_json(), **metrics, "scenes": rows}, indent=2) + "\n")
    if sheet_file:
        contact_sheet(sheet_images, captions, columns=2 + 2 * len(PROMPT_PLACES), side=192).save(sheet_file)


if __name__ == "__main__":
    typer.run(measure)
