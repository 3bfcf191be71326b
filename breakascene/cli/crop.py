"""The command `crop`: generated images in the formats of listings and media, with their objects in the frame."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from breakascene.cli.library import run_folder
from breakascene.cli.options import OtherBaseOption, open_base, print_notes
from breakascene.errors import UserError
from breakascene.files import require_writable


def crop(
    images: Annotated[list[Path], typer.Argument(help="Images, as written by generate.")],
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    format: Annotated[
        list[str] | None,
        typer.Option(
            help="square, 4:5, 16:9, shop (2000 × 2000), story (1080 × 1920), banner (1920 × 600), or cutout: the "
            "objects on a transparent background; repeatable."
        ),
    ] = None,
    sam: Annotated[str, typer.Option(help="toybox, vit_b, vit_l, vit_h, or a SAM checkpoint (.pth).")] = "auto",
    upscale: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RUN",
            help="Upscale images that are smaller than the format, by the base itself and this run, which they were "
            "generated with; repeatable, for images with several runs. Otherwise they are scaled.",
        ),
    ] = None,
    base: OtherBaseOption = None,
):
    """Crop generated images to formats, with their objects in the frame; prints the path of each PNG."""
    if not format:
        raise UserError("There is no format: give --format, such as --format shop.")
    if base and not upscale:
        raise UserError("--base needs --upscale with the run of the images.")
    require_writable(out, "folder")
    from breakascene.data.image_io import read_photo
    from breakascene.generation.formats import check_format, is_larger, save_formats

    for name in format:
        check_format(name)
    stems = [file.stem for file in images]
    if repeated := next((stem for stem in stems if stems.count(stem) > 1), None):
        raise UserError(f"Several images are named {repeated}: crop them one by one, each with another --out.")
    sizes = {file: read_photo(file).size for file in images}  # reports errors before the models load
    small = [file for file, size in sizes.items() if any(is_larger(name, size) for name in format)]
    upscaler = open_upscaler(upscale, small, base) if upscale and small else None
    from breakascene.segmentation.segmenter import Segmenter

    segmenter = Segmenter.load(sam)
    print_notes([segmenter.note] if segmenter.note else [])
    for file in images:
        for path in save_formats(file, format, segmenter, out, upscaler):
            print(path, flush=True)


def open_upscaler(runs: list[str], images: list[Path], base: str | None) -> Callable:
    """Load runs and their base; return a function that upscales an image.

    Raises:
        UserError: If one of the images was not generated with these runs, or cannot be upscaled.
    """
    from PIL import Image

    from breakascene.generation.generate import read_metadata
    from breakascene.generation.upscale import check_image, check_loras
    from breakascene.generation.upscale import upscale as upscale_image
    from breakascene.models.combined import combine
    from breakascene.models.grouped import load_run

    loaded = [load_run(run_folder(run)) for run in runs]
    concepts = combine(loaded) if len(loaded) > 1 else loaded[0]
    for file in images:
        metadata = read_metadata(file)
        check_loras(metadata)
        if metadata.get("run") != concepts.id:
            raise UserError(f"{file} was generated with another run: give that run with --upscale.")
    model = open_base(base or concepts.base)
    for file in images:
        with Image.open(file) as image:
            check_image(model, image)
    return lambda image: upscale_image(model, concepts, image)
