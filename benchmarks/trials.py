"""One trial of a benchmark: extract a scene, generate images, score them. Results are kept and never computed twice."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.toybench import Bench
from breakascene.evaluation.judges import FeatureExtractor, load_feature_extractor
from breakascene.evaluation.metrics import evaluate, summarize
from breakascene.files import atomic_file
from breakascene.models.base import Base
from breakascene.models.loading import load_base
from breakascene.segmentation.segmenter import Segmenter
from breakascene.toybox.judge import Judge, load_judge
from breakascene.training.loop import run_extraction
from breakascene.training.settings import Settings

# Keys of evaluation.metrics.summarize, and the share of the handles' attention outside their masks.
METRICS = ("identity", "prompt", "right", "together_right", "place", "mixed", "leak")
RESAMPLES = 2000  # of the bootstrap

Interval = tuple[float, float, float]  # mean, lower and upper end of the 95 % interval


@dataclass(frozen=True, eq=False)
class TestBed:
    """The base under test and the models that score its images."""

    __test__ = False  # not a test class for pytest

    base: Base
    feature_extractor: FeatureExtractor
    segmenter: Segmenter
    judge: Judge

    @classmethod
    def load(cls, base_name: str) -> "TestBed":
        base = load_base(base_name)
        device = base.device
        return cls(base, load_feature_extractor("toybox", device), Segmenter.load("toybox", device), load_judge(device))


def run_trial(
    test_bed: TestBed, bench: Bench, index: int, settings: Settings, path: Path, saved_prompts: Sequence[str] = ()
) -> dict:
    """Run the trial of a scene, or read its result from `path` if base, bench and settings are the same there.

    Args:
        test_bed: Base and scoring models.
        bench: Scenes and prompts.
        index: Index of the scene.
        settings: Settings of the extraction.
        path: JSON file of the result.
        saved_prompts: Prompts whose first images are saved beside the result, see `image_file`.

    Returns:
        JSON values: METRICS, "confusion", "names", "pictures" (number of images), "seconds" of extraction and of
        generation, "cpu_seconds" of extraction (on a busy machine the better measure), and "trial", which identifies
        the trial.
    """
    bench_key = {key: value for key, value in asdict(bench).items() if key != "scenes"}
    trial = {"settings": settings.to_json(), "bench": bench_key, "scene": index, "base": test_bed.base.fingerprint}
    trial = json.loads(json.dumps(trial))
    if path.is_file():
        result = json.loads(path.read_text(encoding="utf-8"))
        if _upgraded(result["trial"]) == trial:
            return result
    scene, scores = bench.scene(index), []
    start, cpu_start = time.perf_counter(), time.process_time()
    concepts = run_extraction(scene, test_bed.base, settings)
    extracted, cpu_seconds = time.perf_counter(), time.process_time() - cpu_start
    for score in evaluate(
        test_bed.base,
        concepts,
        scene,
        bench.prompts(scene.handles),
        text_extractor=test_bed.feature_extractor,
        image_extractor=test_bed.feature_extractor,
        segmenter=test_bed.segmenter,
        judge=test_bed.judge,
        count=bench.count,
    ):
        if score.prompt in saved_prompts and len(scores) % bench.count == 0:
            with atomic_file(image_file(path, saved_prompts.index(score.prompt))) as draft:
                score.generated.image.save(draft)
        scores.append(score)
    result = {
        "trial": trial,
        "names": scene.names,
        **summarize(scores, concepts.names),
        "leak": round(float(np.mean(list(concepts.leak.values()))), 4),
        "cpu_seconds": round(cpu_seconds, 1),
        "seconds": [round(extracted - start, 1), round(time.perf_counter() - extracted, 1)],
    }
    with atomic_file(path) as draft:  # written last, so a result implies that its images exist
        draft.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


def _upgraded(trial: dict) -> dict:
    """Return a stored trial with its settings under today's field names."""
    return {**trial, "settings": Settings.from_json(trial["settings"]).to_json()}


def image_file(path: Path, number: int) -> Path:
    """Return the file of the image of saved prompt `number`, for the trial at `path`."""
    return path.with_name(f"{path.stem}-{number}.png")


def interval(values: Sequence[float | None]) -> Interval | None:
    """Return the mean over scenes with its 95 % bootstrap interval; None if no scene has a value."""
    known = np.array([value for value in values if value is not None], np.float64)  # (N,)
    if not len(known):
        return None
    resampled = np.random.default_rng(0).integers(0, len(known), (RESAMPLES, len(known)))
    low, high = np.quantile(known[resampled].mean(1), (0.025, 0.975))
    return tuple(round(float(value), 4) for value in (known.mean(), low, high))


def print_table(title: str, table: dict[str, dict]) -> None:
    """Print rows of METRICS as a Markdown table: each mean with its interval."""

    def line(name: str, cells: Sequence[str]) -> str:
        return f"| {name:17} | " + " | ".join(f"{cell:17}" for cell in cells) + " |"

    print("", line(title, METRICS), "|---" * (len(METRICS) + 1) + "|", sep="\n")
    for name, row in table.items():
        values = [row[key] for key in METRICS]
        print(line(name, [f"{v[0]:.3f} ({v[1]:.2f}–{v[2]:.2f})" if v else "–" for v in values]))
