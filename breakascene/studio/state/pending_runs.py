"""Extractions that have not ended, noted on disk, so that their scene survives a studio that is killed meanwhile."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from breakascene.data.scene import Scene, load_scene, save_scene
from breakascene.errors import UserError
from breakascene.files import atomic_file
from breakascene.training.settings import Settings

SUFFIX = ".begun"  # of the folder; data folders of earlier versions have it too


@dataclass(frozen=True)
class PendingRun:
    run: Path  # the folder that the run is written to when it ends
    scene: Scene
    settings: Settings


def path_for(run: Path) -> Path:
    return run.with_name(run.name + SUFFIX)


def save(pending: PendingRun) -> None:
    """Note a pending run in place of the one before; raises OSError if the disk is full."""
    folder = path_for(pending.run)
    save_scene(pending.scene, folder)
    with atomic_file(folder / "settings.json") as draft:
        draft.write_text(json.dumps(pending.settings.to_json()), encoding="utf-8")
    for other in pending.run.parent.glob(f"*{SUFFIX}"):
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)


def delete(run: Path) -> None:
    """Delete the note of a run that has ended or is no longer wanted."""
    shutil.rmtree(path_for(run), ignore_errors=True)


def latest(runs: Path) -> PendingRun | None:
    """The latest pending run in a folder of runs; unreadable ones are left out."""
    for folder in sorted(runs.glob(f"*{SUFFIX}"), key=lambda folder: folder.stat().st_mtime, reverse=True):
        try:
            return load(folder.with_name(folder.name.removesuffix(SUFFIX)))
        except (OSError, ValueError, TypeError, UserError):
            continue
    return None


def load(run: Path) -> PendingRun:
    """The pending run that will be written to this folder."""
    folder = path_for(run)
    settings = Settings.from_json(json.loads((folder / "settings.json").read_text(encoding="utf-8")))
    return PendingRun(run, load_scene(folder), settings)
