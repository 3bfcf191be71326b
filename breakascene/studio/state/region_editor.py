"""The photo that is edited in step 3, and the region that is marked in it."""

import hashlib
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from breakascene.data.image_io import read_photo
from breakascene.errors import UserError
from breakascene.files import atomic_file
from breakascene.studio import strings
from breakascene.studio.state.history import SelectionHistory
from breakascene.studio.state.selection import Selection

FOLDER = "edit"  # in the folder of a session


@dataclass(eq=False)
class RegionEditor:
    """The region is the mask of the only object of a selection.

    Attributes:
        folder: A copy of the photo's file lies here: its metadata say where it comes from.
        file: That copy; None if there is no photo.
    """

    folder: Path
    file: Path | None = None
    history: SelectionHistory = field(init=False)

    def __post_init__(self):
        self.history = SelectionHistory(self.folder)

    def open(self, source: Path) -> None:
        """Open a photo, or an image of the gallery, with an empty region."""
        photo = read_photo(source)
        file = self.folder / f"photo-{hashlib.sha256(source.read_bytes()).hexdigest()[:16]}"
        with atomic_file(file) as draft:
            shutil.copyfile(source, draft)
        self._start_over(Selection(photo))
        self.file = file

    def close(self) -> None:
        """Go back to the state without a photo; the file stays for a job that may use it."""
        self._start_over(Selection())
        self.file = None

    def _start_over(self, selection: Selection) -> None:
        self.history.start_over(selection)
        if self.history.replaced is not None:  # its file may be gone
            self.history.drop_oldest()

    def delete_others(self) -> None:
        """Delete the copies of earlier photos. No job may use them."""
        for path in self.folder.glob("photo-*"):
            if path != self.file:
                path.unlink(missing_ok=True)

    def region(self) -> np.ndarray:
        """The region, (H, W) bool; raises UserError if nothing is marked."""
        region = self.history.selection.active_object
        if self.file is None or region.empty:
            raise UserError(strings.NO_REGION)
        return region.mask
