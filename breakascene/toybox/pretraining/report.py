"""Measure the toybox: python -m breakascene.toybox.pretraining.report [--json FILE] [--sheet FILE]

Fresh scenes and fixed seeds. In a drawn picture a thing counts as recognized when the judge, asked which of all 310
things each found region shows, names it for one of the regions that the segmenter finds by itself.
"""

import itertools
import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from breakascene.generation.generate import generate
from breakascene.models.base import Base
from breakascene.models.loading import load_base
from breakascene.rendering import plots
from breakascene.segmentation.segmenter import Segmenter
from breakascene.toybox.judge import Judge, load_judge, region
from breakascene.toybox.pretraining import autoencoder, segmenter
from breakascene.toybox.pretraining.world import random_scene
from breakascene.toybox.vocabulary import EVERYTHING, PLACES, STYLES, TRAINING, caption

SEED = 2024
GUIDANCE = 2.5  # known words bear more than those of a run: two things 54 % of 100, at the base's own 1.5 42 %


def recognized(judge: Judge, finder: Segmenter, image: Image.Image) -> set[str]:
    """The names that the judge gives to the regions that the segmenter finds in a picture."""
    pixels = np.asarray(image)
    masks = [mask for mask in finder.auto(image) if 0.01 < mask.mean() < 0.6]
    return set(judge.name([region(pixels, mask) for mask in masks])) if masks else set()


def judge_accuracy(judge: Judge, count: int = 300, seed: int = SEED) -> float:
    """Top-1 over all things, held-out ones too, on the exact regions of drawn scenes."""
    rng = np.random.default_rng(seed)
    regions, names = [], []
    while len(names) < count:
        scene = random_scene(rng, autoencoder.SIZE, EVERYTHING)
        for name, mask in zip(scene.names, scene.masks, strict=True):
            if mask.sum() > 320:
                regions.append(region(scene.pixels, mask))
                names.append(name)
    return float(np.mean([a == b for a, b in zip(judge.name(regions), names, strict=True)]))


def prompts_of(things: int, count: int = 100, seed: int = SEED) -> list[tuple[tuple[str, ...], str]]:
    """Fixed prompts, as (names, place)."""
    rng = np.random.default_rng([seed, things])
    return [
        (tuple(str(n) for n in rng.choice(TRAINING, things, replace=False)), str(rng.choice(tuple(PLACES))))
        for _ in range(count)
    ]


def drawn_figures(base: Base, judge: Judge, finder: Segmenter, things: int, count: int) -> dict[str, float]:
    """Draw the prompts: the share with every thing recognized and the share with the right place."""
    asked = prompts_of(things, count)
    images = [
        p.image for p in generate(base, None, [caption(*words) for words in asked], seed=SEED, guidance_scale=GUIDANCE)
    ]
    whole = [set(names) <= recognized(judge, finder, image) for (names, _), image in zip(asked, images, strict=True)]
    seen = judge.place([np.asarray(image) for image in images])
    right = [place == answer for (_, place), answer in zip(asked, seen, strict=True)]
    return {f"things_{things}": float(np.mean(whole)), f"place_{things}": float(np.mean(right))}


def style_figures(base: Base, judge: Judge, things: int, count: int) -> dict[str, float]:
    """Draw the prompts in the four styles in turn: the share that the judge sees in the style asked for."""
    asked = [
        (style, caption(*words).replace("a photo", style, 1))
        for words, style in zip(prompts_of(things, count), itertools.cycle(STYLES), strict=False)
    ]
    drawn = generate(base, None, [prompt for _, prompt in asked], seed=SEED, guidance_scale=GUIDANCE)
    seen = judge.style([np.asarray(p.image) for p in drawn])
    right = [style == answer for (style, _), answer in zip(asked, seen, strict=True)]
    return {f"style_{things}": float(np.mean(right))}


def sheet(base: Base, rows: int = 4, columns: int = 6) -> Image.Image:
    """A sheet of pictures with their prompts: one thing, then two, then three."""
    asked = [row for things, share in ((1, 2), (2, 1), (3, 1)) for row in prompts_of(things)[: columns * share]]
    pictures = list(
        generate(base, None, [caption(*words) for words in asked[: rows * columns]], seed=SEED, guidance_scale=GUIDANCE)
    )
    return plots.contact_sheet([p.image for p in pictures], [p.metadata["prompt"] for p in pictures], columns, side=192)


def report(
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures there too.")] = None,
    sheet_file: Annotated[Path, typer.Option("--sheet", help="Where the picture sheet goes.")] = Path("sheet.png"),
    count: Annotated[int, typer.Option(help="Prompts for each figure of drawn pictures.")] = 100,
) -> None:
    """Print the toybox's figures and write a sheet of 24 drawn pictures."""
    base, judge, finder = load_base("toybox"), load_judge(), Segmenter.load("toybox")
    figures = {
        "vae_psnr": autoencoder.psnr(base.vae),
        "judge_top1": judge_accuracy(judge),
        "iou_1_click": segmenter.clicked_iou(finder, 1),
        "iou_3_clicks": segmenter.clicked_iou(finder, 3),
        "found_by_auto": segmenter.found_share(finder),
    }
    for things in (1, 2, 3):
        figures |= drawn_figures(base, judge, finder, things, count)
    for things in (1, 2):
        figures |= style_figures(base, judge, things, count // 2)
    sheet(base).save(sheet_file)
    for name, value in figures.items():
        print(f"{name:14} {value:.3f}")
    if json_file:
        json_file.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(report)
