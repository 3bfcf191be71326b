"""Seconds until a photo can be clicked, and of a click: python -m benchmarks.segmentation

Measures the Segmenter alone; benchmarks.clicks measures the studio's whole click handler.
"""

import time
from statistics import median
from typing import Annotated

import numpy as np
import torch
import typer
from segment_anything import sam_model_registry

from benchmarks.extraction import machine_name
from breakascene.cli.demo import sample_scene
from breakascene.segmentation.segmenter import Segmenter

SIZE = (4000, 3000)  # pixels, a phone's 12 megapixels


def measure(
    model: Annotated[str, typer.Option(help="vit_b, vit_l or vit_h with random weights, or toybox.")] = "vit_b",
    clicks: Annotated[int, typer.Option(help="Clicks that are measured, after one that is not.")] = 20,
) -> None:
    """Print the median as a row of a Markdown table."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if model == "toybox":
        segmenter = Segmenter.load(model, device)
    else:
        with device:
            sam = sam_model_registry[model]()
        segmenter = Segmenter(sam.to(device), model)  # some of its buffers are made on the CPU
    photo, rng = sample_scene().photo.resize(SIZE), np.random.default_rng(0)
    embedded, clicked = [], []
    for _ in range(3):
        photo = photo.rotate(180)  # another photo, so that its embedding is not cached
        start = time.perf_counter()
        segmenter.set_image(photo)
        _wait(device)
        embedded.append(time.perf_counter() - start)
        segmenter._embeddings.clear()
    for _ in range(clicks + 1):
        point = (float(rng.integers(SIZE[0])), float(rng.integers(SIZE[1])))
        start = time.perf_counter()
        segmenter.predict([point], [True], photo=photo).mask()
        clicked.append(time.perf_counter() - start)
    print("| segmenter | photo | ready for clicks | a click |\n|---|---|---|---|")
    print(f"| {model} | {SIZE[0]} × {SIZE[1]} | {median(embedded[1:]):.2f} s | {1000 * median(clicked[1:]):.0f} ms |")
    print(f"\n{machine_name(device)}", flush=True)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    typer.run(measure)
