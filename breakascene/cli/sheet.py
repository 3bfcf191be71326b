"""The command `sheet`: each object of a run in places and styles, on one contact sheet."""

from pathlib import Path
from typing import Annotated

import typer

from breakascene.cli.library import run_folder
from breakascene.cli.options import GuidanceOption, OtherBaseOption, SeedOption, open_base
from breakascene.errors import UserError
from breakascene.files import atomic_file, require_writable


def sheet(
    run: Annotated[str, typer.Argument(help="A run folder, as written by extract, or a run of the library.")],
    out: Annotated[Path, typer.Option(help="Folder for contact-sheet.png and the images.")],
    place: Annotated[
        list[str] | None, typer.Option(help='A place, such as "at the beach": a row of the sheet; repeatable.')
    ] = None,
    style: Annotated[
        list[str] | None, typer.Option(help='A style, such as "a painting"; repeatable. Default: a photo.')
    ] = None,
    seed: SeedOption = 0,
    steps: Annotated[int, typer.Option(min=1, max=1000, help="Inference steps per image.")] = 20,
    guidance: GuidanceOption = None,
    base: OtherBaseOption = None,
):
    """Generate each object of a run in each style and place, all from one seed; prints the path of each PNG.

    Columns are the objects, rows the styles and places.
    """
    if not place and not style:
        raise UserError('There is no row: give --place "at the beach" or --style "a painting", once for each row.')
    require_writable(out, "folder")
    from breakascene.data.handle_names import BACKGROUND
    from breakascene.models.grouped import load_run

    concepts = load_run(run_folder(run))
    names = {h: name for h, name in zip(concepts.handles, concepts.names, strict=True) if h != BACKGROUND}
    from breakascene.generation.generate import generate, save_image
    from breakascene.generation.sheet import sheet_prompts
    from breakascene.provenance.credentials import png_bytes
    from breakascene.rendering.sheets import contact_sheet

    prompts = [prompt for row in sheet_prompts(concepts.handles, place or (), style or ()) for prompt in row]
    options = {"seed": seed, "num_inference_steps": steps, "guidance_scale": guidance, "same_seeds": True}
    images, captions = [], []
    for image in generate(open_base(base or concepts.base), concepts, prompts, **options):
        print(save_image(image, out), flush=True)
        images.append(image.image)
        caption = image.metadata["prompt"]
        for handle, name in names.items():
            caption = caption.replace(handle, name)
        captions.append(caption)
    with atomic_file(out / "contact-sheet.png") as draft:
        draft.write_bytes(png_bytes(contact_sheet(images, captions, len(names)), photo=concepts.photo))
    print(out / "contact-sheet.png")
