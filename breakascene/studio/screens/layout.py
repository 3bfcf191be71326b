"""In step 3: a canvas on which the cut-outs of all chosen sets are placed, moved by static/layout.js."""

import base64
import io
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import gradio as gr
from PIL import Image

from breakascene.generation.generate import image_shapes
from breakascene.generation.place import STRENGTH, cutouts_of
from breakascene.studio import loaded, strings
from breakascene.studio.screens import charts
from breakascene.studio.state.run_store import ChosenRuns

LAYOUT_JS = Path(__file__).parent.with_name("static").joinpath("layout.js").read_text(encoding="utf-8")
VALUES_JS = "(...values) => [...values.slice(0, -1), window.layoutValues()]"  # into the last input
CUTOUT_SIZE = 256  # pixels of the longer side


@dataclass(frozen=True)
class LayoutSection:
    """The canvas, how far the objects depart from their cut-outs, and the button that generates.

    Attributes:
        values: Receives the layout as JSON when the button is clicked.
    """

    canvas: gr.HTML
    strength: gr.Slider
    start: gr.Button
    values: gr.Textbox


def build() -> LayoutSection:
    with gr.Accordion(strings.LAYOUT, open=False, elem_id="layout"):
        gr.Markdown(strings.LAYOUT_HINT, elem_classes="hint")
        canvas = gr.HTML(elem_id="layout-canvas")
        strength = gr.Slider(
            0.05, 1, STRENGTH, step=0.05, label=strings.LAYOUT_STRENGTH, info=strings.LAYOUT_STRENGTH_INFO,
            elem_id="layout-strength",
        )  # fmt: skip
        start = gr.Button(strings.LAYOUT_GENERATE, variant="primary", elem_id="generate-layout")
        values = gr.Textbox(elem_classes="data-field", show_label=False)
    return LayoutSection(canvas, strength, start, values)


def canvas_html(runs: ChosenRuns) -> str:
    """The canvas without objects, the buttons that add them, and the tools for the chosen one."""
    names = dict(zip(runs.handles, runs.names, strict=True))
    pictures = _pictures(tuple(runs.folders), runs.handles)
    tray = "".join(
        f'<button type="button" aria-pressed="false" data-handle="{charts.escape(handle)}" data-name="{name}">'
        f'<img src="{picture}" alt="">{name}</button>'
        for handle, picture in pictures
        for name in [charts.escape(names[handle])]
    )
    tools = "".join(
        f'<button type="button" data-act="{act}" disabled>{charts.escape(label)}</button>'
        for act, label in strings.LAYOUT_TOOLS.items()
    )
    sizes = charts.escape(json.dumps(image_shapes(loaded.base())))
    return (
        f'<div class="tray">{tray}</div><div class="stage" role="group" aria-label="{charts.escape(strings.LAYOUT)}" '
        f'data-sizes="{sizes}"></div><div class="layout-tools">{tools}</div>'
    )


@lru_cache(maxsize=32)
def _pictures(folders: tuple[Path, ...], handles: tuple[str, ...]) -> list[tuple[str, str]]:
    """Each object's handle and its cut-out as a data URI."""
    found = []
    for handle, image in cutouts_of(folders, handles).items():
        image.thumbnail((CUTOUT_SIZE, CUTOUT_SIZE), Image.Resampling.LANCZOS)
        data = io.BytesIO()
        image.save(data, "WEBP", quality=85)
        found.append((handle, f"data:image/webp;base64,{base64.b64encode(data.getvalue()).decode()}"))
    return found
