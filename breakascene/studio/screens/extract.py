"""Step 2, Extract: fine-tune on the selected objects, and watch the progress."""

import unicodedata
from dataclasses import dataclass, replace

import gradio as gr

from breakascene.data.scene import MAX_TOGETHER, Scene, cutout
from breakascene.errors import UserError
from breakascene.evaluation.advice import scene_advice
from breakascene.studio import loaded, strings
from breakascene.studio.jobs import STOPPED, Job
from breakascene.studio.screens import charts, confirmation, consent, presets, verdicts
from breakascene.studio.screens.confirmation import Confirmation
from breakascene.studio.screens.consent import ConsentSection
from breakascene.studio.screens.events import PageContext, Updates
from breakascene.studio.screens.extraction_job import MAX_STEPS, can_resume, make_settings, resume, submit
from breakascene.studio.screens.job_panel import JobPanel
from breakascene.studio.state import selection as selections
from breakascene.studio.state.session import Session
from breakascene.training.groups import count_groups
from breakascene.training.loop import StepEvent
from breakascene.training.modes import DEFAULT_PRESET

# The address that opens this session on any device; it names no language, so each browser's own is used
ADDRESS_JS = "(token) => new URL('./?session=' + token, document.baseURI).href"


@dataclass(frozen=True)
class ExtractScreen:
    panel: JobPanel
    summary: gr.HTML
    preset: gr.Radio
    curves: gr.HTML
    strips: gr.HTML
    preview: gr.Button
    resume: gr.Button
    discard: gr.Button
    next: gr.Button
    address: gr.Textbox
    consent: ConsentSection

    @property
    def live(self) -> list:
        """The components that change while a job runs."""
        return [*self.panel.outputs, self.curves, self.strips, self.preview, self.resume, self.discard, self.next]

    @property
    def outputs(self) -> list:
        return [self.summary, self.preset, *self.consent.outputs, *self.live]

    def show(self, session: Session) -> Updates:
        scene = scene_of(session)
        return {
            self.summary: summary(session),
            self.preset: gr.Radio(choices=presets.cards(scene)),
            **self.consent.show(session, scene),
            **self.progress(session),
        }

    def progress(self, session: Session, with_strips: bool = True) -> Updates:
        """Updates of `live`; without the strips, which are large, if they have not changed."""
        job, running = session.extraction, self.panel.running(session)
        has_run = session.runs.current_id is not None
        updates = {
            **self.panel.update(session),
            self.panel.start[0]: gr.Button(
                strings.EXTRACT_AGAIN if has_run else strings.EXTRACT,
                interactive=not running,
                variant="secondary" if has_run else "primary",
            ),
            self.curves: charts.curves(job.events) if job else "",
            self.preview: gr.Button(visible=running and bool(job.events)),
            self.resume: gr.Button(visible=can_resume(job)),
            self.discard: gr.Button(visible=can_resume(job)),
            self.next: gr.Button(visible=has_run and not running),
        }
        if with_strips:
            updates[self.strips] = charts.strips(job.details.names, job.details.crop, job.events) if job else ""
        return updates


def build(page: PageContext) -> ExtractScreen:
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=300):
            objects = gr.HTML(charts.skeleton(), elem_id="selected-objects")
            preset, *settings = build_settings()
            consent_section = consent.build()
            start = gr.Button(strings.EXTRACT, variant="primary", elem_id="extract")
            stop = gr.Button(strings.STOP, variant="stop", visible=False, elem_id="stop")
            preview = gr.Button(strings.PREVIEW_NOW, visible=False, elem_id="preview-now")
            resume_button = gr.Button(strings.RESUME, visible=False, elem_id="resume")
            discard = gr.Button(strings.DELETE_EXTRACTION, visible=False, elem_id="delete-extraction")
            confirm = confirmation.build("confirm-delete-extraction")
            next_step = gr.Button(strings.TO_GENERATE, variant="primary", visible=False, elem_id="to-generate")
            address = build_address()
        with gr.Column(scale=3, min_width=320, elem_id="progress", elem_classes="results"):
            panel = JobPanel("extraction", page, [start], stop, gr.HTML(elem_id="status"), describe)
            curves = gr.HTML(elem_id="curves")
            strips = gr.HTML(elem_id="strips")
    screen = ExtractScreen(
        panel, objects, preset, curves, strips, preview, resume_button, discard, next_step, address, consent_section
    )
    connect(page, screen, [preset, *settings, *consent_section.inputs], confirm)
    return screen


def build_settings() -> tuple[gr.Radio, gr.Textbox, gr.Textbox, gr.Number]:
    """The preset and, under "Advanced", the steps of both phases and the seed."""
    preset = gr.Radio(
        presets.cards(), value=DEFAULT_PRESET, label=strings.PRESET, elem_id="preset", elem_classes="cards"
    )
    with gr.Accordion(strings.ADVANCED, open=False, elem_id="extract-advanced"):
        # Not gr.Number: on some pages an empty one shows, and sends, a 0
        field = {"info": strings.STEPS_INFO, "lines": 1, "max_lines": 1, "max_length": 6}
        first = gr.Textbox(label=strings.STEPS_PHASE_1, elem_id="steps-1", **field)
        second = gr.Textbox(label=strings.STEPS_PHASE_2, elem_id="steps-2", **field)
        seed = gr.Number(0, label=strings.SEED, precision=0)
    return preset, first, second, seed


def build_address() -> gr.Textbox:
    """The address of the session, to continue on another device."""
    with gr.Accordion(strings.OTHER_DEVICE, open=False, elem_id="other-device"):
        address = gr.Textbox(
            label=strings.SESSION_LINK, info=strings.SESSION_LINK_INFO, interactive=False, max_lines=1,
            buttons=["copy"], elem_id="address",
        )  # fmt: skip
        gr.Markdown(strings.SESSION_LINK_HINT, elem_classes="hint")
    return address


def connect(page: PageContext, screen: ExtractScreen, settings: list, confirm: Confirmation) -> None:
    panel = screen.panel

    def start(session: Session, preset: str, first: str, second: str, seed: float | None, *declared) -> None:
        scene = replace(selections.to_scene(session.history.selection), consent=consent.declared(*declared))
        settings = make_settings(scene, preset, parse_steps(first), parse_steps(second), seed)
        submit(session, page.queue, scene, settings)

    def resume_stopped(session: Session) -> None:
        resume(session, page.queue)

    def request_preview(session: Session) -> None:
        if panel.running(session):
            session.extraction.preview_file.touch()

    def discard(session: Session) -> Updates:
        if not can_resume(session.extraction):
            raise UserError(strings.NOTHING_TO_DELETE)
        session.delete_run(session.extraction.details.run)
        session.extraction = None
        return screen.show(session)

    panel.on_start(panel.start[0], start, screen.show, settings, screen.outputs)
    panel.on_start(screen.resume, resume_stopped, screen.show, (), screen.outputs)
    panel.on_stop(screen.progress, screen.live)
    page.on(screen.preview.click, request_preview)
    confirmation.connect(
        page, screen.discard, confirm, lambda session: strings.CONFIRM_DELETE_EXTRACTION, discard, screen.outputs
    )


def parse_steps(text: str | None) -> int | None:
    """The number in a field of steps; an empty field is None. Full-width digits are understood."""
    text = unicodedata.normalize("NFKC", text or "").strip()
    if text and not text.isdecimal():
        raise UserError(strings.INVALID_STEPS.format(most=MAX_STEPS))
    return int(text) if text else None


def summary(session: Session) -> str:
    """The selected objects with their names, and advice on the selection, as HTML."""
    selection = session.history.selection
    try:
        scene = selections.to_scene(selection)
    except UserError as error:
        empty = selection.photo is None or all(obj.empty for obj in selection.objects)
        text = strings.EXTRACT_EMPTY if empty else charts.escape(strings.message_for(error))
        return f'<p class="notice nothing-selected">{text}</p>'
    objects = charts.thumbnails([cutout(scene, i) for i in range(len(scene.handles))], scene.names)
    unfamiliar = "" if loaded.is_familiar(scene) else f'<p class="notice">{strings.UNFAMILIAR_PHOTO}</p>'
    count = count_groups(len(scene.concepts))
    groups = strings.GROUPS_INFO.format(most=MAX_TOGETHER, count=count) if count > 1 else ""
    info = f'<p class="hint">{" ".join([strings.EXTRACT_INFO, groups]).strip()}</p>'
    return f"{info}{objects}{unfamiliar}{charts.notices(scene_advice(scene))}"


def scene_of(session: Session) -> Scene | None:
    """The scene of the selection, if it is complete."""
    try:
        return selections.to_scene(session.history.selection)
    except UserError:
        return None


def describe(job: Job) -> str:
    last: StepEvent | None = job.events[-1] if job.events else None
    share = last.step / last.total if last else 0
    if job.ended:
        if last is None:
            return charts.bar(0, strings.STOPPED_EARLY)
        stopped = strings.STOPPED_KEPT.format(step=last.step, total=last.total) if job.state == STOPPED else ""
        text = strings.SENTENCE_SEPARATOR.join([stopped or strings.EXTRACTED, verdicts.sentence(job.details)])
        return (
            charts.bar(share if stopped else 1, text) + verdicts.panel(job.details) + charts.notices(job.details.advice)
        )
    if last is None:
        return charts.bar(0, strings.STARTING)
    if last.step == last.total:
        return charts.bar(1, strings.COMPARING)
    if last.step == job.details.settings.steps[0] < last.total:
        return charts.bar(share, strings.GENERATING_PRIOR)
    note = f'<p class="notice">{strings.MEMORY_MODE_CHANGED}</p>' if last.memory and last.memory.after else ""
    text = strings.PHASE[last.phase]
    if (groups := job.details.groups) > 1:
        number = (last.step - 1) // job.details.settings.total + 1
        text = strings.GROUP.format(n=number, count=groups, phase=text)
    time_left = strings.TIME_LEFT.format(left=strings.format_duration(last.seconds_left))
    return charts.bar(share, text, time_left) + note
