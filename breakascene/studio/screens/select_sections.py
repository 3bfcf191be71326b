"""The sections of step 1: the photo, the canvas with its tools, and the list of objects."""

from collections.abc import Sequence
from dataclasses import dataclass

import gradio as gr

from breakascene.data.scene import MAX_CONCEPTS
from breakascene.rendering.palette import PALETTE
from breakascene.studio import strings
from breakascene.studio.screens import charts
from breakascene.studio.screens.events import PageContext
from breakascene.studio.screens.select_actions import samples
from breakascene.studio.state.selection import BRUSH_WIDTH, BRUSHES, MAX_NAME

MAX_MESSAGES = 1_000_000  # characters; a limit for a shared machine


def photo_input(**options) -> gr.Image:
    """An image input that passes on the uploaded file as it is: read_photo checks it before anything decodes it."""
    image = gr.Image(type="filepath", image_mode=None, **options)
    image.preprocess = lambda payload: payload and payload.path  # Gradio has checked that the path is an upload
    return image


@dataclass(frozen=True)
class PhotoSection:
    """Visible while there is no photo.

    Attributes:
        loading: Visible until the page has its session.
    """

    loading: gr.HTML
    panel: gr.Column
    restore: gr.Button
    samples: gr.Gallery | None
    upload: gr.Image


def build_photo() -> PhotoSection:
    folders, gallery = samples(), None
    loading = gr.HTML(charts.skeleton())
    with gr.Column(visible=False) as panel:  # visible once the page has its session
        restore = gr.Button(strings.RESTORE_PHOTO, size="sm", visible=False, elem_id="restore-photo")
        if folders:
            gr.Markdown(f"## {strings.SAMPLES}")
            gallery = gr.Gallery(
                [(str(next(f.glob("img.*"))), strings.SAMPLE_NAMES[f.name]) for f in folders],
                show_label=False, columns=6, height="auto", allow_preview=False, object_fit="cover",
                buttons=[], interactive=False, elem_id="samples",
            )  # fmt: skip
        gr.Markdown(f"## {strings.UPLOAD}")
        upload = photo_input(
            sources=["upload", "webcam", "clipboard"], show_label=False,
            placeholder=strings.UPLOAD_HINT, height=220, elem_id="upload", buttons=[],
        )  # fmt: skip
    return PhotoSection(loading, panel, restore, gallery, upload)


@dataclass(frozen=True)
class CanvasSection:
    """The photo with its masks, and the tools.

    Attributes:
        sent: When the page sent an event (events.SENT_JS).
        gestures, hover: Hidden buttons that static/canvas_tools.js and static/canvas_hover.js press.
        messages: Holds what a script of the page sends with such a button (static/messages.js).
        preview: The mask that a click would give, for static/canvas_hover.js.
        x, y, click: A click by coordinates, without a mouse.
    """

    tool: gr.Radio
    sent: gr.JSON
    gestures: gr.Button
    hover: gr.Button
    messages: gr.Textbox
    preview: gr.JSON
    image: gr.Image
    undo: gr.Button
    redo: gr.Button
    clear: gr.Button
    invert: gr.Button
    smaller: gr.Button
    larger: gr.Button
    rotate: gr.Button
    brush_width: gr.Slider
    x: gr.Number
    y: gr.Number
    click: gr.Button


def build_canvas(prefix: str = "", tools: Sequence[tuple[str, str]] | None = None) -> CanvasSection:
    """The canvas.

    Args:
        prefix: Of its ids, as static/canvas_view.js has it.
        tools: Label and key of each tool; by default those of step 1.
    """
    tools = tools or strings.TOOLS
    tool = gr.Radio(tools, value=tools[0][1], label=strings.TOOL, elem_id=f"{prefix}tool")
    sent = gr.JSON(visible=False)
    gestures = gr.Button(elem_id=f"{prefix}canvas-gestures", elem_classes="data-field")
    hover = gr.Button(elem_id=f"{prefix}canvas-hover", elem_classes="data-field")
    messages = gr.Textbox(visible=False, max_length=MAX_MESSAGES)
    preview = gr.JSON(visible=False)
    image = gr.Image(interactive=False, show_label=False, buttons=[], elem_id=f"{prefix}canvas", container=False)
    with gr.Row(elem_classes="tools"):
        undo = gr.Button(strings.UNDO, size="sm", min_width=70, elem_id=f"{prefix}undo")
        redo = gr.Button(strings.REDO, size="sm", min_width=70, elem_id=f"{prefix}redo")
        clear = gr.Button(strings.CLEAR, size="sm", min_width=70)
        invert = gr.Button(strings.INVERT, size="sm", min_width=90, elem_id=f"{prefix}invert")
        smaller = gr.Button(strings.SMALLER_AREA, size="sm", min_width=90)
        larger = gr.Button(strings.LARGER_AREA, size="sm", min_width=90)
        rotate = gr.Button(strings.ROTATE, size="sm", min_width=90, visible=not prefix)
    brush_width = gr.Slider(
        1, 15, 100 * BRUSH_WIDTH, step=1, label=strings.STROKE_WIDTH, visible=tools[0][1] in BRUSHES, interactive=True,
        elem_id=f"{prefix}brush",
    )  # fmt: skip
    by_coordinates = gr.Accordion(strings.COORDINATES, open=False, elem_id=f"{prefix}coordinates")
    with by_coordinates, gr.Row(elem_classes="tools"):
        x = gr.Number(
            0, label=strings.COORDINATES_X, precision=0, minimum=0, min_width=90, elem_id=f"{prefix}coordinate-x"
        )
        y = gr.Number(
            0, label=strings.COORDINATES_Y, precision=0, minimum=0, min_width=90, elem_id=f"{prefix}coordinate-y"
        )
        click = gr.Button(strings.COORDINATES_APPLY, size="sm", min_width=120, elem_id=f"{prefix}apply-tool")
    return CanvasSection(
        tool, sent, gestures, hover, messages, preview, image, undo, redo, clear, invert, smaller, larger, rotate,
        brush_width, x, y, click,
    )  # fmt: skip


@dataclass(frozen=True)
class ObjectSection:
    """The list of objects, and the actions on it.

    Attributes:
        rows, numbers, names, removes: One for each of at most MAX_CONCEPTS objects.
    """

    hint: gr.HTML
    rows: Sequence[gr.Row]
    numbers: Sequence[gr.Button]
    names: Sequence[gr.Textbox]
    removes: Sequence[gr.Button]
    add: gr.Button
    find: gr.Button
    ready_made: gr.Button
    about: gr.HTML
    proposals: gr.Gallery
    innermost: gr.Checkbox
    background: gr.Checkbox
    next: gr.Button
    other_photo: gr.Button
    import_masks: gr.UploadButton


def build_objects(page: PageContext) -> ObjectSection:
    hint = gr.HTML(elem_id="hint", elem_classes="hint")
    gr.Markdown(f"## {strings.SELECTED_OBJECTS}")
    rows = [build_object(i) for i in range(MAX_CONCEPTS)]
    with gr.Row(elem_classes="tools"):
        add = gr.Button(strings.ADD_OBJECT, size="sm", min_width=120, elem_id="add-object")
        find = gr.Button(strings.FIND_OBJECTS, size="sm", min_width=120, elem_id="find-objects")
        ready_made = gr.Button(strings.SAMPLE_MASKS, size="sm", min_width=120, visible=False, elem_id="sample-masks")
    about = gr.HTML(elem_id="about")
    proposals = gr.Gallery(
        label=strings.PROPOSALS, visible=False, columns=5, height="auto", allow_preview=False,
        object_fit="contain", interactive=False, buttons=[], elem_id="proposals",
    )  # fmt: skip
    innermost = gr.Checkbox(label=strings.INNERMOST, info=strings.INNERMOST_INFO, visible=False, elem_id="innermost")
    background = gr.Checkbox(label=strings.BACKGROUND, info=strings.BACKGROUND_INFO, elem_id="background")
    next_step = gr.Button(strings.TO_EXTRACT, variant="primary", elem_id="to-extract")
    with gr.Row(elem_classes="tools"):
        other_photo = gr.Button(strings.OTHER_PHOTO, size="sm", elem_id="other-photo")
        page.download_button(
            lambda session: session.history.zip_cutouts(), strings.DOWNLOAD_CUTOUTS, "download-cutouts"
        )
    import_masks = build_mask_exchange(page)
    return ObjectSection(
        hint, *zip(*rows, strict=True), add, find, ready_made, about, proposals, innermost, background, next_step,
        other_photo, import_masks,
    )  # fmt: skip


def build_mask_exchange(page: PageContext) -> gr.UploadButton:
    """The masks as files: download in a format, and import."""
    with gr.Accordion(strings.MASK_FILES, open=False, elem_id="mask-files"):
        choices = [(label, key) for key, label in strings.MASK_FORMATS.items()]
        to = gr.Radio(choices, value="scene", label=strings.MASK_FORMAT, elem_id="mask-format")
        with gr.Row(elem_classes="tools"):
            page.download_button(
                lambda session, to: session.history.zip_masks(to), strings.DOWNLOAD_MASKS, "download-masks",
                inputs=[to],
            )  # fmt: skip
            return gr.UploadButton(
                strings.IMPORT_MASKS, file_types=[".png", ".json"], file_count="multiple", size="sm",
                elem_id="import-masks",
            )  # fmt: skip


def build_object(index: int) -> tuple[gr.Row, gr.Button, gr.Textbox, gr.Button]:
    """One row of the list: the object's number, its name, and a button that removes it."""
    with gr.Row(visible=index == 0, elem_classes="object-row", equal_height=True) as row:
        color = f"number-{index % len(PALETTE)}"
        number = gr.Button(f"{index + 1}", min_width=44, scale=0, elem_classes=["number", color])
        name = gr.Textbox(
            placeholder=strings.NAME_HINT if index == 0 else "", show_label=False, container=False,
            min_width=120, max_lines=1, max_length=MAX_NAME, elem_id=f"name-{index}", scale=5,
            label=strings.OBJECT_NUMBER.format(n=index + 1),
        )  # fmt: skip
        remove = gr.Button(strings.REMOVE_SYMBOL, min_width=44, scale=0, elem_classes="remove")
    return row, number, name, remove
