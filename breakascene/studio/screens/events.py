"""How the events of a page reach their session, and how errors become notices.

Every handler returns a dictionary of the components that it updates; a component that is left out stays as it is.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from breakascene.errors import UserError
from breakascene.studio import strings
from breakascene.studio.jobs import JobQueue
from breakascene.studio.state.session import Session, SessionStore
from breakascene.studio.visitor import acting, record_download

log = logging.getLogger(__name__)

Updates = dict[gr.blocks.Block, Any]  # component -> its new value, or a component with the properties that change

# Events of the page are no API (api.py has that), are never merged or dropped, and show no spinner over the page.
EVENT_OPTIONS = {
    "api_visibility": "private",
    "trigger_mode": "multiple",
    "show_progress": "hidden",
    "concurrency_limit": 4,
}
REFRESH_SECONDS = 1.0  # between two updates of a page while a job of its session runs
IDLE_SECONDS = 5.0  # otherwise: another device may start a job
# Writes into the second input when the page sends an event: the page's time origin and the milliseconds since then.
SENT_JS = "(token, sent, ...values) => [token, [performance.timeOrigin, performance.now(), sent?.[0]], ...values]"
# The same for an event whose last input holds the messages that a script of the page has sent (static/messages.js).
MESSAGES_JS = f"""(...values) => [...({SENT_JS})(...values.slice(0, -1)), window.takeMessages("NAME")]"""
# After such an event: send the messages that were queued meanwhile.
HANDLED_JS = """() => window.messagesHandled("NAME")"""
DOWNLOAD_JS = """(file) => {
  if (!file) return;
  const link = document.createElement("a");
  link.href = file.url;
  link.download = file.orig_name;
  link.click();
}"""


@dataclass(frozen=True)
class PageContext:
    """What all screens of a page share.

    Attributes:
        token: State that holds the token of the page's session.
        timer: The page asks for the progress of the session's jobs when it ticks, see `timer_of`.
    """

    sessions: SessionStore
    queue: JobQueue
    token: gr.State
    timer: gr.Timer

    def on(
        self, event: Callable, act: Callable, inputs: Sequence = (), outputs: Sequence | None = None, **options
    ) -> gr.events.Dependency:
        """Call act(session, *values of inputs) on an event; it returns Updates of some of the outputs."""
        options = {**EVENT_OPTIONS, **options}
        return event(with_session(self.sessions, act), [self.token, *inputs], outputs, **options)

    def check_disk(self, session: Session) -> None:
        """Raise UserError if the visitor may not store anything more."""
        if self.queue.quotas:
            self.queue.quotas.check_disk(session.token)

    def download_button(
        self, make: Callable[..., Path], label: str, elem_id: str, visible: bool = True, inputs: Sequence = ()
    ) -> gr.Button:
        """A button that makes a file and downloads it at one click.

        Gradio's DownloadButton would download the file made by the click before.
        """
        button = gr.Button(label, size="sm", min_width=150, visible=visible, elem_id=elem_id)
        file = gr.File(elem_classes="data-field")  # only its link is used

        def download(session: Session, *values) -> Updates:
            return {file: str(record_download(make(session, *values)))}

        made = self.on(button.click, download, inputs, [file])
        made.success(None, [file], None, js=DOWNLOAD_JS, api_visibility="private")
        return button


def show_notice(text: str, kind: Callable = gr.Info) -> None:
    """Show a notice over the page. Gradio takes its text for HTML, so names and handles in it are escaped."""
    kind(escape(text), title="")


def timer_of(session: Session) -> gr.Timer:
    """The timer of a page: quick while a job of the session waits or runs."""
    return gr.Timer(REFRESH_SECONDS if session.busy() else IDLE_SECONDS, active=True)


def with_session(sessions: SessionStore, act: Callable, lock: bool = True) -> Callable:
    """Turn act(session, *values) into a Gradio handler(token, *values).

    The session is locked meanwhile, so that two quick clicks are handled one after the other; an act that only reads
    may go without. Any error becomes a notice, and the page stays as it is. The handler uses the language of the page
    that it is made for.
    """
    language = strings.language.get()

    def handler(token, *values):
        if not token:
            return gr.skip()  # a click before the page has its session
        with strings.use_language(language):
            try:
                session = sessions.get(token)
                with session.lock if lock else nullcontext(), acting(session, values):
                    updates = act(session, *values)
                    return gr.skip() if updates == {} else updates  # Gradio takes {} for the value of a single output
            except Exception as error:
                if not isinstance(error, UserError):
                    log.exception("%s failed", act.__name__)
                show_notice(strings.message_for(error), gr.Warning)
            return gr.skip()

    # functools.wraps would make Gradio take the signature of act for the handler's
    handler.__name__ = act.__name__
    return handler
