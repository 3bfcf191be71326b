"""Sessions: one for each visitor, with their selection, jobs, runs and gallery.

A session is found by a token that nobody can guess. The browser keeps the token, so that a reload, or the same address
on a phone, opens the same session. Runs and images lie on disk and survive a restart of the studio.
"""

import re
import secrets
import shutil
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from breakascene.data.scene import load_scene
from breakascene.errors import UserError
from breakascene.studio import strings
from breakascene.studio.jobs import Job
from breakascene.studio.state import selection as selections
from breakascene.studio.state.gallery import Gallery
from breakascene.studio.state.history import SelectionHistory
from breakascene.studio.state.run_store import RunStore

TOKEN = re.compile(r"[A-Za-z0-9_-]{16,64}")


@dataclass(eq=False)
class Session:
    """Everything that belongs to one visitor.

    Attributes:
        lock: Held while an event is handled, so that two quick clicks are handled one after the other.
        extraction, generation, evaluation, export: The last job of each kind.
        suggested_runs: Ids of the runs for which the page last suggested a prompt.
        last_used: Seconds since the epoch.
    """

    token: str
    folder: Path
    lock: threading.RLock = field(default_factory=threading.RLock)
    extraction: Job | None = None
    generation: Job | None = None
    evaluation: Job | None = None
    export: Job | None = None
    suggested_runs: tuple[str, ...] | None = None
    last_used: float = field(default_factory=time.time)

    def __post_init__(self):
        self.history = SelectionHistory(self.folder)
        self.runs = RunStore(self.folder)
        self.gallery = Gallery(self.folder)

    def busy(self) -> bool:
        """Whether a job is waiting or running."""
        jobs = (self.extraction, self.generation, self.evaluation, self.export)
        return any(job is not None and not job.ended for job in jobs)

    def reopen_run(self) -> None:
        """Load the photo and the selection of the current run into step 1."""
        scene = load_scene(self.runs.require_current().folder / "scene")
        self.history.start_over(selections.from_scene(scene))

    def delete_run(self, folder: Path | None = None) -> None:
        """Delete the current run, or the run in `folder`, unless a job is waiting or running."""
        folder = folder or self.runs.require_current().folder
        if self.busy():
            raise UserError(strings.JOB_RUNNING)
        self.runs.delete(folder)
        if self.extraction and self.extraction.details.run == folder:
            self.extraction = None  # its names and previews are gone too


class SessionStore:
    """The sessions of all visitors.

    Args:
        folder: Each session has a folder in it, named after its token.
        keep_seconds: On a shared machine, how long an unused session is kept; None keeps all sessions.
    """

    def __init__(self, folder: Path, keep_seconds: float | None = None):
        self.folder, self.keep_seconds = Path(folder).absolute(), keep_seconds
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}

    def open(self, token: str | None) -> Session:
        """Return the session of a token that this studio issued before, or a new session."""
        self.delete_unused()
        well_formed = isinstance(token, str) and TOKEN.fullmatch(token)
        with self._lock:
            if well_formed and token in self._sessions:
                return self._sessions[token]
            if not (well_formed and (self.folder / token).is_dir()):
                token = secrets.token_urlsafe(18)
            self._sessions[token] = session = Session(token, self.folder / token)
            return session

    def get(self, token: str | None) -> Session:
        """Return an open session; raises UserError if there is none with this token."""
        session = self._sessions.get(token or "")
        if session is None:
            raise UserError(strings.SESSION_UNKNOWN)
        session.last_used = time.time()
        return session

    def open_photos(self) -> list[Image.Image]:
        """The photos in step 1 of the sessions, that of the session used last at the end."""
        with self._lock:
            sessions = sorted(self._sessions.values(), key=lambda session: session.last_used)
        photos = [session.history.selection.photo for session in sessions]
        return [photo for photo in photos if photo is not None]

    def delete_unused(self) -> None:
        """Delete sessions that were not used for `keep_seconds`, with their folders."""
        if self.keep_seconds is None:
            return
        with self._lock:
            for token, session in list(self._sessions.items()):
                if time.time() - session.last_used > self.keep_seconds and not session.busy():
                    del self._sessions[token]
            for folder in self.folder.glob("*/"):
                old = time.time() - folder.stat().st_mtime > self.keep_seconds
                if old and folder.name not in self._sessions and TOKEN.fullmatch(folder.name):
                    shutil.rmtree(folder, ignore_errors=True)
