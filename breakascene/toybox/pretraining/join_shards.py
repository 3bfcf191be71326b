"""Export the weights that `pretraining --shards FOLDER` wrote as the toybox's generator.

python -m breakascene.toybox.pretraining.join_shards FOLDER [--out TOYBOX]
"""

from pathlib import Path
from typing import Annotated

import typer

from breakascene.paths import TOYBOX
from breakascene.toybox.pretraining.generator import Generator, export
from breakascene.toybox.pretraining.shards import read_shards


def join(
    folder: Annotated[Path, typer.Argument(help="Folder that `--shards` named.")],
    out: Annotated[Path, typer.Option(help="The toybox's folder.")] = TOYBOX,
) -> None:
    """Export the weights in FOLDER."""
    model = Generator()
    model.load_state_dict(read_shards(folder))
    export(model, out)


if __name__ == "__main__":
    typer.run(join)
