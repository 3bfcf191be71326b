"""For accounts with a role: operators see the queue and failures, auditors the audit log."""

import time
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

import gradio as gr

from breakascene.errors import UserError
from breakascene.files import atomic_file
from breakascene.provenance import audit_check
from breakascene.provenance.audit import folder_from_settings
from breakascene.rendering import html
from breakascene.studio import strings
from breakascene.studio.accounts import AUDITOR, OPERATOR, Accounts
from breakascene.studio.screens import charts
from breakascene.studio.screens.events import EVENT_OPTIONS, PageContext, Updates
from breakascene.studio.state.deletion import session_id
from breakascene.studio.state.session import Session
from breakascene.studio.visitor import login_name

MAX_ROWS = 200  # of a table on the page; the CSV has all
VALUES = (
    "objects",
    "image",
    "images",
    "photos",
    "run",
    "runs",
    "file",
    "outcome",
    "reason",
    "found",
)  # shown of an entry


def build(demo: gr.Blocks, page: PageContext, accounts: Accounts) -> None:
    with gr.Accordion(strings.QUEUE_TITLE, open=False, visible=False, elem_id="operation") as operation:
        refresh = gr.Button(strings.REFRESH, size="sm", elem_id="refresh-operation")
        table = gr.HTML(elem_id="operation-tables")
    with gr.Accordion(strings.LOG_TITLE, open=False, visible=False, elem_id="audit-log") as log:
        with gr.Row():
            first = gr.Textbox(label=strings.LOG_FIRST, placeholder="YYYY-MM-DD", max_lines=1, elem_id="log-first")
            last = gr.Textbox(label=strings.LOG_LAST, placeholder="YYYY-MM-DD", max_lines=1, elem_id="log-last")
        with gr.Row(elem_classes="tools"):
            show = gr.Button(strings.LOG_SHOW, size="sm", elem_id="show-log")
            page.download_button(
                requiring(accounts, AUDITOR, write_csv), strings.LOG_DOWNLOAD, "download-log", inputs=[first, last]
            )
        entries = gr.HTML(elem_id="log-entries")

    def reveal(request: gr.Request):
        roles = accounts.roles(request.username or "")
        return gr.Accordion(visible=OPERATOR in roles), gr.Accordion(visible=AUDITOR in roles)

    def show_queue(session: Session) -> Updates:
        return {table: queue_tables(page)}

    def show_log(session: Session, first: str, last: str) -> Updates:
        return {entries: log_html(first, last)}

    demo.load(reveal, None, [operation, log], **EVENT_OPTIONS)
    show_queue = requiring(accounts, OPERATOR, show_queue)
    for event in (operation.expand, refresh.click):
        page.on(event, show_queue, (), [table])
    page.on(show.click, requiring(accounts, AUDITOR, show_log), [first, last], [entries])


def requiring(accounts: Accounts, role: str, act: Callable) -> Callable:
    """The same action, which raises UserError for visitors whose account has not the role."""

    def checked(session: Session, *values):
        if role not in accounts.roles(login_name()):
            raise UserError(strings.ROLE_REQUIRED)
        return act(session, *values)

    checked.__name__ = act.__name__
    return checked


def queue_tables(page: PageContext) -> str:
    """The jobs that run and wait, and those that failed last, as HTML."""
    jobs = [
        (kind_name(job.kind), visitor_of(page, job.owner), strings.JOB_STATES[job.state], position or "")
        for job, position in page.queue.jobs()
    ]
    failures = [
        (format_time(failure.time), kind_name(failure.kind), visitor_of(page, failure.owner), failure.error)
        for failure in page.queue.failures()
    ]
    waiting = section(strings.JOBS_TITLE, strings.JOB_COLUMNS, jobs, strings.NO_JOBS)
    return waiting + section(strings.FAILURES_TITLE, strings.FAILURE_COLUMNS, failures, strings.NO_FAILURES)


def kind_name(kind: str) -> str:
    return strings.JOB_KINDS.get(kind, kind)


def action_name(action: str) -> str:
    return strings.LOG_ACTIONS.get(action, action)


def format_time(seconds: float) -> str:
    return time.strftime(strings.DATE_FORMAT, time.localtime(seconds))


def section(title: str, columns: Sequence[str], rows: Sequence[tuple], empty: str) -> str:
    table = html.table(columns, rows) if rows else f'<p class="hint">{charts.escape(empty)}</p>'
    return f'<p class="caption">{charts.escape(title)}</p><div class="figures records">{table}</div>'


def visitor_of(page: PageContext, token: str) -> str:
    """The name that an operator sees of a visitor: that of the log."""
    return page.sessions.owner_of(token) or session_id(token)


def log_html(first: str, last: str) -> str:
    """Whether the log is unchanged, and the last entries of a period, the newest first, as HTML."""
    folder = require_log()
    check = audit_check.verify(folder)
    faults = [
        strings.LOG_FAULTS[fault.kind].format(entries=f"{fault.first}–{fault.last}".removesuffix(f"–{fault.first}"))
        for fault in check.faults
    ]
    state = strings.SENTENCE_SEPARATOR.join(faults) or strings.LOG_COMPLETE.format(n=check.head.count)
    rows = list(audit_check.entries(folder, parse_day(first), parse_day(last)))
    cells = [
        (
            entry["number"],
            entry["time"][:19].replace("T", " "),
            entry["who"],
            action_name(entry["action"]),
            summary(entry),
        )
        for entry in rows[: -MAX_ROWS - 1 : -1]
    ]
    bad = " bad" if faults else ""
    count = strings.LOG_COUNT.format(n=len(cells), count=len(rows))
    return f'<p class="notice{bad}">{charts.escape(state)}</p>' + section(count, strings.LOG_COLUMNS, cells, "")


def summary(entry: dict) -> str:
    """What an entry says besides its action, hashes shortened."""
    values = [entry[key] for key in VALUES if entry.get(key)]
    texts = [text for value in values for text in (value if isinstance(value, list) else [value])]
    return ", ".join(text[:12] + "…" if len(text) == 64 else text for text in map(str, texts))


def write_csv(session: Session, first: str, last: str) -> Path:
    """Write the entries of a period for the visitor."""
    rows = list(audit_check.entries(require_log(), parse_day(first), parse_day(last)))
    path = session.folder / "audit-log.csv"
    with atomic_file(path) as draft, open(draft, "w", encoding="utf-8", newline="") as file:
        audit_check.write_csv(rows, file)
    return path


def require_log() -> Path:
    if (folder := folder_from_settings()) is None or not folder.is_dir():
        raise UserError(strings.NO_LOG)
    return folder


def parse_day(text: str) -> date | None:
    try:
        return date.fromisoformat(text.strip()) if text and text.strip() else None
    except ValueError as error:
        raise UserError(strings.INVALID_DAY) from error
