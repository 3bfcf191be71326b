"""Run files: a run folder packed as one zip file, and the validation of run files from unknown sources."""

import math
import re
import tempfile
import zipfile
import zlib
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch

from breakascene.data import validation
from breakascene.data.scene import Scene, load_scene
from breakascene.errors import UserError
from breakascene.files import atomic_file
from breakascene.models import lora
from breakascene.models.base import Base
from breakascene.models.concepts import Concepts
from breakascene.models.grouped import GroupedConcepts, join_groups, load_run
from breakascene.training.groups import group_scene
from breakascene.training.memory import MEMORY_MODE_NAMES
from breakascene.training.settings import Settings

ENTRIES = re.compile(
    r"(group[0-3]/)?(manifest\.json|concepts\.safetensors|losses\.json)|"
    r"scene/(img\.png|names\.txt|consent\.json|mask1?[0-9]\.png)"
)
ENTRY_LIMITS = {"json": validation.MAX_JSON_BYTES, "txt": validation.MAX_TEXT_BYTES}  # bytes, by suffix
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the errors of the others are many
# Uncompressed, of each group; a run takes 13 to 50 MB on Stable Diffusion and 60 to 260 MB on SDXL
MAX_BYTES = 400_000_000
MAX_DIRECTORY_BYTES = 64_000  # of the list of entries; a run has at most 32
TYPE_ERRORS = (AttributeError, TypeError, ValueError, OverflowError)  # raised on values of unexpected types


def pack(run: Path | str, file: Path | str) -> None:
    """Pack a run folder into a run file, written atomically. Raises UserError if it is not a run folder."""
    run = Path(run)
    load_run(run)
    with atomic_file(file) as draft, zipfile.ZipFile(draft, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(run.rglob("*")):
            name = path.relative_to(run).as_posix()
            if ENTRIES.fullmatch(name):
                archive.write(path, name)


def unpack(file: Path | str, base: Base, run: Path | str) -> Concepts | GroupedConcepts:
    """Validate a run file and save its content as the run folder `run`.

    The folder is written from the validated values; nothing is copied from the file.

    Raises:
        UserError: If the file is not a run file, is damaged, or belongs to another base; nothing is written then.
    """
    try:
        _check_directory(file)
        with zipfile.ZipFile(file) as archive, tempfile.TemporaryDirectory() as folder:
            entries = archive.infolist()
            names = [entry.filename for entry in entries]
            if len(set(names)) < len(names) or not all(map(ENTRIES.fullmatch, names)):
                raise _invalid("it holds files that do not belong to a run")
            limit = MAX_BYTES * max(1, len({name[: len("group0")] for name in names if name.startswith("group")}))
            if sum(entry.file_size for entry in entries) > limit:
                raise _invalid(f"it is larger than {limit // 1_000_000} MB")
            if any(entry.compress_type not in COMPRESSIONS for entry in entries):
                raise _invalid("it is compressed in a way that run files are not")
            for entry in entries:
                limit = ENTRY_LIMITS.get(entry.filename.rpartition(".")[2], MAX_BYTES)
                if entry.file_size > limit:
                    raise _invalid(f"{entry.filename} is larger than {limit / 1_000_000:g} MB")
            archive.extractall(folder)  # safe: ENTRIES allows no path outside the folder
            scene = load_scene(Path(folder) / "scene")
            concepts = _validate(_load(folder), scene, base)
    except (OSError, EOFError, zipfile.BadZipFile, RuntimeError, zlib.error, *TYPE_ERRORS) as error:
        raise _invalid("it is damaged or not a run file") from error
    concepts.save(run, scene)
    return concepts


def _load(folder: str) -> Concepts | GroupedConcepts:
    try:
        return load_run(folder)
    except UserError as error:
        if error.__cause__ is None:
            raise _invalid("it was written by another version, or has no manifest") from error
        reason = str(error.__cause__) if type(error.__cause__) is ValueError else "it is damaged or not a run file"
        raise _invalid(reason) from error


def _validate(concepts: Concepts | GroupedConcepts, scene: Scene, base: Base) -> Concepts | GroupedConcepts:
    """Return the same concepts if every value has the type and shape that extract writes. Raises UserError."""
    if isinstance(concepts, GroupedConcepts):
        if concepts.names != scene.names:
            raise _invalid("its handles and masks do not match")
        pairs = zip(concepts.runs, concepts.groups, strict=True)
        return join_groups(
            [_validate(run, group_scene(scene, group), base) for run, group in pairs], concepts.groups, scene.photo_hash
        )
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
    try:
        lora.check_scale(base, concepts.delta, concepts.embeddings)
    except UserError as error:
        raise _invalid("its weights are too large") from error
    losses = [{name: float(value) for name, value in step.items()} for step in concepts.losses]
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
        photo=scene.photo_hash,
    )


def _validate_settings(values: dict) -> dict:
    """Return the settings of today's version. Raises UserError."""
    try:
        return Settings.from_json(values).to_json()
    except (TypeError, ValueError) as error:
        raise _invalid(str(error)) from error


def _check_directory(file: Path | str) -> None:
    """Refuse a zip file with a long list of entries, before zipfile reads the list into memory."""
    with nullcontext(file) if hasattr(file, "seek") else open(file, "rb") as stream:
        stream.seek(0, 2)
        stream.seek(max(0, stream.tell() - 66_000))
        end = stream.read()
        stream.seek(0)
    position = end.rfind(b"PK\5\6")
    if (
        position >= 0
        and (
            end[max(0, position - 20) : position].startswith(b"PK\6\7")  # ZIP64, for more than 4 GB or 65535 entries
            or int.from_bytes(end[position + 12 : position + 16], "little") > MAX_DIRECTORY_BYTES
        )
    ):
        raise _invalid("it holds files that do not belong to a run")


def _invalid(why: str) -> UserError:
    return UserError("This file cannot be imported, {why}: choose a run file that was saved here.", why=why)
