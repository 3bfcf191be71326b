"""Pretrain one part of the toybox: python -m breakascene.toybox.pretrain PART --minutes N

Parts: vae, generator (needs the vae), judge, segmenter. A run goes on from the part's last state in `.pretrain/`.
"""

import importlib

import typer

from breakascene.toybox.training import train

ROOMS = {"vae": "autoencoder", "generator": "generator", "judge": "judge", "segmenter": "segmenter"}


def pretrain(part: str, minutes: float = 10.0, seed: int = 0) -> None:
    """Train PART for MINUTES, on the GPU where there is one."""
    if part not in ROOMS:
        raise typer.BadParameter(f"Choose one of {', '.join(ROOMS)}.")
    train(importlib.import_module(f"breakascene.toybox.{ROOMS[part]}").part(), minutes, seed=seed)


if __name__ == "__main__":
    typer.run(pretrain)
