"""The jobs of the pilot: processing its photos, finding masks to review, and generating variants for an A/B test."""

from functools import partial
from statistics import mean

from breakascene.errors import UserError
from breakascene.pilot import review
from breakascene.pilot.report import write_report
from breakascene.pilot.run import Progress, run, sequential
from breakascene.pilot.task import FAILED
from breakascene.pilot.variants import read_variants, write_variants
from breakascene.studio import loaded, strings
from breakascene.studio.jobs import DONE, STOPPED, Job, JobQueue
from breakascene.studio.screens import charts
from breakascene.studio.state.deletion import PILOT
from breakascene.studio.state.pilot_folder import PilotFolder
from breakascene.studio.state.session import Session

RUN, REVIEW, VARIANTS = "run", "review", "variants"  # details of the jobs
MAX_FAILED = 5  # photos named while a run goes on


def folder_of(session: Session) -> PilotFolder:
    return PilotFolder(session.folder / PILOT)


def submit_run(session: Session, queue: JobQueue) -> None:
    """Queue the photos that are left or, if there are none, those that failed.

    Other jobs run between two photos. The report is written at the end.
    """
    require_no_job(session)
    pilot = folder_of(session)
    plan = pilot.plan(loaded.base().name)
    status = pilot.status()
    retry = status is not None and status["done"] + status["failed"] == status["total"]
    seconds: list[float] = []  # of the photos that are done

    def note(job: Job, progress: Progress) -> None:
        if progress.last:
            seconds.append(progress.last["seconds"]["total"])
        job.emit(progress)

    def work(job: Job) -> None:
        executor = sequential(plan.base, lambda name: loaded.pilot_models(), partial(queue.give_way, job))
        end = run(plan, pilot.store, executor, retry=retry, stop=job.stop_requested, on_progress=partial(note, job))
        if end.done + end.failed:
            write_report(plan, pilot.store)

    # Other jobs wait for one photo at most
    session.pilot = queue.submit(
        session.token, "pilot", work, RUN, lambda job: mean(seconds[-20:]) if seconds else None
    )


def submit_review(session: Session, queue: JobQueue) -> None:
    """Queue the search for masks, and write the page on which they are reviewed."""
    require_no_job(session)
    pilot = folder_of(session)
    plan = pilot.plan(loaded.base().name)
    session.pilot = queue.submit(
        session.token, "pilot", lambda job: review.write_review(plan, pilot.store, loaded.segmenter()), REVIEW
    )


def submit_variants(session: Session, queue: JobQueue, text: str) -> None:
    """Queue the images of an A/B test. Raises UserError for a mistake in the variants."""
    require_no_job(session)
    pilot = folder_of(session)
    if pilot.status() is None:
        raise UserError(strings.PILOT_NOT_RUN)
    file = pilot.folder / "variants.yaml"
    file.write_text(text or "", encoding="utf-8")
    variants, photos = read_variants(file)

    def work(job: Job) -> int:
        return write_variants(loaded.base(), pilot.store, variants, photos, pilot.ads, stop=job.stop_requested)

    session.pilot = queue.submit(session.token, "pilot", work, VARIANTS)


def require_no_job(session: Session) -> None:
    if session.pilot and not session.pilot.ended:
        raise UserError(strings.JOB_RUNNING)


def describe(job: Job) -> str:
    """The progress of a job that runs, was stopped or is done, as HTML."""
    if job.details == RUN:
        return describe_run(job)
    if job.state == STOPPED:
        return charts.bar(0, strings.PILOT_STOPPED_NOTHING)
    if job.state == DONE:
        text = {REVIEW: strings.PILOT_REVIEW_READY, VARIANTS: strings.PILOT_VARIANTS_READY}[job.details]
        return f'<p class="notice">{charts.escape(text.format(n=job.result))}</p>'
    return charts.bar(0.5, {REVIEW: strings.PILOT_FINDING_MASKS, VARIANTS: strings.PILOT_GENERATING}[job.details])


def seconds_left(job: Job) -> float | None:
    """Expected seconds until all photos of a run are done; None if unknown."""
    return job.events[-1].seconds_left if job.details == RUN and job.events else None


def describe_run(job: Job) -> str:
    if not job.events:
        return charts.bar(0, strings.STARTING)
    last: Progress = job.events[-1]
    ended = last.done + last.failed
    left = ""
    if not job.ended and (seconds := seconds_left(job)) is not None:
        left = strings.TIME_LEFT.format(left=strings.format_duration(seconds))
    failed = [event.last for event in job.events if event.last and event.last["state"] == FAILED]
    lines = "".join(
        f"<p class='notice bad'>{charts.escape(one['photo'])}: {charts.escape(strings.translate(one['reason']))}</p>"
        for one in failed[-MAX_FAILED:]
    )
    return progress_bar(ended, last.total, last.failed, job.ended, left) + lines


def describe_status(pilot: PilotFolder) -> str:
    """The progress of an earlier run, whose job the studio does not know any more."""
    if (status := pilot.status()) is None:
        return ""
    return progress_bar(status["done"] + status["failed"], status["total"], status["failed"], True)


def progress_bar(ended: int, total: int, failed: int, over: bool, note: str = "") -> str:
    text = strings.PILOT_PROGRESS.format(n=ended, total=total)
    if failed:
        text += strings.SENTENCE_SEPARATOR + strings.PILOT_FAILED.format(n=failed)
    if over:
        text += strings.SENTENCE_SEPARATOR + (strings.PILOT_FINISHED if ended == total else strings.PILOT_STOPPED)
    return charts.bar(ended / total if total else 0, text, note)
