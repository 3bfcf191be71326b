"""Extraction as a job: submit it, resume one that was stopped, restore one of a studio that was killed."""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from breakascene.data.handle_names import BACKGROUND
from breakascene.data.scene import Scene
from breakascene.errors import UserError
from breakascene.evaluation.advice import run_advice
from breakascene.evaluation.verdict import Verdict
from breakascene.models.grouped import load_run
from breakascene.provenance.consent import check_scene
from breakascene.studio import engine, estimates, loaded, strings
from breakascene.studio.jobs import FAILED, STOPPED, Job, JobQueue
from breakascene.studio.screens import charts, presets
from breakascene.studio.screens.generation_job import valid_seed
from breakascene.studio.state import pending_runs
from breakascene.studio.state import selection as selections
from breakascene.studio.state.pending_runs import PendingRun
from breakascene.studio.state.session import Session
from breakascene.studio.timing import RunTimer
from breakascene.training import checkpoint
from breakascene.training.events import StepEvent
from breakascene.training.groups import count_groups, groups_of
from breakascene.training.settings import Settings, adapted, preset

log = logging.getLogger(__name__)

MAX_STEPS = 5000  # a phase; far above what the paper needs, and a limit for a shared machine


@dataclass(frozen=True)
class ExtractionDetails:
    """What the screen needs to describe an extraction, besides its events. The scene is on disk, see pending_runs."""

    names: dict[str, str]  # handle -> name
    crop: np.ndarray  # (size, size, 3) uint8, the square that the model is trained on
    settings: Settings
    run: Path
    advice: tuple[str, ...] = ()  # once the run has ended
    verdicts: tuple[Verdict, ...] = ()  # likewise
    familiar: bool = True  # whether the base knows photos like this one

    @property
    def groups(self) -> int:
        """The number of groups in which the objects are extracted."""
        return count_groups(len(set(self.names) - {BACKGROUND}))

    @property
    def total(self) -> int:
        """Steps of all groups."""
        return self.groups * self.settings.total


def make_settings(scene: Scene, name: str, first: float | None, second: float | None, seed: float | None) -> Settings:
    """The settings of a preset for a scene.

    Args:
        name: Of the preset.
        first, second: Steps of the two phases; None keeps the preset's.
        seed: None is 0; see generation_job.valid_seed.
    """
    settings = adapted(preset(name, loaded.base(), seed=valid_seed(seed or 0)), scene)
    steps = tuple(own if n is None else int(n) for n, own in zip((first, second), settings.steps, strict=True))
    if not all(0 <= n <= MAX_STEPS for n in steps) or not any(steps):
        raise UserError(strings.INVALID_STEPS.format(most=MAX_STEPS))
    settings = replace(settings, steps=steps)
    if count_groups(len(scene.concepts)) > 1:
        groups_of(scene)  # raises UserError if they cannot be extracted
    presets.check_fits(settings, len(scene.concepts))
    return settings


def can_resume(job: Job | None) -> bool:
    """Whether an extraction ended early and left a checkpoint."""
    return job is not None and job.state in (STOPPED, FAILED) and checkpoint.can_resume(job.details.run)


def resume(session: Session, queue: JobQueue) -> Job:
    """Queue the rest of the session's last extraction."""
    previous = session.extraction
    if not can_resume(previous):
        raise UserError(strings.NOTHING_TO_RESUME)
    session.extraction = queue.submit(
        session.token, "extract", work_for(session, previous.details, previous), previous.details, seconds_left
    )
    return session.extraction


def submit(session: Session, queue: JobQueue, scene: Scene, settings: Settings) -> Job:
    """Queue an extraction. Its run appears in the session when it ends, or when it is stopped after a step."""
    if session.extraction and not session.extraction.ended:
        raise UserError(strings.ALREADY_EXTRACTING)
    check_scene(scene)
    pending = PendingRun(session.runs.new_folder(), scene, settings)
    pending_runs.save(pending)
    details = details_of(pending)
    try:
        session.extraction = queue.submit(session.token, "extract", work_for(session, details), details, seconds_left)
    except UserError:
        pending_runs.delete(pending.run)
        raise
    return session.extraction


def work_for(session: Session, details: ExtractionDetails, previous: Job | None = None) -> Callable[[Job], str | None]:
    """The work of an extraction job, or of one that continues the previous job."""
    run, settings = details.run, details.settings

    def work(job: Job) -> str | None:
        scene = pending_runs.load(run).scene  # a waiting job does not hold it in memory
        timer = RunTimer(settings, len(scene.concepts))
        for event in engine.extract(scene, settings, run, job.stop_file, job.preview_file, previous is not None):
            if previous and not job.events:  # the curves continue those of the previous job
                for old in previous.events:
                    if old.step < event.step:
                        job.emit(old)
            job.emit(with_small_previews(event))
            timer.add(event)
        if not job.events:
            return None
        job.details = replace(job.details, advice=tuple(run_advice(load_run(run))))
        session.runs.current_id = run.name
        verdicts = compare(run, scene)
        job.details = replace(job.details, verdicts=verdicts, familiar=not verdicts or loaded.is_familiar(scene))
        timer.finish()
        if previous is None:  # a resumed run has only the time of its rest
            estimates.record_run(timer)
        if not checkpoint.can_resume(run):  # nothing to resume
            pending_runs.delete(run)
        return run.name

    return work


def seconds_left(job: Job) -> float | None:
    """Expected seconds until an extraction is done; that it takes, before its first step."""
    if job.events:
        return job.events[-1].seconds_left
    objects = len([handle for handle in job.details.names if handle != BACKGROUND])
    return estimates.expected_seconds(job.details.settings, objects)


def compare(run: Path, scene: Scene) -> tuple[Verdict, ...]:
    """The verdicts on a run. It is done and saved, so that no failure here may take it away."""
    try:
        return tuple(map(with_small_images, engine.compare(run, scene)))
    except Exception:
        log.exception("the run %s could not be compared with its photo", run.name)
        return ()


def with_small_previews(event: StepEvent) -> StepEvent:
    """An event that takes little memory; the session keeps it until the next extraction."""
    previews = event.previews and {handle: charts.display_size(image) for handle, image in event.previews.items()}
    return replace(event, previews=previews)


def with_small_images(verdict: Verdict) -> Verdict:
    """A verdict that takes little memory, likewise."""
    images = [charts.display_size(image) for image in verdict.images]
    return replace(verdict, cutout=charts.display_size(verdict.cutout), images=images)


def details_of(pending: PendingRun) -> ExtractionDetails:
    scene = pending.scene
    names = dict(zip(scene.handles, scene.names, strict=True))
    crop = scene.square_crop(loaded.base().image_size).pixels
    return ExtractionDetails(names, crop, pending.settings, pending.run)


def restore_pending(session: Session, queue: JobQueue) -> bool:
    """After the studio was killed, restore the photo, the selection and the extraction that had not ended.

    Returns whether there was one.
    """
    if session.extraction or session.history.selection.photo:
        return False
    if (pending := pending_runs.latest(session.runs.runs_folder)) is None:
        return False
    with suppress(UserError):  # without memory for it, the photo is left out
        session.history.start_over(selections.from_scene(pending.scene))
    has_checkpoint = checkpoint.can_resume(pending.run)
    error = strings.INTERRUPTED_RESUMABLE if has_checkpoint else strings.INTERRUPTED
    session.extraction = queue.interrupted(session.token, "extract", error)
    session.extraction.details = details_of(pending)
    return True
