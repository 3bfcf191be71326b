"""A library: one folder of runs with names, tags and thumbnails, which can be shared, backed up and moved.

Layout of the folder:

    ID/           a run folder, named after its content
    ID/thumbs/    a small cut-out of each concept, 0.png, 1.png, …
    ID.json       its name and tags, if it has any

There is no index, and every file and folder is written atomically, so several processes may use a library at once.
"""

import json
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from breakascene.data import validation
from breakascene.data.scene import cutout, load_scene
from breakascene.errors import UserError
from breakascene.files import atomic_file, atomic_folder, require_writable
from breakascene.models.grouped import load_run
from breakascene.models.manifest import Manifest, read_manifest

MAX_NAME, MAX_TAG, MAX_TAGS = 60, 30, 20  # characters, and tags of a run
THUMBNAIL_SIZE = 96  # pixels


@dataclass(frozen=True)
class Details:
    """What a user says about a run."""

    name: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """A run in a library."""

    id: str
    folder: Path
    handles: tuple[str, ...]
    concept_names: tuple[str, ...]
    details: Details

    @property
    def name(self) -> str:
        """The given name, else the names of the concepts."""
        return self.details.name or ", ".join(self.concept_names)

    def thumbnails(self) -> list[Path]:
        """A small cut-out of each concept in the order of the handles."""
        return thumbnails(self.folder, len(self.handles))


class Library:
    """The runs in a folder, by default that of `default_folder`. A missing folder is an empty library."""

    def __init__(self, folder: Path | str | None = None):
        self.folder = Path(folder or default_folder())

    def entries(self, search: str = "") -> list[Entry]:
        """Return the runs, newest first, that have all words of `search` in their name, concepts or tags."""
        found = []
        for folder, manifest in runs_in(self.folder):
            entry = Entry(folder.name, folder, manifest.handles, manifest.names, read_details(folder))
            text = " ".join([entry.name, *entry.concept_names, *entry.details.tags]).casefold()
            if all(word in text for word in search.casefold().split()):
                found.append(entry)
        return found

    def find(self, key: str) -> Entry:
        """Return the run of that id or name. Raises UserError if there is none, or several of the name."""
        entries = self.entries()
        found = [entry for entry in entries if entry.id == key]
        found = found or [entry for entry in entries if entry.name.casefold() == key.strip().casefold()]
        if not found:
            raise UserError(
                'There is no run "{key}" in the library {folder}: give a run folder, or the name or id of a run there.',
                key=key[:80], folder=str(self.folder),
            )  # fmt: skip
        if len(found) > 1:
            raise UserError(
                'Several runs are named "{key}": use an id, {ids}.', key=key, ids=" or ".join(one.id for one in found)
            )
        return found[0]

    def add(self, run: Path | str, details: Details = Details()) -> Entry:
        """Copy a run folder into the library; the same run is kept once. Raises UserError if it is not a run folder."""
        run, concepts = Path(run), load_run(run)
        require_writable(self.folder, "folder")
        target = self.folder / concepts.id
        if not (target / "manifest.json").is_file():
            try:
                with atomic_folder(target) as draft:
                    shutil.copytree(run, draft, dirs_exist_ok=True)
            except OSError:  # unless another process has just added the same run
                if not (target / "manifest.json").is_file():
                    raise
        if details != Details():
            write_details(target, details)
        thumbnails(target, len(concepts.handles))
        return self.find(concepts.id)

    def remove(self, entry: Entry) -> None:
        """Delete a run and its details."""
        if entry.folder.is_symlink():  # the run lies elsewhere
            entry.folder.unlink()
        else:
            shutil.rmtree(entry.folder)
        details_file(entry.folder).unlink(missing_ok=True)


def default_folder() -> Path:
    """Return BREAKASCENE_LIBRARY, or "breakascene/library" in the user's data folder."""
    if override := os.environ.get("BREAKASCENE_LIBRARY"):
        return Path(override)
    try:
        return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "breakascene" / "library"
    except RuntimeError as error:  # no HOME, and the user has no account
        raise UserError("There is no home folder: set BREAKASCENE_LIBRARY to the folder of the library.") from error


def runs_in(folder: Path) -> list[tuple[Path, Manifest]]:
    """Return the run folders in a folder with their manifests, newest first.

    Drafts of other processes and folders without a readable manifest are left out, among them runs that another process
    removes meanwhile.
    """
    found = []
    for file in folder.glob("[!.]*/manifest.json"):
        with suppress(OSError, ValueError, KeyError):
            found.append((-file.stat().st_mtime, file.parent, read_manifest(file.parent)))
    return [(run, manifest) for _, run, manifest in sorted(found, key=lambda one: one[:2])]


def details_file(run: Path) -> Path:
    """Return the file of a run's details, beside its folder: resuming writes the folder anew."""
    return run.with_name(f"{run.name}.json")


def read_details(run: Path) -> Details:
    """Read the details of a run; a missing or damaged file has none."""
    try:
        values = validation.checked_dict(validation.read_json(details_file(run)), "it")
        return clean_details(values.get("name", ""), values.get("tags", []))
    except (OSError, ValueError, TypeError, AttributeError):
        return Details()


def write_details(run: Path, details: Details) -> None:
    """Write the details of a run, atomically."""
    with atomic_file(details_file(run)) as draft:
        draft.write_text(json.dumps({"name": details.name, "tags": details.tags}, ensure_ascii=False), encoding="utf-8")


def clean_details(name: str, tags: Sequence[str]) -> Details:
    """Return details of one line each without control characters, cut to the longest allowed, each tag once."""
    name, *tags = ("".join(filter(str.isprintable, " ".join(text.split()))) for text in (name, *tags))
    tags = dict.fromkeys(tag[:MAX_TAG].strip() for tag in tags)
    return Details(name[:MAX_NAME].strip(), tuple(filter(None, tags))[:MAX_TAGS])


def thumbnails(run: Path, count: int) -> list[Path]:
    """Return files with a small square cut-out of each of a run's concepts, written once."""
    paths = [run / "thumbs" / f"{i}.png" for i in range(count)]
    if not all(path.exists() for path in paths):
        scene = load_scene(run / "scene")
        if len(scene.handles) != count:
            raise UserError(f"{run} is not a run folder or is damaged: extract again.")
        for i, path in enumerate(paths):
            image = cutout(scene, i)
            image.thumbnail((THUMBNAIL_SIZE, THUMBNAIL_SIZE))
            square = Image.new("RGBA", (THUMBNAIL_SIZE, THUMBNAIL_SIZE))
            square.paste(image, ((THUMBNAIL_SIZE - image.width) // 2, (THUMBNAIL_SIZE - image.height) // 2))
            with atomic_file(path) as draft:
                square.save(draft)
    return paths
