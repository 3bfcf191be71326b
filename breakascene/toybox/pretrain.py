"""Pretrain one part of the toybox: python -m breakascene.toybox.pretrain PART --minutes N

Parts: vae, generator (needs the vae), judge, segmenter. A run goes on from the part's last state in `.pretrain/`.
"""

import importlib
from pathlib import Path
from typing import Annotated

import typer

from breakascene.toybox.training import STATES, TOYBOX, train

ROOMS = {"vae": "autoencoder", "generator": "generator", "judge": "judge", "segmenter": "segmenter"}


def pretrain(
    part: str,
    minutes: Annotated[float, typer.Option(help="Time budget; the learning rate falls to its end.")] = 10.0,
    out: Annotated[Path, typer.Option(help="The toybox's folder; the generator reads its vae there.")] = TOYBOX,
    states: Annotated[Path, typer.Option(help="Where training states are kept.")] = STATES,
    seed: int = 0,
) -> None:
    """Train PART for MINUTES, on the GPU where there is one."""
    if part not in ROOMS:
        raise typer.BadParameter(f"Choose one of {', '.join(ROOMS)}.")
    room = importlib.import_module(f"breakascene.toybox.{ROOMS[part]}")
    train(room.part(out), minutes, out, states, seed)


if __name__ == "__main__":
    typer.run(pretrain)
