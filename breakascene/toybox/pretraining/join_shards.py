"""Export the weights that `pretraining COMPONENT --shards FOLDER` wrote as a component of the toybox.

python -m breakascene.toybox.pretraining.join_shards FOLDER [--component segmenter] [--out TOYBOX]
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from breakascene.paths import TOYBOX
from breakascene.toybox.pretraining import generator, segmenter
from breakascene.toybox.pretraining.shards import read_shards


class JoinedComponent(StrEnum):
    """A component that is trained where only small files come back from."""

    GENERATOR = "generator"
    SEGMENTER = "segmenter"


def join(
    folder: Annotated[Path, typer.Argument(help="Folder that `--shards` named.")],
    component: Annotated[JoinedComponent, typer.Option(help="What was trained.")] = JoinedComponent.GENERATOR,
    out: Annotated[Path, typer.Option(help="The toybox's folder.")] = TOYBOX,
) -> None:
    """Export the weights in FOLDER."""
    if component == JoinedComponent.GENERATOR:
        model, export = generator.Generator(), generator.export
    else:
        model, export = segmenter.build(), segmenter.export
    model.load_state_dict(read_shards(folder))
    export(model, out)


if __name__ == "__main__":
    typer.run(join)
