"""The command `edit`: run folders, a photo, a region of it and a prompt to edited photos."""

from pathlib import Path
from typing import Annotated

import typer

from breakascene.cli.library import run_folder
from breakascene.cli.options import (
    AgreedByOption,
    AgreedToOption,
    AgreedUntilOption,
    GuidanceOption,
    LoraFiles,
    OtherBaseOption,
    PersonOption,
    SeedOption,
    open_base,
    parse_numbers,
    parse_prompts,
    print_notes,
    read_loras,
)
from breakascene.errors import UserError
from breakascene.files import require_writable


def edit(
    runs_photo_and_prompt: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN... PHOTO PROMPT",
            help="Run folders, as written by extract, or runs of the library; then the photo to edit; and at last the "
            'prompt for the region and its surroundings, such as "a photo of <asset0> on a wooden table".',
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the images.")],
    mask: Annotated[
        Path | None, typer.Option(help="Image of the region to repaint, white on black or opaque on transparent.")
    ] = None,
    box: Annotated[str | None, typer.Option(help="X0,Y0,X1,Y1: the region as a box in pixels of the photo.")] = None,
    count: Annotated[int, typer.Option(min=1, help="Number of images.")] = 1,
    seed: SeedOption = 0,
    steps: Annotated[int, typer.Option(min=1, max=1000, help="Inference steps per image.")] = 20,
    guidance: GuidanceOption = None,
    negative: Annotated[str, typer.Option(help="Negative prompt: what to avoid.")] = "",
    strength: Annotated[
        float, typer.Option(help="Above 0 to 1: less keeps shapes and colors of what is in the region.")
    ] = 1.0,
    base: OtherBaseOption = None,
    lora: LoraFiles = None,
    person: PersonOption = None,
    agreed_by: AgreedByOption = "",
    agreed_to: AgreedToOption = "",
    agreed_until: AgreedUntilOption = "",
):
    """Repaint a region of a photo from a prompt with the handles of one or more runs. The rest stays as it is.

    Prints the path of each PNG, which has its metadata; it can be edited again.
    """
    if len(runs_photo_and_prompt) < 2:
        raise UserError("Give a run folder, the photo to edit and, at last, the prompt.")
    *runs, photo, prompt = runs_photo_and_prompt
    if Path(prompt).is_file() or (Path(prompt) / "manifest.json").is_file():
        raise UserError("There is no prompt: write it after the photo.")
    if not runs and not (lora and base):
        raise UserError("There is no run folder: write it before the photo, or give --lora and --base.")
    if (mask is None) == (box is None):
        raise UserError("Mark the region to repaint with --mask FILE or with --box X0,Y0,X1,Y1.")
    corners = parse_numbers(box, 4, "--box", "X0,Y0,X1,Y1") if box is not None else None
    require_writable(out, "folder")
    from breakascene.data.consent import declare_consent
    from breakascene.data.image_io import read_mask, read_photo, scaled_clicks
    from breakascene.generation.region import box_region, check_region
    from breakascene.generation.variations import check_strength
    from breakascene.models.combined import combine
    from breakascene.models.grouped import load_run

    check_strength(strength)
    consent = declare_consent(person, agreed_by, agreed_to, agreed_until)
    image = read_photo(photo)
    if corners:
        region = box_region(image.size, scaled_clicks(image, [], corners)[1])
    else:
        region = read_mask(mask, image.size, photo=image, allow_inverted=True)
        check_region(region, image.size)
    loaded = [load_run(run_folder(run)) for run in runs]
    concepts = combine(loaded) if len(loaded) > 1 else loaded[0] if loaded else None
    if not lora:  # reports errors before the base loads; with a LoRA further handles may follow
        parse_prompts(prompt, negative, concepts)
    from breakascene.generation.edit import check_edit, read_origin
    from breakascene.generation.edit import edit as edit_photo
    from breakascene.generation.generate import save_image

    model = open_base(base or concepts.base)
    loras = read_loras(lora, model)
    prompt, negative = parse_prompts(prompt, negative, concepts, model, loras)
    declared = consent or next(iter(read_origin(photo).consents), None)
    print_notes(check_edit(model, image, region, declared))
    images = edit_photo(
        model,
        concepts,
        photo,
        region,
        prompt,
        count=count,
        seed=seed,
        num_inference_steps=steps,
        guidance_scale=guidance,
        negative_prompt=negative,
        strength=strength,
        consent=consent,
        loras=loras,
    )
    for one in images:
        print(save_image(one, out), flush=True)
