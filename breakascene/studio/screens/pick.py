"""Step 1, Pick: a photo, and clicks on the things in it."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import gradio as gr

from breakascene.data.image_io import read_photo
from breakascene.data.scene import MAX_CONCEPTS, load_scene
from breakascene.errors import UserError
from breakascene.evaluation.advice import scene_advice
from breakascene.files import atomic_file
from breakascene.paths import SAMPLES
from breakascene.studio import engine, strings
from breakascene.studio.screens import canvas, charts
from breakascene.studio.screens.events import QUIET, at_desk, download_button
from breakascene.studio.state import selection as boards
from breakascene.studio.state.selection import BRUSH, BRUSHES, Board, Thing
from breakascene.studio.state.session import Desk, Desks

BRUSH_JS = Path(__file__).parent.with_name("static").joinpath("brush.js").read_text(encoding="utf-8")
LONGEST_STROKE = 100_000  # letters; a bound for a shared machine
# Writes into `sent` when the page sends an event: when the page was opened and how long ago that is, in ms.
SENT_JS = "(token, sent, ...values) => [token, [performance.timeOrigin, performance.now()], ...values]"


def photo_input(**options) -> gr.Image:
    """An image input that hands over the uploaded file as it is: read_photo looks at it before anything decodes it."""
    image = gr.Image(type="filepath", image_mode=None, **options)
    image.preprocess = lambda payload: payload and payload.path  # Gradio has checked that the path is an upload
    return image


@dataclass(frozen=True)
class Pick:
    """The components that change, and what they show for a desk."""

    outputs: list
    next: gr.Button

    def show(self, desk: Desk, known: tuple[str, ...] = ()) -> list:
        """The whole step. Names that the page already has (`known`) are left alone: someone may be typing in them."""
        board = desk.board
        on = board.photo is not None
        rows = []
        for i in range(MAX_CONCEPTS):
            there = i < len(board.things)
            name = board.things[i].name if there else ""
            active = there and i == board.active
            rows += [
                gr.Row(visible=there, elem_classes=["thing", "active"] if active else ["thing"]),
                gr.skip() if i < len(known) and boards.tidy(known[i]) == name else name,
            ]
        return [
            gr.Column(visible=not on),
            gr.Column(visible=on),
            *self.touch(desk),
            gr.Button(visible=desk.ready_made is not None),
            gr.Gallery([str(path) for path in desk.proposal_pictures()], visible=bool(desk.proposals)),
            board.background,
            *rows,
        ]

    def touch(self, desk: Desk) -> list:
        """Only the picture and what is said of it: what a click changes."""
        board = desk.board
        return [view(desk) if board.photo else None, hint(board), about(board)]


def view(desk: Desk) -> str:
    """The canvas as a file: Gradio copies a file whole, but writes an image over itself while it is being sent."""
    path = desk.folder / "view.jpg"
    with atomic_file(path) as draft:
        canvas.draw(desk.board).save(draft, quality=90)
    return str(path)


def hint(board: Board) -> str:
    if board.photo is None:
        return strings.HINT_START
    if board.corner:
        return strings.HINT_CORNER
    thing = board.things[board.active]
    if thing.empty:
        return strings.HINT_CLICK.format(thing=thing.name or strings.THING.format(n=board.active + 1))
    return strings.HINT_PICKED


def about(board: Board) -> str:
    """How much of the photo each thing takes, and what had better be mended before it is learned."""
    board = boards.thinned(board) if board.photo else board
    picked = [(i, thing) for i, thing in enumerate(board.things) if not thing.empty]
    if not picked:
        return ""
    shares = " · ".join(f"{i + 1} {thing.name}".strip() + f": {thing.mask.mean():.1%}" for i, thing in picked)
    try:
        advice = scene_advice(boards.to_scene(board))
    except UserError as error:
        advice = error.args
    return f'<p class="caption">{charts.escape(strings.SHARES.format(shares=shares))}</p>{charts.notices(advice)}'


def samples() -> list[Path]:
    return sorted(path.parent for path in SAMPLES.glob("*/img.*"))


def build(desks: Desks, token: gr.State) -> Pick:
    folders = samples()
    with gr.Column(visible=False) as start:  # shown once the page has its desk
        if folders:
            gr.Markdown(f"### {strings.SAMPLES}")
            shelf = gr.Gallery(
                [(str(next(f.glob("img.*"))), strings.SAMPLE_NAMES[f.name]) for f in folders],
                show_label=False, columns=6, height="auto", allow_preview=False, object_fit="cover",
                buttons=[], interactive=False, elem_id="samples",
            )  # fmt: skip
        gr.Markdown(f"### {strings.UPLOAD}")
        upload = photo_input(
            sources=["upload", "webcam", "clipboard"], show_label=False,
            placeholder=strings.UPLOAD_HINT, height=220, elem_id="upload", buttons=[],
        )  # fmt: skip
    with gr.Column(visible=False) as table, gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=320):
            tool = gr.Radio(strings.TOOLS, value="include", label=strings.TOOL, elem_id="tool")
            sent = gr.JSON(visible=False)  # SENT_JS
            stroke = gr.Textbox(lines=2, elem_id="stroke", elem_classes="unseen", max_length=LONGEST_STROKE)
            canvas = gr.Image(interactive=False, show_label=False, buttons=[], elem_id="canvas", container=False)
            with gr.Row(elem_classes="tools"):
                undo = gr.Button(strings.UNDO, size="sm", min_width=70)
                redo = gr.Button(strings.REDO, size="sm", min_width=70)
                clear = gr.Button(strings.CLEAR, size="sm", min_width=70)
                smaller = gr.Button(strings.SMALLER, size="sm", min_width=90)
                larger = gr.Button(strings.LARGER, size="sm", min_width=90)
            brush = gr.Slider(
                1, 15, 100 * BRUSH, step=1, label=strings.BRUSH, visible=False, interactive=True, elem_id="brush"
            )
            by_keys = gr.Accordion(strings.WITHOUT_MOUSE, open=False, elem_id="without-mouse")
            with by_keys, gr.Row(elem_classes="tools"):
                across = gr.Number(0, label=strings.ACROSS, precision=0, minimum=0, min_width=90, elem_id="across")
                down = gr.Number(0, label=strings.DOWN, precision=0, minimum=0, min_width=90, elem_id="down")
                there = gr.Button(strings.CLICK_THERE, size="sm", min_width=120, elem_id="click-there")
        with gr.Column(scale=2, min_width=300):
            note = gr.Markdown(elem_id="hint", elem_classes="hint")
            gr.Markdown(f"### {strings.THINGS}")
            rows, marks, names, removes = [], [], [], []
            for i in range(MAX_CONCEPTS):
                with gr.Row(visible=i == 0, elem_classes="thing", equal_height=True) as row:
                    marks.append(gr.Button(f"{i + 1}", min_width=44, scale=0, elem_classes=["mark", f"mark-{i}"]))
                    names.append(
                        gr.Textbox(
                            placeholder=strings.NAME_HINT if i == 0 else "", show_label=False, container=False,
                            min_width=120, max_lines=1, max_length=40, elem_id=f"name-{i}", scale=5,
                            label=strings.THING.format(n=i + 1),
                        )
                    )  # fmt: skip
                    removes.append(gr.Button(strings.REMOVE, min_width=44, scale=0, elem_classes="remove"))
                rows.append(row)
            with gr.Row(elem_classes="tools"):
                add = gr.Button(strings.ADD, size="sm", min_width=120, elem_id="add")
                find = gr.Button(strings.FIND, size="sm", min_width=120, elem_id="find")
                ready = gr.Button(strings.READY_MADE, size="sm", min_width=120, visible=False, elem_id="ready-made")
            said = gr.HTML(elem_id="about")
            found = gr.Gallery(
                label=strings.FOUND, visible=False, columns=5, height="auto", allow_preview=False,
                object_fit="contain", interactive=False, buttons=[], elem_id="found",
            )  # fmt: skip
            background = gr.Checkbox(label=strings.BACKGROUND, info=strings.BACKGROUND_INFO, elem_id="background")
            next_step = gr.Button(strings.TO_EXTRACT, variant="primary", elem_id="to-extract")
            with gr.Row(elem_classes="tools"):
                other = gr.Button(strings.OTHER_PHOTO, size="sm", elem_id="other-photo")
                download_button(desks, token, Desk.zip_cutouts, strings.TAKE_CUTOUTS, "cutouts")

    things = [part for pair in zip(rows, names, strict=True) for part in pair]
    pick = Pick([start, table, canvas, note, said, ready, found, background, *things], next_step)
    light = [canvas, note, said]

    def on(event, change, inputs=(), outputs=pick.outputs, **options):
        """Run change(desk, *values) on an event, then show the whole step again, or only the picture (`light`).

        The page's names come along each time, so that a name still being typed is never lost to another event.
        """

        def act(desk: Desk, moment, *values):
            desk.take_names(values[:MAX_CONCEPTS], moment)
            change(desk, *values[MAX_CONCEPTS:])
            return pick.touch(desk) if outputs is light else pick.show(desk, desk.page_names)

        inputs = [token, sent, *names, *inputs]
        return event(at_desk(desks, act), inputs, outputs, js=SENT_JS, **{**QUIET, **options})

    def on_select(event, change, inputs=(), outputs=pick.outputs):
        """The same for a click on a picture; where it was comes last."""

        def with_place(act):
            def handler(where: gr.SelectData, *values):
                return act(*values, where.index)

            return handler

        on(lambda handler, *rest, **options: event(with_place(handler), *rest, **options), change, inputs, outputs)

    # A photo
    if folders:
        on_select(shelf.select, lambda desk, index: open_sample(desk, folders[index]))
    on(upload.upload, open_photo, [upload]).then(lambda: None, None, upload, **QUIET)  # ready for the next photo
    on(other.click, lambda desk: desk.start_over(Board()))

    # Clicks
    on_select(canvas.select, click_photo, [tool], light)
    on(there.click, click_at, [tool, across, down], light)
    on(stroke.change, paint_stroke, [stroke], light)
    tool.change(lambda tool: gr.Slider(visible=tool in BRUSHES), [tool], brush, **QUIET)
    on(smaller.click, lambda desk: other_reading(desk, larger=False), (), light)
    on(larger.click, lambda desk: other_reading(desk, larger=True), (), light)
    on(undo.click, Desk.undo)
    on(redo.click, Desk.redo)
    on(clear.click, clear_thing)

    # Things
    for i, (mark, name, remove) in enumerate(zip(marks, names, removes, strict=True)):
        on(mark.click, lambda desk, i=i: choose_thing(desk, i))
        on(name.focus, lambda desk, i=i: choose_thing(desk, i))
        on(name.blur, lambda desk: None, (), light)
        on(name.submit, lambda desk: None, (), light)
        on(remove.click, lambda desk, i=i: desk.change(boards.remove_thing(desk.board, i)))
    on(add.click, lambda desk: desk.change(boards.add_thing(desk.board)))
    on(background.input, set_background, [background], light)
    on(ready.click, lambda desk: desk.change(desk.ready_made))
    on(find.click, find_things, show_progress="minimal", show_progress_on=[find])
    on_select(found.select, accept_proposal)
    return pick


def open_photo(desk: Desk, path: str | None) -> None:
    if path:
        desk.start_over(Board(read_photo(path)))


def open_sample(desk: Desk, folder: Path) -> None:
    ready_made = boards.from_scene(load_scene(folder))
    desk.start_over(Board(ready_made.photo), ready_made)


def click_photo(desk: Desk, tool: str, where: tuple[int, int]) -> None:
    if desk.board.photo is None:
        raise UserError(strings.NO_PHOTO)
    if tool in BRUSHES:
        return  # strokes come by a way of their own, brush.js
    x, y = canvas.to_photo(desk.board.photo, int(where[0]), int(where[1]))
    desk.change(boards.click(desk.board, engine.segmenter(), x, y, tool))


def click_at(desk: Desk, tool: str, across: float | None, down: float | None) -> None:
    """A click by its place in pixels of the photo, from the left and from the top."""
    if desk.board.photo is None:
        raise UserError(strings.NO_PHOTO)
    x, y = int(across or 0), int(down or 0)
    width, height = desk.board.photo.size
    if not (0 <= x < width and 0 <= y < height):
        raise UserError(strings.OUTSIDE.format(width=width, height=height))
    desk.change(boards.click(desk.board, engine.segmenter(), x, y, tool))


def paint_stroke(desk: Desk, told: str) -> None:
    """A stroke of the brush, as brush.js tells it."""
    if desk.board.photo is None:
        raise UserError(strings.NO_PHOTO)
    stroke = json.loads(told)
    points = [canvas.to_photo(desk.board.photo, int(x), int(y)) for x, y in stroke["points"]]
    width = min(max(float(stroke["width"]), 0.002), 0.5) * max(desk.board.photo.size)
    desk.change(boards.paint(desk.board, points, width, stroke["tool"]))


def other_reading(desk: Desk, larger: bool) -> None:
    desk.change(boards.other_reading(desk.board, engine.segmenter(), larger))


def clear_thing(desk: Desk) -> None:
    thing = desk.board.things[desk.board.active]
    desk.change(desk.board.with_thing(Thing(thing.name)))


def choose_thing(desk: Desk, index: int) -> None:
    if index < len(desk.board.things):
        desk.board = replace(desk.board, active=index, corner=None)


def set_background(desk: Desk, on: bool) -> None:
    desk.change(replace(desk.board, background=bool(on)))


def find_things(desk: Desk) -> None:
    if desk.board.photo is None:
        raise UserError(strings.NO_PHOTO)
    # What fills most of the photo is its ground, and specks are no things.
    desk.propose([mask for mask in engine.segmenter().auto(desk.board.photo) if 0.004 < mask.mean() < 0.6][:10])
    if not desk.proposals:
        raise UserError(strings.FOUND_NOTHING)


def accept_proposal(desk: Desk, index: int) -> None:
    mask = desk.proposals[index]
    desk.change(boards.add_thing(desk.board, Thing(given=mask, mask=mask)))
