"""What each visitor may use: jobs a day, and space on the disk. A visitor is a login, or a session without one."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from breakascene.data import validation
from breakascene.errors import UserError
from breakascene.files import atomic_file
from breakascene.studio import strings
from breakascene.studio.state.deletion import session_id
from breakascene.studio.state.session import SessionStore, read_owner

COUNTS = "jobs-today.json"  # in the data folder, so that a restart gives no new jobs


class Quotas:
    """Counts the jobs of each visitor and measures their folders.

    Args:
        jobs_per_day: In UTC days; None for any number.
        disk_bytes: For all sessions of a login; None for any size.
        today: Returns the day.
    """

    def __init__(
        self,
        sessions: SessionStore,
        jobs_per_day: int | None = None,
        disk_bytes: int | None = None,
        today: Callable[[], str] = lambda: datetime.now(UTC).date().isoformat(),
    ):
        self.sessions, self.jobs_per_day, self.disk_bytes, self.today = sessions, jobs_per_day, disk_bytes, today
        self._lock = threading.Lock()

    @contextmanager
    def one_job(self, token: str) -> Iterator[None]:
        """Count a job that is submitted in a block without an error.

        Raises:
            UserError: If the visitor with this session may not start another one.
        """
        self.check_disk(token)
        if self.jobs_per_day is None:
            yield
            return
        with self._lock:  # of two jobs submitted at once only one may be the last
            counts, visitor = self._counts(), self._visitor(token)
            if counts.get(visitor, 0) >= self.jobs_per_day:
                raise UserError(strings.QUOTA_JOBS.format(n=self.jobs_per_day))
            yield
            counts[visitor] = counts.get(visitor, 0) + 1
            with atomic_file(self.sessions.folder / COUNTS) as draft:
                draft.write_text(json.dumps({"day": self.today(), "jobs": counts}), encoding="utf-8")

    def check_disk(self, token: str) -> None:
        """Raise UserError if the visitor with this session may not store anything more."""
        if self.disk_bytes is not None and (used := self.disk_used(token)) >= self.disk_bytes:
            raise UserError(strings.QUOTA_DISK.format(used=round(used / 2**20), most=round(self.disk_bytes / 2**20)))

    def disk_used(self, token: str) -> int:
        """Bytes of all files of the visitor with this session."""
        visitor, folders = self._visitor(token), [path for path in self.sessions.folder.glob("*/")]
        own = [folder for folder in folders if self._visitor(folder.name) == visitor]
        return sum(_size(path) for folder in own for path in folder.rglob("*"))

    def _visitor(self, token: str) -> str:
        return read_owner(self.sessions.folder / token) or session_id(token)

    def _counts(self) -> dict[str, int]:
        """The jobs of today by visitor; a damaged file counts none."""
        try:
            values = validation.checked_dict(validation.read_json(self.sessions.folder / COUNTS), "it")
            counts = validation.checked_dict(values["jobs"], "it") if values["day"] == self.today() else {}
            return {visitor: int(count) for visitor, count in counts.items()}
        except (OSError, ValueError, KeyError, TypeError):
            return {}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:  # deleted meanwhile
        return 0
