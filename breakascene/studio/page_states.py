"""What Gradio keeps in memory for each page and each client, kept small: by itself it grows with every visit."""

import time
from types import SimpleNamespace

import gradio as gr
from gradio import routes
from gradio.state_holder import SessionState, StateHolder

CLOSED_SECONDS = 3600  # without an event, of a closed page: a phone that slept goes on where it was
OPEN_SECONDS = 24 * 3600  # of other pages and clients; an open page sends events by itself


class PageState(SessionState):
    """The state of a page without the values of its components.

    Gradio copies them, 1.4 MB for each visit, to make links from them. The studio has no such links.
    """

    def __init__(self, blocks: gr.Blocks):
        super().__init__(SimpleNamespace(default_config=blocks.default_config, blocks=()))

    def __setitem__(self, key: int, value: object) -> None:
        super().__setitem__(key, value)
        self.config_values.clear()

    def _update_config(self, key: int) -> None:
        pass

    def _update_value_in_config(self, key: int, value: object) -> None:
        pass


class PageStates(StateHolder):
    """The states of all pages, deleted when they are no longer used; Gradio deletes only their values.

    Gradio takes a page for closed once its connection was lost, as in a tunnel, and deletes its values an hour after
    they were set. Here an event shows that it is open.
    """

    def __getitem__(self, session_id: str) -> SessionState:
        with self.lock:
            if session_id not in self.session_data:
                self.session_data[session_id] = PageState(self.blocks)
        state = super().__getitem__(session_id)
        state.is_closed = False
        return state

    def delete_all_expired_state(self) -> None:
        super().delete_all_expired_state()
        now = time.time()
        with self.lock:
            for session_id, used in list(self.time_last_used.items()):
                state = self.session_data.get(session_id)
                if state is None or now - used.timestamp() <= (CLOSED_SECONDS if state.is_closed else OPEN_SECONDS):
                    continue
                del self.session_data[session_id], self.time_last_used[session_id]


def use_page_states() -> None:
    """Make Gradio's server use PageStates."""
    routes.StateHolder = PageStates
