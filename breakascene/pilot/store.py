"""The results of a pilot in a folder on any file system that fsspec knows; each photo's folder is written whole."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from breakascene.errors import UserError, resource_error
from breakascene.files import atomic_file, atomic_folder, remove_partial_files, require_writable

RESULT = "result.json"  # on file systems without renaming it is written last: a folder without it is not finished


class Store:
    """The folder of a pilot's results: a path, or an address such as s3://bucket/pilot.

    Attributes:
        address: As given.
        folder: The folder, if it is on a local disk.
    """

    def __init__(self, address: Path | str):
        self.address = str(address)
        try:
            self._fs, self._root = fsspec.core.url_to_fs(self.address)
        except (ImportError, ValueError, OSError) as error:
            raise UserError(f"The results cannot be kept at {self.address} ({error}): choose another place.") from error
        self.folder = Path(self._root) if isinstance(self._fs, LocalFileSystem) else None

    def require_writable(self) -> None:
        """Raise UserError if nothing can be written there."""
        if self.folder:
            require_writable(self.folder, "folder")
        else:
            self.write_file("writable", b"")
            self._fs.rm(self._path("writable"))

    def write_folder(self, name: str, files: Mapping[str, bytes]) -> None:
        """Write a folder of files, which replaces an earlier one; a reader sees a RESULT only with all other files.

        Raises:
            UserError: If the disk is full or cannot be written; what was there before remains on a local disk.
        """
        with _write_errors(self.address):
            if self.folder:
                remove_partial_files(self.folder / name)  # of a run that was killed
                with atomic_folder(self.folder / name) as draft:
                    for file, data in files.items():
                        (draft / file).parent.mkdir(parents=True, exist_ok=True)
                        (draft / file).write_bytes(data)
                return
            self.remove(name)
            for file in sorted(files, key=lambda file: file == RESULT):
                self._put(f"{name}/{file}", files[file])

    def write_file(self, name: str, data: bytes) -> None:
        """Write one file, which replaces an earlier one. Raises UserError."""
        with _write_errors(self.address):
            if self.folder:
                with atomic_file(self.folder / name) as draft:
                    draft.write_bytes(data)
            else:
                self._put(name, data)

    def read(self, name: str) -> bytes | None:
        """Return the content of a file, or None if there is none."""
        try:
            return self._fs.cat_file(self._path(name))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UserError(f"{name} in {self.address} cannot be read ({error}): check the connection.") from error

    def read_json(self, name: str) -> dict | None:
        """Return the mapping in a JSON file that this package wrote; None if it is missing or damaged."""
        data = self.read(name)
        try:
            value = json.loads(data) if data else None
        except ValueError:
            return None
        return value if isinstance(value, dict) else None

    def files(self, name: str) -> dict[str, bytes]:
        """Return all files of a folder, by their paths in it."""
        root = self._path(name)
        if not self._fs.isdir(root):
            return {}
        return {path[len(root) :].lstrip("/"): self._fs.cat_file(path) for path in self._fs.find(root)}

    def remove(self, name: str) -> None:
        """Remove a file or folder; a folder's RESULT first."""
        path = self._path(name)
        if self.folder:
            shutil.rmtree(path, ignore_errors=True) if Path(path).is_dir() else Path(path).unlink(missing_ok=True)
            return
        if self._fs.exists(f"{path}/{RESULT}"):
            self._fs.rm(f"{path}/{RESULT}")
        if self._fs.exists(path):
            self._fs.rm(path, recursive=True)

    def _put(self, name: str, data: bytes) -> None:
        path = self._path(name)
        self._fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        self._fs.pipe_file(path, data)

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"


@contextmanager
def _write_errors(address: str) -> Iterator[None]:
    """Turn errors of a file system into a UserError."""
    try:
        yield
    except OSError as error:
        advice = "make it writable" if resource_error(error) != "disk" else "free some space"
        reason = error.strerror or str(error)
        raise UserError(
            f"Cannot write to {address} ({reason}): {advice} and run the pilot again; finished photos are kept."
        ) from error
