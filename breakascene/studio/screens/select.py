"""Step 1, Select: a photo, and clicks on the objects in it."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from breakascene.data.scene import MAX_CONCEPTS
from breakascene.errors import UserError
from breakascene.files import atomic_file
from breakascene.studio import strings
from breakascene.studio.screens import canvas, charts
from breakascene.studio.screens import select_actions as actions
from breakascene.studio.screens.events import (
    EVENT_OPTIONS,
    HANDLED_JS,
    MESSAGES_JS,
    SENT_JS,
    PageContext,
    Updates,
    show_notice,
    with_session,
)
from breakascene.studio.screens.select_actions import samples
from breakascene.studio.screens.select_hints import about, hint
from breakascene.studio.screens.select_sections import (
    CanvasSection,
    ObjectSection,
    PhotoSection,
    build_canvas,
    build_objects,
    build_photo,
)
from breakascene.studio.state import selection as selections
from breakascene.studio.state.history import SelectionHistory
from breakascene.studio.state.selection import BRUSHES, Selection
from breakascene.studio.state.session import Session

STATIC = Path(__file__).parent.with_name("static")
SHOW_PREVIEW_JS = "(preview) => window.showPreview(preview)"


def canvas_js() -> str:
    """The scripts of the canvases, those of each sharing their variables, as one function."""

    def scripts(prefix: str, *names: str) -> list[str]:
        parts = [STATIC.joinpath(f"canvas_{name}.js").read_text(encoding="utf-8") for name in names]
        return ["{", f"const PREFIX = {json.dumps(prefix)};", *parts, "}"]

    canvases = [*scripts("", "view", "tools", "hover"), *scripts("edit-", "view", "tools")]
    return "\n".join(["() => {", f"const LABELS = {json.dumps(strings.ZOOM)};", *canvases, "}"])


@dataclass(frozen=True)
class SelectScreen:
    photo: PhotoSection
    main: gr.Column
    canvas: CanvasSection
    objects: ObjectSection

    @property
    def live(self) -> list:
        """The components that a click changes."""
        return [self.canvas.image, self.objects.hint, self.objects.about, self.objects.innermost]

    @property
    def outputs(self) -> list:
        objects = self.objects
        photo = [self.photo.loading, self.photo.panel, self.photo.restore]
        return [*photo, self.main, self.canvas.sent, self.canvas.tool, *self.live, objects.ready_made,
                objects.proposals, objects.background, *objects.rows, *objects.names]  # fmt: skip

    @property
    def next(self) -> gr.Button:
        return self.objects.next

    def show(
        self, session: Session, page: float | None = None, page_names: Sequence[str] = (), tool: str = "include"
    ) -> Updates:
        """Updates of all outputs.

        Args:
            page: Time origin of the page (events.SENT_JS), to remember what it shows.
            page_names: Names that the page has already. They are left alone, because someone may be typing in them.
            tool: The tool that is chosen on the page.
        """
        history = session.history
        selection, objects = history.selection, self.objects
        has_photo = selection.photo is not None
        proposals = [str(path) for path in history.proposal_images()]
        updates = {
            self.photo.loading: gr.HTML(visible=False),
            self.photo.panel: gr.Column(visible=not has_photo),
            self.photo.restore: gr.Button(visible=not has_photo and history.replaced is not None),
            self.main: gr.Column(visible=has_photo),
            **self.show_live(session, tool),
            objects.ready_made: gr.Button(visible=history.has_ready_made()),
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
        if page is not None:
            updates |= self.leave(history, page)
        return updates

    def leave(self, history: SelectionHistory, page: float, names: Sequence[str] | None = None) -> Updates:
        """Remember what a page shows, and tell the page the number of this view."""
        history.leave(page, names)
        return {self.canvas.sent: [history.views[page].number]}

    def show_live(self, session: Session, tool: str = "include") -> Updates:
        selection = session.history.selection
        return {
            self.canvas.image: write_canvas(session.history) if selection.photo else None,
            self.objects.hint: f"<p>{charts.escape(hint(selection, tool))}</p>",
            self.objects.about: about(selection),
            self.objects.innermost: gr.Checkbox(
                selection.innermost, visible=selection.innermost or selections.has_overlap(selection)
            ),
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
        self, event: Callable, action: Callable, inputs: Sequence = (), live: bool = False, js: str = SENT_JS,
        check: bool = True, **options,
    ):  # fmt: skip
        """Call action(session, *values of inputs) on an event.

        Args:
            live: Update only what a click changes, not the whole screen.
            js: Run in the page before the event is sent; returns the values to send.
            check: If another page has changed the photo or the objects meanwhile, show that instead.
        """
        screen = self.screen

        def act(session: Session, sent, *values) -> Updates:
            history, page = session.history, sent[0]
            names, tool, values = values[:MAX_CONCEPTS], values[MAX_CONCEPTS], values[MAX_CONCEPTS + 1 :]
            history.update_names(names, sent)
            if check and not history.enter(page, whole=not live):
                show_notice(strings.SELECTION_CHANGED, gr.Warning)
                return screen.show(session, page, tool=tool)
            photo = history.selection.photo
            action(session, *values)
            if live and history.is_shown_on(page):
                names = history.page_names[: len(history.keys())]
                return {**screen.show_live(session, tool), **screen.leave(history, page, names)}
            if photo is not history.selection.photo:  # cropping is done once
                tool = "include"
            return {**screen.show(session, page, history.page_names, tool), screen.canvas.tool: tool}

        inputs = [screen.canvas.sent, *screen.objects.names, screen.canvas.tool, *inputs]
        return self.page.on(event, act, inputs, screen.outputs, js=js, **options)

    def on_messages(self, button: gr.Button, action: Callable):
        """Call action(session, message) for each message that a script of the page sends by a hidden button.

        A message that is refused gets a notice; the others still count.
        """

        def for_each(session: Session, messages: str) -> None:
            for message in json.loads(messages):
                try:
                    action(session, message)
                except UserError as error:
                    show_notice(strings.message_for(error), gr.Warning)

        js = MESSAGES_JS.replace("NAME", button.elem_id)
        handled = self.on(button.click, for_each, [self.screen.canvas.messages], live=True, js=js)
        handled.then(None, js=HANDLED_JS.replace("NAME", button.elem_id), api_visibility="private")

    def on_select(self, event: Callable, action: Callable, check: bool = True):
        """The same for a click in a gallery: action(session, index)."""

        def with_index(act: Callable) -> Callable:
            def handler(selected: gr.SelectData, *values):
                return act(*values, selected.index)

            return handler

        return self.on(lambda handler, *rest, **options: event(with_index(handler), *rest, **options), action,
                       check=check)  # fmt: skip


def connect_photo(events: SelectEvents) -> None:
    photo, objects, opened = events.screen.photo, events.screen.objects, []
    if photo.samples is not None:
        folders = samples()

        def open_sample(session: Session, index: int) -> None:
            actions.open_sample(session, folders[index])

        opened.append(events.on_select(photo.samples.select, open_sample, check=False))
    uploaded = events.on(photo.upload.upload, actions.open_photo, [photo.upload], check=False)
    uploaded.then(lambda: None, None, photo.upload, **EVENT_OPTIONS)  # ready for the next photo
    events.on(objects.other_photo.click, lambda session: session.history.start_over(Selection()))
    opened.append(events.on(photo.restore.click, lambda session: session.history.restore(), check=False))
    for event in (*opened, uploaded):
        events.page.on(event.then, actions.embed_photo)


def connect_canvas(events: SelectEvents) -> None:
    section = events.screen.canvas
    events.on_messages(section.gestures, lambda session, gesture: actions.apply_gesture(session.history, gesture))
    connect_hover(events)
    events.on(
        section.click.click,
        lambda session, *values: actions.click_photo(session.history, *values),
        [section.tool, section.x, section.y],
        live=True,
    )
    events.page.on(
        section.tool.change,
        lambda session, tool: {
            events.screen.objects.hint: f"<p>{charts.escape(hint(session.history.selection, tool))}</p>",
            section.brush_width: gr.Slider(visible=tool in BRUSHES),
        },
        [section.tool],
        [events.screen.objects.hint, section.brush_width],
    )
    events.on(
        section.smaller.click, lambda session: actions.use_next_candidate(session.history, larger=False), live=True
    )
    events.on(section.larger.click, lambda session: actions.use_next_candidate(session.history, larger=True), live=True)
    events.on(section.undo.click, lambda session: session.history.undo())
    events.on(section.redo.click, lambda session: session.history.redo())
    events.on(section.clear.click, lambda session: actions.clear_object(session.history))
    events.on(section.invert.click, lambda session: actions.invert_object(session.history))
    events.on(section.rotate.click, actions.rotate_photo)


def connect_hover(events: SelectEvents) -> None:
    """Answer the mouse with the mask that a click would give; see actions.preview_click."""
    section, page = events.screen.canvas, events.page

    def preview(session: Session, sent, messages: str) -> Updates:
        gestures = json.loads(messages)
        return {section.preview: actions.preview_click(session, gestures[-1], sent[0]) if gestures else None}

    handler, name = with_session(page.sessions, preview, lock=False), section.hover.elem_id
    options = {**EVENT_OPTIONS, "queue": False, "js": MESSAGES_JS.replace("NAME", name)}
    answered = section.hover.click(handler, [page.token, section.sent, section.messages], [section.preview], **options)
    handled = answered.then(None, [section.preview], None, js=SHOW_PREVIEW_JS, api_visibility="private")
    handled.then(None, js=HANDLED_JS.replace("NAME", name), api_visibility="private")


def connect_objects(events: SelectEvents) -> None:
    objects = events.screen.objects
    for i, (number, name, remove) in enumerate(zip(objects.numbers, objects.names, objects.removes, strict=True)):
        events.on(number.click, lambda session, i=i: actions.choose_object(session, i))
        events.on(name.focus, lambda session, i=i: actions.choose_object(session, i))
        events.on(name.blur, lambda session: None, live=True)  # only takes the names
        events.on(name.submit, lambda session: None, live=True)
        events.on(remove.click, lambda session, i=i: actions.remove_object(session, i))
    events.on(objects.add.click, actions.add_object)
    events.on(objects.import_masks.upload, actions.import_masks, [objects.import_masks])
    events.on(objects.innermost.input, actions.set_innermost, [objects.innermost], live=True)
    events.on(objects.background.input, actions.set_background, [objects.background], live=True)
    events.on(objects.ready_made.click, actions.use_ready_made)
    events.on(objects.find.click, actions.find_objects, show_progress="minimal", show_progress_on=[objects.find])
    events.on_select(objects.proposals.select, actions.accept_proposal)


def write_canvas(history: SelectionHistory) -> str:
    """Write the canvas and return its path.

    Gradio copies a file whole, but would write an image over itself while it is being sent.
    """
    path = history.folder / "view.jpg"
    with atomic_file(path) as draft:
        canvas.draw(history.selection).save(draft, quality=90)
    return str(path)
