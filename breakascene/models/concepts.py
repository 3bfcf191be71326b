"""Concepts: the result of a run, that is, handles with their embeddings and a low-rank weight delta."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save, save_file

from breakascene.data import validation
from breakascene.data.consent import Consent
from breakascene.data.scene import Scene, save_scene
from breakascene.errors import UserError, system_reason
from breakascene.files import atomic_folder, require_empty
from breakascene.models import handles, lora
from breakascene.models.base import Base
from breakascene.models.manifest import SINGLE, Manifest, read_values

MAX_CONSENTS = 1000


@dataclass(frozen=True, eq=False)
class Concepts:
    """The concepts of one scene, extracted on one base.

    Saved as a run folder: manifest.json (everything except tensors and losses), concepts.safetensors ("handles" and
    the weight delta, see lora.py), losses.json, and scene/ with the photo and its masks.
    """

    handles: tuple[str, ...]
    names: tuple[str, ...]
    base: str  # name of the base
    fingerprint: str  # of the base
    settings: dict  # Settings.to_json()
    steps: int  # completed steps of both phases
    losses: tuple[dict[str, float], ...]  # per step: "total", "reconstruction", "attention", in phase 2 also "prior"
    embeddings: torch.Tensor  # (K, D) float32; for SDXL those of both text encoders, concatenated
    delta: lora.WeightDelta
    leak: dict[str, float] = field(default_factory=dict)  # handle → share of its attention outside its mask, 0..1
    memory: str = ""  # the memory mode at the end of the run, see training.modes.MEMORY_MODES
    photo: str = ""  # Scene.photo_hash of the first photo; empty in early runs
    consents: tuple[Consent, ...] = ()  # what was declared about the photos, as far as it was

    @property
    def id(self) -> str:
        """A hash of the tensors, 12 hex digits."""
        return hashlib.sha256(save(self._tensors())).hexdigest()[:12]

    def _tensors(self) -> dict[str, torch.Tensor]:
        return {"handles": self.embeddings, **self.delta}

    def save(self, folder: Path | str, scene: Scene | None = None) -> None:
        """Write a run folder atomically; an existing run is replaced.

        Raises:
            UserError: If the folder holds anything other than a run, or cannot be written.
        """
        folder = check_run_folder(folder)
        manifest = {
            "format": SINGLE,
            **Manifest.of(self).to_json(),
            "settings": self.settings,
            "leak": self.leak,
            "memory": self.memory,
            "consents": [consent.to_json() for consent in self.consents],
        }
        try:
            with atomic_folder(folder) as draft:
                save_file(self._tensors(), draft / "concepts.safetensors")
                (draft / "losses.json").write_text(json.dumps(self.losses), encoding="utf-8")
                if scene is not None:
                    save_scene(scene, draft / "scene")
                (draft / "manifest.json").write_text(json.dumps(manifest, indent=2), encoding="utf-8")
        except (OSError, SafetensorError) as error:
            raise UserError(f"Cannot write to {folder} ({system_reason(error)}): choose another place.") from error

    @classmethod
    def load(cls, folder: Path | str) -> "Concepts":
        """Load a run folder.

        Raises:
            UserError: If it is not a run folder, is damaged, or was written by a newer version.
        """
        folder = Path(folder)
        if not (folder / "manifest.json").is_file():
            raise UserError(f"{folder} is not a run folder: give the folder that extract wrote.")
        try:
            manifest = read_values(folder)
            if "groups" in manifest:
                raise UserError(f"{folder} has objects that were learned in groups: load it with load_run.")
            if manifest["format"] != SINGLE:
                raise UserError(f"{folder} was written by another version: update this package, or extract again.")
            shared = Manifest.from_json(manifest)
            handles = shared.handles
            tensors, _ = validation.read_tensors(folder / "concepts.safetensors")
            losses = validation.checked_losses(validation.read_json(folder / "losses.json", allow_nonfinite=True))
            embeddings = tensors.pop("handles")
            if embeddings.ndim != 2 or len(embeddings) != len(handles) or not embeddings.is_floating_point():
                raise ValueError("its embeddings do not match its handles")
            consents = validation.checked_list(manifest.get("consents", []), MAX_CONSENTS, "its consents")
            leak = validation.checked_dict(manifest.get("leak", {}), "leak")  # early runs lack leak and memory
            return cls(
                handles=handles,
                names=shared.names,
                base=shared.base,
                fingerprint=shared.fingerprint,
                settings=_checked_settings(manifest["settings"]),
                steps=shared.steps,
                losses=tuple(losses),
                embeddings=embeddings,
                delta=tensors,
                leak={h: validation.checked_float(leak[h], -0.1, 1.1, "a leak") for h in handles if h in leak},
                memory=validation.checked_text(manifest.get("memory", ""), 64, "its memory mode"),
                photo=shared.photo,
                consents=tuple(map(Consent.from_json, consents)),
            )
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"{folder} is not a run folder or is damaged: extract again.") from error

    def check(self, base: Base) -> None:
        """Raise UserError if the concepts were extracted on another base, or do not fit it."""
        if base.fingerprint != self.fingerprint:
            raise UserError(
                "These concepts were learned on {learned}, not on {base}: load that base, or extract again.",
                learned=self.base,
                base=base.name,
            )
        if not lora.delta_fits(base, self.delta) or self.embeddings.shape[1] != base.embedding_dim:
            raise UserError("The weights of this run do not fit its base: extract again.")

    @contextmanager
    def applied(self, base: Base, others: Mapping[str, torch.Tensor] | None = None) -> Iterator[Base]:
        """Apply the handles and the weight delta to a base for the duration of a block; it is restored bit for bit.

        Args:
            base: The base that they were extracted on.
            others: Further handles with their embeddings (D,), for example imported ones.

        Raises:
            UserError: If the concepts were extracted on another base.
        """
        self.check(base)
        others = others or {}
        embeddings = torch.stack([*self.embeddings, *others.values()])
        with (
            base.lock.held(),
            handles.with_handles(base, (*self.handles, *others), embeddings),
            lora.apply_delta(base, self.delta),
        ):
            yield base


def _checked_settings(values: object) -> dict:
    """Validate the settings that other code reads without Settings.from_json, which validates the others."""
    settings = dict(validation.checked_dict(values, "settings"))
    if "steps" in settings:
        steps = validation.checked_list(settings["steps"], 2, "its setting steps")
        for step in steps:
            validation.checked_int(step, 0, validation.MAX_STEPS, "a number of steps")
        if len(steps) != 2:
            raise ValueError("its setting steps does not have two numbers")
    validation.checked_int(settings.get("seed", 0), 0, 2**64 - 1, "its seed")
    return settings


def check_run_folder(folder: Path | str) -> Path:
    """Raise UserError if `folder` is neither empty nor a run folder."""
    folder = Path(folder)
    return folder if (folder / "manifest.json").is_file() else require_empty(folder)
