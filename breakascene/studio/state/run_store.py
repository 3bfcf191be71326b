"""The runs of a session on disk: list, rename, export, import, delete, and the report of the last evaluation."""

import json
import re
import secrets
import shutil
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from breakascene.data.scene import cutout, load_scene
from breakascene.errors import UserError
from breakascene.exporting import archive
from breakascene.files import atomic_file
from breakascene.models.base import Base
from breakascene.models.concepts import Concepts
from breakascene.studio import strings
from breakascene.studio.state import pending_runs
from breakascene.training import checkpoint

MAX_RUN_NAME = 60  # characters
THUMBNAIL_SIZE = 96  # pixels


@dataclass(frozen=True)
class Run:
    """A finished extraction on disk."""

    id: str
    folder: Path
    handles: tuple[str, ...]
    names: tuple[str, ...]  # of the concepts
    custom_name: str = ""  # given by the visitor

    @property
    def report(self) -> Path:
        """Folder of the last evaluation (evaluation.report.write)."""
        return self.folder.with_name(f"{self.id}-report")

    @property
    def name(self) -> str:
        return self.custom_name or ", ".join(self.names)

    @property
    def title(self) -> str:
        """The name and when the run was made."""
        made = time.strftime(strings.DATE_FORMAT, time.localtime((self.folder / "manifest.json").stat().st_mtime))
        return f"{self.name} · {made}"

    @property
    def concepts_id(self) -> str:
        """The id of the concepts, which generated images carry in their metadata."""
        return json.loads((self.folder / "manifest.json").read_text(encoding="utf-8"))["id"]

    def thumbnails(self) -> list[Path]:
        """A small cut-out of each concept in the order of the handles, written once."""
        paths = [self.folder / "thumbs" / f"{i}.png" for i in range(len(self.handles))]
        if not all(path.exists() for path in paths):
            scene = load_scene(self.folder / "scene")
            for i, path in enumerate(paths):
                image = cutout(scene, i)
                image.thumbnail((THUMBNAIL_SIZE, THUMBNAIL_SIZE))
                square = Image.new("RGBA", (THUMBNAIL_SIZE, THUMBNAIL_SIZE))
                square.paste(image, ((THUMBNAIL_SIZE - image.width) // 2, (THUMBNAIL_SIZE - image.height) // 2))
                with atomic_file(path) as draft:
                    square.save(draft)
        return paths


@dataclass(eq=False)
class RunStore:
    """The runs in `folder`/runs. Their names are kept beside them, because resuming writes a run anew."""

    folder: Path
    current_id: str | None = None  # the run that step 3 uses

    @property
    def runs_folder(self) -> Path:
        return self.folder / "runs"

    def new_folder(self) -> Path:
        return self.runs_folder / secrets.token_urlsafe(12)

    def list(self) -> list[Run]:
        """All runs, newest first; unreadable ones are left out."""
        found, custom_names = [], self._custom_names()
        for manifest in self.runs_folder.glob("*/manifest.json"):
            folder = manifest.parent
            try:
                concepts = Concepts.load(folder)
            except UserError:
                continue
            run = Run(folder.name, folder, concepts.handles, concepts.names, custom_names.get(folder.name, ""))
            found.append((manifest.stat().st_mtime, run))
        return [run for _, run in sorted(found, key=lambda pair: -pair[0])]

    def current(self) -> Run | None:
        """The run that step 3 uses: the chosen one, else the newest."""
        runs = self.list()
        return next((run for run in runs if run.id == self.current_id), runs[0] if runs else None)

    def require_current(self) -> Run:
        """The current run; raises UserError if there is none."""
        if (run := self.current()) is None:
            raise UserError(strings.OBJECT_SET_UNKNOWN)
        return run

    def rename(self, name: str) -> None:
        """Name the current run; an empty name restores the names of its concepts."""
        names = {**self._custom_names(), self.require_current().id: " ".join(name.split())[:MAX_RUN_NAME]}
        with atomic_file(self.folder / "names.json") as draft:
            draft.write_text(json.dumps(names), encoding="utf-8")

    def pack(self) -> Path:
        """Write the current run as one file."""
        run = self.require_current()
        path = self.folder / f"{re.sub(r'[^A-Za-z0-9]+', '-', run.name).strip('-')[:60] or 'objects'}.zip"
        archive.pack(run.folder, path)
        return path

    def import_file(self, file: Path | str, base: Base) -> None:
        """Import a file that `pack` wrote; it becomes the current run."""
        folder = self.new_folder()
        archive.unpack(file, base, folder)
        self.current_id = folder.name

    def delete(self, folder: Path) -> None:
        """Delete a run with its report, checkpoint and pending run."""
        for path in (folder, folder.with_name(f"{folder.name}-report")):
            shutil.rmtree(path, ignore_errors=True)
        checkpoint.path_for(folder).unlink(missing_ok=True)
        pending_runs.delete(folder)
        if self.current_id == folder.name:
            self.current_id = None

    def zip_report(self) -> Path:
        """Write the report of the current run as a zip: a page, its images and scores.json."""
        run = self.current()
        if run is None or not run.report.is_dir():
            raise UserError(strings.NO_REPORT)
        path = self.folder / "report.zip"
        with atomic_file(path) as draft, zipfile.ZipFile(draft, "w", zipfile.ZIP_STORED) as report:
            for file in sorted(run.report.rglob("*.*")):
                report.write(file, file.relative_to(run.report))
        return path

    def _custom_names(self) -> dict[str, str]:
        """Names given by the visitor, by run id."""
        try:
            return json.loads((self.folder / "names.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
