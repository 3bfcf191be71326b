"""Answers that a page has missed.

A page opens a stream for the answers to its events, and the studio ends the stream with the last answer. Gradio loses
an event that is sent in that moment: the page takes the old stream for open, and the answer waits in the studio until
another event opens the next one. This happens on a busy machine, to one click in thousands.
"""

import gradio as gr

from breakascene.studio.screens.events import EVENT_OPTIONS

MISSED, NONE_MISSED = [True], []  # gr.JSON warns of a plain bool
RECONNECT_JS = '(missed) => { if (missed?.length) document.getElementById("reconnect").click(); }'


def build() -> gr.JSON:
    """Whether the page has missed an answer, as a component that is not shown."""
    return gr.JSON(visible=False)


def connect(missed: gr.JSON, ticked: gr.events.Dependency) -> None:
    """After a tick that has set it to MISSED, send an event that does nothing but open a stream."""
    reconnect = gr.Button(elem_id="reconnect", elem_classes="data-field")
    reconnect.click(lambda: NONE_MISSED, None, missed, **EVENT_OPTIONS)
    ticked.then(None, [missed], None, js=RECONNECT_JS, api_visibility="private")


def has_missed(demo: gr.Blocks, request: gr.Request) -> bool:
    """Whether answers wait for the page that sends a request; an open stream takes each at once."""
    answers = demo._queue.pending_messages_per_session.get(request.session_hash)
    return answers is not None and not answers.empty()
