"""The selection of a session with undo and redo, the names typed on the page, and the proposed masks."""

import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from breakascene.data import mask_files
from breakascene.data.crop import transparent_crop
from breakascene.data.scene import cutout
from breakascene.errors import UserError
from breakascene.files import atomic_file, file_stem
from breakascene.studio import strings
from breakascene.studio.state import packed_mask
from breakascene.studio.state import selection as selections
from breakascene.studio.state.packed_mask import PackedMask
from breakascene.studio.state.selection import SelectedObject, Selection

UNDO_DEPTH = 100
PROPOSAL_SIZE = 128  # pixels of the longer side of a proposal's cut-out


@dataclass(eq=False)
class SelectionHistory:
    """The current selection, and those before and after it, whose masks are packed.

    Attributes:
        folder: Cut-outs are written here.
        past, future: Selections of the same photo, with a PackedMask in place of each mask.
        ready_made: The selection that comes with a sample.
        page_names: Names of the objects as the page last sent them.
        names_sent: When it sent them: the time origin of the page and the milliseconds since then.
        proposals: Masks found automatically.
        make_room: Called after each change; raises UserError if the selection takes more memory than there is.
        nbytes: Memory that all of it takes.
    """

    folder: Path
    selection: Selection = field(default_factory=Selection)
    past: list[Selection] = field(default_factory=list)
    future: list[Selection] = field(default_factory=list)
    ready_made: Selection | None = None
    page_names: Sequence[str] = ()
    names_sent: tuple[float, float] = (0, 0)
    proposals: list[PackedMask] = field(default_factory=list)
    make_room: Callable[[], None] = lambda: None
    nbytes: int = 0
    _packed: dict[int, tuple[np.ndarray, PackedMask]] = field(default_factory=dict)  # by id of the selection's masks

    def change(self, selection: Selection) -> None:
        """Replace the selection; undo brings the old one back."""
        past = [*self.past, self._pack(self.selection)][-UNDO_DEPTH:]
        self._set(selection, past, [], self.ready_made, self.proposals)

    def start_over(self, selection: Selection, ready_made: Selection | None = None) -> None:
        """Begin with another photo."""
        self._set(selection, [], [], ready_made, [])

    def undo(self) -> None:
        if not self.past:
            raise UserError(strings.NOTHING_TO_UNDO)
        selection = selections.keep_names(self.selection, self._unpack(self.past[-1]))
        future = [*self.future, self._pack(self.selection)]
        self._set(selection, self.past[:-1], future, self.ready_made, self.proposals)

    def redo(self) -> None:
        if not self.future:
            raise UserError(strings.NOTHING_TO_REDO)
        selection = selections.keep_names(self.selection, self._unpack(self.future[-1]))
        past = [*self.past, self._pack(self.selection)]
        self._set(selection, past, self.future[:-1], self.ready_made, self.proposals)

    def drop_oldest(self) -> bool:
        """Forget the oldest step that can be undone, else the last that can be redone; return whether there was one."""
        if not (steps := self.past or self.future):
            return False
        del steps[0]
        self._measure()
        return True

    def _set(self, selection, past, future, ready_made, proposals) -> None:
        """Replace everything at once, or nothing if there is no room."""
        before = self.selection, self.past, self.future, self.ready_made, self.proposals
        self.selection, self.past, self.future, self.ready_made, self.proposals = (
            selection, past, future, ready_made, proposals,
        )  # fmt: skip
        self._measure()
        try:
            self.make_room()
        except UserError:
            self.selection, self.past, self.future, self.ready_made, self.proposals = before
            self._measure()
            raise
        live = {id(mask) for mask in selections.masks_of(selection)}
        self._packed = {key: entry for key, entry in self._packed.items() if key in live}

    def _pack(self, selection: Selection) -> Selection:
        def pack(mask: np.ndarray) -> PackedMask:
            if id(mask) not in self._packed:
                self._packed[id(mask)] = mask, packed_mask.pack(mask)
            return self._packed[id(mask)][1]

        return selections.map_masks(selection, pack)

    def _unpack(self, selection: Selection) -> Selection:
        masks = {id(packed): mask for mask, packed in self._packed.values()}

        def unpack(packed: PackedMask) -> np.ndarray:
            if id(packed) not in masks:
                masks[id(packed)] = mask = packed_mask.unpack(packed)
                self._packed[id(mask)] = mask, packed
            return masks[id(packed)]

        return selections.map_masks(selection, unpack)

    def _measure(self) -> None:
        """Count each photo and mask once."""
        everything = [self.selection, *self.past, *self.future, *([self.ready_made] if self.ready_made else [])]
        masks = {id(mask): mask for selection in everything for mask in selections.masks_of(selection)}
        photos = {id(selection.photo): selection.photo for selection in everything if selection.photo}
        pixels = sum(photo.width * photo.height for photo in photos.values())
        self.nbytes = 3 * pixels + sum(mask.nbytes for mask in [*masks.values(), *self.proposals])

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
        packed = [packed_mask.pack(mask) for mask in masks]
        self._set(self.selection, [*self.past], [*self.future], self.ready_made, packed)
        for mask, path in zip(masks, self.proposal_images(), strict=True):
            image = transparent_crop(self.selection.photo, mask)
            image.thumbnail((PROPOSAL_SIZE, PROPOSAL_SIZE))
            with atomic_file(path) as draft:
                image.save(draft)

    def proposal(self, index: int) -> np.ndarray:
        """A mask found automatically, (H, W) bool."""
        return packed_mask.unpack(self.proposals[index])

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
