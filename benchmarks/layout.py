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

import cv2
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
from breakascene.generation.layout import Layout, LayoutBox
from breakascene.generation.place import STRENGTH, place
from breakascene.models.loading import load_base
from breakascene.rendering.sheets import contact_sheet
from breakascene.segmentation.segmenter import Segmenter
from breakascene.toybox.judge import IMAGE_SIZE, Judge, load_judge

Box = tuple[float, float, float, float]
MIN_IOU = 0.5
SIDES = (0.3, 0.45)  # of the longer side of a box, in shares of the image
KINDS = ("without a layout", "with a layout")


def iou(one: Box, other: Box) -> float:
    """Intersection over union of two boxes."""
    width = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    height = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (one, other)]
    return width * height / (sum(areas) - width * height)


def random_layout(cutouts: Mapping[str, Image.Image], rng: np.random.Generator) -> Layout:
    """Return a layout of two objects with boxes in the proportions of their cut-outs, mirrored half of the time."""
    while True:
        boxes = []
        for handle, image in cutouts.items():
            scale = rng.uniform(*SIDES) / max(image.size)
            width, height = image.width * scale, image.height * scale
            x, y = rng.uniform(0, 1 - width), rng.uniform(0, 1 - height)
            boxes.append(LayoutBox(handle, (x, y, x + width, y + height), bool(rng.integers(2))))
        left, right = (one.box for one in boxes)
        if iou(left, right) == 0 and left[0] + left[2] <= right[0] + right[2]:
            return Layout(tuple(boxes))


def found_objects(image: Image.Image, segmenter: Segmenter, judge: Judge) -> list[tuple[str, Box]]:
    """Return the name and the bounding box in 0..1 of each object that is found in an image.

    The segmenter takes two alike objects that stand apart for one region; the connected parts of a region count too.
    """
    pixels = np.asarray(image)
    regions = [part for mask in segmenter.auto(image) for part in (mask, *connected_parts(mask))]
    masks = [mask for mask in regions if MIN_REGION_AREA < mask.mean() < MAX_REGION_AREA]
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


def connected_parts(mask: np.ndarray) -> list[np.ndarray]:
    """Return the connected parts of a mask (H, W) bool, if there are several."""
    count, labels = cv2.connectedComponents(mask.astype(np.uint8))
    return [labels == i for i in range(1, count)] if count > 2 else []


def score(found: Sequence[tuple[str, Box]], names: Mapping[str, str], layout: Layout) -> dict:
    """Whether both objects are found, and for each whether it is in its box."""
    known = [name for name, _ in found]
    in_box = [
        any(name == names[one.handle] and iou(box, one.box) >= MIN_IOU for name, box in found) for one in layout.boxes
    ]
    return {"both": all(name in known for name in names.values()), "in box": in_box}


def measure(
    out: Annotated[Path, typer.Option(help="Folder of the results.")],
    runs: Annotated[Path, typer.Option(help="Folder of the extracted runs, as that of benchmarks.apart.")],
    scenes: Annotated[int, typer.Option(help="Number of scenes.")] = 6,
    most: Annotated[int, typer.Option(help="Pairs of objects of each scene.")] = 3,
    layouts: Annotated[int, typer.Option(help="Layouts of each pair, each with another seed.")] = 2,
    strength: Annotated[float, typer.Option(help="Strength of the objects.")] = STRENGTH,
    name: Annotated[str, typer.Option("--preset", help="The preset of the extractions.")] = "light",
) -> None:
    """Measure what is missing, and print a Markdown table."""
    base, judge, segmenter = load_base("toybox"), load_judge(), Segmenter.load("toybox")
    rows: dict[str, list[dict]] = {kind: [] for kind in KINDS}
    images, captions = [], []
    for index in range(scenes):
        run, scene = extracted(base, runs, index, name), TOYBENCH.scene(index)
        pairs = pairs_of(run.handles, run.handles, most, index)
        for number, trial in np.ndindex(len(pairs), layouts):
            pair = pairs[number]
            names = {handle: run.names[run.handles.index(handle)] for handle in pair}
            where = PLACES[(index + number) % len(PLACES)]
            prompt = f"a photo of {pair[0]} and {pair[1]} {where}"
            cutouts = {handle: cutout(scene, run.handles.index(handle)) for handle in pair}
            layout = random_layout(cutouts, np.random.default_rng([index, number, trial]))
            for kind in KINDS:
                placed = kind == KINDS[1]
                stem = f"{name}-{index}-{number}-{trial}-{f'strength-{strength}' if placed else 'without'}"
                file = out / f"{stem}.json"
                if not file.is_file():
                    generated = (
                        place(base, run, layout, cutouts, prompt, segmenter, seed=7 + trial, strength=strength)
                        if placed
                        else generate(base, run, [prompt], seed=7 + trial)
                    )
                    image = next(generated).image
                    values = score(found_objects(image, segmenter, judge), names, layout)
                    values["place"] = judge.classify_places([np.asarray(image)])[0] == where
                    with atomic_file(file.with_suffix(".webp")) as draft:
                        image.save(draft, format="WEBP", quality=82, method=6)
                    with atomic_file(file) as draft:
                        draft.write_text(json.dumps(values) + "\n", encoding="utf-8")
                values = json.loads(file.read_text(encoding="utf-8"))
                rows[kind].append(values)
                image = Image.open(file.with_suffix(".webp")).convert("RGB")
                if placed:
                    for one in layout.boxes:
                        corners = [side * image.size[i % 2] for i, side in enumerate(one.box)]
                        ImageDraw.Draw(image).rectangle(corners, outline="red")
                images.append(image)
                marks = ", ".join("in its box" if found else "not" for found in values["in box"])
                captions.append(marks if placed else f"{' and '.join(names.values())} {where}")
    contact_sheet(images, captions, columns=8, side=192).save(out / f"{name}-{strength}.jpg", quality=88)
    print("| images | both right | in its box | place right |\n|---|---|---|---|")
    for kind, results in rows.items():
        shares = [np.mean(np.concatenate([np.atleast_1d(row[key]) for row in results])) for key in results[0]]
        print(f"| {len(results)} {kind} | {' | '.join(f'{share:.0%}' for share in shares)} |")


if __name__ == "__main__":
    typer.run(measure)
