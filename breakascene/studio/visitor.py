"""Who a visitor is, for the audit log: the name of the login, and the session under a name that does not open it."""

import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gradio.context import LocalContext

from breakascene.provenance import audit
from breakascene.studio.state import deletion
from breakascene.studio.state.session import Session

ANONYMOUS = "(no login)"


def login_name() -> str:
    """The name that the visitor of the event being handled has logged in with, or ""."""
    request = LocalContext.request.get(None)
    return getattr(request, "username", None) or ""


@contextmanager
def acting(session: Session, values: Iterable = (), name: str = "") -> Iterator[None]:
    """Name the visitor in the log's entries inside the `with` block, and note the files they have uploaded.

    Args:
        values: Of the event that is handled.
        name: Of the login, if Gradio does not know it.
    """
    deletion.note_uploads(session.folder, values)
    who = name or login_name() or ANONYMOUS
    before = audit.actor.set({"who": who, "session": deletion.session_id(session.token)})
    try:
        yield
    finally:
        audit.actor.reset(before)


def record_download(path: Path) -> Path:
    """Log that a visitor gets a file, with the hashes of the images in a zip; returns the path."""
    if audit.folder_from_settings():
        images = None
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                names = [name for name in archive.namelist() if name.endswith(".png")]
                images = [audit.hash_of_bytes(archive.read(name)) for name in names]
        audit.record("download", file=path.name, sha256=audit.hash_of(path), images=images)
    return path
