"""Objects in boxes: python -m benchmarks.layout --runs runs/apart --out runs/layout

Scenes of ToyBench, extracted alone. Images of two objects of a scene are generated from the same prompts and seeds
without a layout and with a random one: boxes anywhere in the image that do not overlap, in the order of the prompt from
left to right, with the longer side from 0.3 to 0.45. An object counts as found in its box if one of the segmenter's
regions that the judge takes for it has a bounding box with an IoU of at least 0.5. Extracted runs and scores are kept,
so an interrupted measurement resumes.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image, ImageDraw

from benchmarks.apart import PLACES, extracted, pairs_of
from benchmarks.toybench import TOYBENCH
from breakascene.data.crop import masked_crop
from breakascene.data.scene import cutout
from breakascene.evaluation.metrics import MAX_REGION_AREA, MIN_REGION_AREA
from breakascene.files import atomic_file
from breakascene.generation.generate import generate
from breakascene.generation.layout import STRENGTH, Layout, Placement, start_layout
from breakascene.models.loading import load_base
from breakascene.rendering.sheets import contact_sheet
from breakascene.segmentation.segmenter import Segmenter
from breakascene.toybox.judge import IMAGE_SIZE, Judge, load_judge

Box = tuple[float, float, float, float]
MIN_IOU = 0.5
SIDES = (0.3, 0.45)  # of the longer side of a box, in shares of the image


def iou(one: Box, other: Box) -> float:
    """Intersection over union of two boxes."""
    width = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    height = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (one, other)]
    return width * height / (sum(areas) - width * height)


def random_layout(cutouts: Mapping[str, Image.Image], strength: float, rng: np.random.Generator) -> Layout:
    """Return a layout of two objects with boxes in the proportions of their cut-outs, mirrored half of the time."""
    while True:
        placements = []
        for handle, image in cutouts.items():
            scale = rng.uniform(*SIDES) / max(image.size)
            width, height = image.width * scale, image.height * scale
            x, y = rng.uniform(0, 1 - width), rng.uniform(0, 1 - height)
            placements.append(Placement(handle, (x, y, x + width, y + height), bool(rng.integers(2))))
        left, right = (placement.box for placement in placements)
        if iou(left, right) == 0 and left[0] + left[2] <= right[0] + right[2]:
            return Layout(tuple(placements), strength)


def found_objects(image: Image.Image, segmenter: Segmenter, judge: Judge) -> list[tuple[str, Box]]:
    """Return the name and the bounding box in 0..1 of each object that is found in an image."""
    pixels = np.asarray(image)
    masks = [mask for mask in segmenter.auto(image) if MIN_REGION_AREA < mask.mean() < MAX_REGION_AREA]
    if not masks:
        return []
    names = judge.classify_objects(
        [np.asarray(masked_crop(pixels, mask).resize((IMAGE_SIZE, IMAGE_SIZE))) for mask in masks]
    )
    boxes = []
    for mask in masks:
        ys, xs = np.nonzero(mask)
        height, width = mask.shape
        boxes.append((xs.min() / width, ys.min() / height, (xs.max() + 1) / width, (ys.max() + 1) / height))
    return list(zip(names, [tuple(map(float, box)) for box in boxes], strict=True))


def score(found: Sequence[tuple[str, Box]], names: Mapping[str, str], layout: Layout | None) -> dict:
    """Whether both objects are found, and with a layout for each whether it is in its box."""
    known = [name for name, _ in found]
    values: dict = {"both": all(name in known for name in names.values())}
    if layout:
        values["in box"] = [
            any(name == names[placement.handle] and iou(box, placement.box) >= MIN_IOU for name, box in found)
            for placement in layout.placements
        ]
    return values


def measure(
    out: Annotated[Path, typer.Option(help="Folder of the results.")],
    runs: Annotated[Path, typer.Option(help="Folder of the extracted runs, as that of benchmarks.apart.")],
    scenes: Annotated[int, typer.Option(help="Number of scenes.")] = 6,
    most: Annotated[int, typer.Option(help="Pairs of objects of each scene.")] = 3,
    strength: Annotated[float, typer.Option(help="Strength of the layouts.")] = STRENGTH,
    name: Annotated[str, typer.Option("--preset", help="The preset of the extractions.")] = "light",
) -> None:
    """Measure what is missing, and print a Markdown table."""
    base, judge, segmenter = load_base("toybox"), load_judge(), Segmenter.load("toybox")
    size = (base.image_size, base.image_size)
    rows: dict[str, list[dict]] = {"without a layout": [], "with a layout": []}
    images, captions = [], []
    for index in range(scenes):
        run, scene = extracted(base, runs, index, name), TOYBENCH.scene(index)
        for number, pair in enumerate(pairs_of(run.handles, run.handles, most, index)):
            names = {handle: run.names[run.handles.index(handle)] for handle in pair}
            place = PLACES[(index + number) % len(PLACES)]
            prompt = f"a photo of {pair[0]} and {pair[1]} {place}"
            cutouts = {handle: cutout(scene, run.handles.index(handle)) for handle in pair}
            layout = random_layout(cutouts, strength, np.random.default_rng([index, number]))
            for kind, used in zip(rows, (None, layout), strict=True):
                file = out / f"{index}-{number}-{kind.split()[0]}{strength if used else ''}.json"
                if not file.is_file():
                    start = start_layout(base, run, used, cutouts, prompt, size) if used else None
                    image = next(generate(base, run, [prompt], seed=7, start=start)).image
                    found = found_objects(image, segmenter, judge)
                    values = score(found, names, used) | {
                        "place": judge.classify_places([np.asarray(image)])[0] == place
                    }
                    with atomic_file(file.with_suffix(".png")) as draft:
                        image.save(draft, format="PNG")
                    with atomic_file(file) as draft:
                        draft.write_text(json.dumps(values) + "\n", encoding="utf-8")
                values = json.loads(file.read_text(encoding="utf-8"))
                rows[kind].append(values)
                image = Image.open(file.with_suffix(".png"))
                if used:
                    for placement in used.placements:
                        ImageDraw.Draw(image).rectangle([side * size[0] for side in placement.box], outline="red")
                images.append(image)
                captions.append(f"{' and '.join(names.values())} {place}" if used is None else str(values["in box"]))
    contact_sheet(images, captions, columns=6, side=192).save(out / "sheet.png")
    print("| images | both right | in its box | place right |\n|---|---|---|---|")
    for kind, results in rows.items():
        shares = [
            f"{np.mean(np.concatenate([np.atleast_1d(row[key]) for row in results])):.0%}" if key in results[0] else "–"
            for key in ("both", "in box", "place")
        ]
        print(f"| {len(results)} {kind} | {' | '.join(shares)} |")


if __name__ == "__main__":
    typer.run(measure)
