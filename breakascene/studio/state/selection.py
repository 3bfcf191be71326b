"""What is on the picking table: a photo and the things picked in it. Plain values; every change makes a new board."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw

from breakascene.data.scene import MAX_CONCEPTS, Scene, make_scene
from breakascene.errors import UserError
from breakascene.segmentation.segmenter import Candidates
from breakascene.studio import strings

BRUSHES = ("paint", "erase")  # tools that touch a mask up by hand
BRUSH = 0.03  # its width as a share of the photo's longer side
COUNTED = 1024  # pixels of the longer side that are counted to say how large things are
OTHER_SIZE = 0.02  # a reading that differs by less from the one shown would look the same
Point = tuple[int, int, bool]  # x, y in pixels of the photo; True to include, False to leave out


@dataclass(frozen=True)
class Thing:
    name: str = ""
    points: tuple[Point, ...] = ()
    box: tuple[int, int, int, int] | None = None
    guess: int = 0  # which of the segmenter's candidates is shown
    given: np.ndarray | None = None  # (H, W) bool: where it started, if it was proposed rather than clicked
    mask: np.ndarray | None = None  # (H, W) bool: what it is now

    @property
    def empty(self) -> bool:
        return self.mask is None or not self.mask.any()


@dataclass(frozen=True)
class Board:
    photo: Image.Image | None = None
    things: tuple[Thing, ...] = (Thing(),)
    active: int = 0
    background: bool = False
    corner: tuple[int, int] | None = None  # the first corner of a box that waits for its second

    def with_thing(self, thing: Thing) -> "Board":
        things = self.things[: self.active] + (thing,) + self.things[self.active + 1 :]
        return replace(self, things=things, corner=None)


def click(board: Board, segmenter, x: int, y: int, tool: str) -> Board:
    """One click of a tool ("include", "exclude", "box" or a brush) on the active thing."""
    thing = board.things[board.active]
    if tool == "box":
        if board.corner is None:
            return replace(board, corner=(x, y))
        (x0, y0) = board.corner
        box = (min(x0, x), min(y0, y), max(x0, x), max(y0, y))
        if box[2] - box[0] < 4 or box[3] - box[1] < 4:
            raise UserError(strings.BOX_TOO_SMALL)
        return segment(board, segmenter, replace(thing, box=box, points=(), given=None, guess=0))
    if tool in BRUSHES:
        return paint(board, [(x, y)], BRUSH * max(board.photo.size), tool)
    include = tool == "include"
    if not include and thing.empty:
        raise UserError(strings.INCLUDE_FIRST)
    return segment(board, segmenter, replace(thing, points=(*thing.points, (x, y, include)), guess=0))


def other_reading(board: Board, segmenter, larger: bool) -> Board:
    """The next larger, or smaller, of the segmenter's three readings of the same clicks."""
    thing = board.things[board.active]
    if not thing.points and thing.box is None:
        raise UserError(strings.CLICK_FIRST)
    sizes = (_read(board, segmenter, thing).logits > 0).sum((1, 2))
    now = sizes[thing.guess]
    others = np.flatnonzero(sizes > now * (1 + OTHER_SIZE) if larger else sizes < now * (1 - OTHER_SIZE))
    if not len(others):
        raise UserError(strings.NO_LARGER if larger else strings.NO_SMALLER)
    nearest = others[np.abs(sizes[others] - now).argmin()]
    return segment(board, segmenter, replace(thing, guess=int(nearest)))


def segment(board: Board, segmenter, thing: Thing) -> Board:
    mask = _read(board, segmenter, thing).mask(thing.guess)
    if thing.given is None and not mask.any():
        raise UserError(strings.NOTHING_THERE)
    if thing.given is not None:
        mask = thing.given & ~mask if _takes_away(thing) else thing.given | mask
    return board.with_thing(replace(thing, mask=mask))


def _takes_away(thing: Thing) -> bool:
    """Whether the clicks are about what to take from a mask that was there before: only "leave out" clicks."""
    return thing.given is not None and not any(include for *_, include in thing.points)


def _read(board: Board, segmenter, thing: Thing) -> Candidates:
    labels = [include or _takes_away(thing) for *_, include in thing.points]
    return segmenter.predict([(x, y) for x, y, _ in thing.points], labels, thing.box, board.photo)


def paint(board: Board, stroke: Sequence[tuple[float, float]], width: float, tool: str) -> Board:
    """Add a stroke of the brush (pixels of the photo) to the active thing's mask, or rub it out of it."""
    thing = board.things[board.active]
    if tool == "erase" and thing.empty:
        raise UserError(strings.INCLUDE_FIRST)
    trace = Image.new("1", board.photo.size)
    pen, r = ImageDraw.Draw(trace), width / 2
    pen.line(stroke, fill=1, width=max(1, round(width)))
    for x, y in stroke:  # round ends and corners
        pen.ellipse((x - r, y - r, x + r, y + r), fill=1)
    before = np.zeros(trace.size[::-1], bool) if thing.mask is None else thing.mask
    mask = before & ~np.asarray(trace) if tool == "erase" else before | np.asarray(trace)
    # Later clicks add to what was painted, or take from it.
    return board.with_thing(Thing(thing.name, given=mask, mask=mask))


def add_thing(board: Board, thing: Thing = Thing()) -> Board:
    """Another thing, made the active one; a proposal fills an empty place first."""
    if thing.mask is not None:
        if any(t.mask is not None and np.array_equal(t.mask, thing.mask) for t in board.things):
            raise UserError(strings.ALREADY_PICKED)
        free = [i for i, t in enumerate(board.things) if t.empty]
        if free:
            name = thing.name or board.things[free[0]].name
            return replace(board, active=free[0]).with_thing(replace(thing, name=name))
    if len(board.things) >= MAX_CONCEPTS:
        raise UserError(strings.TOO_MANY_THINGS.format(n=MAX_CONCEPTS))
    return replace(board, things=(*board.things, thing), active=len(board.things), corner=None)


def remove_thing(board: Board, index: int) -> Board:
    things = board.things[:index] + board.things[index + 1 :] or (Thing(),)
    return replace(board, things=things, active=min(board.active, len(things) - 1), corner=None)


def tidy(name: str) -> str:
    """Names are kept to one short line: they only lend their words to the handle's starting point."""
    return " ".join(name.split())[:40]


def rename(board: Board, index: int, name: str) -> Board:
    things = list(board.things)
    things[index] = replace(things[index], name=tidy(name))
    return replace(board, things=tuple(things))


def keep_names(old: Board, new: Board) -> Board:
    """Undo takes back clicks, not the names that were typed meanwhile."""
    if old.photo is not new.photo or len(old.things) != len(new.things):
        return new
    return replace(new, things=tuple(replace(t, name=o.name) for t, o in zip(new.things, old.things, strict=True)))


def from_scene(scene: Scene) -> Board:
    """The scene's photo with its things picked: to_scene's way back."""
    things = tuple(Thing(concept.name, given=concept.mask, mask=concept.mask) for concept in scene.concepts)
    return Board(scene.photo, things, background=scene.background)


def thinned(board: Board) -> Board:
    """Every n-th pixel of the board, so that counting them is quick however large the photo; all where a thing is so
    small that it would be lost."""
    step = -(-max(board.photo.size) // COUNTED)
    things = tuple(t if t.mask is None else replace(t, mask=t.mask[::step, ::step]) for t in board.things)
    if any(thin.empty and not thing.empty for thin, thing in zip(things, board.things, strict=True)):
        return board
    size = [-(-side // step) for side in board.photo.size]
    return replace(board, photo=board.photo.resize(size, Image.Resampling.NEAREST), things=things)


def to_scene(board: Board) -> Scene:
    """The scene of the things that have a mask; things that were added but never clicked are left aside."""
    if board.photo is None:
        raise UserError(strings.NO_PHOTO)
    picked = [thing for thing in board.things if not thing.empty]
    if not picked:
        raise UserError(strings.NOTHING_PICKED)
    names = [thing.name or strings.UNNAMED for thing in picked]
    return make_scene(board.photo, [thing.mask for thing in picked], names, board.background)
