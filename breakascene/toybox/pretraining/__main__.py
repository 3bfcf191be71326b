"""Pretrain one part of the toybox: python -m breakascene.toybox.pretraining PART --minutes N

Parts: vae, generator (on the vae's latents), decoder (of the vae, once more), judge, segmenter. A run goes on from
the part's last state in `.pretrain/`; where there is none it begins from zero, or from the shipped weights.
"""

import importlib
from pathlib import Path
from typing import Annotated

import typer

from breakascene.paths import TOYBOX
from breakascene.toybox.pretraining.trainer import STATES, train

ROOMS = {
    "vae": "autoencoder.part",
    "decoder": "autoencoder.decoder_part",
    "generator": "generator.part",
    "judge": "judge.part",
    "segmenter": "segmenter.part",
}


def pretrain(
    part: str,
    minutes: Annotated[float, typer.Option(help="Time budget; the learning rate falls to its end.")] = 10.0,
    out: Annotated[Path, typer.Option(help="The toybox's folder; all but the vae read its vae there.")] = TOYBOX,
    states: Annotated[Path, typer.Option(help="Where training states are kept.")] = STATES,
    seed: int = 0,
    from_shipped: Annotated[bool, typer.Option("--from-shipped", help="Without a state: go on from OUT's.")] = False,
    fuse: Annotated[bool, typer.Option("--fuse", help="Compile first: minutes, then faster steps.")] = False,
) -> None:
    """Train PART for MINUTES, on the GPU where there is one."""
    if part not in ROOMS:
        raise typer.BadParameter(f"Choose one of {', '.join(ROOMS)}.")
    room, _, make = ROOMS[part].partition(".")
    made = getattr(importlib.import_module(f"breakascene.toybox.pretraining.{room}"), make)(out)
    train(made, minutes, out, states, seed, from_shipped, fuse)


if __name__ == "__main__":
    typer.run(pretrain)
