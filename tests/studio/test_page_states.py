"""The memory that a visit leaves in Gradio's server."""

import datetime
import tracemalloc

import gradio as gr

from breakascene.studio.page_states import KEPT_SECONDS, PageStates


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


def test_a_page_keeps_its_values_until_an_hour_after_it_was_closed():
    states, _, token = build()
    for name in ("open", "closed", "closed long ago"):
        states[name][token._id] = name
    for name in ("closed", "closed long ago"):
        states[name].is_closed = True
    for name in ("open", "closed long ago"):
        states.time_last_used[name] -= datetime.timedelta(seconds=KEPT_SECONDS + 1)
    states.delete_all_expired_state()
    assert set(states.session_data) == set(states.time_last_used) == {"open", "closed"}
    assert states["open"][token._id] == "open" and states["closed"][token._id] == "closed"
    assert states["closed long ago"][token._id] == "none"  # a new one
