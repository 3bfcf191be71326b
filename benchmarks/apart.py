"""Objects of two photos in one image: python -m benchmarks.apart --runs runs/apart --out benchmarks/results/apart

Scenes of ToyBench, each extracted alone. Images of one object of each of two scenes are generated in three ways: with
the sum of the two weight deltas ("plain sum"), and with each delta where and for whom it should act ("combined", see
models/combined.py); "together" are images of two objects of the same scene, extracted together. Extracted runs and
scores are kept, so an interrupted measurement resumes.
"""

import itertools
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from benchmarks.toybench import TOYBENCH
from breakascene.evaluation.metrics import object_regions
from breakascene.files import atomic_file
from breakascene.generation.generate import generate
from breakascene.models.base import Base
from breakascene.models.combined import CombinedConcepts, combine
from breakascene.models.concepts import Concepts
from breakascene.models.handles import with_handles
from breakascene.models.loading import load_base
from breakascene.models.lora import apply_delta
from breakascene.rendering.sheets import contact_sheet
from breakascene.segmentation.segmenter import Segmenter
from breakascene.toybox.judge import IMAGE_SIZE, load_judge
from breakascene.training import checkpoint
from breakascene.training.loop import run_extraction
from breakascene.training.settings import adapted, preset

METHODS = ("plain sum", "combined", "together")
PLACES = TOYBENCH.places[:2]


class SummedConcepts(CombinedConcepts):
    """Concepts of several runs whose weight deltas are simply added."""

    @contextmanager
    def applied(self, base: Base, others=None) -> Iterator[Base]:
        with ExitStack() as stack:
            stack.enter_context(with_handles(base, self.handles, self.embeddings))
            for run in self.runs:
                stack.enter_context(apply_delta(base, run.delta))
            yield base


def extracted(base: Base, folder: Path, index: int, name: str) -> Concepts:
    """Return the run of a scene of ToyBench, extracted if it is not there."""
    run, scene = folder / f"{name}-{index}", TOYBENCH.scene(index)
    if not (run / "manifest.json").is_file():
        resume = checkpoint.path_for(run).is_file()
        run_extraction(scene, base, adapted(preset(name, base), scene), run, save_every=20, resume=resume)
    return Concepts.load(run)


def pairs_of(handles: Sequence[str], others: Sequence[str], most: int, seed: int) -> list[tuple[str, str]]:
    """Return up to `most` pairs of a handle of each list, or of one list if both are the same, in a fixed order."""
    pairs = list(itertools.combinations(handles, 2) if handles == others else itertools.product(handles, others))
    return [pairs[i] for i in np.random.default_rng(seed).permutation(len(pairs))[:most]]


def trials(base: Base, runs: Path, scenes: int, most: int, name: str) -> Iterator[tuple[str, object, list[tuple]]]:
    """Yield method, concepts and pairs of handles: of scenes 0 and 1, 2 and 3, and so on."""
    for index in range(0, scenes - 1, 2):
        first, second = (extracted(base, runs, i, name) for i in (index, index + 1))
        both = combine([first, second])
        count = len(first.handles)
        apart = pairs_of(both.handles[:count], both.handles[count:], most, index)
        yield "plain sum", SummedConcepts(**vars(both)), apart
        yield "combined", both, apart
        for i, run in ((index, first), (index + 1, second)):
            yield "together", run, pairs_of(run.handles, run.handles, max(1, most // 2), i)


def measure(
    out: Annotated[Path, typer.Option(help="Folder of the results.")],
    runs: Annotated[Path, typer.Option(help="Folder of the extracted runs.")],
    scenes: Annotated[int, typer.Option(help="Number of scenes, an even one.")] = 6,
    most: Annotated[int, typer.Option(help="Pairs of objects for each pair of scenes.")] = 6,
    name: Annotated[str, typer.Option("--preset", help="The preset of the extractions.")] = "light",
    base_name: Annotated[str, typer.Option("--base", help="The base model.")] = "toybox",
    method: Annotated[list[str] | None, typer.Option(help="One of METHODS; repeatable. Default: all.")] = None,
) -> None:
    """Measure the pairs that are missing, and print the table."""
    base, judge, segmenter = load_base(base_name), load_judge(), Segmenter.load("toybox")
    results: dict[str, list[dict]] = {one: [] for one in METHODS}
    for kind, concepts, pairs in trials(base, runs, scenes, most, name):
        if method and kind not in method:
            continue
        names = dict(zip(concepts.handles, concepts.names, strict=True))
        for (one, other), place in itertools.product(pairs, PLACES):
            key = f"{names[one]} and {names[other]} {place}"
            file = out / kind.replace(" ", "-") / f"{key.replace(' ', '-')}.json"
            if not file.is_file():
                prompt = f"a photo of {one} and {other} {place}"
                image = next(generate(base, concepts, [prompt], seed=7)).image
                regions = [np.asarray(region.resize((IMAGE_SIZE,) * 2)) for region in object_regions(image, segmenter)]
                found = judge.classify_objects(regions) if regions else []
                with atomic_file(file.with_suffix(".webp")) as draft:
                    image.save(draft, quality=82, method=6)
                wanted = [names[one], names[other]]
                values = {
                    "run": concepts.id,
                    "wanted": wanted,
                    "found": found,
                    "place": judge.classify_places([np.asarray(image)])[0] == place,
                    "mixed": sorted((set(names.values()) - set(wanted)) & set(found)),
                }
                with atomic_file(file) as draft:
                    draft.write_text(json.dumps(values) + "\n", encoding="utf-8")
            results[kind].append({"key": key, "file": file, **json.loads(file.read_text(encoding="utf-8"))})
    table = {kind: summary(rows) for kind, rows in results.items() if rows}
    for kind, row in table.items():
        print(f"{kind:12}", *(f"{key} {value:.2f}" if value is not None else key for key, value in row.items()))
    with atomic_file(out / "summary.json") as draft:
        draft.write_text(json.dumps({"preset": name, "scenes": scenes, "methods": table}, indent=1) + "\n")
    if set(table) == set(METHODS):
        shown = [row for rows in results.values() for row in rows[:: max(1, len(rows) // 6)][:6]]
        captions = [f"{row['file'].parent.name}: {row['key']}" for row in shown]
        contact_sheet([Image.open(row["file"].with_suffix(".webp")) for row in shown], captions, 6, 160).save(
            out / "grid.jpg", quality=88
        )


def summary(rows: Sequence[dict]) -> dict[str, float]:
    """Shares: of images with both objects right, of right objects, of images with one twice or another concept."""
    return {
        "images": len(rows),
        "both right": float(np.mean([set(row["wanted"]) <= set(row["found"]) for row in rows])),
        "one right": float(np.mean([name in row["found"] for row in rows for name in row["wanted"]])),
        "mixed up": float(np.mean([is_mixed(row) for row in rows])),
        "place right": float(np.mean([row["place"] for row in rows])),
    }


def is_mixed(row: dict) -> bool:
    """Whether an image shows a concept that its prompt does not ask for, or one object twice in place of the other."""
    found, wanted = row["found"], row["wanted"]
    twice = any(found.count(name) > 1 and other not in found for name, other in (wanted, wanted[::-1]))
    return bool(row["mixed"]) or twice


if __name__ == "__main__":
    typer.run(measure)
