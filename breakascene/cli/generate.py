"""The command `generate`: a run folder and a prompt to images."""

from pathlib import Path
from typing import Annotated

import typer

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
from breakascene.files import require_writable


def generate(
    run: Annotated[Path, typer.Argument(help="A run folder, as written by extract.")],
    prompt: Annotated[str, typer.Argument(help='The prompt, such as "a photo of <asset0> at the beach".')],
    out: Annotated[Path, typer.Option(help="Folder for the images.")],
    count: Annotated[int, typer.Option(min=1, help="Number of images.")] = 1,
    seed: SeedOption = 0,
    steps: Annotated[int, typer.Option(min=1, max=1000, help="Inference steps per image.")] = 20,
    guidance: GuidanceOption = None,
    negative: Annotated[str, typer.Option(help="Negative prompt: what to avoid.")] = "",
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT; default: the base's own square.")] = None,
    base: OtherBaseOption = None,
    lora: LoraFiles = None,
):
    """Generate images from a prompt with the handles of a run; prints the path of each PNG, which has its metadata."""
    require_writable(out, "folder")
    from breakascene.models.concepts import Concepts
    from breakascene.models.prompts import parse_prompt

    concepts = Concepts.load(run)
    width_height = parse_size(size)
    if not lora:  # reports errors before the base loads; with a LoRA further handles may follow
        parse_prompt(prompt, concepts.handles, concepts.names), parse_prompt(negative, concepts.handles)
    from breakascene.generation.generate import generate as generate_images
    from breakascene.generation.generate import save_image

    model = open_base(base or concepts.base)
    loras = read_loras(lora, model)
    handles = (*concepts.handles, *(f"<{name}>" for one in loras for name in one.embeddings))
    parsed = parse_prompt(prompt, handles, concepts.names, model), parse_prompt(negative, handles, base=model)
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
