"""The tab of the pilot: many photos through the whole chain, masks to review, the report, the vote, and A/B tests."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import gradio as gr

from breakascene.studio import strings
from breakascene.studio.accounts import OPERATOR, Accounts
from breakascene.studio.jobs import DONE
from breakascene.studio.screens import ab_test, confirmation, pilot_form, pilot_job, pilot_pages
from breakascene.studio.screens.administration import requiring
from breakascene.studio.screens.events import EVENT_OPTIONS, PageContext, Updates
from breakascene.studio.screens.job_panel import JobPanel
from breakascene.studio.screens.pilot_form import PilotForm
from breakascene.studio.screens.pilot_job import REVIEW, folder_of
from breakascene.studio.state import deletion
from breakascene.studio.state.pilot_folder import PLAN_FILE, About
from breakascene.studio.state.session import Session

SCRIPT = Path(__file__).parents[1].joinpath("static", "pilot.js").read_text(encoding="utf-8")


@dataclass(frozen=True)
class OperatorPage(PageContext):
    """A page whose events need the role of an operator, if there are accounts with roles."""

    accounts: Accounts | None = None

    def on(
        self, event: Callable, act: Callable, inputs: Sequence = (), outputs: Sequence | None = None, **options
    ) -> gr.events.Dependency:
        checked = requiring(self.accounts, OPERATOR, act) if self.accounts and self.accounts.file else act
        return super().on(event, checked, inputs, outputs, **options)


@dataclass(frozen=True)
class PilotScreen:
    """Either the form of a new pilot, or the pilot of the session.

    Attributes:
        review_page: Where the page of the review is shown.
        pages: This one, and where the report and the vote are shown.
        download: The button for the variants of an A/B test.
    """

    form: PilotForm
    panel: JobPanel
    current: gr.Column
    about: gr.HTML
    review: gr.Accordion
    review_page: gr.HTML
    pages: Sequence[gr.HTML]
    download: gr.Button

    @property
    def outputs(self) -> list:
        return [
            *self.panel.outputs, self.form.column, self.current, self.about, self.review, *self.pages, self.download,
        ]  # fmt: skip

    def show(self, session: Session) -> Updates:
        """The whole tab; the pages are shown once they are asked for."""
        return {**self.progress(session), **dict.fromkeys(self.pages, "")}

    def progress(self, session: Session) -> Updates:
        """What changes while a job runs."""
        pilot, job = folder_of(session), session.pilot
        about = pilot.about()
        status = pilot.status() if about else None
        start = strings.PILOT_START
        if status:
            left = status["done"] + status["failed"] < status["total"]
            start = strings.RESUME if left else strings.PILOT_RETRY if status["failed"] else start
        updates = {
            **self.panel.update(session),
            self.panel.start[0]: gr.Button(start, interactive=not self.panel.running(session)),
            self.form.column: gr.Column(visible=about is None),
            self.current: gr.Column(visible=about is not None),
            self.about: describe(about) if about else "",
            self.review: gr.Accordion(visible=bool(about and about.automatic)),
            self.download: gr.Button(visible=pilot.ads.is_dir()),
        }
        if job is None:
            updates[self.panel.status] = pilot_job.describe_status(pilot)
        elif job.details == REVIEW and job.state == DONE:
            updates[self.review_page] = pilot_pages.review_frame(session)
        return updates


def build(demo: gr.Blocks, context: PageContext, tab: gr.Tab, accounts: Accounts | None) -> PilotScreen:
    """Build the content of the tab; with accounts that have roles, only operators see it and may use it."""
    page = OperatorPage(context.sessions, context.queue, context.token, context.timer, accounts)
    gr.Markdown(strings.PILOT_INFO, elem_classes="hint")
    form = pilot_form.build()
    with gr.Column(visible=False, elem_id="pilot") as current:
        about = gr.HTML(elem_id="pilot-about")
        with gr.Row(elem_classes="tools"):
            start = gr.Button(strings.PILOT_START, variant="primary", size="sm", elem_id="pilot-start")
            stop = gr.Button(strings.STOP, size="sm", variant="stop", visible=False, elem_id="pilot-stop")
            page.download_button(plan_file, strings.PILOT_PLAN_DOWNLOAD, "pilot-plan")
            delete = gr.Button(strings.PILOT_DELETE, size="sm", elem_id="delete-pilot")
        parts = confirmation.build("confirm-delete-pilot")
        status = gr.HTML(elem_id="pilot-status")
        with gr.Accordion(strings.PILOT_REVIEW, open=False, visible=False, elem_id="pilot-review") as review:
            find, review_page = pilot_pages.build_review(page)
        with gr.Accordion(strings.PILOT_REPORT, open=False, elem_id="pilot-report"):
            report_page = pilot_pages.build_report(page)
        with gr.Accordion(strings.PILOT_VOTE, open=False, elem_id="pilot-vote"):
            vote_page = pilot_pages.build_vote(page)
        with gr.Accordion(strings.PILOT_AB, open=False, elem_id="pilot-ab"):
            variants, generate, download = ab_test.build(page)
    panel = JobPanel("pilot", page, [start, find, generate, delete], stop, status, pilot_job.describe)
    pages = [review_page, report_page, vote_page]
    screen = PilotScreen(form, panel, current, about, review, review_page, pages, download)
    connect_form(page, screen)
    connect_jobs(page, screen, variants)
    connect_deletion(page, screen, delete, parts)
    demo.load(None, js=SCRIPT, api_visibility="private")
    if accounts and accounts.file:

        def reveal(request: gr.Request):
            return gr.Tab(visible=OPERATOR in accounts.roles(request.username or ""))

        demo.load(reveal, None, [tab], **EVENT_OPTIONS)
    return screen


def connect_form(page: PageContext, screen: PilotScreen) -> None:
    form, outputs = screen.form, [*screen.outputs, screen.form.files]

    def create(session: Session, files: list | None, *values) -> Updates:
        pilot_job.require_no_job(session)
        folder_of(session).create([Path(file) for file in files or []], pilot_form.plan_fields(*values))
        session.pilot = None
        return {**screen.show(session), form.files: None}

    def create_sample(session: Session, *values) -> Updates:
        pilot_job.require_no_job(session)
        folder_of(session).create_sample(pilot_form.plan_fields(*values))
        session.pilot = None
        return screen.show(session)

    page.on(form.create.click, create, [form.files, *form.inputs], outputs)
    page.on(form.sample.click, create_sample, form.inputs, screen.outputs)


def connect_jobs(page: PageContext, screen: PilotScreen, variants: gr.Textbox) -> None:
    start, find, generate, _ = screen.panel.start

    def run(session: Session) -> None:
        pilot_job.submit_run(session, page.queue)

    def find_masks(session: Session) -> None:
        pilot_job.submit_review(session, page.queue)

    def generate_variants(session: Session, text: str) -> None:
        pilot_job.submit_variants(session, page.queue, text)

    for button, submit, inputs in ((start, run, ()), (find, find_masks, ()), (generate, generate_variants, [variants])):
        screen.panel.on_start(button, submit, screen.progress, inputs, screen.outputs)
    screen.panel.on_stop(screen.progress, screen.outputs)


def connect_deletion(page: PageContext, screen: PilotScreen, delete: gr.Button, parts) -> None:
    def question(session: Session) -> str:
        pilot_job.require_no_job(session)
        return strings.PILOT_DELETE_QUESTION

    def delete_pilot(session: Session) -> Updates:
        pilot_job.require_no_job(session)
        deletion.delete_pilot(session.folder)
        session.pilot = None
        return screen.show(session)

    confirmation.connect(page, delete, parts, question, delete_pilot, screen.outputs)


def plan_file(session: Session) -> Path:
    return folder_of(session).folder / PLAN_FILE


def describe(about: About) -> str:
    """What the pilot is made of, as HTML."""
    parts = [strings.PILOT_ABOUT.format(n=about.photos, presets=strings.join_names(presets_of(about)))]
    if about.prompts:
        parts.append(strings.PILOT_ABOUT_PROMPTS.format(n=about.prompts))
    if about.automatic:
        parts.append(strings.PILOT_ABOUT_AUTOMATIC.format(n=about.automatic))
    return f"<h2>{escape(about.name)}</h2><p>{escape(strings.SENTENCE_SEPARATOR.join(parts))}</p>"


def presets_of(about: About) -> list[str]:
    return [strings.PRESETS[name][0] for name in about.presets]
