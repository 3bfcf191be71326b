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
    parse_prompts,
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
    image: Annotated[Path | None, typer.Option(help="An image to start from instead of noise alone.")] = None,
    variations: Annotated[
        bool, typer.Option(help="Start from the photo of the (first) run; the prompt may be left out.")
    ] = False,
    strength: Annotated[
        float | None,
        typer.Option(
            help="How far to depart from the image (default: 0.7) or, with --layout, from the cut-outs (default: "
            "0.35): above 0, up to 1."
        ),
    ] = None,
    layout: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json",
            help="The boxes in which the objects of the prompt are placed; with --image, in that photo.",
        ),
    ] = None,
    background_only: Annotated[
        bool, typer.Option(help="The scene without its objects, of a run with <background>; takes no prompt.")
    ] = False,
    upscale: Annotated[
        bool, typer.Option(help="Double the width and height of each image, by the base itself.")
    ] = False,
):
    """Generate images from a prompt with the handles of one or more runs.

    Prints the path of each PNG, which has its metadata.
    """
    runs, prompt = split_prompt(runs_and_prompt, optional=variations or background_only)
    if prompt is not None and background_only:
        raise UserError("--background-only takes no prompt: leave one of them out.")
    if image and variations:
        raise UserError("--image and --variations name two images to start from: give one of them.")
    if layout and (variations or background_only):
        raise UserError("--layout goes without --variations and --background-only: give one of them.")
    if strength is not None and not (image or variations or layout):
        raise UserError("--strength needs an image to start from: add --image, --variations or --layout.")
    if not runs and (layout or variations or background_only or not (lora and base)):
        raise UserError("There is no run folder: write it before the prompt, or give --lora and --base.")
    require_writable(out, "folder")
    from breakascene.data.image_io import read_photo
    from breakascene.data.scene import load_scene
    from breakascene.generation import variations as photos
    from breakascene.generation.layout import check_prompt, read_layout
    from breakascene.models.combined import combine
    from breakascene.models.grouped import load_run
    from breakascene.provenance import consent
    from breakascene.segmentation.segmenter import Segmenter

    folders = [run_folder(run) for run in runs]
    loaded = [load_run(folder) for folder in folders]
    concepts = combine(loaded) if len(loaded) > 1 else loaded[0] if loaded else None
    if strength is not None:
        photos.check_strength(strength)
    placed = read_layout(layout, concepts.handles, concepts.names) if layout else None
    photo = read_photo(image) if image else None
    print_notes(consent.check_start(photo) if photo else ())
    scene = load_scene(folders[0] / "scene") if variations else None
    if prompt is None:
        handles = concepts.handles
        prompt = photos.background_prompt(handles) if background_only else photos.variation_prompt(handles, scene)
    width_height = parse_size(size)
    if not lora:  # reports errors before the base loads; with a LoRA further handles may follow
        text, _ = parse_prompts(prompt, negative, concepts)
        if placed:
            check_prompt(placed, text)
    from breakascene.generation import place as placing
    from breakascene.generation.generate import generate as generate_images
    from breakascene.generation.generate import image_shapes, save_image
    from breakascene.generation.upscale import upscale as upscale_image

    model = open_base(base or concepts.base)
    loras = read_loras(lora, model)
    prompt, negative = parse_prompts(prompt, negative, concepts, model, loras)
    if scene:
        photo = photos.scene_view(scene, width_height or image_shapes(model)["square"])
    options = {
        "count": count,
        "seed": seed,
        "num_inference_steps": steps,
        "guidance_scale": guidance,
        "negative_prompt": negative,
        "size": width_height,
        "loras": loras,
    }
    if placed:
        cutouts, segmenter = placing.cutouts_of(folders, concepts.handles), Segmenter.load(family=model.family)
        photo = photos.fitted(photo, width_height) if photo and width_height else photo
        options |= {"photo": photo, "strength": placing.STRENGTH if strength is None else strength}
        images = placing.place(model, concepts, placed, cutouts, prompt, segmenter, **options)
    else:
        strength = photos.STRENGTH if strength is None else strength
        start = photos.start_from(model, photo, width_height, strength) if photo else None
        images = generate_images(model, concepts, [prompt], start=start, **options)
    for image in images:
        if upscale:
            image = upscale_image(model, concepts, image, num_inference_steps=steps, loras=loras)
        print(save_image(image, out), flush=True)


def split_prompt(arguments: list[str], optional: bool) -> tuple[list[str], str | None]:
    """Split the arguments into runs and the prompt at last; where it is `optional`, the last one may be a run too."""
    *runs, last = arguments
    is_run = os.path.isfile(os.path.join(last, "manifest.json"))  # Path.is_file fails on text longer than file names
    if optional and not is_run:
        from breakascene.generation.library import Library

        is_run = any(last in (entry.id, entry.name) for entry in Library().entries())
    if is_run and not optional:
        raise UserError("There is no prompt: write it after the run folders.")
    return (arguments, None) if is_run else (runs, last)
