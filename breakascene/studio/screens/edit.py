"""In step 3: a region of any photo is marked and repainted by the prompt."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from breakascene.errors import UserError
from breakascene.generation.edit import STRENGTH
from breakascene.studio import loaded, strings
from breakascene.studio.screens import charts, consent
from breakascene.studio.screens import select_actions as actions
from breakascene.studio.screens.consent import ConsentSection
from breakascene.studio.screens.events import (
    EVENT_OPTIONS,
    HANDLED_JS,
    MESSAGES_JS,
    PageContext,
    Updates,
    show_notice,
)
from breakascene.studio.screens.generation_job import PhotoEdit
from breakascene.studio.screens.select import write_canvas
from breakascene.studio.screens.select_sections import CanvasSection, build_canvas, photo_input
from breakascene.studio.state.selection import BRUSHES, Selection
from breakascene.studio.state.session import Session

SHOW_JS = """() => setTimeout(() => {
  document.getElementById("edit-options")?.scrollIntoView({ block: "start", behavior: "smooth" });
}, 100)"""


@dataclass(frozen=True)
class EditSection:
    """The photo and its region, the strength, and the consent.

    Attributes:
        main: Visible once there is a photo; `upload` before.
    """

    accordion: gr.Accordion
    upload: gr.Image
    main: gr.Column
    canvas: CanvasSection
    hint: gr.HTML
    other_photo: gr.Button
    strength: gr.Slider
    consent: ConsentSection
    start: gr.Button

    @property
    def outputs(self) -> list:
        return [self.accordion, self.upload, self.main, self.canvas.image, self.hint, *self.consent.outputs]

    @property
    def inputs(self) -> list:
        """The inputs of `photo_edit`."""
        return [self.strength, *self.consent.inputs]

    def show(self, session: Session, tool: str = "rectangle") -> Updates:
        history = session.editor.history
        photo = history.selection.photo
        return {
            self.upload: gr.Image(visible=photo is None),
            self.main: gr.Column(visible=photo is not None),
            self.canvas.image: write_canvas(history) if photo else None,
            self.hint: f'<p class="hint">{charts.escape(hint(history.selection, tool))}</p>',
        }

    def show_opened(self, session: Session, tool: str = "rectangle") -> Updates:
        """The same for another photo: what was declared about the one before does not hold for it."""
        return {**self.show(session, tool), **self.consent.clear()}


def build() -> EditSection:
    with gr.Accordion(strings.EDIT, open=False, elem_id="edit-options") as accordion:
        gr.Markdown(strings.EDIT_INFO, elem_classes="hint")
        upload = photo_input(
            sources=["upload", "clipboard"], show_label=False, placeholder=strings.UPLOAD_HINT, height=160,
            elem_id="edit-upload", buttons=[],
        )  # fmt: skip
        with gr.Column(visible=False) as main:
            canvas = build_canvas("edit-", strings.EDIT_TOOLS)
            hint = gr.HTML(elem_id="edit-hint")
            strength = gr.Slider(
                0.1, 1, STRENGTH, step=0.05, label=strings.EDIT_STRENGTH, info=strings.EDIT_STRENGTH_INFO,
                elem_id="edit-strength",
            )  # fmt: skip
            asked = consent.build("edit-")
            start = gr.Button(strings.EDIT_START, variant="primary", elem_id="edit")
            other_photo = gr.Button(strings.OTHER_PHOTO, size="sm", elem_id="edit-other-photo")
    return EditSection(accordion, upload, main, canvas, hint, other_photo, strength, asked, start)


def connect(page: PageContext, section: EditSection) -> None:
    canvas = section.canvas

    def on(event: Callable, act: Callable, inputs: Sequence = (), show: Callable = section.show):
        """Call act(session, *values) on an event, and show the region."""

        def then_show(session: Session, tool: str, *values) -> Updates:
            act(session, *values)
            return show(session, tool)

        return page.on(event, then_show, [canvas.tool, *inputs], section.outputs)

    def open_photo(session: Session, path: str | None) -> None:
        if path:
            open_file(session, Path(path))

    def gestures(session: Session, sent, tool: str, messages: str) -> Updates:
        for gesture in json.loads(messages):
            try:
                actions.apply_gesture(session.editor.history, gesture)
            except UserError as error:
                show_notice(strings.message_for(error), gr.Warning)
        return section.show(session, tool)

    uploaded = on(section.upload.upload, open_photo, [section.upload], section.show_opened)
    uploaded.then(lambda: None, None, section.upload, **EVENT_OPTIONS)  # ready for the next photo
    on(section.other_photo.click, lambda session: session.editor.close(), (), section.show_opened)
    name = canvas.gestures.elem_id
    inputs = [canvas.sent, canvas.tool, canvas.messages]
    js = MESSAGES_JS.replace("NAME", name)
    handled = page.on(canvas.gestures.click, gestures, inputs, section.outputs, js=js)
    handled.then(None, js=HANDLED_JS.replace("NAME", name), api_visibility="private")
    on(
        canvas.click.click,
        lambda session, *values: actions.click_photo(session.editor.history, *values),
        [canvas.tool, canvas.x, canvas.y],
    )
    on(canvas.undo.click, lambda session: session.editor.history.undo())
    on(canvas.redo.click, lambda session: session.editor.history.redo())
    on(canvas.clear.click, lambda session: actions.clear_object(session.editor.history))
    on(canvas.invert.click, lambda session: actions.invert_object(session.editor.history))
    on(canvas.smaller.click, lambda session: actions.use_next_candidate(session.editor.history, larger=False))
    on(canvas.larger.click, lambda session: actions.use_next_candidate(session.editor.history, larger=True))
    page.on(
        canvas.tool.change,
        lambda session, tool: {
            section.hint: section.show(session, tool)[section.hint],
            canvas.brush_width: gr.Slider(visible=tool in BRUSHES),
        },
        [canvas.tool],
        [section.hint, canvas.brush_width],
    )


def open_file(session: Session, file: Path) -> None:
    """Open a photo or an image of the gallery."""
    session.editor.open(file)
    if not session.busy():
        session.editor.delete_others()
    loaded.embed(session.editor.history.selection.photo)


def photo_edit(session: Session, strength: float, *answers) -> PhotoEdit:
    """What is to be repainted; raises UserError if nothing is marked or a part of the consent is missing."""
    region = session.editor.region()
    return PhotoEdit(session.editor.file, region, strength, consent.declared(*answers))


def hint(selection: Selection, tool: str) -> str:
    """What to do next, or how much is marked."""
    region = selection.active_object
    if selection.corner:
        return strings.HINT_CORNER
    if region.empty:
        return strings.EDIT_HINTS.get(tool, strings.EDIT_HINTS["include"])
    return strings.EDIT_MARKED.format(share=region.mask.mean())
