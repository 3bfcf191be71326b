"""Pretrain a component of the toybox: python -m breakascene.toybox.pretraining COMPONENT --minutes N

Components: vae, generator (on the VAE's latents), decoder (of the VAE, once more), segmenter, judge. A run resumes
from the component's last state in `.pretrain/`; without one it starts from scratch or from the exported weights. See
docs/toybox.md.
"""

import importlib
import time
from pathlib import Path
from typing import Annotated

import typer

from breakascene.paths import TOYBOX
from breakascene.toybox.pretraining.trainer import STATES, train

COMPONENTS = {  # name: function that builds it, by module
    "vae": "autoencoder.vae_component",
    "decoder": "autoencoder.decoder_component",
    "generator": "generator.generator_component",
    "judge": "judge.judge_component",
    "segmenter": "segmenter.segmenter_component",
}


def pretrain(
    component: str,
    minutes: Annotated[
        float, typer.Option(help="Time budget, preparation included; the learning rate decays to zero over it.")
    ] = 10.0,
    out: Annotated[Path, typer.Option(help="The toybox's folder; all but the vae read its vae from there.")] = TOYBOX,
    states: Annotated[Path, typer.Option(help="Folder of the training states.")] = STATES,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    from_exported: Annotated[
        bool, typer.Option("--from-exported", help="Without a state, start from the weights in OUT.")
    ] = False,
    compile_model: Annotated[
        bool, typer.Option("--compile", help="Compile the networks first (torch.compile); takes minutes.")
    ] = False,
    shards: Annotated[
        Path | None, typer.Option(help="Write only the averaged weights, here, in files of at most 15 MB.")
    ] = None,
) -> None:
    """Train COMPONENT for MINUTES, on the GPU if there is one."""
    start = time.monotonic()
    if component not in COMPONENTS:
        raise typer.BadParameter(f"Choose one of {', '.join(COMPONENTS)}.")
    module, _, function = COMPONENTS[component].partition(".")
    build_component = getattr(importlib.import_module(f"breakascene.toybox.pretraining.{module}"), function)
    deadline = start + 60 * minutes
    train(build_component(out), deadline, out, states, seed, from_exported, compile_model, shards)


if __name__ == "__main__":
    typer.run(pretrain)
