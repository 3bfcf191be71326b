"""The command `masks`: the masks of a run or a scene for other programs."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from breakascene.files import require_writable


def masks(
    source: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or a scene folder.")],
    to: Annotated[
        Literal["scene", "cutouts", "onetrainer", "coco"],
        typer.Option(
            help="scene: masks with names; cutouts: transparent PNGs; onetrainer: -masklabel.png files with captions; "
            "coco: JSON with RLE."
        ),
    ],
    out: Annotated[Path, typer.Option(help="A new folder.")],
):
    """Save the masks of a run or a scene for other programs. To read masks, give a folder or COCO JSON to extract."""
    require_writable(out, "folder")
    from breakascene.data.mask_files import write_masks
    from breakascene.data.scene import load_scene

    scene = load_scene(source / "scene" if (source / "scene").is_dir() else source)
    write_masks(scene, to, out)
    print(f"{out}: {len(scene.concepts)} masks")
