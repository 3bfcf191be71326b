"""The command `crop`: generated images in the formats of listings and media, with their objects in the frame."""

import sys
from pathlib import Path
from typing import Annotated

import typer

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
):
    """Crop generated images to formats, with their objects in the frame; prints the path of each PNG."""
    if not format:
        raise UserError("There is no format: give --format, such as --format shop.")
    require_writable(out, "folder")
    from breakascene.data.image_io import read_photo
    from breakascene.generation.formats import check_format, save_formats

    for name in format:
        check_format(name)
    for file in images:
        read_photo(file)  # reports errors before the segmenter loads
    from breakascene.segmentation.segmenter import Segmenter

    segmenter = Segmenter.load(sam)
    if segmenter.note:
        print(segmenter.note, file=sys.stderr)
    for file in images:
        for path in save_formats(file, format, segmenter, out):
            print(path, flush=True)
