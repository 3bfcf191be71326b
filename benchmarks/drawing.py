"""Seconds for a gallery of images: python -m benchmarks.drawing --base sd21"""

import time
from statistics import median
from typing import Annotated

import torch
import typer

from benchmarks.extraction import machine_name, open_base
from breakascene.generation.generate import generate

PROMPT = "a photo of a dog at the beach"


def measure(
    base_name: Annotated[str, typer.Option("--base", help="sd15, sd21, sdxl or a base model.")] = "toybox",
    images: Annotated[int, typer.Option(help="Images in the gallery.")] = 4,
    steps: Annotated[int, typer.Option(help="Inference steps.")] = 20,
    repeats: Annotated[int, typer.Option(help="Galleries that are measured, after one that is not.")] = 3,
) -> None:
    """Print the median as a row of a Markdown table."""
    base, seconds = open_base(base_name), []
    for _ in range(repeats + 1):
        if base.device.type == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in generate(base, None, [PROMPT], count=images, num_inference_steps=steps):
            pass
        seconds.append(time.perf_counter() - start)
    size = f"{base.image_size} px"
    print("| base | images | steps | first | then |\n|---|---|---|---|---|")
    print(f"| {base.name}, {size} | {images} | {steps} | {seconds[0]:.2f} s | {median(seconds[1:]):.2f} s |")
    print(f"\n{machine_name(base.device)}", flush=True)


if __name__ == "__main__":
    typer.run(measure)
