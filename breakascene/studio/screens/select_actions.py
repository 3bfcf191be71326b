"""The actions of step 1: open a photo, click, paint, choose an object, find objects."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from breakascene.data.image_io import read_photo
from breakascene.data.scene import load_scene
from breakascene.errors import UserError
from breakascene.paths import SAMPLES
from breakascene.studio import loaded, strings
from breakascene.studio.screens import canvas
from breakascene.studio.state import photo_edits
from breakascene.studio.state import selection as selections
from breakascene.studio.state.history import SelectionHistory
from breakascene.studio.state.selection import BOX_TOOLS, BRUSH_WIDTH, BRUSHES, SelectedObject, Selection
from breakascene.studio.state.session import Session

MIN_PROPOSAL, MAX_PROPOSAL = 0.004, 0.6  # share of the photo: neither specks nor the background
MAX_PROPOSALS = 10
_previewing = threading.Lock()  # held while the mask under somebody's mouse is computed


def samples() -> list[Path]:
    """The folders of the sample photos."""
    return sorted(path.parent for path in SAMPLES.glob("*/img.*"))


def require_photo(history: SelectionHistory) -> SelectionHistory:
    if history.selection.photo is None:
        raise UserError(strings.NO_PHOTO)
    return history


def open_photo(session: Session, path: str | None) -> None:
    if path:
        photo = read_photo(path)
        session.history.start_over(Selection(photo))
        loaded.embed(photo)


def open_sample(session: Session, folder: Path) -> None:
    ready_made = selections.from_scene(load_scene(folder))
    session.history.start_over(Selection(ready_made.photo), ready_made)
    loaded.embed(ready_made.photo)


def embed_photo(session: Session) -> None:
    """Prepare the segmenter, so that the first click is quick and hovering shows masks."""
    if (photo := session.history.selection.photo) is not None:
        loaded.segmenter().set_image(photo)


def apply_gesture(history: SelectionHistory, gesture: dict) -> None:
    """A click or a drag on the canvas, as static/canvas_tools.js sends it."""
    require_photo(history)
    if tuple(gesture["size"]) != canvas.canvas_size(history.selection.photo):  # made before the photo was cropped
        raise UserError(strings.SELECTION_CHANGED)
    points = [canvas.to_photo(history.selection.photo, int(x), int(y)) for x, y in gesture["points"]]
    apply_tool(history, gesture["tool"], points, gesture.get("width", BRUSH_WIDTH))


def click_photo(history: SelectionHistory, tool: str, x: float | None, y: float | None) -> None:
    """A click at a position in pixels of the photo."""
    require_photo(history)
    x, y = int(x or 0), int(y or 0)
    width, height = history.selection.photo.size
    if not (0 <= x < width and 0 <= y < height):
        raise UserError(strings.POINT_OUTSIDE.format(width=width, height=height))
    apply_tool(history, tool, [(x, y)])


def apply_tool(
    history: SelectionHistory, tool: str, points: Sequence[tuple[int, int]], width: float = BRUSH_WIDTH
) -> None:
    """Apply a tool to the active object, or crop the photo.

    Args:
        tool: "include", "exclude", or one of BRUSHES or BOX_TOOLS.
        points: In pixels of the photo: of a click, of a stroke, or one or both of the corners of a box.
        width: Of a stroke, as a share of the photo's longer side.
    """
    selection = history.selection
    if tool in BRUSHES:
        width = min(max(float(width), 0.002), 0.5) * max(selection.photo.size)
        history.change(selections.paint(selection, points, width, tool))
    elif tool not in BOX_TOOLS:
        history.change(selections.click(selection, loaded.segmenter(), *points[-1], tool))
    elif len(points) == 1 and selection.corner is None:
        history.change(replace(selection, corner=points[0]))
    else:
        corners = (*(points[0] if len(points) > 1 else selection.corner), *points[-1])
        if tool == "crop":
            history.change(photo_edits.crop(selection, corners))
        elif tool == "rectangle":
            history.change(selections.add_rectangle(selection, corners))
        else:
            history.change(selections.mark_box(selection, loaded.segmenter(), corners))


def preview_click(session: Session, gesture: dict, page: float) -> dict | None:
    """The mask that a click would give, as an image over the canvas; None if the segmenter is busy or not prepared.

    Only one preview is computed at a time, and none while anybody's click is: hovering must not slow down others.
    """
    history, segmenter = session.history, loaded.segmenter()
    selection, tool = history.seen_on(page), gesture["tool"]
    if selection is None or selection.photo is None or (tool == "exclude" and selection.active_object.empty):
        return None
    if not segmenter.is_ready_for(selection.photo) or not _previewing.acquire(blocking=False):
        return None
    try:
        point = gesture["points"][0]
        x, y = canvas.to_photo(selection.photo, int(point[0]), int(point[1]))
        mask = selections.preview_click(selection, segmenter, x, y, tool)
        return {"point": point, "mask": canvas.mask_overlay(selection, mask)}
    finally:
        _previewing.release()


def rotate_photo(session: Session) -> None:
    history = require_photo(session.history)
    history.change(photo_edits.rotate(history.selection))


def use_next_candidate(history: SelectionHistory, larger: bool) -> None:
    history.change(selections.next_candidate(history.selection, loaded.segmenter(), larger))


def clear_object(history: SelectionHistory) -> None:
    """Remove the mask and the clicks of the active object."""
    selection = history.selection
    old = selection.active_object
    history.change(selection.with_active(SelectedObject(old.name, key=old.key)))


def invert_object(history: SelectionHistory) -> None:
    """Select all but the active object's mask."""
    history.change(selections.invert(history.selection))


def import_masks(session: Session, files: list[str] | None) -> None:
    """Add the objects of mask files or COCO JSON."""
    if files:
        require_photo(session.history).import_masks(files)


def choose_object(session: Session, index: int) -> None:
    selection = session.history.selection
    if index < len(selection.objects):
        session.history.selection = replace(selection, active=index, corner=None)


def add_object(session: Session) -> None:
    session.history.change(selections.add_object(session.history.selection))


def remove_object(session: Session, index: int) -> None:
    session.history.change(selections.remove_object(session.history.selection, index))


def set_innermost(session: Session, on: bool) -> None:
    session.history.change(replace(session.history.selection, innermost=bool(on)))


def set_background(session: Session, on: bool) -> None:
    session.history.change(replace(session.history.selection, background=bool(on)))


def use_ready_made(session: Session) -> None:
    session.history.change(session.history.ready_made)


def find_objects(session: Session) -> None:
    """Propose masks of the whole photo."""
    history = require_photo(session.history)
    masks = loaded.segmenter().auto(history.selection.photo)
    history.propose([mask for mask in masks if MIN_PROPOSAL < mask.mean() < MAX_PROPOSAL][:MAX_PROPOSALS])
    if not history.proposals:
        raise UserError(strings.NO_PROPOSALS)


def accept_proposal(session: Session, index: int) -> None:
    mask = session.history.proposal(index)
    proposed = SelectedObject(initial_mask=mask, mask=mask)
    session.history.change(selections.add_object(session.history.selection, proposed))
