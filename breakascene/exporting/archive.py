"""Run files: a run folder packed as one zip file, and the validation of run files from unknown sources."""

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

ENTRIES = re.compile(r"manifest\.json|concepts\.safetensors|losses\.json|scene/(img\.png|names\.txt|mask[0-7]\.png)")
MAX_BYTES = 400_000_000  # uncompressed; a run takes 13 to 50 MB on Stable Diffusion and 60 to 260 MB on SDXL
MAX_STEPS = 100_000
TYPE_ERRORS = (AttributeError, TypeError, ValueError)  # raised on values of unexpected types


def pack(run: Path | str, file: Path | str) -> None:
    """Pack a run folder into a run file, written atomically. Raises UserError if it is not a run folder."""
    run = Path(run)
    Concepts.load(run)
    with atomic_file(file) as draft, zipfile.ZipFile(draft, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(run.rglob("*")):
            name = path.relative_to(run).as_posix()
            if ENTRIES.fullmatch(name):
                archive.write(path, name)


def unpack(file: Path | str, base: Base, run: Path | str) -> Concepts:
    """Validate a run file and save its content as the run folder `run`.

    The folder is written from the validated values; nothing is copied from the file.

    Raises:
        UserError: If the file is not a run file, is damaged, or belongs to another base; nothing is written then.
    """
    try:
        with zipfile.ZipFile(file) as archive, tempfile.TemporaryDirectory() as folder:
            entries = archive.infolist()
            names = [entry.filename for entry in entries]
            if len(set(names)) < len(names) or not all(map(ENTRIES.fullmatch, names)):
                raise _invalid("it holds files that do not belong to a run")
            if sum(entry.file_size for entry in entries) > MAX_BYTES:
                raise _invalid(f"it is larger than {MAX_BYTES // 1_000_000} MB")
            archive.extractall(folder)  # safe: ENTRIES allows no path outside the folder
            scene = load_scene(Path(folder) / "scene")
            concepts = _validate(Concepts.load(folder), scene, base)
    except (OSError, zipfile.BadZipFile, RuntimeError, zlib.error, *TYPE_ERRORS) as error:
        raise _invalid("it is damaged or not a run file") from error
    concepts.save(run, scene)
    return concepts


def _validate(concepts: Concepts, scene: Scene, base: Base) -> Concepts:
    """Return the same concepts if every value has the type and shape that extract writes. Raises UserError."""
    if concepts.fingerprint != base.fingerprint:
        raise UserError(
            "These objects were learned on another model ({base}): open the studio with that one.",
            base=str(concepts.base)[:80],
        )
    if concepts.handles != scene.handles or concepts.names != scene.names:
        raise _invalid("its handles and masks do not match")
    tensors = [concepts.embeddings, *concepts.delta.values()]
    dtypes = {tensor.dtype for tensor in concepts.delta.values()}
    if concepts.embeddings.dtype != torch.float32 or not dtypes <= {torch.float32, torch.float16}:
        raise _invalid("its tensors have the wrong type")
    if not all(tensor.isfinite().all() for tensor in tensors):
        raise _invalid("it has values that are not finite")
    shape = (len(scene.handles), base.embedding_dim)
    if concepts.embeddings.shape != shape or not lora.delta_fits(base, concepts.delta):
        raise _invalid("its weights do not fit the model")
    losses = [{str(name): float(value) for name, value in step.items()} for step in concepts.losses[:MAX_STEPS]]
    if not all(math.isfinite(value) for step in losses for value in step.values()):
        raise _invalid("it has values that are not finite")
    return replace(
        concepts,
        base=base.name,
        settings=_validate_settings(concepts.settings),
        steps=len(losses),
        losses=tuple(losses),
        leak={handle: float(concepts.leak[handle]) for handle in scene.handles if handle in concepts.leak},
        memory=concepts.memory if concepts.memory in MEMORY_MODE_NAMES else "",
    )


def _validate_settings(values: dict) -> dict:
    """Return settings whose fields all have the types of the defaults. Raises UserError."""
    defaults, settings = Settings().to_json(), Settings.from_json(values).to_json()
    for name, default in defaults.items():
        is_number = isinstance(default, int | float) and not isinstance(default, bool)
        if not isinstance(settings[name], (int, float) if is_number else type(default)):
            raise _invalid(f"its setting {name} has the wrong type")
    return settings


def _invalid(why: str) -> UserError:
    return UserError("This file cannot be imported, {why}: choose a run file that was saved here.", why=why)
