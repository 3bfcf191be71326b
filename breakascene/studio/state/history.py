"""The selection of a session with undo and redo, as each of its pages shows it, and the proposed masks."""

import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

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
MAX_PAGES = 20  # of a session that are remembered
MAX_OLD_VIEWS = 40  # of these pages
PROPOSAL_SIZE = 128  # pixels of the longer side of a proposal's cut-out


@dataclass(frozen=True)
class PageView:
    """What a page shows of the selection.

    Attributes:
        keys, names: Of its objects; names as they stand in the page's fields.
        active: Key of the object that is active on the page.
        number: Tells it from the views before; the page sends it with its events.
    """

    photo: Image.Image | None
    keys: tuple[int, ...]
    names: tuple[str, ...]
    active: int
    number: int


@dataclass(eq=False)
class SelectionHistory:
    """The current selection, and those before and after it, whose masks are packed.

    Attributes:
        folder: Cut-outs are written here.
        past, future: Selections of the same photo, perhaps cropped or rotated, with a PackedMask in place of each mask.
        ready_made: The selection that comes with a sample.
        replaced: The selection on the photo before this one, packed, and its ready_made; `restore` brings them back.
        views: What each page shows, by its time origin.
        old_views: What pages have shown before, with their time origins: an event may have been sent by an old view.
        page_names: Names of the objects as they stand in the fields of the page that sent the last event.
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
    replaced: tuple[Selection, Selection | None] | None = None
    views: dict[float, PageView] = field(default_factory=dict)
    old_views: list[tuple[float, PageView]] = field(default_factory=list)
    page_names: Sequence[str] = ()
    names_sent: tuple[float, float] = (0, 0)
    proposals: list[PackedMask] = field(default_factory=list)
    make_room: Callable[[], None] = lambda: None
    nbytes: int = 0
    _last_number: int = 0
    _packed: dict[int, tuple[np.ndarray, PackedMask]] = field(default_factory=dict)  # by id of the selection's masks

    def change(self, selection: Selection) -> None:
        """Replace the selection; undo brings the old one back."""
        past = [*self.past, self._pack(self.selection)][-UNDO_DEPTH:]
        self._set(selection, past, [], self.ready_made, self.proposals)

    def start_over(self, selection: Selection, ready_made: Selection | None = None) -> None:
        """Begin with another photo; `restore` brings back the one before, as long as there is memory for it."""
        leaving = (self._pack(self.selection), self.ready_made) if self.selection.photo is not None else self.replaced
        self._replace(leaving, selection, ready_made)

    def restore(self) -> None:
        """Go back to the photo before this one, with its selection."""
        if self.replaced is None:
            raise UserError(strings.NO_PHOTO)
        selection, ready_made = self.replaced
        leaving = (self._pack(self.selection), self.ready_made) if self.selection.photo is not None else None
        self._replace(leaving, self._unpack(selection), ready_made)

    def _replace(self, leaving, selection: Selection, ready_made: Selection | None) -> None:
        """Change to the selection on another photo, and keep the one that is left; all of it or nothing."""
        before, self.replaced = self.replaced, leaving
        try:
            self._set(selection, [], [], ready_made, [])
        except UserError:
            self.replaced = before
            self._measure()
            raise

    def has_ready_made(self) -> bool:
        """Whether masks come with the photo as it is, neither cropped nor rotated."""
        return self.ready_made is not None and self.ready_made.photo is self.selection.photo

    def enter(self, page: float, whole: bool = True) -> bool:
        """Make the object active that is active on a page.

        Returns whether the page shows the photo of this selection and its active object or, if `whole`, all objects.
        """
        view, keys = self.views.get(page), self.keys()
        if view is None:
            return True
        if view.photo is not self.selection.photo or view.active not in keys or (whole and view.keys != keys):
            return False
        if keys[self.selection.active] != view.active:
            self.selection = replace(self.selection, active=keys.index(view.active), corner=None)
        return True

    def is_shown_on(self, page: float) -> bool:
        """Whether a page shows this photo and all these objects."""
        view = self.views.get(page)
        return view is not None and view.photo is self.selection.photo and view.keys == self.keys()

    def seen_on(self, page: float) -> Selection | None:
        """The selection with the object active that is active on a page; None if the page shows another photo."""
        view, keys = self.views.get(page), self.keys()
        if view is None or view.photo is not self.selection.photo or view.active not in keys:
            return None
        return replace(self.selection, active=keys.index(view.active))

    def leave(self, page: float, names: Sequence[str] | None = None) -> None:
        """Remember what a page shows after an event; by default the names of the selection."""
        names = [obj.name for obj in self.selection.objects] if names is None else names
        if old := self.views.pop(page, None):
            self.old_views = [*self.old_views, (page, replace(old, photo=None))][-MAX_OLD_VIEWS:]
        self._last_number += 1
        active = self.keys()[self.selection.active]
        self.views[page] = PageView(self.selection.photo, self.keys(), tuple(names), active, self._last_number)
        while len(self.views) > MAX_PAGES:
            del self.views[next(iter(self.views))]

    def keys(self) -> tuple[int, ...]:
        return tuple(obj.key for obj in self.selection.objects)

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
        """Forget the photo before this one, else the oldest step that can be undone, else the last that can be redone.

        Returns whether there was any of them.
        """
        if self.replaced is not None:
            self.replaced = None
        elif steps := self.past or self.future:
            del steps[0]
        else:
            return False
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
        others = [self.ready_made, *(self.replaced or ())]
        everything = [self.selection, *self.past, *self.future, *filter(None, others)]
        masks = {id(mask): mask for selection in everything for mask in selections.masks_of(selection)}
        photos = {id(selection.photo): selection.photo for selection in everything if selection.photo}
        pixels = sum(photo.width * photo.height for photo in photos.values())
        self.nbytes = 3 * pixels + sum(mask.nbytes for mask in [*masks.values(), *self.proposals])

    def update_names(self, names: Sequence[str | None], sent: Sequence[float | None]) -> None:
        """Name the objects as the page does, unless the page has sent newer names already.

        Gradio handles events that wait for different handlers in any order, so an older event may arrive later. Of a
        page that is known, only the names count that were changed there: another page may have changed the others. An
        event that was sent before the page has shown its last update names the objects of the view before.

        Args:
            names: Those in the page's fields.
            sent: The time origin of the page, the milliseconds since then, and the number of the view it shows.
        """
        (page, moment, number), (last_page, last_moment) = (*sent, None)[:3], self.names_sent
        if page == last_page and moment < last_moment:
            return
        names = [name or "" for name in names]
        last = view = self.views.get(page)
        if last is not None and number not in (None, last.number):
            view = next((old for owner, old in self.old_views if owner == page and old.number == number), last)
            names = names if view is not last else list(last.names)
        self.names_sent, self.page_names = (page, moment), names if view is last else list(last.names)
        keys = self.keys()
        for i, name in enumerate(names):
            if view is None:
                index = i if i < len(keys) else None
            else:
                changed = i < len(view.keys) and (i >= len(view.names) or view.names[i] != name)
                index = keys.index(view.keys[i]) if changed and view.keys[i] in keys else None
            if index is not None:
                self.selection = selections.rename(self.selection, index, name)
        if view is not None:
            named = replace(view, names=tuple(names[: len(view.keys)]))
            self.old_views = [(owner, named if old is view else old) for owner, old in self.old_views]
            if view is last:
                self.views[page] = named

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
