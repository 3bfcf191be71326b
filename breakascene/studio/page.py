"""The page: its three steps, how a session is opened on it, and how it follows the running jobs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from breakascene.errors import UserError
from breakascene.studio import loaded, reconnection, strings, uploads
from breakascene.studio.accounts import Accounts
from breakascene.studio.jobs import Job, JobQueue
from breakascene.studio.language import language_links
from breakascene.studio.screens import (
    administration,
    base_chooser,
    charts,
    evaluate,
    export,
    extract,
    generate,
    library,
    models,
    pilot,
    provenance,
    select,
)
from breakascene.studio.screens import queue_panel as queue_panels
from breakascene.studio.screens.base_chooser import BaseChooser
from breakascene.studio.screens.evaluate import EvaluateScreen
from breakascene.studio.screens.events import (
    EVENT_OPTIONS,
    IDLE_SECONDS,
    SENT_JS,
    PageContext,
    Updates,
    timer_of,
    with_session,
)
from breakascene.studio.screens.export import ExportScreen
from breakascene.studio.screens.extract import ExtractScreen
from breakascene.studio.screens.extraction_job import restore_pending
from breakascene.studio.screens.generate import GenerateScreen
from breakascene.studio.screens.layout import LAYOUT_JS
from breakascene.studio.screens.pilot import PilotScreen
from breakascene.studio.screens.queue_panel import QueuePanel
from breakascene.studio.screens.select import SelectScreen
from breakascene.studio.state import selection as selections
from breakascene.studio.state.session import Session, SessionStore

MAX_UPLOAD = 40  # MB
TOKEN_PARAMETERS = ("session", "desk")  # of the page's address; the second is that of earlier versions
STATIC = Path(__file__).with_name("static")
NOTICES_JS = STATIC.joinpath("notices.js").read_text(encoding="utf-8")
MESSAGES_JS = STATIC.joinpath("messages.js").read_text(encoding="utf-8")
# What step 2 says of the selection may be old when it is opened again. The notice that there is none goes already when
# step 1 is opened, where it is out of sight.
NO_OLD_NOTICE_JS = "(html) => html?.includes('nothing-selected') ? SKELETON : html"
NAMES_JS = STATIC.joinpath("names.js").read_text(encoding="utf-8")
FOCUS_JS = STATIC.joinpath("focus.js").read_text(encoding="utf-8")
SHORTCUTS_JS = STATIC.joinpath("shortcuts.js").read_text(encoding="utf-8")
DROP_JS = STATIC.joinpath("drop.js").read_text(encoding="utf-8")
NAVIGATION_JS = STATIC.joinpath("navigation.js").read_text(encoding="utf-8")


# The address of / depends on what the visitor chose before. In the history it says which language the page has, so that
# going back and reloading lead to the page that was there.
LANGUAGE_JS = """() => {
  document.documentElement.lang = "LANGUAGE";
  const address = new URL(location.href);
  if (address.searchParams.get("lang") === "LANGUAGE") return;
  address.searchParams.set("lang", "LANGUAGE");
  history.replaceState(history.state, "", address.href);
}"""


RELOAD_JS = "(outdated) => { if (outdated) location.reload(); }"


@dataclass(frozen=True)
class Screens:
    select: SelectScreen
    extract: ExtractScreen
    generate: GenerateScreen
    evaluate: EvaluateScreen
    export: ExportScreen
    queue: QueuePanel
    base: BaseChooser
    pilot: PilotScreen | None  # where the host offers it

    @property
    def all(self) -> list:
        always = [self.select, self.extract, self.generate, self.evaluate, self.export, self.queue, self.base]
        return [*always, self.pilot] if self.pilot else always

    @property
    def outputs(self) -> list:
        of_base = [*self.generate.base_outputs, self.export.program]
        return [*of_base, *(component for screen in self.all for component in screen.outputs)]

    def show(self, session: Session, page: float) -> Updates:
        """Updates of all outputs for the page with this time origin."""
        updates = {**self.select.show(session, page), **self.generate.show_base()}
        updates[self.export.program] = gr.Radio(choices=export.program_choices())
        for screen in self.all[1:]:
            updates |= screen.show(session)
        return updates


def build(
    demo: gr.Blocks,
    sessions: SessionStore,
    queue: JobQueue,
    accounts: Accounts | None = None,
    with_pilot: bool = False,
) -> None:
    """Build the page in the active language (strings.use_language)."""
    browser = gr.BrowserState("", storage_key="breakascene-session", secret="kept-by-the-browser-only")
    page = PageContext(sessions, queue, gr.State(""), gr.Timer(IDLE_SECONDS))
    last_progress = gr.State({})  # what this page has last displayed of the jobs
    gr.HTML(f'{language_links()}<h1>{strings.TITLE}</h1><p class="hint">{strings.TAGLINE}</p>', elem_id="head")
    chooser = base_chooser.build(page)
    models.build(demo)
    queue_panel = queue_panels.build(page)
    with gr.Tabs(elem_id="steps") as tabs:
        with gr.Tab(strings.TAB_SELECT, id="select") as select_tab:
            select_screen = select.build(page)
        with gr.Tab(strings.TAB_EXTRACT, id="extract") as extract_tab:
            extract_screen = extract.build(page)
        with gr.Tab(strings.TAB_GENERATE, id="generate") as generate_tab:
            generate_screen = generate.build(page)
            library.build(page, generate_screen)
            evaluate_screen = evaluate.build(page)
            export_screen = export.build(page)
        pilot_screen = None
        if with_pilot:
            with gr.Tab(strings.TAB_PILOT, id="pilot", visible=not (accounts and accounts.file)) as pilot_tab:
                pilot_screen = pilot.build(demo, page, pilot_tab, accounts)
    provenance.build(page)
    if accounts and accounts.file:
        administration.build(demo, page, accounts)
    screens = Screens(
        select_screen,
        extract_screen,
        generate_screen,
        evaluate_screen,
        export_screen,
        queue_panel,
        chooser,
        pilot_screen,
    )
    load_scripts(demo)
    connect_arrival(demo, page, screens, tabs, browser, last_progress)
    connect_progress(demo, page, screens, last_progress)
    connect_tabs(page, screens, tabs, [select_tab, extract_tab, generate_tab])


def load_scripts(demo: gr.Blocks) -> None:
    set_language = LANGUAGE_JS.replace("LANGUAGE", strings.language.get())
    notices = NOTICES_JS.replace("WORDS", json.dumps(gradio_notices()))
    names = NAMES_JS.replace("PHOTO", json.dumps(strings.CANVAS))
    canvases = (select.canvas_js(), LAYOUT_JS)
    own = (MESSAGES_JS, *canvases, notices, names, NAVIGATION_JS, FOCUS_JS, SHORTCUTS_JS, DROP_JS)
    for script in (*own, set_language):
        demo.load(None, js=script, api_visibility="private")


def connect_arrival(
    demo: gr.Blocks, page: PageContext, screens: Screens, tabs: gr.Tabs, browser, last_progress: gr.State
) -> None:
    """Open the session of the address, else the one that the browser keeps, and show it."""

    def open_session(kept_token, request: gr.Request):
        tokens = [request.query_params.get(name) for name in TOKEN_PARAMETERS]
        token = next(filter(None, tokens), kept_token)
        return [page.sessions.open(token, request.username or "").token] * 3

    def show(session: Session, sent) -> Updates:
        session.suggested_runs = None  # a new page gets a suggested prompt
        session.gallery.choose(None)
        restored = restore_pending(session, page.queue)
        # The base already, so that a change before the first refresh is not missed
        shown = {last_progress: {"base": loaded.base().fingerprint}, page.timer: timer_of(session)}
        updates = {**screens.show(session, sent[0]), **shown}
        if not selections.masks_of(session.history.selection):  # step 2 says so once it is opened
            del updates[screens.extract.summary]
        if screens.generate.panel.running(session):
            updates[tabs] = gr.Tabs(selected="generate")
        elif restored or screens.extract.panel.running(session):
            updates[tabs] = gr.Tabs(selected="extract")
        return updates  # otherwise the tab stays: the visitor may have opened another meanwhile

    address = screens.extract.address
    opened = demo.load(open_session, [browser], [browser, page.token, address], **EVENT_OPTIONS)
    outputs = [*screens.outputs, page.timer, tabs, last_progress]
    page.on(opened.then, show, [screens.select.canvas.sent], outputs, js=SENT_JS)
    opened.then(None, [address], [address], js=extract.ADDRESS_JS, api_visibility="private")


def connect_progress(demo: gr.Blocks, page: PageContext, screens: Screens, last_progress: gr.State) -> None:
    """Update the screens while jobs run, but only what has changed; find jobs that other pages start."""
    extract_screen, generate_screen, evaluate_screen = screens.extract, screens.generate, screens.evaluate
    outdated = gr.JSON(visible=False)  # whether another base is in use than the page was opened with
    missed = reconnection.build()

    def refresh(session: Session, last: dict) -> Updates:
        busy, now = session.busy(), progress_of(session, page.queue)
        timer = {page.timer: timer_of(session)} if busy != last.get("busy") else {}
        if now["base"] != last.get("base", now["base"]):
            return {outdated: True}
        changed = {key for key in now if now[key] != last.get(key)}
        if not changed and not timer:
            return {}
        updates = {last_progress: {**now, "busy": busy}}
        updates |= screens.queue.show(session)
        if "extraction" in changed:
            updates |= extract_screen.progress(session, with_strips="strips" in changed)
        if "extracted" in changed:
            updates |= generate_screen.show(session)
        elif "generation" in changed:
            updates |= generate_screen.progress(session)
        if changed & {"evaluation", "extracted"}:
            updates |= evaluate_screen.show(session)
        if changed & {"export", "extracted"}:
            updates |= screens.export.show(session)
        if "pilot" in changed and screens.pilot:
            updates |= screens.pilot.progress(session)
        return updates | timer

    outputs = [*extract_screen.live, *generate_screen.outputs, *evaluate_screen.outputs, *screens.export.outputs]
    outputs += [*screens.queue.outputs, last_progress, page.timer, outdated, missed]
    outputs += screens.pilot.outputs if screens.pilot else []
    refresh_page = with_session(page.sessions, refresh)

    def tick(token: str, last: dict, request: gr.Request) -> Updates:
        if reconnection.has_missed(demo, request):
            return {missed: reconnection.MISSED}
        if not token:  # the page has no session yet
            return gr.skip()
        try:
            page.sessions.get(token)
        except UserError:  # after a restart of the studio: the next click says so, once
            return {page.timer: gr.Timer(active=False)}
        return refresh_page(token, last)

    options = {**EVENT_OPTIONS, "queue": False, "trigger_mode": "once"}
    ticked = page.timer.tick(tick, [page.token, last_progress], outputs, **options)
    ticked.then(None, [outdated], None, js=RELOAD_JS, api_visibility="private")
    reconnection.connect(missed, ticked)


def connect_tabs(page: PageContext, screens: Screens, tabs: gr.Tabs, steps: Sequence[gr.Tab]) -> None:
    """Update a step when its tab is opened, and open the tabs from the buttons that lead to them."""
    select_tab, extract_tab, generate_tab = steps

    def reopen_run(session: Session, sent) -> Updates:
        session.reopen_run()
        return {**screens.select.show(session, sent[0]), tabs: gr.Tabs(selected="select")}

    summary = [screens.extract.summary]
    no_old_notice = NO_OLD_NOTICE_JS.replace("SKELETON", json.dumps(charts.skeleton()))
    select_tab.select(None, summary, summary, js=no_old_notice, api_visibility="private")
    page.on(extract_tab.select, screens.extract.show, (), screens.extract.outputs)
    opened = page.on(generate_tab.select, screens.generate.show, (), screens.generate.outputs)
    for event in (opened, *screens.generate.run_changes):
        page.on(event.then, screens.evaluate.show, (), screens.evaluate.outputs)
        page.on(event.then, screens.export.show, (), screens.export.outputs)
    screens.select.next.click(lambda: gr.Tabs(selected="extract"), None, tabs, **EVENT_OPTIONS)
    screens.extract.next.click(lambda: gr.Tabs(selected="generate"), None, tabs, **EVENT_OPTIONS)
    outputs = [*screens.select.outputs, tabs]
    page.on(screens.generate.runs.reopen.click, reopen_run, [screens.select.canvas.sent], outputs, js=SENT_JS)


def gradio_notices() -> dict[str, str]:
    """Notices of Gradio's own page, always in English: how they begin -> the text in their place."""
    return {
        "This application is currently busy": strings.QUEUE_FULL,
        f"HTTP {uploads.DISK_FULL}": strings.DISK_FULL,
        "Connection": strings.NO_RESPONSE,  # to the server was lost, or errored out
        "File(s) exceed": strings.FILE_TOO_LARGE.format(most=MAX_UPLOAD),
        "Invalid file type": strings.WRONG_FILE_TYPE,
    }


def progress_of(session: Session, queue: JobQueue) -> dict[str, Any]:
    """All that a page displays of the session's jobs, as values to compare.

    "extracted" changes when an extraction ends, which may add a run.
    """

    def state(job: Job) -> tuple:
        live = job.live_image.stat().st_mtime_ns if job.live_image.exists() else 0
        return job.id, job.state, len(job.events), queue.position(job), job.stop_requested(), live

    kinds = ("extraction", "generation", "evaluation", "export", "pilot")
    progress = {kind: state(job) for kind in kinds if (job := getattr(session, kind))}
    progress["base"] = loaded.base().fingerprint
    if job := session.extraction:
        progress["strips"] = (job.id, sum(bool(event.maps or event.previews) for event in job.events))
        progress["extracted"] = (job.id, job.ended)
    return progress
