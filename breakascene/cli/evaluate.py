"""The command `evaluate`: run folders to a report."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from breakascene.cli.options import (
    GuidanceOption,
    OtherBaseOption,
    SeedOption,
    open_base,
    print_notes,
    read_prompts,
)
from breakascene.files import require_empty, require_writable


def evaluate(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, as written by extract.")],
    out: Annotated[Path, typer.Option(help="New folder for the report: index.html, scores.json, images.")],
    prompts: Annotated[
        Path | None, typer.Option(help="Text file with one prompt per line; prompts may use handles.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, max=10_000, help="Images per prompt.")] = 1,
    seed: SeedOption = 0,
    guidance: GuidanceOption = None,
    clip: Annotated[
        str,
        typer.Option(
            help="Model for prompt similarity: toybox, or a CLIP folder or hub id. auto: CLIP ViT-L/14, or the "
            "toybox's judge where the base is the toybox."
        ),
    ] = "auto",
    dino: Annotated[
        str,
        typer.Option(
            help="Model for identity similarity: toybox, or a DINO or CLIP folder or hub id. auto: DINO ViT-B/16, or "
            "the toybox's judge where the base is the toybox."
        ),
    ] = "auto",
    base: OtherBaseOption = None,
):
    """Evaluate runs: prompt and identity similarity, and what each object was recognized as, in a report."""
    require_writable(out, "folder")
    require_empty(out)
    from breakascene.evaluation import report
    from breakascene.evaluation.judges import TOYBOX, load_judges
    from breakascene.models.grouped import load_run
    from breakascene.models.prompts import parse_prompt
    from breakascene.segmentation.segmenter import Segmenter
    from breakascene.training.loop import exhaust

    texts = read_prompts(prompts) if prompts else []
    first = load_run(runs[0])
    model = open_base(base or first.base)
    print_notes(note for text in texts for note in parse_prompt(text, first.handles, base=model).notes)
    judges = load_judges(model.family, model.device, clip, dino)
    # The figures of the toybox are those of its own segmenter
    segmenter = Segmenter.load(TOYBOX if model.family == TOYBOX else "auto", model.device, model.family)
    for note in filter(None, (*judges.notes, segmenter.note)):
        print(note, file=sys.stderr)
    evaluation = report.write(runs, model, out, judges, segmenter, texts, count, seed=seed, guidance_scale=guidance)
    results = exhaust(evaluation, lambda event: print(f"{event[2]} ({event[0]} of {event[1]})", flush=True))
    for name, metrics in results.items():
        models = metrics["measured_by"]
        known = [(key, label) for key, label in report.METRICS.items() if metrics[key] is not None]
        figures = [f"{label} {metrics[key]:.3f} ({report.model_name(models[key])})" for key, label in known]
        print(f"{name}: {', '.join(figures)}")
    print(f"Done: open {out / 'index.html'} in a browser.")
