"""The buttons that start and stop a job, and its status: the same for every kind of job."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import gradio as gr

from breakascene.studio import strings
from breakascene.studio.jobs import FAILED, WAITING, Job
from breakascene.studio.screens import charts
from breakascene.studio.screens.events import PageContext, Updates, timer_of
from breakascene.studio.state.session import Session

# On a small screen a job that has just started is followed to its progress, which may stand below what is visible.
FOLLOW_JS = """() => setTimeout(() => {
  const status = document.getElementById("STATUS"), running = document.getElementById("STOP")?.offsetParent;
  const { top, bottom } = status.getBoundingClientRect();
  if (running && (top < 0 || bottom > innerHeight)) status.scrollIntoView({ block: "start", behavior: "smooth" });
}, 100)"""


@dataclass(frozen=True)
class JobPanel:
    """The components of one kind of job.

    Attributes:
        kind: The job's attribute of Session: "extraction", "generation", "evaluation" or "export".
        describe: HTML for a job that runs, is done or was stopped; the other states read the same for all kinds.
        idle: HTML while there is no job.
    """

    kind: str
    page: PageContext
    start: Sequence[gr.Button]
    stop: gr.Button
    status: gr.HTML
    describe: Callable[[Job], str]
    idle: str = ""

    @property
    def outputs(self) -> list:
        return [self.status, *self.start, self.stop]

    def job(self, session: Session) -> Job | None:
        return getattr(session, self.kind)

    def running(self, session: Session) -> bool:
        """Whether the job waits or runs."""
        job = self.job(session)
        return job is not None and not job.ended

    def update(self, session: Session) -> Updates:
        job, running = self.job(session), self.running(session)
        stopping = running and job.stop_requested()
        return {
            self.status: self._status(job),
            **{button: gr.Button(interactive=not running) for button in self.start},
            self.stop: gr.Button(strings.STOPPING if stopping else strings.STOP, visible=running),
        }

    def on_start(
        self, button: gr.Button, submit: Callable, show: Callable, inputs: Sequence, outputs: Sequence, **options
    ):
        """Call submit(session, *values) when the button is clicked, then show(session) and follow the job.

        submit may return Updates besides those of show; options are those of the event.
        """

        def start(session: Session, *values) -> Updates:
            updates = submit(session, *values)
            return {**show(session), **(updates or {}), self.page.timer: timer_of(session)}

        started = self.page.on(button.click, start, inputs, [*outputs, self.page.timer], **options)
        js = FOLLOW_JS.replace("STATUS", self.status.elem_id).replace("STOP", self.stop.elem_id)
        started.then(None, js=js, api_visibility="private")

    def on_stop(self, show: Callable[[Session], Updates], outputs: Sequence):
        def stop(session: Session) -> Updates:
            if job := self.job(session):
                job.request_stop()
            return show(session)

        self.page.on(self.stop.click, stop, (), outputs)

    def _status(self, job: Job | None) -> str:
        if job is None:
            return self.idle
        if job.state == WAITING:
            position = self.page.queue.position(job)  # 0 if the job has just started
            return charts.bar(0, strings.WAITING.format(n=position) if position else strings.STARTING)
        if job.state == FAILED:
            return f'<p class="notice bad">{charts.escape(strings.FAILED.format(error=job.error))}</p>'
        return self.describe(job)
