"""Saving a run between two steps and resuming it to the same end, bit for bit.

One safetensors file holds the tensors and, in its header, the JSON part, so that both are always of the same step.
"""

import hashlib
import json
import shutil
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from breakascene.data import validation
from breakascene.data.scene import Scene
from breakascene.errors import UserError, system_reason
from breakascene.files import atomic_file, real_path
from breakascene.models.base import Base
from breakascene.training.settings import OLD_NAMES, Settings

SETTINGS_KEYS = {field.name for field in fields(Settings)} | set(OLD_NAMES)


@dataclass(frozen=True)
class Checkpoint:
    """The state after a step."""

    phase: int
    losses: list[dict[str, float]]  # one for each step done
    tensors: dict[str, torch.Tensor]  # "handles", weights by name, and the optimizer's state, see optim.optimizer_state
    random: torch.Tensor  # state of the generator, uint8

    @property
    def step(self) -> int:
        return len(self.losses)

    def detached(self) -> "Checkpoint":
        """A copy on the CPU that no further step changes."""
        tensors = {name: tensor.detach().to("cpu", copy=True) for name, tensor in self.tensors.items()}
        return replace(self, losses=list(self.losses), tensors=tensors)


@dataclass(frozen=True)
class Checkpointer:
    """The checkpoint file of a run; disabled without a path or with `every` 0."""

    path: Path | None
    identity: dict
    every: int  # steps

    @property
    def enabled(self) -> bool:
        return self.path is not None and self.every > 0

    def due(self, step: int) -> bool:
        return self.enabled and step % self.every == 0

    def save(self, state: Checkpoint) -> None:
        save(self.path, state, self.identity)

    def load(self) -> Checkpoint:
        return load(self.path, self.identity)

    def remove(self) -> None:
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def path_for(out: Path | str) -> Path:
    """Path of the checkpoint of a run with the folder `out`: beside it, and removed when the run is done."""
    out = real_path(out)
    return out.parent / f"{out.name}.checkpoint.safetensors"


def groups_folder(out: Path | str) -> Path:
    """Folder of the runs of an extraction in groups with the folder `out`: beside it, and removed when it is done."""
    out = real_path(out)
    return out.parent / f"{out.name}.groups"


def can_resume(out: Path | str) -> bool:
    """Whether an extraction into the folder `out` has not ended and can be resumed."""
    return path_for(out).is_file() or groups_folder(out).is_dir()


def delete(out: Path | str) -> None:
    """Delete what an extraction into the folder `out` would be resumed from."""
    path_for(out).unlink(missing_ok=True)
    shutil.rmtree(groups_folder(out), ignore_errors=True)


def identity(scene: Scene, base: Base, settings: Settings) -> dict:
    """The values that define a run: two runs with the same identity have the same losses."""
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


def save(path: Path, state: Checkpoint, identity: dict) -> None:
    """Write the state atomically: at any moment `path` holds a complete checkpoint, the old or the new one.

    Raises:
        UserError: If the file cannot be written.
    """
    header = {"phase": state.phase, "losses": state.losses, "identity": identity}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors.items()}
    try:
        with atomic_file(path) as draft:
            save_file({**tensors, "random": state.random}, draft, {"checkpoint": json.dumps(header)})
    except (OSError, SafetensorError) as error:
        then = "resume the run" if path.exists() else "start again"
        raise UserError(
            f"Cannot write the checkpoint {path} ({system_reason(error)}): free some space, then {then}."
        ) from error


def load(path: Path, identity: dict) -> Checkpoint:
    """Read the state of the run with this identity.

    Raises:
        UserError: If there is no checkpoint, if it is damaged, or if it is of another run; then with the names of the
            settings that differ.
    """
    if not path.is_file():
        raise UserError(f"There is nothing to resume at {path}: start the run anew.")
    try:
        tensors, metadata = validation.read_tensors(path)
        header = validation.checked_dict(validation.parse_json(metadata["checkpoint"], allow_nonfinite=True), "header")
        phase = validation.checked_int(header["phase"], 1, 2, "its phase")
        losses = validation.checked_losses(header["losses"])
        random = tensors.pop("random")
        validation.check_shape(random, torch.Generator().get_state().shape, [torch.uint8], "its random state")
        torch.Generator().set_state(random)
        if not all(tensor.isfinite().all() for tensor in (tensors["handles"], *tensors.values())):
            raise ValueError("it has values that are not finite")
        saved = _upgrade(validation.checked_dict(header["identity"], "its identity"))
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise UserError(f"{path} is not a checkpoint or is damaged: delete it and start again.") from error
    check_identity(saved, identity)
    return Checkpoint(phase, losses, tensors, random)


def check_identity(saved: dict, identity: dict) -> None:
    """Raise UserError, with the names of the values that differ, if a saved run is another one."""
    different = [key[:40] for key in {**saved, **identity} if saved.get(key) != identity.get(key)]
    if different:
        raise UserError(
            "The saved run differs in {what}: resume with the same, or start a new run.",
            what=", ".join(different[:8]),
        )


def _upgrade(identity: dict) -> dict:
    """Bring the settings in a saved identity to today's field names and defaults."""
    settings = {key: value for key, value in identity.items() if key in SETTINGS_KEYS}
    others = {key: value for key, value in identity.items() if key not in SETTINGS_KEYS}
    return {**others, **Settings.from_json(settings).to_json()}
