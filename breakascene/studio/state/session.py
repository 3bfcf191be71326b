"""Sessions: one for each visitor, with their selection, jobs, runs and gallery.

A session is found by a token that nobody can guess. The browser keeps the token, so that a reload, or the same address
on a phone, opens the same session. Runs and images lie on disk and survive a restart of the studio.
"""

import re
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil
from PIL import Image

from breakascene.data.scene import load_scene
from breakascene.errors import UserError
from breakascene.files import atomic_file
from breakascene.generation.library import Library
from breakascene.studio import strings
from breakascene.studio.jobs import Job
from breakascene.studio.state import deletion
from breakascene.studio.state import selection as selections
from breakascene.studio.state.gallery import Gallery
from breakascene.studio.state.history import SelectionHistory
from breakascene.studio.state.region_editor import FOLDER, RegionEditor
from breakascene.studio.state.run_store import RunStore

TOKEN = re.compile(r"[A-Za-z0-9_-]{16,64}")
OWNER = "owner.txt"  # in the folder of a session
IDLE_SECONDS = 600  # without an event; a session that is idle is closed if memory is short
MAX_OPEN = 10_000  # sessions in memory
# A photo of 40 megapixels with eight painted and clicked masks takes 760 MB.
DEFAULT_VISITOR_BYTES = 2**30
DEFAULT_ALL_BYTES = psutil.virtual_memory().total // 4


@dataclass(eq=False)
class Session:
    """Everything that belongs to one visitor.

    Attributes:
        lock: Held while an event is handled, so that two quick clicks are handled one after the other.
        extraction, generation, evaluation, export, pilot: The last job of each kind.
        suggested_runs: Ids of the runs for which the page last suggested a prompt.
        declared_photo: The photo that the visitor was last asked about, see screens.consent.
        owner: Name of the login that the session belongs to; "" without a login.
        last_used: Seconds since the epoch.
    """

    token: str
    folder: Path
    lock: threading.RLock = field(default_factory=threading.RLock)
    extraction: Job | None = None
    generation: Job | None = None
    evaluation: Job | None = None
    export: Job | None = None
    pilot: Job | None = None
    suggested_runs: tuple[str, ...] | None = None
    owner: str = ""
    declared_photo: Image.Image | None = None
    last_used: float = field(default_factory=time.time)

    def __post_init__(self):
        self.history = SelectionHistory(self.folder)
        self.editor = RegionEditor(self.folder / FOLDER)
        self.runs = RunStore(self.folder)
        self.gallery = Gallery(self.folder)

    @property
    def nbytes(self) -> int:
        """Memory for photos, masks and undo steps."""
        return self.history.nbytes + self.editor.history.nbytes

    def drop_oldest(self) -> bool:
        """Forget an undo step of step 1, else one of the edited photo; see SelectionHistory.drop_oldest."""
        return self.history.drop_oldest() or self.editor.history.drop_oldest()

    @property
    def jobs(self) -> list[Job]:
        """The last job of each kind."""
        jobs = (self.extraction, self.generation, self.evaluation, self.export, self.pilot)
        return [job for job in jobs if job is not None]

    def busy(self) -> bool:
        """Whether a job is waiting or running."""
        return any(not job.ended for job in self.jobs)

    def reopen_run(self) -> None:
        """Load the photo and the selection of the current run into step 1."""
        scene = load_scene(self.runs.require_current().folder / "scene")
        self.history.start_over(selections.from_scene(scene))

    def delete_run(self, folder: Path | None = None) -> None:
        """Delete the current run, or the run in `folder`, unless a job is waiting or running."""
        folder = folder or self.runs.require_current().folder
        if self.busy():
            raise UserError(strings.JOB_RUNNING)
        deletion.delete_run(self.runs, folder)
        if self.extraction and self.extraction.details.run == folder:
            self.extraction = None  # its names and previews are gone too

    def stop_jobs(self) -> None:
        for job in self.jobs:
            job.request_stop()


def read_owner(folder: Path) -> str:
    """Name of the login that the session with this folder belongs to, or ""."""
    try:
        return (folder / OWNER).read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return ""


class SessionStore:
    """The sessions of all visitors.

    Args:
        folder: Each session has a folder in it, named after its token.
        keep_seconds: How long an unused session is kept; None keeps all sessions.
        keep_data_seconds: How long runs and images are kept, also those of sessions in use; None keeps them.
        visitor_bytes: Memory for the photo, masks and undo steps of one visitor.
        all_bytes: The same for all visitors.
        library: The library that all visitors share; None for none.
    """

    def __init__(
        self,
        folder: Path,
        keep_seconds: float | None = None,
        keep_data_seconds: float | None = None,
        visitor_bytes: int = DEFAULT_VISITOR_BYTES,
        all_bytes: int = DEFAULT_ALL_BYTES,
        library: Library | None = None,
    ):
        self.folder = Path(folder).absolute()
        self.keep_seconds, self.keep_data_seconds = keep_seconds, keep_data_seconds
        self.visitor_bytes, self.all_bytes, self.library = visitor_bytes, all_bytes, library
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}

    def open(self, token: str | None, owner: str = "") -> Session:
        """Return the session of a token that this studio issued before, or a new session.

        Args:
            owner: Name of the visitor's login, who gets no session of another's.
        """
        self.delete_unused()
        well_formed = isinstance(token, str) and TOKEN.fullmatch(token) and not deletion.marked(self.folder / token)
        with self._lock:
            if well_formed and token in self._sessions and self._sessions[token].owner in ("", owner):
                return self._sessions[token]
            if not (well_formed and (self.folder / token).is_dir() and read_owner(self.folder / token) in ("", owner)):
                token = secrets.token_urlsafe(18)
            if owner:
                with atomic_file(self.folder / token / OWNER) as draft:
                    draft.write_text(owner, encoding="utf-8")
            if len(self._sessions) >= MAX_OPEN:
                self._close_one()
            self._sessions[token] = session = Session(token, self.folder / token, owner=owner)
            for history in (session.history, session.editor.history):
                history.make_room = partial(self.make_room, session)
            return session

    def get(self, token: str | None) -> Session:
        """Return an open session; raises UserError if there is none with this token."""
        session = self._sessions.get(token or "")
        if session is None or deletion.marked(session.folder):
            raise UserError(strings.SESSION_UNKNOWN)
        session.last_used = time.time()
        return session

    def owner_of(self, token: str) -> str:
        """Name of the login that a session belongs to, or ""."""
        session = self._sessions.get(token)
        return session.owner if session else read_owner(self.folder / token)

    def make_room(self, session: Session) -> None:
        """Keep a session, and all of them, within their memory.

        The oldest undo steps go first: the visitor's own, then those of other sessions, the longest unused first. Then
        sessions that have not been used for IDLE_SECONDS are closed; their runs and images stay on disk.

        Raises:
            UserError: If that is not enough.
        """
        while session.nbytes > self.visitor_bytes:
            if not session.drop_oldest():
                raise UserError(strings.VISITOR_MEMORY_FULL.format(most=round(self.visitor_bytes / 2**20)))
        with self._lock:
            others = sorted(self._sessions.values(), key=lambda other: other.last_used)
            others = [other for other in others if other is not session]
            for other in others:
                self._if_unlocked(other, self._drop_steps)
            self._drop_steps(session)
            for other in others:
                self._if_unlocked(other, self._close_if_idle)
            if self._excess() > 0:
                raise UserError(strings.STUDIO_MEMORY_FULL)

    def _close_one(self) -> None:
        """Close the session that was unused for longest; its runs and images stay on disk."""
        idle = min((s for s in self._sessions.values() if not s.busy()), key=lambda s: s.last_used, default=None)
        if idle:
            del self._sessions[idle.token]

    def _excess(self) -> int:
        """Bytes above the memory for all visitors."""
        return sum(session.nbytes for session in self._sessions.values()) - self.all_bytes

    def _if_unlocked(self, session: Session, release: Callable[[Session], None]) -> None:
        """Call release(session), unless an event of the session is being handled."""
        if self._excess() > 0 and session.lock.acquire(blocking=False):
            try:
                release(session)
            finally:
                session.lock.release()

    def _drop_steps(self, session: Session) -> None:
        while self._excess() > 0 and session.drop_oldest():
            pass

    def _close_if_idle(self, session: Session) -> None:
        if time.time() - session.last_used > IDLE_SECONDS and not session.busy():
            del self._sessions[session.token]

    def open_photos(self) -> list[Image.Image]:
        """The photos in step 1 of the sessions, that of the session used last at the end."""
        with self._lock:
            sessions = sorted(self._sessions.values(), key=lambda session: session.last_used)
        photos = [session.history.selection.photo for session in sessions]
        return [photo for photo in photos if photo is not None]

    def delete(self, session: Session, timeout: float = 60) -> None:
        """Delete a session with all its data; a job that takes longer than `timeout` seconds to stop follows later."""
        deletion.mark(session.folder)
        session.stop_jobs()
        for job in session.jobs:
            with job.changed:
                job.changed.wait_for(lambda job=job: job.ended, timeout)
        deletion.delete_all(session.folder, "visitor", self.library)
        self.finish_deletions()

    def finish_deletions(self) -> None:
        """Delete what is left of the sessions that are marked as deleted, once their jobs have ended."""
        for folder in deletion.marked_folders(self.folder):
            session = self._sessions.get(folder.name)
            if session is not None:
                session.stop_jobs()
            if session is None or not session.busy():
                if folder.is_dir():
                    deletion.delete_all(folder, "visitor", self.library)
                with self._lock:
                    self._sessions.pop(folder.name, None)
                deletion.unmark(folder)

    def delete_old_data(self) -> None:
        """Delete the runs and images that were made more than `keep_data_seconds` ago."""
        if self.keep_data_seconds is None:
            return
        for folder in self.folder.glob("*/"):
            session = self._sessions.get(folder.name)
            if TOKEN.fullmatch(folder.name) and not (session and session.busy()):
                deletion.delete_old(folder, time.time() - self.keep_data_seconds)
        with self._lock:  # the photos in memory
            for token, session in list(self._sessions.items()):
                if time.time() - session.last_used > self.keep_data_seconds and not session.busy():
                    del self._sessions[token]

    def delete_unused(self) -> None:
        """Delete sessions that were not used for `keep_seconds`, with their folders."""
        if self.keep_seconds is None:
            return
        with self._lock:
            for token, session in list(self._sessions.items()):
                if time.time() - session.last_used > self.keep_seconds and not session.busy():
                    del self._sessions[token]
            for folder in self.folder.glob("*/"):
                # also of the folders in it, since runs and images do not change its own time
                written = max(path.stat().st_mtime for path in (folder, *folder.glob("*/")))
                old = time.time() - written > self.keep_seconds
                if old and folder.name not in self._sessions and TOKEN.fullmatch(folder.name):
                    deletion.delete_all(folder, "unused")
                    deletion.unmark(folder)
