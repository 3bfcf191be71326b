"""The command `segment`: a photo and clicks to mask files."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from breakascene.cli.options import parse_numbers, parse_point
from breakascene.errors import UserError
from breakascene.files import atomic_file, atomic_folder, require_empty, require_writable


def segment(
    photo: Annotated[Path, typer.Argument(help="The photo.")],
    out: Annotated[Path, typer.Option(help="PNG file for the mask; with --auto, a new folder.")],
    point: Annotated[
        list[str] | None, typer.Option(help="X,Y on the object, or X,Y,- beside it; may be repeated.")
    ] = None,
    box: Annotated[str | None, typer.Option(help="X0,Y0,X1,Y1 around the object.")] = None,
    auto: Annotated[bool, typer.Option("--auto", help="Find all objects without points or a box.")] = False,
    sam: Annotated[str, typer.Option(help="toybox, vit_b, vit_l, vit_h, or a SAM checkpoint (.pth).")] = "auto",
):
    """Segment an object of a photo by points or a box, and write its mask. X and Y are pixels of the upright photo."""
    clicks = [parse_point(text) for text in point or []]
    corners = parse_numbers(box, 4, "--box", "X0,Y0,X1,Y1") if box else None
    if auto == bool(clicks or corners):
        raise UserError("Mark the object with --point X,Y or --box X0,Y0,X1,Y1, or use --auto alone.")
    require_writable(out, "folder" if auto else "file")
    if auto:
        require_empty(out)
    elif out.suffix.lower() != ".png":
        raise UserError(f"The mask is written as a PNG: name it {out.stem}.png.")
    from breakascene.data.image_io import read_photo, scaled_clicks

    image = read_photo(photo)
    from breakascene.segmentation.segmenter import Segmenter, validate_clicks

    points, labels = [(x, y) for x, y, _ in clicks], [label for _, _, label in clicks]
    if not auto:
        validate_clicks(image.info["full_size"], points, labels, corners)
    points, corners = scaled_clicks(image, points, corners)
    segmenter = Segmenter.load(sam)
    if segmenter.note:
        print(segmenter.note, file=sys.stderr)
    if auto:
        save_masks(segmenter.auto(image), image, out)
        return
    candidates = segmenter.predict(points, labels, corners, photo=image)
    mask = candidates.mask()  # (H, W)
    if not mask.any():
        raise UserError("No object was found there: try another point, or a box around the object.")
    with atomic_file(out) as draft:
        mask_image(mask).save(draft)
    print(f"{out}: {mask.mean():.1%} of the photo, score {candidates.scores[0]:.2f}")


def save_masks(masks, photo, out: Path) -> None:
    """Write masks (H, W) as mask0.png, mask1.png, … and overlay.png to a folder. Raises UserError if there are none."""
    from breakascene.rendering.overlay import overlay

    if not masks:
        raise UserError("No object was found: mark the objects with --point or --box.")
    with atomic_folder(out) as draft:
        for index, mask in enumerate(masks):
            mask_image(mask).save(draft / f"mask{index}.png")
        overlay(photo, masks).save(draft / "overlay.png")
    print(f"{out}: {len(masks)} masks, largest first, and overlay.png")


def mask_image(mask):
    """Convert a mask (H, W) bool to an 8-bit image, white on black."""
    import numpy as np
    from PIL import Image

    return Image.fromarray(mask.astype(np.uint8) * 255)
