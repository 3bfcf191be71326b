"""Extractions on their way, noted on disk: what one was learning from outlives a studio that is killed meanwhile."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from breakascene.data.scene import Scene, load_scene, save_scene
from breakascene.errors import UserError
from breakascene.files import atomic_file
from breakascene.training.settings import Settings


@dataclass(frozen=True)
class Begun:
    run: Path  # the folder that it is to become
    scene: Scene
    settings: Settings


def path_for(run: Path) -> Path:
    return run.with_name(f"{run.name}.begun")


def note(begun: Begun) -> None:
    """Note that it begins, in place of the one before; raises OSError if the disk takes no more."""
    folder = path_for(begun.run)
    save_scene(begun.scene, folder)
    with atomic_file(folder / "settings.json") as draft:
        draft.write_text(json.dumps(begun.settings.to_json()), encoding="utf-8")
    for other in begun.run.parent.glob("*.begun"):
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)


def forget(run: Path) -> None:
    """It is done, or no longer wanted."""
    shutil.rmtree(path_for(run), ignore_errors=True)


def last(runs: Path) -> Begun | None:
    """The one noted last in a folder of runs; what cannot be read is left out."""
    for folder in sorted(runs.glob("*.begun"), key=lambda folder: folder.stat().st_mtime, reverse=True):
        try:
            settings = Settings.from_json(json.loads((folder / "settings.json").read_text(encoding="utf-8")))
            return Begun(folder.with_name(folder.name.removesuffix(".begun")), load_scene(folder), settings)
        except (OSError, ValueError, TypeError, UserError):
            continue
    return None
