"""Identity and confusion for photos of 1 to 8 concepts: python -m benchmarks.counts --out runs/counts

Scenes of held-out objects, extracted with a preset as it adapts to them. Results are kept in the folder, so an
interrupted run resumes; summary.json has the metrics.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.toybench import TUNING
from benchmarks.trials import METRICS, TestBed, interval, print_table, run_trial
from breakascene.data.scene import MAX_CONCEPTS
from breakascene.files import atomic_file
from breakascene.training.settings import adapted, preset


def measure(
    out: Annotated[Path, typer.Option(help="Folder of the results.")],
    base_name: Annotated[str, typer.Option("--base", help="The base model.")] = "toybox",
    name: Annotated[str, typer.Option("--preset", help="The preset.")] = "quick",
    scenes: Annotated[int, typer.Option(help="Scenes for each number of objects.")] = 3,
    most: Annotated[int, typer.Option(help="Most objects in a photo.")] = MAX_CONCEPTS,
    share: Annotated[float, typer.Option(help="Share of the preset's steps.")] = 1.0,
) -> None:
    """Run the trials that are missing and print the table."""
    test_bed, table = TestBed.load(base_name), {}
    for objects in range(1, most + 1):
        bench = replace(TUNING, object_counts=(objects,), places=TUNING.places[:2], largest=1)
        results = []
        for index in range(scenes):
            settings = adapted(preset(name, test_bed.base), bench.scene(index))
            settings = replace(settings, steps=tuple(round(share * steps) for steps in settings.steps))
            file = out / f"{objects}-objects" / f"scene-{index:02d}.json"
            results.append(run_trial(test_bed, bench, index, settings, file))
        seconds = interval([result["seconds"][0] for result in results])[0]
        metrics = {key: interval([result[key] for result in results]) for key in METRICS}
        table[str(objects)] = metrics | {"seconds": seconds}
        print(f"{objects} objects: {seconds:.0f} s for an extraction", flush=True)
    with atomic_file(out / "summary.json") as draft:
        draft.write_text(json.dumps({"preset": name, "scenes": scenes, "counts": table}, indent=1) + "\n")
    print_table("objects", table)


if __name__ == "__main__":
    typer.run(measure)
