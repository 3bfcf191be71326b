"""How many concepts may a photo have? Identity and confusion for 1 to 8: python -m benchmarks.counts --out runs/counts

Scenes of held-out things, more and more of them in one photo, with a preset as it adapts to them. Each trial is kept in
the folder, so that a run that was stopped goes on where it was; summary.json has the figures.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.toybench import TUNING
from benchmarks.trials import FIGURES, Lab, interval, print_table, trial
from breakascene.data.scene import MAX_CONCEPTS
from breakascene.files import atomic_file
from breakascene.training.settings import adapted, preset


def measure(
    out: Annotated[Path, typer.Option(help="The folder that is filled.")],
    base_name: Annotated[str, typer.Option("--base")] = "toybox",
    name: Annotated[str, typer.Option("--preset")] = "quick",
    scenes: Annotated[int, typer.Option(help="For each count.")] = 3,
    most: Annotated[int, typer.Option(help="Things in a photo.")] = MAX_CONCEPTS,
    share: Annotated[float, typer.Option(help="Of the steps, for a shorter run.")] = 1.0,
) -> None:
    """Run what is not done yet and print the table."""
    lab, table = Lab.of(base_name), {}
    for things in range(1, most + 1):
        bench = replace(TUNING, things=(things,), places=TUNING.places[:2], largest=1)
        done = []
        for index in range(scenes):
            chosen = adapted(preset(name, lab.base), bench.scene(index))
            chosen = replace(chosen, steps=tuple(round(share * steps) for steps in chosen.steps))
            done.append(trial(lab, bench, index, chosen, out / f"{things}-things" / f"scene-{index:02d}.json"))
        seconds = interval([one["seconds"][0] for one in done])[0]
        table[str(things)] = {key: interval([one[key] for one in done]) for key in FIGURES} | {"seconds": seconds}
        print(f"{things} things: {seconds:.0f} s an extraction", flush=True)
    with atomic_file(out / "summary.json") as draft:
        draft.write_text(json.dumps({"preset": name, "scenes": scenes, "counts": table}, indent=1) + "\n")
    print_table("things", table)


if __name__ == "__main__":
    typer.run(measure)
