"""At the foot of step 3: the current run as files for other programs."""

import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from breakascene.errors import UserError
from breakascene.exporting.readme import PROGRAMS
from breakascene.files import atomic_file, file_stem
from breakascene.studio import engine, loaded, strings
from breakascene.studio.jobs import DONE, STOPPED, Job, JobQueue
from breakascene.studio.screens import charts
from breakascene.studio.screens.events import PageContext, Updates
from breakascene.studio.screens.job_panel import JobPanel
from breakascene.studio.state.run_store import Run
from breakascene.studio.state.session import Session


@dataclass(frozen=True)
class ExportedFile:
    """A zip file of an export, and the text about it for the page."""

    path: Path
    summary: str


@dataclass(frozen=True)
class ExportScreen:
    panel: JobPanel
    program: gr.Radio
    download: gr.Button

    @property
    def outputs(self) -> list:
        return [*self.panel.outputs, self.download]

    def show(self, session: Session) -> Updates:
        ready = session.export is not None and session.export.state == DONE
        return {
            **self.panel.update(session),
            self.panel.start[0]: gr.Button(
                interactive=session.runs.current() is not None and not self.panel.running(session)
            ),
            self.download: gr.Button(visible=ready),
        }


def build(page: PageContext) -> ExportScreen:
    with gr.Accordion(strings.EXPORT_TITLE, open=False, elem_id="export"):
        gr.Markdown(strings.EXPORT_HINT, elem_classes="hint")
        program = gr.Radio(program_choices(), value="diffusers", label=strings.EXPORT_PROGRAM, elem_id="export-program")
        with gr.Row(elem_classes="tools"):
            start = gr.Button(strings.EXPORT, size="sm", elem_id="export-start")
            stop = gr.Button(strings.STOP, size="sm", variant="stop", visible=False, elem_id="export-stop")
            download = page.download_button(
                lambda session: require_file(session).path, strings.EXPORT_DOWNLOAD, "export-download", visible=False
            )
        panel = JobPanel("export", page, [start], stop, gr.HTML(elem_id="export-status"), describe)
    screen = ExportScreen(panel, program, download)

    def submit_export(session: Session, to: str) -> None:
        submit(session, page.queue, session.runs.current(), to)

    panel.on_start(start, submit_export, screen.show, [program], screen.outputs)
    panel.on_stop(screen.show, screen.outputs)
    return screen


def program_choices() -> list[tuple[str, str]]:
    """Label and key of each program that can open the base in use."""
    return [(label, key) for key, label in strings.EXPORT_PROGRAMS.items() if key in loaded.export_programs()]


def submit(session: Session, queue: JobQueue, run: Run | None, to: str) -> Job:
    """Queue the export of a run to one of PROGRAMS; its result is an ExportedFile."""
    if run is None:
        raise UserError(strings.GENERATE_EMPTY)
    if to not in PROGRAMS:
        raise UserError(strings.EXPORT_UNKNOWN.format(known=", ".join(PROGRAMS)))
    if session.export and not session.export.ended:
        raise UserError(strings.ALREADY_EXPORTING)

    def work(job: Job) -> ExportedFile:
        with tempfile.TemporaryDirectory() as folder:
            exported = engine.export(run.folder, to, Path(folder) / "export")
            path = session.folder / f"{file_stem(run.name, 'objects')}-{to}.zip"
            with atomic_file(path) as draft, zipfile.ZipFile(draft, "w", zipfile.ZIP_STORED) as archive:
                for file in sorted(exported.folder.rglob("*.*")):
                    archive.write(file, Path(path.stem, file.relative_to(exported.folder)))
        names = dict(zip(run.handles, run.names, strict=True))
        tokens = ", ".join(f"{names[handle]}: {token}" for handle, token in exported.tokens.items())
        summary = strings.EXPORTED.format(tokens=tokens)
        if exported.left_out:
            summary += strings.SENTENCE_SEPARATOR + strings.EXPORT_LEFT_OUT.format(n=len(exported.left_out))
        return ExportedFile(path, summary)

    session.export = queue.submit(session.token, "export", work)
    return session.export


def require_file(session: Session) -> ExportedFile:
    """The last exported file; raises UserError if there is none."""
    if session.export is None or session.export.state != DONE:
        raise UserError(strings.EXPORT_MISSING)
    return session.export.result


def describe(job: Job) -> str:
    if job.state == STOPPED:
        return charts.bar(0, strings.EXPORT_STOPPED)
    if job.ended:
        return f'<p class="notice">{charts.escape(job.result.summary)}</p>'
    return charts.bar(0.5, strings.EXPORTING)
