"""The whole page, and how it is served: safe settings, one line of jobs, one desk for each visitor."""

import json
import logging
import os
from html import escape
from importlib.util import find_spec
from pathlib import Path

import gradio as gr
from starlette.middleware import Middleware

from breakascene.errors import UserError
from breakascene.models.base import Base
from breakascene.studio import api, engine, strings
from breakascene.studio.jobs import Job, Line
from breakascene.studio.language import door, switch
from breakascene.studio.screens import create, evaluate, extract, pick
from breakascene.studio.screens.events import QUIET, at_desk
from breakascene.studio.state.session import Desk, Desks
from breakascene.studio.theme import CSS, THEME

log = logging.getLogger(__name__)

TICK = 1.0  # seconds between looks at a running job
MAX_UPLOAD = 40  # MB
MOST_EVENTS = 100  # that wait for the page's handlers; jobs have a line of their own
A_DAY = 24 * 3600
NOTICES = Path(__file__).with_name("static").joinpath("notices.js").read_text(encoding="utf-8")


def launch(
    host: str = "127.0.0.1",
    port: int | None = None,
    base: str = "auto",
    *,
    login: str = "",
    mcp: bool = False,
    wait: bool = True,
) -> gr.Blocks:
    """Load the models and serve the studio; returns at once, with the running app, if not told to wait.

    login: "name:password" that visitors have to give; none if empty. mcp: offer the endpoints of api.py as tools of the
    Model Context Protocol as well.
    Raises UserError if the base, or the package that MCP needs, cannot be had, or the login lacks a part.
    """
    name, _, password = login.partition(":")
    if login and not (name and password):
        raise UserError(strings.LOGIN_BAD)
    if mcp and find_spec("mcp") is None:
        raise UserError(strings.NO_MCP.format(version=gr.__version__))
    engine.open_models(base)
    if host not in ("127.0.0.1", "localhost", "::1") and not login and not on_space():
        log.warning(strings.NOT_LOCAL.format(host=host))
    folder = Path(os.environ.get("BREAKASCENE_DATA", "runs/studio"))
    desks = Desks(folder, keep_seconds=A_DAY if on_space() else None)
    line = Line()
    demo = build(desks, line)
    demo.line = line  # to be closed with it
    demo.queue(max_size=MOST_EVENTS, default_concurrency_limit=4)
    _, address, _ = demo.launch(
        server_name=host, server_port=port, share=False, ssr_mode=False, quiet=True, prevent_thread_lock=True,
        theme=THEME, css=CSS, footer_links=[], max_file_size=f"{MAX_UPLOAD}mb", strict_cors=True, show_error=False,
        enable_monitoring=False, run_history=False, allowed_paths=[str(desks.folder)],
        auth=(name, password) if login else None, app_kwargs={"middleware": [Middleware(door)]}, mcp_server=mcp,
    )  # fmt: skip
    if wait:
        print(strings.OPEN.format(address=address), flush=True)
        try:
            demo.block_thread()
        finally:
            line.close()
    return demo


def on_space() -> bool:
    return "SPACE_ID" in os.environ


def build(desks: Desks, line: Line) -> gr.Blocks:
    """A page in each language, for models that are open (engine.open_models)."""
    with gr.Blocks(title=strings.TITLE, analytics_enabled=False, delete_cache=(3600, A_DAY), fill_width=False) as demo:
        page(demo, desks, line)
        api.build(desks, line)
    for code, name in strings.LANGUAGES.items():
        if code != "en":
            with strings.speaking(code), demo.route(name, code):
                page(demo, desks, line)
    return demo


def page(demo: gr.Blocks, desks: Desks, line: Line) -> None:
    """The page in the language that is spoken now (strings.speaking)."""
    language = strings.language.get()
    browser = gr.BrowserState("", storage_key="breakascene-desk", secret="kept-by-the-browser-only")
    token = gr.State("")
    seen = gr.State({})  # what this page has already shown of the running jobs
    timer = gr.Timer(TICK, active=False)
    gr.HTML(f'{switch()}<h1>{strings.TITLE}</h1><p class="hint">{strings.TAGLINE}</p>', elem_id="head")
    banner(engine.base())
    with gr.Tabs(elem_id="steps") as tabs:
        with gr.Tab(strings.TAB_PICK, id="pick"):
            picking = pick.build(desks, token)
        with gr.Tab(strings.TAB_EXTRACT, id="extract") as extract_tab:
            learning = extract.build(desks, token, timer, line)
        with gr.Tab(strings.TAB_CREATE, id="create") as create_tab:
            drawing = create.build(desks, token, timer, line)
            checking = evaluate.build(desks, token, timer, line)

    def enter(kept, request: gr.Request):
        return [desks.enter(request.query_params.get("desk") or kept).token] * 3

    def arrive(desk: Desk):
        desk.prompted = None  # a new page starts with a sentence
        desk.album.choose(None)
        taken_up = extract.take_up(desk, line)
        shown = [*picking.show(desk), *learning.show(desk), *drawing.show(desk), *checking.show(desk)]
        at = "create" if busy(desk.drawing) else "extract" if busy(desk.learning) or taken_up else "pick"
        tab = gr.skip() if at == "pick" else gr.Tabs(selected=at)  # the visitor may have gone on meanwhile
        return [*shown, gr.Timer(active=desk.busy()), tab]

    def tick(desk: Desk, shown: dict):
        # First whether it goes on, then what there is to show: a job that ends in between is shown by the next tick
        going = gr.skip() if desk.busy() else gr.Timer(active=False)
        now = marks(desk, line)
        if now == shown:
            return [*[gr.skip()] * len(live), gr.skip(), going]
        changed = {part for part in now if now[part] != shown.get(part)}
        updates = learning.progress(desk) if "learning" in changed else [gr.skip()] * len(learning.live)
        if "strips" not in changed:
            updates[learning.live.index(learning.strips)] = gr.skip()
        updates += drawing.show(desk) if "learned" in changed else [
            *[gr.skip()] * (len(drawing.outputs) - len(drawing.live)),
            *(drawing.progress(desk) if "drawing" in changed else [gr.skip()] * len(drawing.live)),
        ]  # fmt: skip
        new = changed & {"checking", "learned"}
        updates += checking.show(desk) if new else [gr.skip()] * len(checking.outputs)
        return [*updates, now, going]

    def reopen(desk: Desk):
        desk.reopen_run()
        return [*picking.show(desk), gr.Tabs(selected="pick")]

    live = [*learning.live, *drawing.outputs, *checking.outputs]
    everything = [*picking.outputs, *learning.outputs, *drawing.outputs, *checking.outputs]
    entered = demo.load(enter, [browser], [browser, token, learning.address], **QUIET)
    entered.then(at_desk(desks, arrive), [token], [*everything, timer, tabs], **QUIET)
    address = extract.ADDRESS
    entered.then(None, [learning.address], [learning.address], js=address, api_visibility="private")
    demo.load(None, js=pick.BRUSH_JS, api_visibility="private")
    demo.load(None, js=NOTICES.replace("WORDS", json.dumps(gradios())), api_visibility="private")
    demo.load(None, js=f"() => {{ document.documentElement.lang = '{language}'; }}", api_visibility="private")
    timer.tick(
        at_desk(desks, tick), [token, seen], [*live, seen, timer], queue=False, **{**QUIET, "trigger_mode": "once"}
    )
    extract_tab.select(at_desk(desks, learning.show), [token], learning.outputs, **QUIET)
    opened = create_tab.select(at_desk(desks, drawing.show), [token], drawing.outputs, **QUIET)
    for event in (opened, *drawing.changes):
        event.then(at_desk(desks, checking.show), [token], checking.outputs, **QUIET)
    picking.next.click(lambda: gr.Tabs(selected="extract"), None, tabs, **QUIET)
    drawing.reopen.click(at_desk(desks, reopen), [token], [*picking.outputs, tabs], **QUIET)
    learning.next.click(lambda: gr.Tabs(selected="create"), None, tabs, **QUIET)


def gradios() -> dict[str, str]:
    """Notices that Gradio's own page gives, always in English, by how they begin -> what to say instead."""
    return {
        "This application is currently busy": strings.LINE_FULL,
        "Connection": strings.STUDIO_AWAY,  # to the server was lost, or errored out
        "File(s) exceed": strings.FILE_LARGE.format(most=MAX_UPLOAD),
    }


def banner(base: Base) -> None:
    """Which base model is at work, plainly, and the one setting that changes it."""
    if engine.is_toybox():
        what, switch = strings.TOYBOX_BANNER, strings.TOYBOX_SWITCH
    else:
        name = Path(base.name).name if Path(base.name).is_dir() else base.name
        what = strings.BASE_BANNER.format(name=escape(name), size=base.image_size, device=base.device.type)
        switch = strings.BASE_SWITCH
    gr.HTML(
        f"<p>{what}</p><details><summary>{strings.SWITCH_TITLE}</summary><p>{switch}</p></details>",
        elem_id="banner",
    )


def busy(job: Job | None) -> bool:
    return job is not None and not job.over


def marks(desk: Desk, line: Line) -> dict:
    """What a page would show of the desk's jobs, as values to compare: only what changed is sent."""
    found = {}
    if job := desk.learning:
        found["learning"] = (job.id, job.state, len(job.events), line.place(job), job.stop_asked())
        found["strips"] = (job.id, sum(bool(event.maps or event.previews) for event in job.events))
        found["learned"] = (job.id, job.over)
    if job := desk.drawing:
        found["drawing"] = (job.id, job.state, len(job.events), line.place(job), job.stop_asked())
    if job := desk.checking:
        found["checking"] = (job.id, job.state, len(job.events), line.place(job), job.stop_asked())
    return found
