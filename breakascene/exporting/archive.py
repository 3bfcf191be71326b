"""A run as one file, to take away and bring back; of a stranger's file only what is known and sound gets in."""

import math
import re
import tempfile
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import torch

from breakascene.data.scene import Scene, load_scene
from breakascene.errors import UserError
from breakascene.files import atomic_file
from breakascene.models import lora
from breakascene.models.base import Base
from breakascene.models.concepts import Concepts
from breakascene.training.memory import MEMORY_MODE_NAMES
from breakascene.training.settings import Settings

PARTS = re.compile(r"manifest\.json|concepts\.safetensors|losses\.json|scene/(img\.png|names\.txt|mask[0-7]\.png)")
MOST_BYTES = 400_000_000  # unpacked; a run on Stable Diffusion has 13 to 50 MB, on SDXL 60 to 260
MOST_STEPS = 100_000
ODD = (AttributeError, TypeError, ValueError)  # of values that are not of the kind they should be


def pack(run: Path | str, file: Path | str) -> None:
    """Write the run folder as a zip, whole or not at all. Raises UserError if it is no run."""
    run = Path(run)
    Concepts.load(run)
    with atomic_file(file) as draft, zipfile.ZipFile(draft, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(run.rglob("*")):
            name = path.relative_to(run).as_posix()
            if PARTS.fullmatch(name):
                archive.write(path, name)


def unpack(file: Path | str, base: Base, run: Path | str) -> Concepts:
    """Read a file of `pack` as the run folder `run`; it is written anew from what was understood, never copied.

    Raises UserError, and leaves nothing, if the file is not one, is damaged, or belongs to another base.
    """
    try:
        with zipfile.ZipFile(file) as archive, tempfile.TemporaryDirectory() as folder:
            entries = archive.infolist()
            names = [entry.filename for entry in entries]
            if len(set(names)) < len(names) or not all(map(PARTS.fullmatch, names)):
                raise _unsound("it holds other things than a run")
            if sum(entry.file_size for entry in entries) > MOST_BYTES:
                raise _unsound(f"it is larger than {MOST_BYTES // 1_000_000} MB")
            archive.extractall(folder)  # names are from the list above, so none leads elsewhere
            scene = load_scene(Path(folder) / "scene")
            concepts = _checked(Concepts.load(folder), scene, base)
    except (OSError, zipfile.BadZipFile, RuntimeError, zlib.error, *ODD) as error:
        raise _unsound("it is damaged, or not such a file") from error
    concepts.save(run, scene)
    return concepts


def _checked(concepts: Concepts, scene: Scene, base: Base) -> Concepts:
    """The same concepts if every value is of the kind and shape that extract gives. Raises UserError."""
    if concepts.fingerprint != base.fingerprint:
        raise UserError(
            "These things were learned on another model ({base}): open the studio with that one.",
            base=str(concepts.base)[:80],
        )
    if concepts.handles != scene.handles or concepts.names != scene.names:
        raise _unsound("its words and masks do not belong together")
    tensors = [concepts.embeddings, *concepts.delta.values()]
    kinds = {tensor.dtype for tensor in concepts.delta.values()} <= {torch.float32, torch.float16}
    if concepts.embeddings.dtype != torch.float32 or not kinds or not all(t.isfinite().all() for t in tensors):
        raise _unsound("it has values that are no numbers")
    if concepts.embeddings.shape != (len(scene.handles), base.embedding_dim) or not lora.delta_fits(
        base, concepts.delta
    ):
        raise _unsound("its weights do not fit the model")
    settings = _settings(concepts.settings)
    losses = [{str(name): float(value) for name, value in step.items()} for step in concepts.losses[:MOST_STEPS]]
    leak = {handle: float(concepts.leak[handle]) for handle in scene.handles if handle in concepts.leak}
    if not all(math.isfinite(value) for step in losses for value in step.values()):
        raise _unsound("it has values that are no numbers")
    known = {"settings": settings, "steps": len(losses), "losses": tuple(losses), "leak": leak}
    memory = concepts.memory if concepts.memory in MEMORY_MODE_NAMES else ""
    return replace(concepts, base=base.name, memory=memory, **known)


def _settings(values: dict) -> dict:
    """Settings as extract writes them: each field of its default's type."""
    defaults, given = Settings().to_json(), Settings.from_json(values).to_json()
    for name, default in defaults.items():
        numbers = isinstance(default, int | float) and not isinstance(default, bool)
        if not isinstance(given[name], (int, float) if numbers else type(default)):
            raise _unsound(f"its setting {name} makes no sense")
    return given


def _unsound(why: str) -> UserError:
    return UserError("This file cannot be brought back, {why}: choose a file that was saved here.", why=why)
