"""The command `generate`: run folders and a prompt to images."""

import os
from pathlib import Path
from typing import Annotated

import typer

from breakascene.cli.library import run_folder
from breakascene.cli.options import (
    GuidanceOption,
    LoraFiles,
    OtherBaseOption,
    SeedOption,
    open_base,
    parse_size,
    print_notes,
    read_loras,
)
from breakascene.errors import UserError
from breakascene.files import require_writable


def generate(
    runs_and_prompt: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN... PROMPT",
            help="Run folders, as written by extract, or runs of the library, and at last the prompt, such as "
            '"a photo of <asset0> at the beach"; with several runs, <teapot> is the object named teapot.',
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the images.")],
    count: Annotated[int, typer.Option(min=1, max=10_000, help="Number of images.")] = 1,
    seed: SeedOption = 0,
    steps: Annotated[int, typer.Option(min=1, max=1000, help="Inference steps per image.")] = 20,
    guidance: GuidanceOption = None,
    negative: Annotated[str, typer.Option(help="Negative prompt: what to avoid.")] = "",
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT; default: the base's own square.")] = None,
    base: OtherBaseOption = None,
    lora: LoraFiles = None,
):
    """Generate images from a prompt with the handles of one or more runs.

    Prints the path of each PNG, which has its metadata.
    """
    *runs, prompt = runs_and_prompt
    if os.path.isfile(os.path.join(prompt, "manifest.json")):  # Path.is_file fails on a prompt longer than file names
        raise UserError("There is no prompt: write it after the run folders.")
    if not runs and not (lora and base):
        raise UserError("There is no run folder: write it before the prompt, or give --lora and --base.")
    require_writable(out, "folder")
    from breakascene.models.combined import combine
    from breakascene.models.grouped import load_run
    from breakascene.models.prompts import parse_prompt

    loaded = [load_run(run_folder(run)) for run in runs]
    concepts = combine(loaded) if len(loaded) > 1 else loaded[0] if loaded else None
    handles, names = (concepts.handles, concepts.names) if concepts else ((), ())
    width_height = parse_size(size)
    if not lora:  # reports errors before the base loads; with a LoRA further handles may follow
        parse_prompt(prompt, handles, names), parse_prompt(negative, handles, names)
    from breakascene.generation.generate import generate as generate_images
    from breakascene.generation.generate import save_image

    model = open_base(base or concepts.base)
    loras = read_loras(lora, model)
    handles = (*handles, *(f"<{name}>" for one in loras for name in one.embeddings))
    parsed = (
        parse_prompt(prompt, handles, names, model),
        parse_prompt(negative, handles, names, model, plain_names=False),
    )
    print_notes(*parsed)
    prompt, negative = (one.text for one in parsed)
    images = generate_images(
        model,
        concepts,
        [prompt],
        count=count,
        seed=seed,
        num_inference_steps=steps,
        guidance_scale=guidance,
        negative_prompt=negative,
        size=width_height,
        loras=loras,
    )
    for image in images:
        print(save_image(image, out), flush=True)
