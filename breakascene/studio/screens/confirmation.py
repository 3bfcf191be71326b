"""A question before something is deleted, in place of a dialog of the browser, which embedded pages may not open."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import gradio as gr

from breakascene.studio import strings
from breakascene.studio.screens import charts
from breakascene.studio.screens.events import EVENT_OPTIONS, PageContext, Updates
from breakascene.studio.state.session import Session

FOCUS_JS = """() => setTimeout(() => document.querySelector("#PANEL .cancel")?.focus(), 100)"""


@dataclass(frozen=True)
class Confirmation:
    """Hidden until it is asked."""

    panel: gr.Column
    question: gr.HTML
    confirm: gr.Button
    cancel: gr.Button


def build(elem_id: str) -> Confirmation:
    with gr.Column(visible=False, elem_id=elem_id, elem_classes="confirmation") as panel:
        question = gr.HTML()
        with gr.Row(elem_classes="tools"):
            cancel = gr.Button(strings.CANCEL, size="sm", min_width=100, elem_classes="cancel")
            confirm = gr.Button(strings.DELETE, size="sm", min_width=100, variant="stop", elem_classes="confirm")
    return Confirmation(panel, question, confirm, cancel)


def connect(
    page: PageContext, button: gr.Button, parts: Confirmation, question: Callable[[Session], str],
    act: Callable[[Session], Updates], outputs: Sequence,
) -> gr.events.Dependency:  # fmt: skip
    """Ask before a button acts.

    Args:
        question: Text to confirm; a UserError that it raises is shown instead.
        act: Called once it is confirmed; returns Updates of `outputs`.

    Returns:
        The event of the confirmation.
    """

    def ask(session: Session) -> Updates:
        return {parts.question: f"<p>{charts.escape(question(session))}</p>", parts.panel: gr.Column(visible=True)}

    def confirm(session: Session) -> Updates:
        return {**act(session), parts.panel: gr.Column(visible=False)}

    asked = page.on(button.click, ask, (), [parts.question, parts.panel])
    asked.then(None, js=FOCUS_JS.replace("PANEL", parts.panel.elem_id), api_visibility="private")
    parts.cancel.click(lambda: gr.Column(visible=False), None, parts.panel, **EVENT_OPTIONS)
    return page.on(parts.confirm.click, confirm, (), [*outputs, parts.panel])
