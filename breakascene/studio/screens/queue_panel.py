"""The jobs of a session, on every page that shows it: each with its place in the queue, expected time and Cancel."""

from collections.abc import Sequence
from dataclasses import dataclass

import gradio as gr

from breakascene.studio import strings
from breakascene.studio.jobs import RUNNING, WAITING, Job, JobQueue
from breakascene.studio.screens import charts, pilot_job
from breakascene.studio.screens.events import PageContext, Updates
from breakascene.studio.state.session import Session

KINDS = ("extraction", "generation", "evaluation", "export", "pilot")  # attributes of Session


@dataclass(frozen=True)
class QueuePanel:
    """A row for each kind of job; the panel is hidden while there is none.

    Attributes:
        rows, texts, cancels: In the order of KINDS.
    """

    queue: JobQueue
    panel: gr.Column
    rows: Sequence[gr.Row]
    texts: Sequence[gr.HTML]
    cancels: Sequence[gr.Button]

    @property
    def outputs(self) -> list:
        return [self.panel, *self.rows, *self.texts, *self.cancels]

    def show(self, session: Session) -> Updates:
        jobs = [getattr(session, kind) for kind in KINDS]
        active = [job is not None and not job.ended for job in jobs]
        updates = {self.panel: gr.Column(visible=any(active))}
        for job, is_active, row, text, cancel in zip(jobs, active, self.rows, self.texts, self.cancels, strict=True):
            updates[row] = gr.Row(visible=is_active)
            if is_active:
                updates[text] = describe(job, self.queue)
                stopping = job.stop_requested()
                updates[cancel] = gr.Button(strings.STOPPING if stopping else strings.CANCEL, interactive=not stopping)
        return updates


def build(page: PageContext) -> QueuePanel:
    rows, texts, cancels = [], [], []
    with gr.Column(visible=False, elem_id="queue") as panel:
        for kind in KINDS:
            with gr.Row(visible=False, equal_height=True) as row:
                texts.append(gr.HTML(elem_id=f"queue-{kind}"))
                cancels.append(gr.Button(strings.CANCEL, size="sm", scale=0, min_width=90, elem_id=f"cancel-{kind}"))
            rows.append(row)
    screen = QueuePanel(page.queue, panel, rows, texts, cancels)
    for kind, button in zip(KINDS, cancels, strict=True):

        def cancel(session: Session, kind=kind) -> Updates:
            if job := getattr(session, kind):
                job.request_stop()
            return screen.show(session)

        page.on(button.click, cancel, (), screen.outputs)
    return screen


def describe(job: Job, queue: JobQueue) -> str:
    """What the job is, its place in the queue, and how long it takes, as HTML."""
    parts, seconds = [], None
    if job.state == WAITING and (position := queue.position(job)):
        parts.append(strings.QUEUE_POSITION.format(n=position))
        if (seconds := queue.seconds_until(job)) is not None:
            parts.append(strings.STARTS_IN.format(time=strings.format_duration(seconds)))
    elif (seconds := seconds_left(job)) is not None:
        parts.append(strings.TIME_LEFT.format(left=strings.format_duration(seconds)))
    else:
        parts.append(strings.JOB_STATES[RUNNING])
    return f"<b>{charts.escape(strings.JOB_KINDS[job.kind])}</b> {charts.escape(' · '.join(parts))}"


def seconds_left(job: Job) -> float | None:
    """Expected seconds until a running job is done; a pilot's own estimate is of the photo that others wait for."""
    return pilot_job.seconds_left(job) if job.kind == "pilot" else job.seconds_left()
