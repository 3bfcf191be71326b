"""What all screens share: how an event reaches its desk, and how a mistake becomes a notice."""

import logging
from collections.abc import Callable
from pathlib import Path

import gradio as gr

from breakascene.errors import UserError
from breakascene.studio import strings
from breakascene.studio.state.session import Desk, Desks

log = logging.getLogger(__name__)

# Events of the page are no API (api.py has that), are never merged or dropped, and show no spinner over the page.
QUIET = {"api_visibility": "private", "trigger_mode": "multiple", "show_progress": "hidden", "concurrency_limit": 4}


SAVE = """(file) => {
  if (!file) return;
  const link = document.createElement("a");
  link.href = file.url;
  link.download = file.orig_name;
  link.click();
}"""


def download_button(
    desks: Desks, token: gr.State, make: Callable[[Desk], Path], label: str, name: str, visible: bool = True
) -> gr.Button:
    """A button that makes a file and hands it over at one click; Gradio's own hands over what it had before."""
    button = gr.Button(label, size="sm", min_width=150, visible=visible, elem_id=name)
    file = gr.File(elem_classes="unseen")  # its link is wanted, not its looks
    made = button.click(at_desk(desks, lambda desk: str(make(desk))), [token], file, **QUIET)
    made.success(None, [file], None, js=SAVE, api_visibility="private")
    return button


def at_desk(desks: Desks, act: Callable) -> Callable:
    """Turn act(desk, *values) into a Gradio handler(token, *values).

    The desk is locked meanwhile, so that two quick clicks come one after the other. Whatever goes wrong becomes a
    notice, and the page stays as it is. The handler speaks the language of the page that it is made for.
    """
    language = strings.language.get()

    def handler(token, *values):
        if not token:
            return gr.skip()  # a click before the page has its desk
        with strings.speaking(language):
            try:
                desk: Desk = desks.get(token)
                with desk.lock:
                    return act(desk, *values)
            except Exception as error:
                if not isinstance(error, UserError):
                    log.exception("%s failed", act.__name__)
                gr.Warning(strings.sentence_for(error), title="")
            return gr.skip()

    # Not functools.wraps: Gradio would take the signature of act for the handler's
    handler.__name__ = act.__name__
    return handler
