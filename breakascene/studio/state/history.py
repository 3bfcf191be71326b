"""The selection of a session with undo and redo, the names typed on the page, and the proposed masks."""

import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from breakascene.data import mask_files
from breakascene.data.crop import transparent_crop
from breakascene.data.scene import cutout
from breakascene.errors import UserError
from breakascene.files import atomic_file, file_stem
from breakascene.studio import strings
from breakascene.studio.state import selection as selections
from breakascene.studio.state.selection import SelectedObject, Selection

UNDO_DEPTH = 100
PROPOSAL_SIZE = 128  # pixels of the longer side of a proposal's cut-out


@dataclass(eq=False)
class SelectionHistory:
    """The current selection, and those before and after it.

    Attributes:
        folder: Cut-outs are written here.
        ready_made: The selection that comes with a sample.
        page_names: Names of the objects as the page last sent them.
        names_sent: When it sent them: the time origin of the page and the milliseconds since then.
        proposals: Masks found automatically, each (H, W) bool.
    """

    folder: Path
    selection: Selection = field(default_factory=Selection)
    past: list[Selection] = field(default_factory=list)
    future: list[Selection] = field(default_factory=list)
    ready_made: Selection | None = None
    page_names: Sequence[str] = ()
    names_sent: tuple[float, float] = (0, 0)
    proposals: list[np.ndarray] = field(default_factory=list)

    def change(self, selection: Selection) -> None:
        """Replace the selection; undo brings the old one back."""
        self.past = [*self.past[-UNDO_DEPTH:], self.selection]
        self.future = []
        self.selection = selection

    def start_over(self, selection: Selection, ready_made: Selection | None = None) -> None:
        """Begin with another photo."""
        self.change(selection)
        self.ready_made, self.proposals = ready_made, []

    def undo(self) -> None:
        if not self.past or self.past[-1].photo is not self.selection.photo:
            raise UserError(strings.NOTHING_TO_UNDO)
        self.future.append(self.selection)
        self.selection = selections.keep_names(self.selection, self.past.pop())

    def redo(self) -> None:
        if not self.future:
            raise UserError(strings.NOTHING_TO_REDO)
        self.past.append(self.selection)
        self.selection = selections.keep_names(self.selection, self.future.pop())

    def update_names(self, names: Sequence[str | None], sent: tuple[float, float]) -> None:
        """Name the objects as the page does, unless the page has sent newer names already.

        Gradio handles events that wait for different handlers in any order, so an older event may arrive later.
        """
        (page, moment), (last_page, last_moment) = sent, self.names_sent
        if page == last_page and moment < last_moment:
            return
        self.names_sent, self.page_names = sent, [name or "" for name in names]
        for i, name in enumerate(self.page_names[: len(self.selection.objects)]):
            self.selection = selections.rename(self.selection, i, name)

    def propose(self, masks: list[np.ndarray]) -> None:
        """Keep masks found automatically, with a small cut-out of each on disk."""
        self.proposals = masks
        for mask, path in zip(masks, self.proposal_images(), strict=True):
            image = transparent_crop(self.selection.photo, mask)
            image.thumbnail((PROPOSAL_SIZE, PROPOSAL_SIZE))
            with atomic_file(path) as draft:
                image.save(draft)

    def proposal_images(self) -> list[Path]:
        return [self.folder / "found" / f"{i}.png" for i in range(len(self.proposals))]

    def import_masks(self, files: Sequence[str], photo_name: str = "photo.png") -> None:
        """Add the objects of mask files, cut-outs or COCO JSON to the selection; all or none of them."""
        paths, found = [Path(file) for file in files], []
        images = [path for path in paths if path.suffix.lower() != ".json"]
        for path in paths:
            if path not in images:
                found += mask_files.read_mask_files(path, self.selection.photo, photo_name)
        if images:
            found += mask_files.read_mask_images(images, self.selection.photo, photo_name, images[0].parent.name)
        selection = self.selection
        for name, mask in found:
            obj = SelectedObject(selections.normalize_name(name), initial_mask=mask, mask=mask)
            selection = selections.add_object(selection, obj)
        self.change(selection)

    def zip_masks(self, to: str) -> Path:
        """Write a zip with the masks in one of mask_files.FORMATS."""
        scene = selections.to_scene(self.selection)
        path = self.folder / f"masks-{to}.zip"
        with tempfile.TemporaryDirectory() as folder:
            mask_files.write_masks(scene, to, Path(folder) / "masks")
            with atomic_file(path) as draft, zipfile.ZipFile(draft, "w", zipfile.ZIP_STORED) as archive:
                for file in sorted((Path(folder) / "masks").iterdir()):
                    archive.write(file, file.name)
        return path

    def zip_cutouts(self) -> Path:
        """Write a zip with an RGBA cut-out of each selected object."""
        scene = selections.to_scene(self.selection)
        path = self.folder / "cutouts.zip"
        with atomic_file(path) as draft, zipfile.ZipFile(draft, "w", zipfile.ZIP_STORED) as archive:
            for i, concept in enumerate(scene.concepts):
                with archive.open(f"{i + 1}-{file_stem(concept.name, 'object')}.png", "w") as file:
                    cutout(scene, i).save(file, "PNG")
        return path
