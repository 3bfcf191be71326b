"""Spread of the toybox's images over seeds: python -m benchmarks.variety [--run RUN] [--seeds 8]

Images of one prompt from several seeds: standard deviations of the object's position, of its size and of the image's
lightness, for several guidance scales and numbers of steps, with the base's own object and with a handle. For
comparison, the same of rendered scenes: in the fixed layout of the base's training images, and in a free one.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from breakascene.evaluation.metrics import MAX_REGION_AREA, MIN_REGION_AREA
from breakascene.generation.generate import generate
from breakascene.models.concepts import Concepts
from breakascene.models.loading import load_base
from breakascene.segmentation.segmenter import Segmenter
from breakascene.toybox.pretraining.world import render_scene

NAME, PLACE = "fox", "at the beach"
GENERATION = {  # name: options of generate
    "default": {},
    "guidance 1": {"guidance_scale": 1.0},
    "guidance 4": {"guidance_scale": 4.0},
    "50 steps": {"num_inference_steps": 50},
}


def measure(
    run: Annotated[Path | None, typer.Option(help="A run folder: the spread of its first handle too.")] = None,
    seeds: Annotated[int, typer.Option(help="Images of each kind.")] = 8,
    json_file: Annotated[Path | None, typer.Option("--json", help="File for the figures.")] = None,
) -> None:
    """Print the spread of each kind of images."""
    base, segmenter = load_base("toybox"), Segmenter.load("toybox")
    rows = {}
    for layout, fixed in (("rendered, fixed layout", True), ("rendered, free layout", False)):
        scenes = [
            render_scene(np.random.default_rng(i), base.image_size, [NAME], PLACE, fixed_layout=fixed)
            for i in range(seeds)
        ]
        rows[layout] = spread([Image.fromarray(scene.pixels) for scene in scenes], [scene.masks[0] for scene in scenes])
    kinds = {f"a {NAME}": None}
    if run:
        concepts = Concepts.load(run)
        kinds[concepts.handles[0]] = concepts
    for phrase, concepts in kinds.items():
        for name, options in GENERATION.items():
            prompt = f"a photo of {phrase} {PLACE}"
            images = [image.image for image in generate(base, concepts, [prompt], count=seeds, **options)]
            rows[f"{phrase}, {name}"] = spread(images, [largest(segmenter, image) for image in images])
    print("| images | position | size | lightness |\n|---|---|---|---|")
    for name, values in rows.items():
        print(f"| {name} | " + " | ".join(f"{value:.3f}" for value in values) + " |")
    if json_file:
        json_file.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def largest(segmenter: Segmenter, image: Image.Image) -> np.ndarray | None:
    """Return the mask of the largest object in an image."""
    masks = [mask for mask in segmenter.auto(image) if MIN_REGION_AREA < mask.mean() < MAX_REGION_AREA]
    return max(masks, key=np.sum) if masks else None


def spread(images: Sequence[Image.Image], masks: Sequence[np.ndarray | None]) -> tuple[float, float, float]:
    """Return standard deviations: of the object's center and of its size, in shares of the side, and of the lightness.

    Args:
        images: From different seeds.
        masks: Of the object in each, (H, W) bool.
    """
    found = [mask for mask in masks if mask is not None]
    centers = np.array([np.argwhere(mask).mean(0) / mask.shape for mask in found])  # (N, 2)
    sizes = [mask.mean() ** 0.5 for mask in found]
    lightness = [np.asarray(image.convert("L")).mean() / 255 for image in images]
    return float(np.hypot(*centers.std(0))), float(np.std(sizes)), float(np.std(lightness))


if __name__ == "__main__":
    typer.run(measure)
