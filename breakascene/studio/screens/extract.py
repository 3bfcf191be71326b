"""Step 2, Extract: teach the painter the picked things, and watch it learn."""

from dataclasses import dataclass, replace
from pathlib import Path

import gradio as gr
import numpy as np

from breakascene.data.scene import Scene, cutout
from breakascene.errors import UserError
from breakascene.evaluation.advice import run_advice, scene_advice
from breakascene.models.concepts import Concepts
from breakascene.studio import engine, strings
from breakascene.studio.jobs import FAILED, STOPPED, WAITING, Job, Line
from breakascene.studio.screens import charts, presets
from breakascene.studio.screens.events import QUIET, at_desk
from breakascene.studio.state import pending_runs as notes
from breakascene.studio.state import selection as boards
from breakascene.studio.state.pending_runs import Begun
from breakascene.studio.state.session import Desk, Desks
from breakascene.training import checkpoint
from breakascene.training.loop import StepEvent
from breakascene.training.settings import Settings, adapted, preset

# The address that leads to this desk from anywhere, in the language of whoever opens it.
ADDRESS = "(token) => new URL('./?desk=' + token, document.baseURI).href"
MAX_STEPS = 5000  # a phase; far above what the paper needs, and a bound for a shared machine


@dataclass(frozen=True)
class Shown:
    """What the screen needs to know of an extraction besides its events."""

    names: dict[str, str]  # handle -> plain name
    square: np.ndarray  # (size, size, 3) uint8, what the model learns from
    scene: Scene
    settings: Settings
    run: Path
    advice: tuple[str, ...] = ()  # on what was learned


@dataclass(frozen=True)
class ExtractScreen:
    outputs: list  # all of the step
    live: list  # what changes while a job runs
    next: gr.Button
    strips: gr.HTML
    address: gr.Textbox
    line: Line

    def show(self, desk: Desk) -> list:
        return [summary(desk), gr.Radio(choices=presets.cards()), *self.progress(desk)]

    def progress(self, desk: Desk) -> list:
        job = desk.learning
        running = job is not None and not job.over
        return [
            status(job, self.line) if job else "",
            charts.curves(job.events) if job else "",
            charts.strips(job.shown.names, job.shown.square, job.events) if job else "",
            gr.Button(
                strings.EXTRACT_AGAIN if desk.run else strings.EXTRACT,
                interactive=not running,
                variant="secondary" if desk.run else "primary",
            ),
            gr.Button(strings.STOPPING if running and job.stop_asked() else strings.STOP, visible=running),
            gr.Button(visible=running and bool(job.events)),
            gr.Button(visible=can_go_on(job)),
            gr.Button(visible=can_go_on(job)),
            gr.Button(visible=desk.run is not None and not running),
        ]


def build(desks: Desks, token: gr.State, timer: gr.Timer, line: Line) -> ExtractScreen:
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=300):
            picked = gr.HTML(elem_id="picked")
            how = gr.Radio(
                presets.cards(), value=presets.PRESETS[0], label=strings.PRESET, elem_id="preset", elem_classes="cards"
            )
            with gr.Accordion(strings.ADVANCED, open=False, elem_id="extract-advanced"):
                first = gr.Number(None, label=strings.STEPS_1, info=strings.STEPS_INFO, precision=0, elem_id="steps-1")
                second = gr.Number(None, label=strings.STEPS_2, info=strings.STEPS_INFO, precision=0, elem_id="steps-2")
                seed = gr.Number(0, label=strings.SEED, precision=0)
            start = gr.Button(strings.EXTRACT, variant="primary", elem_id="extract")
            stop = gr.Button(strings.STOP, variant="stop", visible=False, elem_id="stop")
            glance = gr.Button(strings.GLANCE, visible=False, elem_id="glance")
            go_on = gr.Button(strings.GO_ON, visible=False, elem_id="go-on")
            discard = gr.Button(strings.DISCARD, visible=False, elem_id="discard")
            next_step = gr.Button(strings.TO_CREATE, variant="primary", visible=False, elem_id="to-create")
            with gr.Accordion(strings.ELSEWHERE, open=False, elem_id="elsewhere"):
                address = gr.Textbox(
                    label=strings.ADDRESS, info=strings.ADDRESS_INFO, interactive=False, max_lines=1, buttons=["copy"],
                    elem_id="address",
                )  # fmt: skip
                gr.Markdown(strings.ADDRESS_HINT, elem_classes="hint")
        with gr.Column(scale=3, min_width=320, elem_id="progress"):
            state = gr.HTML(elem_id="status")
            curves = gr.HTML(elem_id="curves")
            strips = gr.HTML(elem_id="strips")
    live = [state, curves, strips, start, stop, glance, go_on, discard, next_step]
    screen = ExtractScreen([picked, how, *live], live, next_step, strips, address, line)

    def ask(desk: Desk, preset_name, steps_1, steps_2, seed_value):
        scene = boards.to_scene(desk.board)
        begin(desk, line, scene, make_settings(scene, preset_name, steps_1, steps_2, seed_value))
        return [*screen.show(desk), gr.Timer(active=True)]

    def stop_now(desk: Desk):
        if desk.learning:
            desk.learning.ask_stop()
        return screen.progress(desk)

    def go_on_now(desk: Desk):
        before = desk.learning
        if not can_go_on(before):
            raise UserError(strings.NOTHING_TO_GO_ON)
        begin(desk, line, before.shown.scene, before.shown.settings, before)
        return [*screen.show(desk), gr.Timer(active=True)]

    def glance_now(desk: Desk):
        if desk.learning and not desk.learning.over:
            desk.learning.glance.touch()

    def discard_now(desk: Desk):
        if not can_go_on(desk.learning):
            raise UserError(strings.NOTHING_TO_DISCARD)
        desk.discard(desk.learning.shown.run)
        desk.learning = None
        return screen.show(desk)

    glance.click(at_desk(desks, glance_now), [token], None, **QUIET)
    discard.click(at_desk(desks, discard_now), [token], screen.outputs, **QUIET)
    go_on.click(at_desk(desks, go_on_now), [token], [*screen.outputs, timer], **QUIET)
    start.click(at_desk(desks, ask), [token, how, first, second, seed], [*screen.outputs, timer], **QUIET)
    stop.click(at_desk(desks, stop_now), [token], live, **QUIET)
    return screen


def make_settings(scene: Scene, name: str, first: float | None, second: float | None, seed: float | None) -> Settings:
    """The preset's settings for the scene, with the steps and seed asked for; None leaves a phase as it is."""
    settings = adapted(preset(name, engine.base(), seed=int(seed or 0)), scene)
    steps = tuple(own if n is None else int(n) for n, own in zip((first, second), settings.steps, strict=True))
    if not all(0 <= n <= MAX_STEPS for n in steps) or not any(steps):
        raise UserError(strings.STEPS_BAD.format(most=MAX_STEPS))
    settings = replace(settings, steps=steps)
    presets.check_fits(settings)
    return settings


def can_go_on(job: Job | None) -> bool:
    """Whether an extraction ended early and left a checkpoint."""
    return job is not None and job.state in (STOPPED, FAILED) and checkpoint.path_for(job.shown.run).exists()


def begin(desk: Desk, line: Line, scene: Scene, settings: Settings, before: Job | None = None) -> Job:
    """Put an extraction in line, or the rest of the one before.

    Its run appears at the desk when it ends, or when it is stopped after a step.
    """
    if desk.learning and not desk.learning.over:
        raise UserError(strings.ALREADY_LEARNING)
    run = before.shown.run if before else desk.new_run_folder()
    noted = Begun(run, scene, settings)
    notes.note(noted)

    def work(job: Job) -> str | None:
        for event in engine.learn(scene, settings, run, job.flag, job.glance, before is not None):
            if before and not job.events:
                for old in before.events:
                    if old.step < event.step:
                        job.say(old)
            job.say(event)
            engine.note_pace(settings, event)
        if not job.events:
            return None
        job.shown = replace(job.shown, advice=tuple(run_advice(Concepts.load(run))))
        desk.run = run.name
        if not checkpoint.path_for(run).exists():  # there is nothing to go on with
            notes.forget(run)
        return run.name

    try:
        job = line.put(desk.token, "extract", work)
    except UserError:
        if not before:
            notes.forget(run)
        raise
    job.shown = shown(noted)
    desk.learning = job
    return job


def shown(begun: Begun) -> Shown:
    scene = begun.scene
    names = dict(zip(scene.handles, scene.names, strict=True))
    return Shown(names, scene.square_crop(engine.base().image_size).pixels, scene, begun.settings, begun.run)


def take_up(desk: Desk, line: Line) -> bool:
    """After a studio that was killed: the photo and picks of an extraction that had not ended, which may go on."""
    if desk.learning or desk.board.photo or (begun := notes.last(desk.folder / "runs")) is None:
        return False
    desk.board = boards.from_scene(begun.scene)
    kept = checkpoint.path_for(begun.run).exists()
    desk.learning = line.broken(desk.token, "extract", strings.BROKEN_OFF_KEPT if kept else strings.BROKEN_OFF)
    desk.learning.shown = shown(begun)
    return True


def summary(desk: Desk) -> str:
    """The picked things with their names, and what could be better about them."""
    try:
        scene = boards.to_scene(desk.board)
    except UserError as error:
        empty = desk.board.photo is None or all(thing.empty for thing in desk.board.things)
        return (
            f'<p class="notice">{strings.EXTRACT_NOTHING if empty else charts.escape(strings.sentence_for(error))}</p>'
        )
    cuts = [cutout(scene, i) for i in range(len(scene.handles))]
    things = charts.thumbs(cuts, scene.names)
    return f'<p class="hint">{strings.EXTRACT_READY}</p>{things}{charts.notices(scene_advice(scene))}'


def status(job: Job, line: Line) -> str:
    last: StepEvent | None = job.events[-1] if job.events else None
    share = last.step / last.total if last else 0
    if job.state == WAITING:
        return charts.bar(0, strings.WAITING.format(n=line.place(job)))
    if job.state == FAILED:
        return f'<p class="notice bad">{charts.escape(strings.FAILED.format(error=job.error))}</p>'
    if job.state == STOPPED:
        line_ = strings.STOPPED_KEPT.format(step=last.step, total=last.total) if last else strings.STOPPED_EARLY
        return charts.bar(share, line_) + charts.notices(job.shown.advice)
    if job.over:
        names = ", ".join(job.shown.names.values())
        return charts.bar(1, strings.ALL_DONE.format(names=names)) + charts.notices(job.shown.advice)
    if last is None:
        return charts.bar(0, strings.STARTING)
    if last.step == job.shown.settings.steps[0] < last.total:
        return charts.bar(share, strings.RECALLING)
    told = f'<p class="notice">{strings.MEMORY_LOW}</p>' if last.memory and last.memory.after else ""
    return (
        charts.bar(share, strings.PHASE[last.phase], strings.LEFT.format(left=strings.duration(last.seconds_left)))
        + told
    )
