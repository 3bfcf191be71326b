"""The concepts of a photo with many objects, which were extracted in groups; see training/groups.py.

Saved as one run folder: manifest.json, scene/ with the photo and all masks, and group0/, group1/, …, each in the layout
of Concepts without a scene.
"""

import hashlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError

from breakascene.data import validation
from breakascene.data.handle_names import MAX_CONCEPTS, handles_of
from breakascene.data.scene import Scene, save_scene
from breakascene.errors import UserError, system_reason
from breakascene.files import atomic_folder
from breakascene.models.combined import CombinedConcepts
from breakascene.models.concepts import Concepts, check_run_folder
from breakascene.models.manifest import GROUPED, Manifest, read_values


@dataclass(frozen=True, eq=False)
class GroupedConcepts(CombinedConcepts):
    """The concepts of one scene, extracted in groups on one base. Made by `join_groups` and `load_run`."""

    @property
    def groups(self) -> list[list[int]]:
        """The indices of each group's handles."""
        return [[i for i, (run, _) in enumerate(self.members) if run == number] for number in range(len(self.runs))]

    @property
    def settings(self) -> dict:
        """The settings of each group."""
        return self.runs[0].settings

    @property
    def memory(self) -> str:
        return self.runs[-1].memory

    @property
    def steps(self) -> int:
        """Completed steps of all groups."""
        return sum(run.steps for run in self.runs)

    @property
    def losses(self) -> tuple[dict[str, float], ...]:
        """For each step the mean over the groups that have done it."""
        steps = [list(filter(None, step)) for step in itertools.zip_longest(*(run.losses for run in self.runs))]
        return tuple({key: sum(one[key] for one in step) / len(step) for key in step[0]} for step in steps)

    @property
    def leak(self) -> dict[str, float]:
        """Handle → share of its attention outside its mask, 0..1."""
        owned = zip(self.handles, self.members, strict=True)
        found = ((handle, self.runs[run].leak, self.runs[run].handles[index]) for handle, (run, index) in owned)
        return {handle: leak[own] for handle, leak, own in found if own in leak}

    def save(self, folder: Path | str, scene: Scene) -> None:
        """Write a run folder atomically; an existing run is replaced.

        Raises:
            UserError: If the folder holds anything other than a run, or cannot be written.
        """
        folder = check_run_folder(folder)
        manifest = {"format": GROUPED, **Manifest.of(self).to_json(), "groups": self.groups}
        try:
            with atomic_folder(folder) as draft:
                for number, run in enumerate(self.runs):
                    run.save(draft / f"group{number}")
                save_scene(scene, draft / "scene")
                (draft / "manifest.json").write_text(json.dumps(manifest, indent=2), encoding="utf-8")
        except (OSError, SafetensorError) as error:
            raise UserError(f"Cannot write to {folder} ({system_reason(error)}): choose another place.") from error


def join_groups(runs: Sequence[Concepts], groups: Sequence[Sequence[int]], photo: str) -> GroupedConcepts:
    """Join the concepts of the groups of a scene.

    Args:
        runs: The concepts of each group.
        groups: For each group the indices of its handles in the whole.
        photo: The hash of the photo.
    """
    members = {i: (run, index) for run, group in enumerate(groups) for index, i in enumerate(group)}
    owned = tuple(members[i] for i in range(len(members)))
    names = tuple(runs[run].names[index] for run, index in owned)
    ids = "".join(run.id for run in runs) + repr(owned)
    return GroupedConcepts(
        runs=tuple(runs),
        handles=handles_of(len(owned)),
        names=names,
        members=owned,
        id=hashlib.sha256(ids.encode()).hexdigest()[:12],
        photo=photo,
    )


def load_run(folder: Path | str) -> Concepts | GroupedConcepts:
    """Load a run folder of either kind.

    Raises:
        UserError: If it is not a run folder, is damaged, or was written by a newer version.
    """
    folder = Path(folder)
    try:
        manifest = read_values(folder)
    except (OSError, ValueError):
        return Concepts.load(folder)  # says what is wrong
    if manifest.get("format") != GROUPED:
        return Concepts.load(folder)
    try:
        shared = Manifest.from_json(manifest)
        groups = validation.checked_list(manifest["groups"], MAX_CONCEPTS, "its groups")
        members = sorted(i for group in groups for i in validation.checked_list(group, MAX_CONCEPTS, "a group"))
        if members != list(range(len(shared.handles))) or not all(groups):
            raise ValueError("its groups do not match its handles")
        runs = [Concepts.load(folder / f"group{number}") for number in range(len(groups))]
        if any(run.names != tuple(shared.names[i] for i in group) for run, group in zip(runs, groups, strict=True)):
            raise ValueError("the names of its groups do not match")
        if any(run.fingerprint != runs[0].fingerprint for run in runs):
            raise ValueError("its groups are of different bases")
    except (OSError, ValueError, TypeError, KeyError, UserError) as error:
        raise UserError(f"{folder} is not a run folder or is damaged: extract again.") from error
    return join_groups(runs, groups, shared.photo)
