"""Divide and conquer: a scene with many objects is extracted in groups, one after the other.

With more than MAX_TOGETHER objects, union sampling shows each pair too seldom, and prompts of all handles grow long.
Each group holds neighbors, so that its square crop shows them larger than the whole photo would. The runs of the groups
are used as one set, see models/grouped.py.
"""

import json
import math
import shutil
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from breakascene.data import validation
from breakascene.data.scene import MAX_TOGETHER, Concept, Scene
from breakascene.errors import UserError, system_reason
from breakascene.files import atomic_file
from breakascene.models.base import Base
from breakascene.models.concepts import Concepts
from breakascene.models.grouped import GroupedConcepts, join_groups
from breakascene.provenance import audit
from breakascene.training import checkpoint
from breakascene.training.events import ReportOptions, StepEvent
from breakascene.training.settings import FEW_CONCEPTS, Settings

Extraction = Generator[StepEvent, None, Concepts]


def count_groups(objects: int) -> int:
    """Return the number of groups in which so many objects are extracted; 1 if they are extracted together."""
    return math.ceil(objects / FEW_CONCEPTS) if objects > MAX_TOGETHER else 1


def plan_groups(centers: Sequence[tuple[float, float]]) -> tuple[tuple[int, ...], ...]:
    """Split objects into groups of neighbors, of at most FEW_CONCEPTS and of sizes that differ by at most one.

    The objects are halved, by count, across the longer side of the box around their centers, and each half again.

    Args:
        centers: The center (x, y) of each object.

    Returns:
        The indices of each group in ascending order; the groups in the order of their first index.
    """

    def split(indices: list[int], groups: int) -> list[list[int]]:
        if groups == 1:
            return [sorted(indices)]
        extents = np.ptp([centers[i] for i in indices], axis=0)
        axis = int(extents[1] > extents[0])
        ordered = sorted(indices, key=lambda i: (centers[i][axis], i))
        first = groups // 2
        cut = math.ceil(len(indices) * first / groups)
        return split(ordered[:cut], first) + split(ordered[cut:], groups - first)

    indices = list(range(len(centers)))
    return tuple(map(tuple, sorted(split(indices, math.ceil(len(indices) / FEW_CONCEPTS)))))


def groups_of(scene: Scene) -> tuple[tuple[int, ...], ...]:
    """Return the groups of a scene: the indices of their concepts; see plan_groups.

    Raises:
        UserError: If the background is on: its mask would hold the objects of the other groups.
    """
    if scene.background:
        raise UserError(
            "With more than {most} objects the background cannot be extracted: switch it off, or mark fewer objects.",
            most=MAX_TOGETHER,
        )
    return plan_groups([_center(concept) for concept in scene.concepts])


def _center(concept: Concept) -> tuple[float, float]:
    ys, xs = np.nonzero(concept.mask)
    return float(xs.mean()), float(ys.mean())


def group_scene(scene: Scene, group: Sequence[int]) -> Scene:
    """Return a scene with the concepts at these indices only, also in its further photos."""
    concepts = tuple(scene.concepts[i] for i in group)
    names = {concept.name for concept in concepts}
    others = (
        replace(other, concepts=tuple(c for c in other.concepts if c.name in names)) for other in scene.other_photos
    )
    return replace(scene, concepts=concepts, other_photos=tuple(other for other in others if other.concepts))


def extract_groups(
    extract_one: Callable[[Scene, Path | None, bool, ReportOptions], Extraction],
    scene: Scene,
    base: Base,
    settings: Settings,
    out: Path | str | None,
    resume: bool,
    options: ReportOptions,
) -> Generator[StepEvent, None, GroupedConcepts]:
    """Extract the groups of a scene. Yields events whose steps and handles are those of the whole scene.

    The runs of the groups are kept in checkpoint.groups_folder until all are done, so that a killed extraction resumes
    in the group that it had reached. Once `stop` returns True, the rest of the groups keep their initial embeddings.

    Args:
        extract_one: Extracts one scene into a folder, called with (scene, folder, resume, options).
        scene: The scene of more than MAX_TOGETHER concepts.
        base, settings, out, resume: As for `extract`; the settings are those of each group.
        options: As for the whole extraction.

    Raises:
        UserError: As `extract` does.
    """
    groups, stopped = groups_of(scene), False
    folder = None if out is None else checkpoint.groups_folder(out)
    if folder is not None:
        _open_folder(folder, checkpoint.identity(scene, base, settings), resume)

    def stop() -> bool:
        nonlocal stopped
        stopped = stopped or options.stop()
        return stopped

    runs = []
    for number, group in enumerate(groups):
        part, run = group_scene(scene, group), None if folder is None else folder / f"group{number}"
        saved = run is not None and checkpoint.path_for(run).is_file()
        if run is not None and not saved and _is_finished(run, settings):
            runs.append(Concepts.load(run))
            continue
        steps = extract_one(part, run, saved, replace(options, stop=stop))
        runs.append((yield from _events_of_group(steps, scene, part, base, group, number, len(groups))))
    concepts = join_groups(runs, groups, scene.photo_hash)
    if out is not None:
        audit.record("extracted", run=concepts.id, photo=concepts.photo, steps=concepts.steps)
        concepts.save(out, scene)
        if not stopped:
            shutil.rmtree(folder)
    return concepts


def _open_folder(folder: Path, identity: dict, resume: bool) -> None:
    """Create the folder of the groups' runs, or check that it belongs to this extraction."""
    file = folder / "identity.json"
    if resume:
        try:
            saved = validation.checked_dict(validation.read_json(file), "its identity")
        except (OSError, ValueError) as error:
            raise UserError(f"{folder} is not a checkpoint or is damaged: delete it and start again.") from error
        checkpoint.check_identity(saved, identity)
        return
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with atomic_file(file) as draft:
            draft.write_text(json.dumps(identity), encoding="utf-8")
    except OSError as error:
        raise UserError(f"Cannot write to {folder} ({system_reason(error)}): choose another place.") from error


def _is_finished(run: Path, settings: Settings) -> bool:
    try:
        return Concepts.load(run).steps == settings.total
    except UserError:
        return False


def _events_of_group(
    steps: Extraction, scene: Scene, part: Scene, base: Base, group: Sequence[int], number: int, count: int
) -> Extraction:
    """Yield the events of a group as those of the whole scene, and return its concepts."""
    handles = {own: scene.handles[i] for own, i in zip(part.handles, group, strict=True)}
    box, whole_box = part.square_crop(base.image_size).box, scene.square_crop(base.image_size).box
    started = time.perf_counter()
    while True:
        try:
            event = next(steps)
        except StopIteration as end:
            return end.value
        of_group = time.perf_counter() - started + event.seconds_left
        maps = event.maps and {h: move_map(values, box, whole_box) for h, values in event.maps.items()}
        yield replace(
            event,
            step=number * event.total + event.step,
            total=count * event.total,
            seconds_left=event.seconds_left + (count - 1 - number) * of_group,
            handles=tuple(handles[handle] for handle in event.handles),
            leak=_renamed(event.leak, handles),
            previews=event.previews and _renamed(event.previews, handles),
            maps=maps and _renamed(maps, handles),
        )


def _renamed(values: dict, handles: dict[str, str]) -> dict:
    return {handles[handle]: value for handle, value in values.items()}


def move_map(values: np.ndarray, box: tuple[int, int, int], other_box: tuple[int, int, int]) -> np.ndarray:
    """Return a map (s, s) that covers a box of the photo as one that covers another box, 0 outside the first.

    Args:
        values: float32.
        box, other_box: (x0, y0, side) in pixels of the photo; see SquareCrop.
    """
    (x0, y0, side), (other_x0, other_y0, other_side) = box, other_box
    size, scale = len(values), other_side / side
    to_source = (scale, 0, (other_x0 - x0) * size / side, 0, scale, (other_y0 - y0) * size / side)
    image = Image.fromarray(values.astype(np.float32))
    return np.asarray(image.transform((size, size), Image.Transform.AFFINE, to_source, Image.Resampling.BILINEAR))
