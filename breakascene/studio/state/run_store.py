"""The runs of a session on disk: list, rename, export, import, delete, and the report of the last evaluation."""

import json
import re
import secrets
import shutil
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from breakascene.data.handle_names import BACKGROUND, name_handles
from breakascene.data.scene import MAX_TOGETHER
from breakascene.errors import UserError
from breakascene.exporting import archive
from breakascene.files import atomic_file, atomic_folder, file_stem
from breakascene.generation import library
from breakascene.generation.library import Details, Entry, clean_details
from breakascene.models.base import Base
from breakascene.models.grouped import load_run
from breakascene.models.loading import short_name
from breakascene.models.manifest import Manifest
from breakascene.studio import strings
from breakascene.studio.state import pending_runs
from breakascene.training import checkpoint


@dataclass(frozen=True)
class Run:
    """A finished extraction on disk."""

    id: str
    folder: Path
    manifest: Manifest
    details: Details = Details()  # given by the visitor

    @property
    def handles(self) -> tuple[str, ...]:
        return self.manifest.handles

    @property
    def names(self) -> tuple[str, ...]:
        """Of the concepts."""
        return self.manifest.names

    @property
    def base(self) -> str:
        """The name of the base that it belongs to."""
        return self.manifest.base

    @property
    def fingerprint(self) -> str:
        """Of the base."""
        return self.manifest.fingerprint

    @property
    def report(self) -> Path:
        """Folder of the last evaluation (evaluation.report.write)."""
        return self.folder.with_name(f"{self.id}-report")

    @property
    def name(self) -> str:
        return self.details.name or ", ".join(self.names)

    @property
    def title(self) -> str:
        """The name, the tags, when the run was made, and its base."""
        made = time.strftime(strings.DATE_FORMAT, time.localtime((self.folder / "manifest.json").stat().st_mtime))
        return " · ".join([self.name, *self.details.tags, made, short_name(self.base)])

    @property
    def concepts_id(self) -> str:
        """The id of the concepts, which generated images carry in their metadata."""
        return self.manifest.id

    def thumbnails(self) -> list[Path]:
        """A small cut-out of each concept in the order of the handles, written once."""
        return library.thumbnails(self.folder, len(self.handles))


@dataclass(frozen=True)
class ChosenRuns:
    """The runs whose objects an image may have; with several runs, the handles are made of the names."""

    runs: tuple[Run, ...]

    @property
    def handles(self) -> tuple[str, ...]:
        if len(self.runs) == 1:
            return self.runs[0].handles
        return name_handles([handle for run in self.runs for handle in run.handles], self.names)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for run in self.runs for name in run.names)

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(run.id for run in self.runs)

    def suggested_handles(self) -> list[str]:
        """Handles for a first prompt: all of a single run, or two of many; the first one of each of several runs."""
        handles = iter(self.handles)
        groups = [[next(handles) for _ in run.handles] for run in self.runs]
        if len(groups) == 1:
            objects = [handle for handle in groups[0] if handle != BACKGROUND]
            return groups[0] if len(objects) <= MAX_TOGETHER else objects[:2]
        return [group[0] for group in groups]

    @property
    def folders(self) -> list[Path]:
        return [run.folder for run in self.runs]

    def thumbnails(self) -> list[Path]:
        """A small cut-out of each concept in the order of the handles."""
        return [path for run in self.runs for path in run.thumbnails()]


@dataclass(eq=False)
class RunStore:
    """The runs in `folder`/runs, in the layout of a library.

    Attributes:
        current_id: The run that step 3 uses.
        added_ids: Further runs whose objects step 3 offers.
    """

    folder: Path
    current_id: str | None = None
    added_ids: tuple[str, ...] = ()

    @property
    def runs_folder(self) -> Path:
        return self.folder / "runs"

    def new_folder(self) -> Path:
        return self.runs_folder / secrets.token_urlsafe(12)

    def list(self) -> list[Run]:
        """All runs, newest first; those without a readable manifest are left out."""
        found, old_names = [], self._old_names()
        for folder, manifest in library.runs_in(self.runs_folder):
            details = library.read_details(folder)
            if not library.details_file(folder).exists():
                details = Details(old_names.get(folder.name, ""))
            found.append(Run(folder.name, folder, manifest, details))
        return found

    def current(self) -> Run | None:
        """The run that step 3 uses: the chosen one, else the newest."""
        runs = self.list()
        return next((run for run in runs if run.id == self.current_id), runs[0] if runs else None)

    def chosen(self) -> ChosenRuns | None:
        """The current run and those added to it; None if there is no run."""
        if (current := self.current()) is None:
            return None
        added = [run for run in self.list() if run.id in self.added_ids and run.id != current.id]
        return ChosenRuns((current, *added))

    def find(self, ids: Sequence[str]) -> ChosenRuns:
        """The runs of these ids; raises UserError if there is none of an id."""
        runs = {run.id: run for run in self.list()}
        if not ids or not set(ids) <= set(runs):
            raise UserError(strings.OBJECT_SET_UNKNOWN)
        return ChosenRuns(tuple(runs[run_id] for run_id in dict.fromkeys(ids)))

    def require_current(self) -> Run:
        """The current run; raises UserError if there is none."""
        if (run := self.current()) is None:
            raise UserError(strings.OBJECT_SET_UNKNOWN)
        return run

    def describe(self, name: str, tags: str) -> None:
        """Give the current run a name and tags, separated by commas; an empty name is that of its concepts."""
        run = self.require_current()
        library.write_details(run.folder, clean_details(name, re.split("[,、，]", tags)))

    def pack(self) -> Path:
        """Write the current run as one file."""
        run = self.require_current()
        path = self.folder / f"{file_stem(run.name, 'objects')}.zip"
        archive.pack(run.folder, path)
        return path

    def import_file(self, file: Path | str, base: Base) -> None:
        """Import a file that `pack` wrote; it becomes the current run."""
        folder = self.new_folder()
        archive.unpack(file, base, folder)
        self.current_id = folder.name

    def open_entry(self, entry: Entry, base: Base) -> None:
        """Copy a run of the library, unless it is here already; it becomes the current run.

        Raises:
            UserError: If it was learned on another base.
        """
        concepts = load_run(entry.folder)
        concepts.check(base)
        known = {run.concepts_id: run for run in self.list()}
        if run := known.get(concepts.id):
            self.current_id = run.id
            return
        folder = self.new_folder()
        with atomic_folder(folder) as draft:
            shutil.copytree(entry.folder, draft, dirs_exist_ok=True)
        library.write_details(folder, entry.details)
        self.current_id = folder.name

    def delete(self, folder: Path) -> None:
        """Delete a run with its report, checkpoint and pending run."""
        for path in (folder, folder.with_name(f"{folder.name}-report")):
            shutil.rmtree(path, ignore_errors=True)
        library.details_file(folder).unlink(missing_ok=True)
        checkpoint.delete(folder)
        pending_runs.delete(folder)
        if self.current_id == folder.name:
            self.current_id = None
        self.added_ids = tuple(run_id for run_id in self.added_ids if run_id != folder.name)

    def zip_report(self) -> Path:
        """Write the report of the current run as a zip: a page, its images and scores.json."""
        run = self.current()
        if run is None or not run.report.is_dir():
            raise UserError(strings.NO_REPORT)
        path = self.folder / f"{file_stem(run.name, 'objects')}-report.zip"
        with atomic_file(path) as draft, zipfile.ZipFile(draft, "w", zipfile.ZIP_STORED) as report:
            for file in sorted(run.report.rglob("*.*")):
                report.write(file, file.relative_to(run.report))
        return path

    def _old_names(self) -> dict[str, str]:
        """Names that a visitor gave in an earlier version, by run id."""
        try:
            return json.loads((self.folder / "names.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
