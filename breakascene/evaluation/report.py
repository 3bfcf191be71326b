"""The evaluation report: a folder with images, scores.json and an HTML page."""

import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from breakascene.errors import UserError
from breakascene.evaluation.judges import TOYBOX, FeatureExtractor, Judges
from breakascene.evaluation.metrics import (
    NOTHING,
    OTHER,
    Score,
    evaluate,
    load_run_scene,
    summarize,
)
from breakascene.evaluation.prompts import default_prompts
from breakascene.evaluation.report_texts import TEXTS
from breakascene.files import atomic_folder
from breakascene.generation.generate import save_image
from breakascene.models.base import Base
from breakascene.models.concepts import Concepts
from breakascene.models.grouped import load_run
from breakascene.rendering import html
from breakascene.rendering.curves import loss_curves
from breakascene.rendering.overlay import scene_overlay
from breakascene.segmentation.segmenter import Segmenter
from breakascene.toybox.judge import load_judge

METRICS = TEXTS["metrics"]  # key in scores.json: label


def write(
    runs: Sequence[Path],
    base: Base,
    out: Path,
    judges: Judges,
    segmenter: Segmenter,
    prompts: Sequence[str] = (),
    count: int = 1,
    titles: Sequence[str] = (),
    texts: Mapping[str, str | Mapping[str, str]] = TEXTS,
    language: str = "en",
    **generation,
) -> Iterator[tuple[int, int, str]]:
    """Evaluate run folders and write the report, completely or not at all.

    Args:
        runs: Run folders; their names must differ.
        base: The base that the runs were made on.
        out: Folder of the report. Nothing is left there if the generator is closed early.
        judges: Measure prompt and identity similarity.
        segmenter: Finds the regions of a generated image that are compared with the concepts.
        prompts: Prompts for every run; by default `default_prompts` of its handles.
        count: Images for each prompt.
        titles: Of the runs in the report; by default their folder names.
        texts: Of the page, those of report_texts in its language.
        language: Code of the page's language.
        generation: Further options of `generate`.

    Yields:
        (images done, images in all, a line about the latest image).

    Returns:
        The contents of scores.json: for each run the metrics of `summarize`, "scores", "settings" and "steps".

    Raises:
        UserError: As `evaluate` does, and if two runs have the same folder name.
    """
    if len({run.resolve().name for run in runs}) < len(runs):
        raise UserError(
            "Two of the runs have the same folder name: rename one, so that the report can tell them apart."
        )
    loaded = [(run.resolve().name, load_run(run), load_run_scene(run)) for run in runs]
    shown_names = dict(zip((name for name, *_ in loaded), titles or [name for name, *_ in loaded], strict=True))
    text_extractor, image_extractor = judges.text, judges.image
    judge = load_judge() if base.family == TOYBOX else None  # it knows no other pictures
    prompts_of_runs = [list(prompts) or default_prompts(concepts.handles) for _, concepts, _ in loaded]
    total, done = count * sum(map(len, prompts_of_runs)), 0
    results, sections = {}, []
    with atomic_folder(out) as draft:
        for (name, concepts, scene), run_prompts in zip(loaded, prompts_of_runs, strict=True):
            scores, files = [], []
            for score in evaluate(
                base,
                concepts,
                scene,
                run_prompts,
                text_extractor=text_extractor,
                image_extractor=image_extractor,
                segmenter=segmenter,
                judge=judge,
                count=count,
                **generation,
            ):
                scores.append(score)
                files.append(save_image(score.generated, draft / name))
                done += 1
                yield done, total, f"{name}: {score.prompt}"
            results[name] = {
                **summarize(scores, concepts.names),
                "steps": concepts.steps,
                "settings": concepts.settings,
                "measured_by": measured_by(text_extractor, image_extractor),
                "scores": [_score_row(score, file) for score, file in zip(scores, files, strict=True)],
            }
            scene_overlay(scene).save(draft / name / "photo.png")
            loss_curves(concepts.losses, concepts.settings["steps"][0], texts["loss names"]).save(
                draft / name / "losses.png"
            )
            sections.append(_section(name, shown_names[name], concepts, results[name], scores, files, texts))
        rows = [(shown_names[name], *(result[key] for key in METRICS)) for name, result in results.items()]
        names = measured_by(text_extractor, image_extractor)
        labels = [f"{texts['metrics'][key]} ({model_name(names[key], texts)})" for key in METRICS]
        table = html.table([texts["run"], *labels], rows)
        notes = "".join(f"<p>{escape(note)}</p>" for note in judges.notes)
        body = f"<p>{texts['models']}</p>{notes}{table}{''.join(sections)}"
        title = texts["title"].format(names=" · ".join(shown_names.values()))
        (draft / "index.html").write_text(html.page(title, body, language), encoding="utf-8")
        (draft / "scores.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return results


def measured_by(text_extractor: FeatureExtractor, image_extractor: FeatureExtractor) -> dict[str, str]:
    """Return the name of the model that gives each metric; only the toybox's judge recognizes objects and places."""
    return {**dict.fromkeys(METRICS, TOYBOX), "prompt": text_extractor.name, "identity": image_extractor.name}


def model_name(name: str, texts: Mapping[str, str] = TEXTS) -> str:
    """Return the name of a model as reports and the command line say it."""
    return texts["judge"] if name == TOYBOX else name


def _score_row(score: Score, file: Path) -> dict:
    """Return the entry of one image in scores.json."""
    metadata = score.generated.metadata
    return {
        "file": f"{file.parent.name}/{file.name}",
        "prompt": score.prompt,
        "seed": metadata["seed"] + metadata["index"],
        "prompt_similarity": round(score.prompt_similarity, 4),
        "identity": {handle: round(value, 4) for handle, value in score.identity_similarity.items()},
        "seen": score.predicted,
        "place": score.place_correct,
    }


def _section(
    name: str,
    title: str,
    concepts: Concepts,
    result: dict,
    scores: Sequence[Score],
    files: Sequence[Path],
    texts: Mapping,
) -> str:
    """Return the HTML of one run."""
    names = result["measured_by"]
    images = [(f"{name}/{file.name}", _caption(score, names, texts)) for score, file in zip(scores, files, strict=True)]
    confusion = ""
    if result["confusion"]:
        columns = [*concepts.names, OTHER, NOTHING]
        rows = [(target, *(shares[column] for column in columns)) for target, shares in result["confusion"].items()]
        confusion = f"<h3>{texts['confusion']} ({texts['judge']})</h3>{html.table([texts['concept'], *columns], rows)}"
    settings = ", ".join(f"{key} {value}" for key, value in concepts.settings.items())
    steps = texts["steps"].format(steps=concepts.steps, base=concepts.base, settings=settings)
    return f"""<h2>{escape(title)}</h2>
<p class="scene"><img src="{quote(name)}/photo.png" alt="{texts["photo"]}"></p>
{confusion}
{html.gallery(images)}
<h3>{texts["losses"]}</h3><p><img src="{quote(name)}/losses.png" alt="{texts["losses"]}"></p>
<p>{escape(steps)}</p>"""


def _caption(score: Score, names: dict[str, str], texts: Mapping) -> str:
    prompt_model, identity_model, recognition_model = (
        f" ({texts['judge']})" if names[key] == TOYBOX else "" for key in ("prompt", "identity", "right")
    )
    lines = [score.prompt, texts["prompt"].format(value=score.prompt_similarity) + prompt_model]
    for handle, value in score.identity_similarity.items():
        text = texts["recognized" if score.predicted else "identity"]
        name = score.predicted[handle] if score.predicted else ""
        lines.append(text.format(handle=handle, value=value, name=name) + identity_model)
    if score.place_correct is not None:
        lines.append(texts["place" if score.place_correct else "no place"] + recognition_model)
    return "\n".join(lines)
