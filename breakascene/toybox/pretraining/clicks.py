"""Measure the small segmenter by simulated clicks on photos: python -m breakascene.toybox.pretraining.clicks FOLDER

FOLDER holds scene folders: img.jpg and mask0.png, mask1.png, … The first click lies at the innermost point of the
object, each later one at that of the largest connected error of the mask so far, as in the studio.
"""

from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from PIL import Image

from breakascene.data.scene import load_scene
from breakascene.segmentation.checkpoints import SMALL
from breakascene.segmentation.segmenter import Segmenter
from breakascene.toybox.pretraining.world import random_scene
from breakascene.toybox.vocabulary import HELD_OUT

CLICKS = 3
SIZE = 128  # pixels of the toybox's scenes


def innermost_point(region: np.ndarray) -> tuple[int, int]:
    """Return the point of a region (H, W) that is farthest from its edge, as x, y."""
    distances = cv2.distanceTransform(np.pad(region, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    y, x = np.unravel_index(distances.argmax(), distances.shape)
    return int(x) - 1, int(y) - 1


def largest_component(region: np.ndarray) -> np.ndarray:
    """Return the largest connected component of a region (H, W)."""
    _, components, stats, _ = cv2.connectedComponentsWithStats(region.astype(np.uint8), connectivity=4)
    return components == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Return the intersection over union of two masks."""
    return float((a & b).sum() / max(1, (a | b).sum()))


def ious_by_clicks(segmenter: Segmenter, photo: Image.Image, mask: np.ndarray, clicks: int = CLICKS) -> list[float]:
    """Return the IoU with an object's mask (H, W) after one, two, … clicks."""
    points, labels, ious, region = [], [], [], mask
    for _ in range(clicks):
        points.append(innermost_point(region))
        labels.append(bool(mask[points[-1][1], points[-1][0]]))
        predicted = segmenter.predict(points, labels, photo=photo).mask()
        ious.append(iou(predicted, mask))
        if not (errors := predicted ^ mask).any():
            return ious + [1.0] * (clicks - len(ious))
        region = largest_component(errors)
    return ious


def clicked_iou(segmenter: Segmenter, clicks: int, count: int = 100, seed: int = 30) -> float:
    """Return the mean IoU after a number of clicks, over new scenes of held-out objects."""
    rng = np.random.default_rng(seed)
    ious = []
    for _ in range(count):
        scene = random_scene(rng, SIZE, HELD_OUT)
        mask = scene.masks[rng.integers(len(scene.masks))]
        ious.append(ious_by_clicks(segmenter, Image.fromarray(scene.pixels), mask, clicks)[-1])
    return float(np.mean(ious))


def automatic_recall(segmenter, count: int = 50, seed: int = 31) -> float:
    """Return the share of held-out objects in new scenes that an automatic mask matches with an IoU of 0.5 or more."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        scene = random_scene(rng, SIZE, HELD_OUT)
        candidates = segmenter.auto(Image.fromarray(scene.pixels))
        for mask in scene.masks:
            found.append(any((c & mask).sum() >= 0.5 * (c | mask).sum() for c in candidates))
    return float(np.mean(found))


def measure(
    folder: Annotated[Path, typer.Argument(help="Folder of scene folders (img.jpg, mask0.png, …).")],
    model: Annotated[str, typer.Option(help="What Segmenter.load takes, such as a toybox's segmenter folder.")] = SMALL,
) -> None:
    """Print the IoU after one, two and three clicks on each object, and the means, as a Markdown table."""
    segmenter, rows, files = Segmenter.load(model), [], sorted(folder.glob("*/mask0.png"))
    if not files:
        raise typer.BadParameter(f"{folder} holds no scene folders with img.jpg and mask0.png.")
    print("| photo | object | share of the photo | " + " | ".join(f"{k + 1}" for k in range(CLICKS)) + " |")
    print("|---|---|---|" + "---|" * CLICKS)
    for file in files:
        scene = load_scene(file.parent)
        for number, concept in enumerate(scene.concepts):
            rows.append(ious_by_clicks(segmenter, scene.photo, concept.mask))
            values = " | ".join(f"{value:.2f}" for value in rows[-1])
            print(f"| {file.parent.name} | {concept.name or number} | {concept.mask.mean():.0%} | {values} |")
    print("| mean | | | " + " | ".join(f"**{value:.3f}**" for value in np.mean(rows, 0)) + " |")


if __name__ == "__main__":
    typer.run(measure)
