"""Saving a run between two steps, and going on from there to the same end bit for bit.

One safetensors file holds the tensors and, in its header, the JSON part, so that both are always of the same step.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from breakascene.data.scene import Scene
from breakascene.errors import UserError
from breakascene.files import atomic_file
from breakascene.models.base import Base
from breakascene.training.settings import Settings


@dataclass(frozen=True)
class Checkpoint:
    """The state after a step. tensors: "handles", weights by name, and Adam's state as learning.optimizer_state gives it."""

    phase: int
    losses: list[dict[str, float]]  # one for each step done
    identity: dict  # what has to be the same to go on
    tensors: dict[str, torch.Tensor]
    random: torch.Tensor  # state of the generator, uint8

    @property
    def step(self) -> int:
        return len(self.losses)

    def apart(self) -> "Checkpoint":
        """The same with tensors of its own, on the CPU, that no further step changes."""
        tensors = {name: tensor.detach().to("cpu", copy=True) for name, tensor in self.tensors.items()}
        return replace(self, losses=list(self.losses), tensors=tensors)


def path_for(out: Path | str) -> Path:
    """Where the checkpoint of a run to the folder `out` lies: beside it, and gone when the run is done."""
    out = Path(out)
    return out.parent / f"{out.name}.checkpoint.safetensors"


def identity(scene: Scene, base: Base, settings: Settings) -> dict:
    """What makes a run this run: two runs with the same identity have the same losses."""
    digest = hashlib.sha256(scene.photo.tobytes())
    digest.update(scene.masks().tobytes())
    for other in scene.other_photos:
        digest.update(repr(other.names).encode() + other.photo.tobytes() + other.masks().tobytes())
    return {
        "photo and masks": digest.hexdigest(),
        "names": list(scene.names),
        "base": base.fingerprint,
        **settings.to_json(),
    }


def save(path: Path, state: Checkpoint) -> None:
    """Write the state so that `path` holds either the old or the new one, whole, at any moment. Raises UserError."""
    header = {"phase": state.phase, "losses": state.losses, "identity": state.identity}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors.items()}
    try:
        with atomic_file(path) as draft:
            save_file({**tensors, "random": state.random}, draft, {"checkpoint": json.dumps(header)})
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"Cannot write the checkpoint {path} ({error}): make room, then go on with --resume."
        ) from error


def load(path: Path, wanted: dict) -> Checkpoint:
    """Read the state of a run with the identity `wanted`.

    Raises UserError if there is none, if it is damaged, or, by name, for each setting that differs.
    """
    if not path.is_file():
        raise UserError(f"There is nothing to resume at {path}: start the run without --resume.")
    try:
        with safe_open(path, "pt") as file:
            header = json.loads(file.metadata()["checkpoint"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is not a checkpoint or is damaged: delete it and start anew.") from error
    there = header["identity"]
    other = [key for key in {**there, **wanted} if there.get(key) != wanted.get(key)]
    if other:
        raise UserError(
            "The saved run differs in {what}: resume with the same, or start without --resume.",
            what=", ".join(other),
        )
    random = tensors.pop("random")
    return Checkpoint(header["phase"], header["losses"], there, tensors, random)
