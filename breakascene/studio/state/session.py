"""Desks: one for each visitor, with their photo and picks, their jobs, their runs and their pictures.

A desk is found by a token that nobody can guess. The browser keeps it, so a reload, or the same address on the phone,
comes back to the same desk; runs and pictures lie on disk and outlive a restart of the studio.
"""

import json
import re
import secrets
import shutil
import threading
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from breakascene.data.scene import cutout, load_scene
from breakascene.errors import UserError
from breakascene.exporting import archive
from breakascene.files import atomic_file
from breakascene.models.base import Base
from breakascene.models.concepts import Concepts
from breakascene.studio import strings
from breakascene.studio.jobs import Job
from breakascene.studio.state import pending_runs
from breakascene.studio.state import selection as boards
from breakascene.studio.state.gallery import Album
from breakascene.studio.state.selection import Board
from breakascene.training import checkpoint

TOKEN = re.compile(r"[A-Za-z0-9_-]{16,64}")
UNDO_DEPTH = 100
LONGEST_NAME = 60  # of a run, in letters


@dataclass(frozen=True)
class Run:
    """A finished extraction on disk."""

    id: str
    folder: Path
    handles: tuple[str, ...]
    names: tuple[str, ...]
    name: str = ""  # that the visitor gave it

    @property
    def report(self) -> Path:
        """Where the check of what was learned lies (scorecard.write)."""
        return self.folder.with_name(f"{self.id}-report")

    @property
    def title(self) -> str:
        made = time.strftime(strings.DATE, time.localtime((self.folder / "manifest.json").stat().st_mtime))
        return f"{self.called} · {made}"

    @property
    def called(self) -> str:
        return self.name or ", ".join(self.names)

    @property
    def concepts(self) -> str:
        """The id that pictures drawn with it have in their records."""
        return json.loads((self.folder / "manifest.json").read_text(encoding="utf-8"))["id"]

    def thumbnails(self) -> list[Path]:
        """A small cut-out of each thing, in the order of the handles; drawn once."""
        paths = [self.folder / "thumbs" / f"{i}.png" for i in range(len(self.handles))]
        if not all(path.exists() for path in paths):
            scene = load_scene(self.folder / "scene")
            for i, path in enumerate(paths):
                picture = cutout(scene, i)
                picture.thumbnail((96, 96))
                square = Image.new("RGBA", (96, 96))
                square.paste(picture, ((96 - picture.width) // 2, (96 - picture.height) // 2))
                with atomic_file(path) as draft:
                    square.save(draft)
        return paths


@dataclass(eq=False)
class Desk:
    token: str
    folder: Path
    lock: threading.RLock = field(default_factory=threading.RLock)
    board: Board = field(default_factory=Board)
    past: list[Board] = field(default_factory=list)
    future: list[Board] = field(default_factory=list)
    ready_made: Board | None = None  # the picks that came with a sample
    page_names: Sequence[str] = ()  # as the page last sent them
    names_sent: tuple[float, float] = (0, 0)  # when: the moment at which the page was opened, and ms since then
    proposals: list[np.ndarray] = field(default_factory=list)  # (H, W) bool masks that "find things" found
    learning: Job | None = None  # the last extraction
    drawing: Job | None = None  # the last generation
    checking: Job | None = None  # the last check
    run: str | None = None  # the run that step 3 draws with
    prompted: str | None = None  # the run for which a first sentence was put on the page
    used: float = field(default_factory=time.time)

    def __post_init__(self):
        self.album = Album(self.folder)

    def change(self, board: Board) -> None:
        """Put a new board on the table; the old one can be had back."""
        self.past = [*self.past[-UNDO_DEPTH:], self.board]
        self.future = []
        self.board = board

    def take_names(self, names: Sequence[str | None], sent: tuple[float, float]) -> None:
        """Give the things the names that the page sent along with an event, unless it has sent newer ones.

        Gradio takes events that wait for different handlers in any order, so an older one may come later.
        """
        (page, moment), (last_page, last_moment) = sent, self.names_sent
        if page == last_page and moment < last_moment:
            return
        self.names_sent, self.page_names = sent, [name or "" for name in names]
        for i, name in enumerate(self.page_names[: len(self.board.things)]):
            self.board = boards.rename(self.board, i, name)

    def start_over(self, board: Board, ready_made: Board | None = None) -> None:
        self.change(board)
        self.ready_made, self.proposals = ready_made, []

    def undo(self) -> None:
        if not self.past or self.past[-1].photo is not self.board.photo:
            raise UserError(strings.NOTHING_TO_UNDO)
        self.future.append(self.board)
        self.board = boards.keep_names(self.board, self.past.pop())

    def redo(self) -> None:
        if not self.future:
            raise UserError(strings.NOTHING_TO_REDO)
        self.past.append(self.board)
        self.board = boards.keep_names(self.board, self.future.pop())

    def propose(self, masks: list[np.ndarray]) -> None:
        """Keep masks that "find things" found, with a small cut-out of each on disk."""
        self.proposals = masks
        for mask, path in zip(masks, self.proposal_pictures(), strict=True):
            cut, alpha = self.board.photo.convert("RGBA"), Image.fromarray(mask.astype(np.uint8) * 255)
            cut.putalpha(alpha)
            cut = cut.crop(alpha.getbbox())
            cut.thumbnail((128, 128))
            with atomic_file(path) as draft:
                cut.save(draft)

    def proposal_pictures(self) -> list[Path]:
        return [self.folder / "found" / f"{i}.png" for i in range(len(self.proposals))]

    def busy(self) -> bool:
        return any(job is not None and not job.over for job in (self.learning, self.drawing, self.checking))

    def new_run_folder(self) -> Path:
        return self.folder / "runs" / secrets.token_urlsafe(12)

    def runs(self) -> list[Run]:
        """The desk's runs, newest first; what cannot be read is left out."""
        found, given = [], self._run_names()
        for manifest in (self.folder / "runs").glob("*/manifest.json"):
            try:
                concepts = Concepts.load(manifest.parent)
            except UserError:
                continue
            folder = manifest.parent
            run = Run(folder.name, folder, concepts.handles, concepts.names, given.get(folder.name, ""))
            found.append((manifest.stat().st_mtime, run))
        return [run for _, run in sorted(found, key=lambda pair: -pair[0])]

    def current_run(self) -> Run | None:
        runs = self.runs()
        return next((run for run in runs if run.id == self.run), runs[0] if runs else None)

    def rename_run(self, name: str) -> None:
        """Call the current run by a name; an empty one brings back the names of its things."""
        run = self.current_run()
        if run is None:
            raise UserError(strings.RUN_UNKNOWN)
        names = {**self._run_names(), run.id: " ".join(name.split())[:LONGEST_NAME]}
        with atomic_file(self.folder / "names.json") as draft:
            draft.write_text(json.dumps(names), encoding="utf-8")

    def _run_names(self) -> dict[str, str]:
        """By id, beside the runs: a run that goes on learning is written anew."""
        try:
            return json.loads((self.folder / "names.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}

    def reopen_run(self) -> None:
        """Put the photo and the picks of the current run back on the table."""
        run = self.current_run()
        if run is None:
            raise UserError(strings.RUN_UNKNOWN)
        self.start_over(boards.from_scene(load_scene(run.folder / "scene")))

    def pack_run(self) -> Path:
        run = self.current_run()
        if run is None:
            raise UserError(strings.RUN_UNKNOWN)
        path = self.folder / f"{re.sub(r'[^A-Za-z0-9]+', '-', run.called).strip('-')[:60] or 'things'}.zip"
        archive.pack(run.folder, path)
        return path

    def bring_run(self, file: Path | str, base: Base) -> None:
        """Take in a file of pack_run; it becomes the run that step 3 draws with."""
        folder = self.new_run_folder()
        archive.unpack(file, base, folder)
        self.run = folder.name

    def forget_run(self) -> None:
        run = self.current_run()
        if run is None:
            raise UserError(strings.RUN_UNKNOWN)
        self.discard(run.folder)

    def discard(self, folder: Path) -> None:
        """Take a run away, with its report and, if it was stopped, its checkpoint."""
        if self.busy():
            raise UserError(strings.STILL_BUSY)
        for path in (folder, folder.with_name(f"{folder.name}-report")):
            shutil.rmtree(path, ignore_errors=True)
        checkpoint.path_for(folder).unlink(missing_ok=True)
        pending_runs.forget(folder)
        if self.run == folder.name:
            self.run = None

    def zip_report(self) -> Path:
        """The report of the current run: a page, its pictures, scores.json."""
        run = self.current_run()
        if run is None or not run.report.is_dir():
            raise UserError(strings.NO_REPORT)
        path = self.folder / "report.zip"
        with atomic_file(path) as draft, zipfile.ZipFile(draft, "w", zipfile.ZIP_STORED) as archive:
            for file in sorted(run.report.rglob("*.*")):
                archive.write(file, file.relative_to(run.report))
        return path

    def zip_cutouts(self) -> Path:
        scene = boards.to_scene(self.board)
        path = self.folder / "cutouts.zip"
        with atomic_file(path) as draft, zipfile.ZipFile(draft, "w", zipfile.ZIP_STORED) as archive:
            for i, concept in enumerate(scene.concepts):
                name = re.sub(r"[^\w -]", "", concept.name)
                with archive.open(f"{i + 1} {name}.png", "w") as file:
                    cutout(scene, i).save(file, "PNG")
        return path


class Desks:
    def __init__(self, folder: Path, keep_seconds: float | None = None):
        self.folder, self.keep_seconds = Path(folder).absolute(), keep_seconds
        self._lock = threading.Lock()
        self._desks: dict[str, Desk] = {}

    def enter(self, token: str | None) -> Desk:
        """The desk of a token that this studio gave out before, or a fresh one."""
        self.sweep()
        known = isinstance(token, str) and TOKEN.fullmatch(token)
        with self._lock:
            if known and token in self._desks:
                return self._desks[token]
            if not (known and (self.folder / token).is_dir()):
                token = secrets.token_urlsafe(18)
            self._desks[token] = desk = Desk(token, self.folder / token)
            return desk

    def get(self, token: str | None) -> Desk:
        desk = self._desks.get(token or "")
        if desk is None:
            raise UserError(strings.DESK_UNKNOWN)
        desk.used = time.time()
        return desk

    def sweep(self) -> None:
        """On a shared machine desks go when they have not been used for a while; at home they stay."""
        if self.keep_seconds is None:
            return
        with self._lock:
            for token, desk in list(self._desks.items()):
                if time.time() - desk.used > self.keep_seconds and not desk.busy():
                    del self._desks[token]
            for folder in self.folder.glob("*/"):
                old = time.time() - folder.stat().st_mtime > self.keep_seconds
                if old and folder.name not in self._desks and TOKEN.fullmatch(folder.name):
                    shutil.rmtree(folder, ignore_errors=True)
