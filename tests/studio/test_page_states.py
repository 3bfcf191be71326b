"""The memory that a visit leaves in Gradio's server."""

import datetime
import tracemalloc

import gradio as gr
import pytest

from breakascene.studio.page_states import CLOSED_SECONDS, OPEN_SECONDS, PageStates


def build():
    with gr.Blocks() as demo:
        box = gr.Textbox("before")
        token = gr.State("none")
        for i in range(300):
            gr.Button(f"button {i}")
    states = PageStates()
    states.set_blocks(demo)
    return states, box, token


def test_a_visit_takes_little_memory_whatever_the_page_has():
    states, box, _ = build()
    states["first"]
    tracemalloc.start()
    for i in range(20):
        state = states[f"visit {i}"]
        state[box._id] = gr.Textbox("x" * 50_000, render=False)
        state._update_value_in_config(box._id, "y" * 50_000)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 20 * 150_000  # Gradio's own states: 20 × 500_000


@pytest.mark.parametrize(
    ("closed", "unused", "kept"),
    [
        (True, CLOSED_SECONDS - 60, True),
        (True, CLOSED_SECONDS + 60, False),
        (False, CLOSED_SECONDS + 60, True),
        (False, OPEN_SECONDS + 60, False),
    ],
)
def test_a_page_is_forgotten_when_it_was_not_used_for_long(closed, unused, kept):
    states, _, token = build()
    states["page"][token._id] = "its token"
    states["page"].is_closed = closed
    states.time_last_used["page"] -= datetime.timedelta(seconds=unused)
    states.delete_all_expired_state()
    assert ("page" in states.session_data) == ("page" in states.time_last_used) == kept
    assert states["page"][token._id] == ("its token" if kept else "none")


def test_a_page_that_lost_its_connection_for_a_moment_keeps_its_values():
    states, _, token = build()
    states["page"][token._id] = "its token"
    states["page"].is_closed = True
    lifetime, _ = states["page"]._state_ttl[token._id]  # an event, hours after the value was set
    states["page"]._state_ttl[token._id] = lifetime, datetime.datetime.now() - datetime.timedelta(hours=5)
    states.delete_all_expired_state()
    assert states["page"][token._id] == "its token"
