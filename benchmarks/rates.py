"""A fair learning rate for each method, from scenes apart from ToyBench: python -m benchmarks.rates --out runs/rates

All rates of a method are multiplied together. The search begins around 1 and walks on while the best lies at an edge;
the best has the largest sum of identity and prompt similarity, both axes of figure 5 alike. Done trials are kept.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.methods import METHODS, RATES, settings
from benchmarks.toybench import TUNING
from benchmarks.trials import Lab, trial
from breakascene.files import atomic_file

POWERS = (-1, 0, 1)  # of STEP, tried first
STEP = 3.0
FARTHEST = 3  # power of STEP at which the walk ends
SEARCHED = [name for name, way in METHODS.items() if way.group in ("ours", "baseline")]  # ablations follow `light`


def search(score: Callable[[int], float]) -> int:
    """The power of STEP with the largest score."""
    scores = {power: score(power) for power in POWERS}
    while (best := max(scores, key=scores.get)) in (min(scores), max(scores)) and abs(best) < FARTHEST:
        further = best + (1 if best > 0 else -1)
        scores[further] = score(further)
    return best


def find(
    out: Annotated[Path, typer.Option(help="The folder of the trials.")],
    rates: Annotated[Path, typer.Option(help="The file that the comparison reads.")] = RATES,
    base_name: Annotated[str, typer.Option("--base")] = "toybox",
    method: Annotated[list[str], typer.Option(help="A method of benchmarks/methods.py; all by default.")] = (),
    scenes: Annotated[int, typer.Option(help="How many, from the first.")] = TUNING.scenes,
    places: Annotated[int, typer.Option(help="How many, from the first.")] = len(TUNING.places),
    share: Annotated[float, typer.Option(help="Of the steps of `paper` and its like.")] = 1.0,
) -> None:
    """Run what is not done yet, print the scores, and write down each method's rate."""
    bench = replace(TUNING, scenes=scenes, places=TUNING.places[:places])
    lab = Lab.of(base_name)
    for name in method or SEARCHED:

        def score(power: int, name: str = name) -> float:
            chosen = settings(name, lab.base, share, STEP**power)
            folder = out / name / f"{STEP**power:.3g}"
            done = [trial(lab, bench, i, chosen, folder / f"scene-{i:02d}.json") for i in range(scenes)]
            identity, prompt = (float(np.mean([one[key] for one in done])) for key in ("identity", "prompt"))
            print(f"{name} × {STEP**power:.3g}: identity {identity:.3f}, prompt {prompt:.3f}", flush=True)
            return identity + prompt

        best = search(score)
        known = json.loads(rates.read_text(encoding="utf-8")) if rates.is_file() else {}
        with atomic_file(rates) as draft:
            draft.write_text(json.dumps({**known, name: round(STEP**best, 4)}, indent=1) + "\n", encoding="utf-8")
        print(f"{name}: {STEP**best:.3g} times its rates", flush=True)


if __name__ == "__main__":
    typer.run(find)
