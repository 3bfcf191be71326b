"""Step 1, Select: a photo, and clicks on the objects in it."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from breakascene.data.scene import MAX_CONCEPTS
from breakascene.errors import UserError
from breakascene.evaluation.advice import scene_advice
from breakascene.files import atomic_file
from breakascene.studio import strings
from breakascene.studio.screens import canvas, charts
from breakascene.studio.screens import select_actions as actions
from breakascene.studio.screens.events import EVENT_OPTIONS, PageContext, Updates
from breakascene.studio.screens.select_actions import samples
from breakascene.studio.screens.select_sections import (
    CanvasSection,
    ObjectSection,
    PhotoSection,
    build_canvas,
    build_objects,
    build_photo,
)
from breakascene.studio.state import selection as selections
from breakascene.studio.state.selection import BRUSHES, Selection
from breakascene.studio.state.session import Session

BRUSH_JS = Path(__file__).parent.with_name("static").joinpath("brush.js").read_text(encoding="utf-8")
# Writes into `sent` when the page sends an event: the page's time origin and the milliseconds since then.
SENT_JS = "(token, sent, ...values) => [token, [performance.timeOrigin, performance.now()], ...values]"
# The same for an event whose last input holds the messages that a script of the page has sent (static/messages.js).
MESSAGES_JS = f"""(...values) => [...({SENT_JS})(...values.slice(0, -1)), window.takeMessages("NAME")]"""


@dataclass(frozen=True)
class SelectScreen:
    photo: PhotoSection
    main: gr.Column
    canvas: CanvasSection
    objects: ObjectSection

    @property
    def live(self) -> list:
        """The components that a click changes."""
        return [self.canvas.image, self.objects.hint, self.objects.about]

    @property
    def outputs(self) -> list:
        objects = self.objects
        return [self.photo.panel, self.main, *self.live, objects.ready_made, objects.proposals, objects.background,
                *objects.rows, *objects.names]  # fmt: skip

    @property
    def next(self) -> gr.Button:
        return self.objects.next

    def show(self, session: Session, page_names: Sequence[str] = ()) -> Updates:
        """Updates of all outputs.

        Args:
            page_names: Names that the page has already. They are left alone, because someone may be typing in them.
        """
        history = session.history
        selection, objects = history.selection, self.objects
        has_photo = selection.photo is not None
        proposals = [str(path) for path in history.proposal_images()]
        updates = {
            self.photo.panel: gr.Column(visible=not has_photo),
            self.main: gr.Column(visible=has_photo),
            **self.show_live(session),
            objects.ready_made: gr.Button(visible=history.ready_made is not None),
            objects.proposals: gr.Gallery(proposals, visible=bool(proposals)),
            objects.background: selection.background,
        }
        for i, (row, field) in enumerate(zip(objects.rows, objects.names, strict=True)):
            exists = i < len(selection.objects)
            active = exists and i == selection.active
            updates[row] = gr.Row(visible=exists, elem_classes=["object-row", "active"] if active else ["object-row"])
            name = selection.objects[i].name if exists else ""
            if not (i < len(page_names) and selections.normalize_name(page_names[i]) == name):
                updates[field] = name
        return updates

    def show_live(self, session: Session) -> Updates:
        selection = session.history.selection
        return {
            self.canvas.image: write_canvas(session) if selection.photo else None,
            self.objects.hint: hint(selection),
            self.objects.about: about(selection),
        }


def build(page: PageContext) -> SelectScreen:
    photo = build_photo()
    with gr.Column(visible=False) as main, gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=320):
            canvas_section = build_canvas()
        with gr.Column(scale=2, min_width=300):
            objects = build_objects(page)
    screen = SelectScreen(photo, main, canvas_section, objects)
    events = SelectEvents(page, screen)
    connect_photo(events)
    connect_canvas(events)
    connect_objects(events)
    return screen


@dataclass(frozen=True)
class SelectEvents:
    """Connects the events of step 1 to actions, each followed by updates of the screen.

    The page sends its names with each event, so that a name that is still being typed is never lost to another event.
    """

    page: PageContext
    screen: SelectScreen

    def on(
        self, event: Callable, action: Callable, inputs: Sequence = (), live: bool = False, js: str = SENT_JS, **options
    ):
        """Call action(session, *values of inputs) on an event.

        Args:
            live: Update only what a click changes, not the whole screen.
            js: Run in the page before the event is sent; returns the values to send.
        """
        screen = self.screen

        def act(session: Session, sent, *values) -> Updates:
            session.history.update_names(values[:MAX_CONCEPTS], sent)
            action(session, *values[MAX_CONCEPTS:])
            return screen.show_live(session) if live else screen.show(session, session.history.page_names)

        inputs = [screen.canvas.sent, *screen.objects.names, *inputs]
        return self.page.on(event, act, inputs, screen.live if live else screen.outputs, js=js, **options)

    def on_messages(self, button: gr.Button, action: Callable):
        """Call action(session, message) for each message that a script of the page sends by a hidden button."""

        def for_each(session: Session, messages: str) -> None:
            for message in json.loads(messages):
                action(session, message)

        js = MESSAGES_JS.replace("NAME", button.elem_id)
        self.on(button.click, for_each, [self.screen.canvas.messages], live=True, js=js)

    def on_select(self, event: Callable, action: Callable, inputs: Sequence = (), live: bool = False):
        """The same for a click on an image: action(session, *values, index)."""

        def with_index(act: Callable) -> Callable:
            def handler(selected: gr.SelectData, *values):
                return act(*values, selected.index)

            return handler

        self.on(lambda handler, *rest, **options: event(with_index(handler), *rest, **options), action, inputs, live)


def connect_photo(events: SelectEvents) -> None:
    photo, objects = events.screen.photo, events.screen.objects
    if photo.samples is not None:
        folders = samples()
        events.on_select(photo.samples.select, lambda session, index: actions.open_sample(session, folders[index]))
    uploaded = events.on(photo.upload.upload, actions.open_photo, [photo.upload])
    uploaded.then(lambda: None, None, photo.upload, **EVENT_OPTIONS)  # ready for the next photo
    events.on(objects.other_photo.click, lambda session: session.history.start_over(Selection()))


def connect_canvas(events: SelectEvents) -> None:
    section = events.screen.canvas
    events.on_select(section.image.select, actions.click_canvas, [section.tool], live=True)
    events.on(section.click.click, actions.click_photo, [section.tool, section.x, section.y], live=True)
    events.on_messages(section.strokes, actions.paint_stroke)
    section.tool.change(
        lambda tool: gr.Slider(visible=tool in BRUSHES), [section.tool], section.brush_width, **EVENT_OPTIONS
    )
    events.on(section.smaller.click, lambda session: actions.use_next_candidate(session, larger=False), live=True)
    events.on(section.larger.click, lambda session: actions.use_next_candidate(session, larger=True), live=True)
    events.on(section.undo.click, lambda session: session.history.undo())
    events.on(section.redo.click, lambda session: session.history.redo())
    events.on(section.clear.click, actions.clear_object)


def connect_objects(events: SelectEvents) -> None:
    objects = events.screen.objects
    for i, (number, name, remove) in enumerate(zip(objects.numbers, objects.names, objects.removes, strict=True)):
        events.on(number.click, lambda session, i=i: actions.choose_object(session, i))
        events.on(name.focus, lambda session, i=i: actions.choose_object(session, i))
        events.on(name.blur, lambda session: None, live=True)  # only takes the names
        events.on(name.submit, lambda session: None, live=True)
        events.on(remove.click, lambda session, i=i: actions.remove_object(session, i))
    events.on(objects.add.click, actions.add_object)
    events.on(objects.background.input, actions.set_background, [objects.background], live=True)
    events.on(objects.ready_made.click, actions.use_ready_made)
    events.on(objects.find.click, actions.find_objects, show_progress="minimal", show_progress_on=[objects.find])
    events.on_select(objects.proposals.select, actions.accept_proposal)


def write_canvas(session: Session) -> str:
    """Write the canvas and return its path.

    Gradio copies a file whole, but would write an image over itself while it is being sent.
    """
    path = session.folder / "view.jpg"
    with atomic_file(path) as draft:
        canvas.draw(session.history.selection).save(draft, quality=90)
    return str(path)


def hint(selection: Selection) -> str:
    """What to do next."""
    if selection.photo is None:
        return strings.HINT_START
    if selection.corner:
        return strings.HINT_CORNER
    obj = selection.active_object
    if obj.empty:
        return strings.HINT_CLICK.format(object=obj.name or strings.OBJECT_NUMBER.format(n=selection.active + 1))
    return strings.HINT_SELECTED


def about(selection: Selection) -> str:
    """Each object's share of the photo, and advice on the selection, as HTML."""
    selection = selections.subsampled(selection) if selection.photo else selection
    objects = [(i, obj) for i, obj in enumerate(selection.objects) if not obj.empty]
    if not objects:
        return ""
    shares = " · ".join(f"{i + 1} {obj.name}".strip() + f": {obj.mask.mean():.1%}" for i, obj in objects)
    try:
        advice = scene_advice(selections.to_scene(selection))
    except UserError as error:
        advice = error.args
    return f'<p class="caption">{charts.escape(strings.MASK_AREAS.format(shares=shares))}</p>{charts.notices(advice)}'
