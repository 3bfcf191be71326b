"""The pilot's pages in the studio: the review of masks, the report and the vote, each in a frame and as a file."""

import zipfile
from pathlib import Path

import gradio as gr

from breakascene.errors import UserError
from breakascene.files import atomic_file
from breakascene.pilot import report, review, vote
from breakascene.pilot.plan import Plan
from breakascene.studio import loaded, strings
from breakascene.studio.screens import charts
from breakascene.studio.screens.events import PageContext, Updates, show_notice
from breakascene.studio.screens.pilot_job import folder_of
from breakascene.studio.state.session import Session

MAX_FILE = 40 * 2**20  # bytes of a review


def build_review(page: PageContext) -> tuple[gr.Button, gr.HTML]:
    """Build the section; return the button that looks for masks, and where the page is shown."""
    gr.Markdown(strings.PILOT_REVIEW_INFO, elem_classes="hint")
    find = gr.Button(strings.PILOT_REVIEW_START, size="sm", elem_id="pilot-review-start")
    shown = gr.HTML(elem_id="pilot-review-page", elem_classes="pilot-page")
    file = gr.File(label=strings.PILOT_REVIEW_FILE, file_types=[".json"], height=110, elem_id="pilot-review-file")

    def add(session: Session, path: str | None) -> Updates:
        count = review.add_review(folder_of(session).store, read(path), Path(path).name)
        show_notice(strings.PILOT_REVIEW_ADDED.format(n=count))
        return {file: None, shown: ""}

    page.on(file.upload, add, [file], [file, shown])
    return find, shown


def build_report(page: PageContext) -> gr.HTML:
    """Build the section; return where the page is shown."""
    with gr.Row(elem_classes="tools"):
        show = gr.Button(strings.PILOT_REPORT_SHOW, size="sm", elem_id="pilot-report-show")
        page.download_button(report_zip, strings.DOWNLOAD_REPORT, "pilot-report-download")
    shown = gr.HTML(elem_id="pilot-report-page", elem_classes="pilot-page")

    def show_report(session: Session) -> Updates:
        folder = write_report(session)
        return {shown: frame(folder / "index.html", strings.PILOT_REPORT)}

    page.on(show.click, show_report, (), [shown])
    return shown


def build_vote(page: PageContext) -> gr.HTML:
    """Build the section; return where the page is shown."""
    gr.Markdown(strings.PILOT_VOTE_INFO, elem_classes="hint")
    with gr.Row(elem_classes="tools"):
        show = gr.Button(strings.PILOT_VOTE_SHOW, size="sm", elem_id="pilot-vote-show")
        page.download_button(vote_file, strings.PILOT_VOTE_DOWNLOAD, "pilot-vote-download")
    shown = gr.HTML(elem_id="pilot-vote-page", elem_classes="pilot-page")
    files = gr.File(
        label=strings.PILOT_VOTE_FILES, file_count="multiple", file_types=[".json"], height=110,
        elem_id="pilot-vote-file",
    )  # fmt: skip

    def show_vote(session: Session) -> Updates:
        return {shown: frame(vote_file(session), strings.PILOT_VOTE)}

    def add(session: Session, paths: list[str] | None) -> Updates:
        store = folder_of(session).store
        voters = [vote.add_votes(store, read(path), Path(path).name) for path in paths or []]
        text = strings.PILOT_VOTES_ADDED.format(names=strings.join_names(voters), n=vote.vote_count(store))
        show_notice(text)
        return {files: None, shown: ""}

    page.on(show.click, show_vote, (), [shown])
    page.on(files.upload, add, [files], [files, shown])
    return shown


def plan_of(session: Session) -> Plan:
    return folder_of(session).plan(loaded.base().name)


def write_report(session: Session) -> Path:
    """Write the report of what is done so far, and return its folder."""
    store = folder_of(session).store
    if folder_of(session).status() is None:
        raise UserError(strings.PILOT_NOT_RUN)
    report.write_report(plan_of(session), store)
    return store.folder / report.FOLDER


def report_zip(session: Session) -> Path:
    return zipped(write_report(session), session.folder / "pilot-report.zip")


def vote_file(session: Session) -> Path:
    """The page for votes, made once, so that earlier votes stay valid."""
    store = folder_of(session).store
    file = store.folder / vote.FOLDER / "index.html"
    if not file.is_file():
        if folder_of(session).status() is None:
            raise UserError(strings.PILOT_NOT_RUN)
        vote.write_vote(plan_of(session), store)
    return file


def review_frame(session: Session) -> str:
    return frame(folder_of(session).store.folder / review.PAGE, strings.PILOT_REVIEW)


def frame(file: Path, title: str) -> str:
    """A page in a frame of its own origin, from which nothing reaches the studio but what static/pilot.js takes."""
    text = charts.escape(file.read_text(encoding="utf-8"))
    return f'<iframe sandbox="allow-scripts" title="{charts.escape(title)}" srcdoc="{text}"></iframe>'


def zipped(folder: Path, file: Path) -> Path:
    """Write a zip of a folder's files."""
    with atomic_file(file) as draft, zipfile.ZipFile(draft, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(folder.rglob("*.*")):
            archive.write(path, Path(file.stem, path.relative_to(folder)))
    return file


def read(path: str) -> bytes:
    """The content of an uploaded file. Raises UserError if it is too large."""
    if Path(path).stat().st_size > MAX_FILE:
        raise UserError(strings.FILE_TOO_LARGE.format(most=MAX_FILE // 2**20))
    return Path(path).read_bytes()
