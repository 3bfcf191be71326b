"""Averaged weights in several small files, for a machine that returns only small files.

`pretraining --shards FOLDER` writes them, join_shards exports them as a component of the toybox.
"""

import os
import shutil
import tempfile
from pathlib import Path

import torch
import typer
from huggingface_hub import save_torch_state_dict
from safetensors.torch import load_file

MAX_SIZE = "15MB"  # of a file


def write_shards(weights: dict[str, torch.Tensor], folder: Path) -> None:
    """Write weights in float16, over those of an earlier call. Each file is replaced in one step."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        half = {name: value.half().cpu().contiguous() for name, value in weights.items()}
        save_torch_state_dict(half, temporary, max_shard_size=MAX_SIZE)
        for file in sorted(Path(temporary).iterdir()):
            shutil.copyfile(file, folder / "incomplete")
            os.replace(folder / "incomplete", folder / file.name)


def read_shards(folder: Path) -> dict[str, torch.Tensor]:
    """Read what `write_shards` wrote, in float32."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise typer.BadParameter(f"{folder} holds no *.safetensors files.")
    return {name: value.float() for file in files for name, value in load_file(file).items()}
