"""Identity and confusion for photos of 1 to 16 concepts: python -m benchmarks.counts --out runs/counts

Scenes of held-out objects, extracted with a preset as it adapts to them. Photos of more than eight, which are extracted
in groups, are several rendered scenes of three or four objects beside each other. Results are kept in the folder, so
an interrupted run resumes; summary.json has the metrics.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from benchmarks.toybench import TUNING, Bench
from benchmarks.trials import METRICS, TestBed, interval, print_table, run_trial
from breakascene.data.scene import MAX_TOGETHER, Scene, make_scene
from breakascene.files import atomic_file
from breakascene.training.groups import count_groups
from breakascene.training.settings import adapted, preset

COUNTS = tuple(range(1, MAX_TOGETHER + 1))


@dataclass(frozen=True)
class TiledBench(Bench):
    """Scenes made of `tiles` scenes of a Bench beside each other, in rows of two if they are four."""

    tiles: int = 1

    def scene(self, index: int) -> Scene:
        parts = [super(TiledBench, self).scene(index * self.tiles + i) for i in range(self.tiles)]
        columns = 2 if self.tiles == 4 else self.tiles
        width, height = parts[0].photo.size
        photo = Image.new("RGB", (columns * width, -(-self.tiles // columns) * height))
        masks = []
        for i, part in enumerate(parts):
            y, x = divmod(i, columns)
            photo.paste(part.photo, (x * width, y * height))
            for mask in part.masks():
                masks.append(np.zeros(photo.size[::-1], bool))
                masks[-1][y * height : (y + 1) * height, x * width : (x + 1) * width] = mask
        return make_scene(photo, masks, [name for part in parts for name in part.names])


def bench_of(objects: int) -> Bench:
    """Return scenes of so many objects, with prompts of single concepts in two places."""
    values = {"places": TUNING.places[:2], "largest": 1}
    if objects <= MAX_TOGETHER:
        return replace(TUNING, object_counts=(objects,), **values)
    tiles = count_groups(objects)
    counts = tuple(len(part) for part in np.array_split(range(objects), tiles))
    return TiledBench(TUNING.seed, TUNING.scenes, count=TUNING.count, object_counts=counts, tiles=tiles, **values)


def measure(
    out: Annotated[Path, typer.Option(help="Folder of the results.")],
    base_name: Annotated[str, typer.Option("--base", help="The base model.")] = "toybox",
    name: Annotated[str, typer.Option("--preset", help="The preset.")] = "quick",
    scenes: Annotated[int, typer.Option(help="Scenes for each number of objects.")] = 3,
    count: Annotated[list[int], typer.Option(help="Objects in a photo; repeatable.")] = COUNTS,
    share: Annotated[float, typer.Option(help="Share of the preset's steps.")] = 1.0,
) -> None:
    """Run the trials that are missing and print the table."""
    test_bed, table = TestBed.load(base_name), {}
    for objects in count:
        bench = bench_of(objects)
        results = []
        for index in range(scenes):
            settings = adapted(preset(name, test_bed.base), bench.scene(index))
            settings = replace(settings, steps=tuple(round(share * steps) for steps in settings.steps))
            file = out / f"{objects}-objects" / f"scene-{index:02d}.json"
            results.append(run_trial(test_bed, bench, index, settings, file))
        seconds = interval([result.get("cpu_seconds", result["seconds"][0]) for result in results])[0]
        metrics = {key: interval([result[key] for result in results]) for key in METRICS}
        table[str(objects)] = metrics | {"seconds": seconds}
        print(f"{objects} objects: {seconds:.0f} s for an extraction", flush=True)
    with atomic_file(out / "summary.json") as draft:
        draft.write_text(json.dumps({"preset": name, "scenes": scenes, "counts": table}, indent=1) + "\n")
    print_table("objects", table)


if __name__ == "__main__":
    typer.run(measure)
