"""One trial: a scene extracted with some settings, drawn and judged; kept on disk, so that it is done only once."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.toybench import Bench
from breakascene.evaluation.metrics import FeatureExtractor, evaluate, load_feature_extractor, summary
from breakascene.files import atomic_file
from breakascene.models.base import Base
from breakascene.models.loading import load_base
from breakascene.segmentation.segmenter import Segmenter
from breakascene.toybox.judge import Judge, load_judge
from breakascene.training.loop import run_extraction
from breakascene.training.settings import Settings

# Those of evaluate.summary, and how much of the handles' attention to the photo falls outside their masks
FIGURES = ("identity", "prompt", "right", "together_right", "place", "mixed", "leak")
RESAMPLES = 2000

Interval = tuple[float, float, float]  # mean, and the lower and upper end of the 95 % interval


@dataclass(frozen=True, eq=False)
class Lab:
    """The base under test and what judges its pictures."""

    base: Base
    eyes: FeatureExtractor
    segmenter: Segmenter
    judge: Judge

    @classmethod
    def of(cls, base_name: str) -> "Lab":
        base = load_base(base_name)
        device = base.device
        return cls(base, load_feature_extractor("toybox", device), Segmenter.load("toybox", device), load_judge(device))


def trial(lab: Lab, bench: Bench, index: int, settings: Settings, path: Path, shown: Sequence[str] = ()) -> dict:
    """Do the trial of a scene, or read it from `path` if it lies there with the same settings, bench and base.

    shown: prompts whose first pictures are kept beside it, as picture() finds them. Returns JSON values: FIGURES,
    confusion, leak, seconds of extraction and drawing, and "trial", what decides them.
    """
    asked = {key: value for key, value in asdict(bench).items() if key != "scenes"}
    decides = {"settings": settings.to_json(), "bench": asked, "scene": index, "base": lab.base.fingerprint}
    decides = json.loads(json.dumps(decides))
    if path.is_file() and (done := json.loads(path.read_text(encoding="utf-8")))["trial"] == decides:
        return done
    scene, scores = bench.scene(index), []
    started = time.perf_counter()
    concepts = run_extraction(scene, lab.base, settings)
    extracted = time.perf_counter()
    for score in evaluate(
        lab.base,
        concepts,
        scene,
        bench.prompts(scene.handles),
        text_extractor=lab.eyes,
        image_extractor=lab.eyes,
        segmenter=lab.segmenter,
        judge=lab.judge,
        count=bench.count,
    ):
        if score.prompt_text in shown and len(scores) % bench.count == 0:
            with atomic_file(picture(path, shown.index(score.prompt_text))) as draft:
                score.picture.image.save(draft)
        scores.append(score)
    done = {
        "trial": decides,
        "names": scene.names,
        **summary(scores, concepts.names),
        "leak": round(float(np.mean(list(concepts.leak.values()))), 4),
        "seconds": [round(extracted - started, 1), round(time.perf_counter() - extracted, 1)],
    }
    with atomic_file(path) as draft:  # last: where it lies, all of the trial is done
        draft.write_text(json.dumps(done, indent=1) + "\n", encoding="utf-8")
    return done


def picture(path: Path, number: int) -> Path:
    """Where the first picture of the shown prompt `number` lies, for the trial at `path`."""
    return path.with_name(f"{path.stem}-{number}.png")


def interval(values: Sequence[float | None]) -> Interval | None:
    """The mean over scenes with its 95 % interval: the scenes drawn again with replacement, many times (bootstrap)."""
    known = np.array([value for value in values if value is not None], np.float64)  # (N,)
    if not len(known):
        return None
    again = np.random.default_rng(0).integers(0, len(known), (RESAMPLES, len(known)))
    low, high = np.quantile(known[again].mean(1), (0.025, 0.975))
    return tuple(round(float(value), 4) for value in (known.mean(), low, high))


def print_table(first: str, table: dict[str, dict]) -> None:
    """Print rows of FIGURES as a Markdown table: each mean with its interval."""

    def line(name: str, cells: Sequence[str]) -> str:
        return f"| {name:17} | " + " | ".join(f"{cell:17}" for cell in cells) + " |"

    print("", line(first, FIGURES), "|---" * (len(FIGURES) + 1) + "|", sep="\n")
    for name, row in table.items():
        values = [row[key] for key in FIGURES]
        print(line(name, [f"{v[0]:.3f} ({v[1]:.2f}–{v[2]:.2f})" if v else "–" for v in values]))
