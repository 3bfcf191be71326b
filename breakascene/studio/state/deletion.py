"""Delete a visitor's data, all at once or what has become old, and leave only its hashes in the audit log.

A session is deleted in two steps. Its token is marked first, so that nobody can open it any more; then its files are
removed. A running job may still write some: whoever sees the mark later removes them too, also after a restart.
"""

import hashlib
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from gradio.processing_utils import hash_file
from gradio.utils import get_upload_folder

from breakascene.files import atomic_file
from breakascene.generation.library import Library
from breakascene.models.manifest import read_manifest
from breakascene.provenance import audit
from breakascene.studio.state import pending_runs
from breakascene.studio.state.run_store import RunStore

MARK = ".deleted"  # suffix of the file beside the folder of a session
UPLOADS = "uploads.txt"  # paths of the files that the visitor uploaded, one a line
PILOT = "pilot"  # folder of the pilot, see pilot_folder
SHARED = "shared.txt"  # ids of the runs that the visitor added to the library, one a line
# Made of photos and images
DERIVED = ("*.zip", "contact-sheet.png", "mask.png", "view.jpg", "found/*", "mcp/*", "edit/*")


def session_id(token: str) -> str:
    """A name of a session that does not open it, for logs."""
    return hashlib.sha256(token.encode()).hexdigest()[:12]


def mark(folder: Path) -> None:
    """Mark the session with this folder as deleted."""
    with atomic_file(_mark_of(folder)) as draft:
        draft.touch()


def marked(folder: Path) -> bool:
    return _mark_of(folder).exists()


def marked_folders(data: Path) -> list[Path]:
    """The folders of the deleted sessions of a data folder, which may be gone."""
    return [path.with_name(path.name.removesuffix(MARK)) for path in data.glob(f"*{MARK}")]


def unmark(folder: Path) -> None:
    _mark_of(folder).unlink(missing_ok=True)


def delete_all(folder: Path, reason: str, library: Library | None = None) -> None:
    """Delete the folder of a session with all copies of its files, and log the hashes of what was in it.

    Args:
        folder: The session's.
        reason: "visitor", "unused", "operator" and the like, for the log.
        library: The runs that the visitor added to it are removed from it; None leaves them there.
    """
    runs, images = [run.folder for run in RunStore(folder).list()], sorted(folder.glob("pictures/*.png"))
    pilot_runs, pilot_images = _pilot(folder)
    contents = _hashes([*runs, *pilot_runs], [*images, *pilot_images])
    if folder.is_dir() and (any(contents.values()) or _uploads(folder)):
        audit.record("delete", session=session_id(folder.name), reason=reason, **contents)
    mark(folder)
    shared = _lines(folder / SHARED)
    for entry in library.entries() if library and shared else []:
        if entry.id in shared:
            library.remove(entry)
    _delete_copies([path for path in folder.rglob("*") if path.is_file()], _uploads(folder))
    shutil.rmtree(folder, ignore_errors=True)


def delete_run(runs: RunStore, folder: Path, reason: str = "visitor") -> None:
    """Delete a run of a session, and log it."""
    if (folder / "manifest.json").is_file():
        audit.record("delete", reason=reason, **_hashes([folder], []))
    _delete_copies([path for path in folder.rglob("*") if path.is_file()])
    runs.delete(folder)


def delete_pilot(folder: Path, reason: str = "visitor") -> None:
    """Delete the pilot of the session with this folder, and log the hashes of what was in it."""
    contents = _hashes(*_pilot(folder))
    if any(contents.values()):
        audit.record("delete", session=session_id(folder.name), reason=reason, **contents)
    files = [path for path in (folder / PILOT).rglob("*") if path.is_file()]
    _delete_copies([*files, *folder.glob("pilot-*.zip")])
    shutil.rmtree(folder / PILOT, ignore_errors=True)
    for path in folder.glob("pilot-*.zip"):
        path.unlink(missing_ok=True)


def delete_old(folder: Path, before: float) -> None:
    """Delete the runs, images and pilot of a session that were made before a time, in seconds since the epoch.

    The runs include stopped ones, and those that cannot be read any more.
    """
    made = [path.stat().st_mtime for name in ("about.json", "*/status.json") for path in (folder / PILOT).glob(name)]
    if made and max(made) < before:
        delete_pilot(folder, "retention")
    store = RunStore(folder)
    runs = [path for path in store.runs_folder.glob("*/") if _time_of(path) < before]
    images = [path for path in sorted(folder.glob("pictures/*.png")) if path.stat().st_mtime < before]
    edited = [path for path in folder.glob("edit/photo-*") if path.stat().st_mtime < before]
    if not (runs or images or edited):
        return
    contents = _hashes(runs, images)
    audit.record("delete", session=session_id(folder.name), reason="retention", **contents)
    derived = [path for pattern in DERIVED for path in folder.glob(pattern)]
    inside = [path for run in runs for path in run.rglob("*") if path.is_file()]
    _delete_copies([*images, *derived, *inside], _uploads(folder))
    for path in (*images, *derived):
        path.unlink(missing_ok=True)
    for run in runs:
        store.delete(run.with_name(run.name.removesuffix(pending_runs.SUFFIX)))


def _time_of(run: Path) -> float:
    """When a run folder was written: its files are moved into place together, and its thumbnails follow later."""
    manifest = run / "manifest.json"
    return (manifest if manifest.is_file() else run).stat().st_mtime


def note_uploads(folder: Path, values: Iterable) -> None:
    """Note the uploaded files among the values of an event, so that they can be deleted."""
    uploads = get_upload_folder()
    flat = [one for value in values for one in (value if isinstance(value, list) else [value])]
    paths = {value for value in flat if isinstance(value, str) and value.startswith(uploads)}
    if not paths:
        return
    _add_lines(folder / UPLOADS, sorted(paths))


def note_shared(folder: Path, run_id: str) -> None:
    """Note a run that the visitor added to the library, so that it can be deleted."""
    _add_lines(folder / SHARED, [run_id])


def _add_lines(file: Path, lines: Iterable[str]) -> None:
    known = _lines(file)
    if new := [line for line in lines if line not in known]:
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(file, "a", encoding="utf-8") as out:
            out.writelines(f"{line}\n" for line in new)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _uploads(folder: Path) -> list[Path]:
    return list(map(Path, _lines(folder / UPLOADS)))


def _delete_copies(files: Iterable[Path], uploads: Iterable[Path] = ()) -> None:
    """Delete uploads, and the copies that Gradio made of files to send them: each in a folder named after its hash."""
    cache = Path(get_upload_folder())
    for path in uploads:
        if path.parent.parent == cache and ".." not in path.parts:
            shutil.rmtree(path.parent, ignore_errors=True)
    for path in files:
        with suppress(OSError):  # a file that vanishes meanwhile
            if (copy := cache / hash_file(path)).is_dir():
                shutil.rmtree(copy, ignore_errors=True)


def _hashes(runs: Iterable[Path], images: Iterable[Path]) -> dict[str, list[str]]:
    """The hashes of photos and images, and the ids of runs, for the log."""
    photos, ids = [], []
    for folder in runs:
        with suppress(OSError, ValueError, KeyError):
            manifest = read_manifest(folder)
            ids.append(manifest.id)
            photos += filter(None, [manifest.photo])
    return {"photos": sorted(set(photos)), "runs": ids, "images": [audit.hash_of(path) for path in images]}


def _pilot(folder: Path) -> tuple[list[Path], list[Path]]:
    """The runs and images of a session's pilot."""
    runs = [path.parent for path in (folder / PILOT).rglob("run/manifest.json")]
    return runs, [
        *sorted((folder / PILOT).glob("results/**/images/*.png")),
        *sorted((folder / PILOT).glob("ads/*.png")),
    ]


def _mark_of(folder: Path) -> Path:
    return folder.with_name(folder.name + MARK)
