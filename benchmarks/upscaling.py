"""Upscaling by the base against Lanczos interpolation: python -m benchmarks.upscaling RUN… [--json FILE]

Images of each object of the runs in several places, doubled in size. Sharpness is the mean squared gradient of the
lightness, relative to Lanczos. Identity is the judge's similarity of the object with its cut-out. Change is the mean
difference from Lanczos at half the resolution, in gray levels. The seam is the gradient across the borders of the tiles
relative to that beside them, in the difference from Lanczos: 1 is invisible.
"""

import json
from pathlib import Path
from statistics import mean
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from breakascene.data.crop import masked_crop
from breakascene.data.handle_names import BACKGROUND
from breakascene.data.scene import load_scene
from breakascene.evaluation.judges import load_feature_extractor
from breakascene.generation.generate import generate
from breakascene.generation.upscale import FACTOR, Tiles, upscale
from breakascene.models.concepts import Concepts
from breakascene.models.loading import load_base
from breakascene.segmentation.segmenter import Segmenter

PLACES = ("at the beach", "on a wooden table")
STRENGTHS = (0, 0.05, 0.1, 0.2, 0.3, 0.5)


def measure(
    runs: Annotated[list[Path], typer.Argument(help="Run folders of the toybox.")],
    strengths: Annotated[str, typer.Option(help="Separated by commas.")] = ",".join(map(str, STRENGTHS)),
    json_file: Annotated[Path | None, typer.Option("--json", help="File for the figures.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the images.")] = None,
) -> None:
    """Print a row for Lanczos and for each strength: means over the images."""
    base, segmenter, judge = load_base("toybox"), Segmenter.load("toybox"), load_feature_extractor()
    rows: dict[str, list[dict[str, float]]] = {}
    for run in runs:
        concepts, scene = Concepts.load(run), load_scene(run / "scene")
        for handle, mask in zip(scene.handles, scene.masks(), strict=True):
            if handle == BACKGROUND:
                continue
            cutout = judge.encode_images([masked_crop(np.asarray(scene.photo), mask)])[0]
            for generated in generate(base, concepts, [f"a photo of {handle} {place}" for place in PLACES]):
                size = tuple(FACTOR * length for length in generated.image.size)
                plain = generated.image.resize(size, Image.Resampling.LANCZOS)
                results = {"Lanczos": plain}
                for strength in map(float, strengths.split(",")):
                    results[f"strength {strength:g}"] = upscale(base, concepts, generated, strength=strength).image
                # The objects are found in the original, so that all results are judged by the same region
                regions = [
                    np.kron(region, np.ones((FACTOR, FACTOR), bool)) for region in segmenter.auto(generated.image)
                ]
                best = max(regions, key=lambda region: similarity(judge, plain, region, cutout), default=None)
                for name, image in results.items():
                    found = {
                        "sharpness": energy(image) / energy(plain),
                        "identity": similarity(judge, image, best, cutout) if best is not None else 0.0,
                        "change": change(image, plain),
                        "seam": seam(image, plain, Tiles.covering(size, base)) if image is not plain else 1.0,
                    }
                    rows.setdefault(name, []).append(found)
                    if out:
                        out.mkdir(parents=True, exist_ok=True)
                        image.save(
                            out / f"{run.name}-{handle[1:-1]}-{len(rows[name]):02d}-{name.replace(' ', '-')}.png"
                        )
    means = {name: {key: mean(one[key] for one in found) for key in found[0]} for name, found in rows.items()}
    print(f"{len(rows['Lanczos'])} images\n| | sharpness | identity | change | seam |\n|---|---|---|---|---|")
    for name, values in means.items():
        print(f"| {name} | " + " | ".join(f"{value:.3f}" for value in values.values()) + " |")
    if json_file:
        json_file.write_text(json.dumps(means, indent=1) + "\n", encoding="utf-8")


def lightness(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("L"), np.float32)


def energy(image: Image.Image) -> float:
    """Return the mean squared gradient of the lightness."""
    return float(sum((np.diff(lightness(image), axis=axis) ** 2).mean() for axis in (0, 1)))


def change(image: Image.Image, plain: Image.Image) -> float:
    """Return the mean absolute difference of two images at half their resolution."""
    return float(abs(lightness(image.reduce(FACTOR)) - lightness(plain.reduce(FACTOR))).mean())


def seam(image: Image.Image, plain: Image.Image, tiles: Tiles) -> float:
    """Return the gradient across the borders of tiles by that beside them, of the difference from the plain image."""
    difference, ratios = lightness(image) - lightness(plain), []
    for axis in (0, 1):
        gradient = abs(np.diff(difference, axis=1 - axis)).mean(axis)  # across columns, then rows
        edges = {corner[axis] + offset for corner in tiles.corners for offset in (0, tiles.side)}
        on = [edge - 1 for edge in edges if 0 < edge < tiles.size[axis]]
        beside = [edge + FACTOR * step for edge in on for step in (-2, -1, 1, 2)]  # on the same pixels before Lanczos
        ratios.append(gradient[on].mean() / gradient[beside].mean())
    return float(mean(ratios))


def similarity(judge, image: Image.Image, region: np.ndarray, cutout) -> float:
    return float(judge.encode_images([masked_crop(np.asarray(image), region)])[0] @ cutout)


if __name__ == "__main__":
    typer.run(measure)
