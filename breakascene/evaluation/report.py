"""The evaluation of runs as a folder: pictures with their records, scores.json, and a page that shows it all."""

import json
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from breakascene.errors import UserError
from breakascene.evaluation.metrics import (
    NOTHING,
    OTHER,
    FeatureExtractor,
    Score,
    default_prompts,
    evaluate,
    load_run_scene,
    summary,
)
from breakascene.files import atomic_folder
from breakascene.generation.generate import save_image
from breakascene.models.base import Base
from breakascene.models.concepts import Concepts
from breakascene.rendering import html, plots
from breakascene.segmentation.segmenter import Segmenter
from breakascene.toybox.judge import load_judge

FIGURES = {  # of evaluate.summary, in the words of the page
    "prompt": "prompt similarity",
    "identity": "identity similarity",
    "right": "right thing, alone",
    "together_right": "all right, together",
    "place": "right place",
    "mixed": "another thing of the photo",
}


def write(
    runs: Sequence[Path],
    base: Base,
    out: Path,
    text_extractor: FeatureExtractor,
    image_extractor: FeatureExtractor,
    prompts: Sequence[str] = (),
    count: int = 1,
    **drawing,
) -> Iterator[tuple[int, int, str]]:
    """Evaluate run folders on their base and write everything to the folder `out`, whole or not at all.

    prompts: by default evaluate.default_prompts for each run; count: pictures of each. Yields the number of each
    picture, of how many, and a line about it; closed before the end it leaves nothing. The generator's return value is
    what scores.json holds: {run: summary with "scores", "settings", "steps"}.
    Raises UserError as evaluate does, and for runs of one name.
    """
    if len({run.resolve().name for run in runs}) < len(runs):
        raise UserError(
            "Two of the runs have the same folder name: rename one, so that the report can tell them apart."
        )
    loaded = [(run.resolve().name, Concepts.load(run), load_run_scene(run)) for run in runs]
    segmenter, judge = Segmenter.load("auto"), load_judge()
    wanted = [list(prompts) or default_prompts(concepts.handles) for _, concepts, _ in loaded]
    total, done = count * sum(map(len, wanted)), 0
    found, parts = {}, []
    with atomic_folder(out) as draft:
        for (name, concepts, scene), asked in zip(loaded, wanted, strict=True):
            scores, files = [], []
            for score in evaluate(
                base,
                concepts,
                scene,
                asked,
                text_extractor=text_extractor,
                image_extractor=image_extractor,
                segmenter=segmenter,
                judge=judge,
                count=count,
                **drawing,
            ):
                scores.append(score)
                files.append(save_image(score.picture, draft / name))
                done += 1
                yield done, total, f"{name}: {score.prompt_text}"
            figures = summary(scores, concepts.names)
            found[name] = {
                **figures,
                "steps": concepts.steps,
                "settings": concepts.settings,
                "eyes": [text_extractor.name, image_extractor.name],
                "scores": [_row(score, file) for score, file in zip(scores, files, strict=True)],
            }
            plots.scene_overlay(scene).save(draft / name / "photo.png")
            plots.loss_curves(concepts.losses, concepts.settings["steps"][0]).save(draft / name / "losses.png")
            parts.append(_part(name, concepts, found[name], scores, files))
        rows = [(name, *(figures[key] for key in FIGURES)) for name, figures in found.items()]
        head = html.table(["run", *FIGURES.values()], rows)
        body = (
            f"<p>Judged by {escape(text_extractor.name)} and {escape(image_extractor.name)}.</p>{head}{''.join(parts)}"
        )
        (draft / "index.html").write_text(html.page("How well the runs did", body), encoding="utf-8")
        (draft / "scores.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return found


def _row(score: Score, file: Path) -> dict:
    return {
        "file": f"{file.parent.name}/{file.name}",
        "prompt": score.prompt_text,
        "seed": score.picture.metadata["seed"] + score.picture.metadata["index"],
        "prompt_similarity": round(score.prompt, 4),
        "identity": {handle: round(value, 4) for handle, value in score.identity.items()},
        "seen": score.seen,
        "place": score.place,
    }


def _part(name: str, concepts: Concepts, figures: dict, scores: Sequence[Score], files: Sequence[Path]) -> str:
    shown = [(f"{name}/{file.name}", _caption(score)) for score, file in zip(scores, files, strict=True)]
    confusion = ""
    if figures["confusion"]:
        columns = [*concepts.names, OTHER, NOTHING]
        rows = [(asked, *(seen[column] for column in columns)) for asked, seen in figures["confusion"].items()]
        confusion = f"<h3>What each thing came out as</h3>{html.table(['asked for', *columns], rows)}"
    settings = ", ".join(f"{key} {value}" for key, value in concepts.settings.items())
    return f"""<h2>{escape(name)}</h2>
<p class="scene"><img src="{escape(name)}/photo.png" alt="the photo with its masks"></p>
{confusion}
{html.gallery(shown)}
<h3>How the learning went</h3><p><img src="{escape(name)}/losses.png" alt="loss curves"></p>
<p>{concepts.steps} steps on {escape(concepts.base)}. {escape(settings)}.</p>"""


def _caption(score: Score) -> str:
    lines = [score.prompt_text, f"prompt {score.prompt:.2f}"]
    for handle, value in score.identity.items():
        seen = f", seen as {score.seen[handle]}" if score.seen else ""
        lines.append(f"{handle} {value:.2f}{seen}")
    if score.place is not None:
        lines.append("place right" if score.place else "another place")
    return "\n".join(lines)
