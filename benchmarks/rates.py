"""Find a fair learning rate for each method, on scenes outside ToyBench: python -m benchmarks.rates --out runs/rates

All learning rates of a method are multiplied by one factor. The search starts at three factors around 1 and moves on
while the best one lies at an edge. The best factor has the largest sum of identity and prompt similarity. Results are
kept in the folder.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.methods import METHODS, RATES, method_settings
from benchmarks.toybench import TUNING
from benchmarks.trials import TestBed, run_trial
from breakascene.files import atomic_file

STEP = 3.0  # between neighboring factors
POWERS = (-1, 0, 1)  # of STEP, tried first
MAX_POWER = 3  # at which the search ends
SEARCHED = [name for name, method in METHODS.items() if method.group in ("ours", "baseline")]  # ablations use `light`'s


def search(score: Callable[[int], float]) -> int:
    """Return the power of STEP with the largest score."""
    scores = {power: score(power) for power in POWERS}
    while (best := max(scores, key=scores.get)) in (min(scores), max(scores)) and abs(best) < MAX_POWER:
        further = best + (1 if best > 0 else -1)
        scores[further] = score(further)
    return best


def find(
    out: Annotated[Path, typer.Option(help="Folder of the results.")],
    rates: Annotated[Path, typer.Option(help="File of the factors, which the comparison reads.")] = RATES,
    base_name: Annotated[str, typer.Option("--base", help="The base model.")] = "toybox",
    method: Annotated[list[str], typer.Option(help="A method of benchmarks/methods.py; default: all.")] = (),
    scenes: Annotated[int, typer.Option(help="Number of scenes, from the first.")] = TUNING.scenes,
    places: Annotated[int, typer.Option(help="Number of places, from the first.")] = len(TUNING.places),
    share: Annotated[float, typer.Option(help="Share of the steps of `paper` and the baselines.")] = 1.0,
) -> None:
    """Run the trials that are missing, print the scores and save the best factor of each method."""
    bench = replace(TUNING, scenes=scenes, places=TUNING.places[:places])
    test_bed = TestBed.load(base_name)
    for name in method or SEARCHED:

        def score(power: int, name: str = name) -> float:
            settings = method_settings(name, test_bed.base, share, STEP**power)
            folder = out / name / f"{STEP**power:.3g}"
            files = [folder / f"scene-{index:02d}.json" for index in range(scenes)]
            results = [run_trial(test_bed, bench, index, settings, file) for index, file in enumerate(files)]
            identity, prompt = (float(np.mean([result[key] for result in results])) for key in ("identity", "prompt"))
            print(f"{name} × {STEP**power:.3g}: identity {identity:.3f}, prompt {prompt:.3f}", flush=True)
            return identity + prompt

        best = search(score)
        known = json.loads(rates.read_text(encoding="utf-8")) if rates.is_file() else {}
        with atomic_file(rates) as draft:
            draft.write_text(json.dumps({**known, name: round(STEP**best, 4)}, indent=1) + "\n", encoding="utf-8")
        print(f"{name}: best factor {STEP**best:.3g}", flush=True)


if __name__ == "__main__":
    typer.run(find)
