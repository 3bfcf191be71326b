"""Measure the drawing and encoding of training scenes: python -m breakascene.toybox.pretraining.speed [--seconds 5]

The rate of the device alone, from scenes sampled before; and the rate of sampling in one process.
"""

import time
from typing import Annotated

import numpy as np
import torch
import typer

from breakascene.models.image_codes import ImageCodes
from breakascene.paths import TOYBOX
from breakascene.toybox.pretraining.generator import NEW_SCENES, Pool, drawing_vae
from breakascene.toybox.pretraining.scenes import SceneSampler

BATCHES = 4


def measure(seconds: Annotated[float, typer.Option(help="Time of the measurement.")] = 5.0) -> None:
    """Print images sampled, and drawn and encoded per second."""
    torch.set_float32_matmul_precision("high")
    rng, sampler = np.random.default_rng(0), SceneSampler(NEW_SCENES)
    batches = [sampler(rng)]  # the first one draws all places
    start = time.monotonic()
    batches += [sampler(rng) for _ in range(BATCHES)]
    print(f"sampled per second, one process: {BATCHES * NEW_SCENES / (time.monotonic() - start):.0f}")
    pool = Pool(drawing_vae(TOYBOX), ImageCodes.load(TOYBOX))
    for batch in batches:  # warm-up
        pool.add(batch)
    before, start = pool.count, _now()
    while time.monotonic() - start < seconds:
        for batch in batches[1:]:
            pool.add(batch)
        end = _now()
    print(f"drawn and encoded per second: {(pool.count - before) / (end - start):.0f}")


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.monotonic()


if __name__ == "__main__":
    typer.run(measure)
