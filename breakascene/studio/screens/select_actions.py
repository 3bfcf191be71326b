"""The actions of step 1: open a photo, click, paint, choose an object, find objects."""

from dataclasses import replace
from pathlib import Path

from breakascene.data.image_io import read_photo
from breakascene.data.scene import load_scene
from breakascene.errors import UserError
from breakascene.paths import SAMPLES
from breakascene.studio import engine, strings
from breakascene.studio.screens import canvas
from breakascene.studio.state import selection as selections
from breakascene.studio.state.history import SelectionHistory
from breakascene.studio.state.selection import BRUSHES, SelectedObject, Selection
from breakascene.studio.state.session import Session

MIN_PROPOSAL, MAX_PROPOSAL = 0.004, 0.6  # share of the photo: neither specks nor the background
MAX_PROPOSALS = 10


def samples() -> list[Path]:
    """The folders of the sample photos."""
    return sorted(path.parent for path in SAMPLES.glob("*/img.*"))


def require_photo(session: Session) -> SelectionHistory:
    if session.history.selection.photo is None:
        raise UserError(strings.NO_PHOTO)
    return session.history


def open_photo(session: Session, path: str | None) -> None:
    if path:
        photo = read_photo(path)
        session.history.start_over(Selection(photo))
        engine.embed(photo)


def open_sample(session: Session, folder: Path) -> None:
    ready_made = selections.from_scene(load_scene(folder))
    session.history.start_over(Selection(ready_made.photo), ready_made)
    engine.embed(ready_made.photo)


def click_canvas(session: Session, tool: str, position: tuple[int, int]) -> None:
    """A click at a position in pixels of the canvas."""
    history = require_photo(session)
    if tool in BRUSHES:
        return  # brush.js sends strokes separately
    x, y = canvas.to_photo(history.selection.photo, int(position[0]), int(position[1]))
    history.change(selections.click(history.selection, engine.segmenter(), x, y, tool))


def click_photo(session: Session, tool: str, x: float | None, y: float | None) -> None:
    """A click at a position in pixels of the photo."""
    history = require_photo(session)
    x, y = int(x or 0), int(y or 0)
    width, height = history.selection.photo.size
    if not (0 <= x < width and 0 <= y < height):
        raise UserError(strings.POINT_OUTSIDE.format(width=width, height=height))
    history.change(selections.click(history.selection, engine.segmenter(), x, y, tool))


def paint_stroke(session: Session, stroke: dict) -> None:
    """A stroke of the brush, as brush.js sends it."""
    history = require_photo(session)
    points = [canvas.to_photo(history.selection.photo, int(x), int(y)) for x, y in stroke["points"]]
    width = min(max(float(stroke["width"]), 0.002), 0.5) * max(history.selection.photo.size)
    history.change(selections.paint(history.selection, points, width, stroke["tool"]))


def use_next_candidate(session: Session, larger: bool) -> None:
    history = session.history
    history.change(selections.next_candidate(history.selection, engine.segmenter(), larger))


def clear_object(session: Session) -> None:
    """Remove the mask and the clicks of the active object."""
    selection = session.history.selection
    session.history.change(selection.with_active(SelectedObject(selection.active_object.name)))


def invert_object(session: Session) -> None:
    """Select all but the active object's mask."""
    session.history.change(selections.invert(session.history.selection))


def import_masks(session: Session, files: list[str] | None) -> None:
    """Add the objects of mask files or COCO JSON."""
    if files:
        require_photo(session).import_masks(files)


def choose_object(session: Session, index: int) -> None:
    selection = session.history.selection
    if index < len(selection.objects):
        session.history.selection = replace(selection, active=index, corner=None)


def add_object(session: Session) -> None:
    session.history.change(selections.add_object(session.history.selection))


def remove_object(session: Session, index: int) -> None:
    session.history.change(selections.remove_object(session.history.selection, index))


def set_background(session: Session, on: bool) -> None:
    session.history.change(replace(session.history.selection, background=bool(on)))


def use_ready_made(session: Session) -> None:
    session.history.change(session.history.ready_made)


def find_objects(session: Session) -> None:
    """Propose masks of the whole photo."""
    history = require_photo(session)
    masks = engine.segmenter().auto(history.selection.photo)
    history.propose([mask for mask in masks if MIN_PROPOSAL < mask.mean() < MAX_PROPOSAL][:MAX_PROPOSALS])
    if not history.proposals:
        raise UserError(strings.NO_PROPOSALS)


def accept_proposal(session: Session, index: int) -> None:
    mask = session.history.proposals[index]
    proposed = SelectedObject(initial_mask=mask, mask=mask)
    session.history.change(selections.add_object(session.history.selection, proposed))
