"""The command `evaluate`: run folders to a report."""

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
    count: Annotated[int, typer.Option(min=1, help="Images per prompt.")] = 1,
    seed: SeedOption = 0,
    guidance: GuidanceOption = None,
    clip: Annotated[
        str, typer.Option(help="Model for prompt similarity: toybox, or a CLIP folder or hub id.")
    ] = "toybox",
    dino: Annotated[
        str, typer.Option(help="Model for identity similarity: toybox, or a DINO or CLIP folder or hub id.")
    ] = "toybox",
    base: OtherBaseOption = None,
):
    """Evaluate runs: prompt and identity similarity, and what each object was recognized as, in a report."""
    require_writable(out, "folder")
    require_empty(out)
    from breakascene.evaluation import report
    from breakascene.evaluation.metrics import load_feature_extractor
    from breakascene.models.concepts import Concepts
    from breakascene.models.prompts import parse_prompt
    from breakascene.training.loop import exhaust

    texts = read_prompts(prompts) if prompts else []
    first = Concepts.load(runs[0])
    model = open_base(base or first.base)
    print_notes(*(parse_prompt(text, first.handles, base=model) for text in texts))
    extractors = [load_feature_extractor(name, model.device) for name in (clip, dino)]
    evaluation = report.write(runs, model, out, *extractors, texts, count, seed=seed, guidance_scale=guidance)
    results = exhaust(evaluation, lambda event: print(f"{event[2]} ({event[0]} of {event[1]})", flush=True))
    for name, metrics in results.items():
        known = [(label, metrics[key]) for key, label in report.METRICS.items() if metrics[key] is not None]
        print(f"{name}: " + ", ".join(f"{label} {value:.3f}" for label, value in known))
    print(f"Done: open {out / 'index.html'} in a browser.")
