"""Step 3, Generate: images from a prompt with handles."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import gradio as gr

from breakascene.data.handle_names import BACKGROUND
from breakascene.errors import UserError
from breakascene.generation.generate import read_metadata
from breakascene.generation.layout import parse_layout
from breakascene.models.loading import short_name
from breakascene.models.prompts import parse_prompt
from breakascene.studio import loaded, strings
from breakascene.studio.jobs import RUNNING, Job
from breakascene.studio.screens import (
    charts,
    confirmation,
    edit,
    gallery,
    generate_sections,
    generation_job,
    layout,
    prompt_builder,
    prompt_hints,
)
from breakascene.studio.screens.edit import EditSection
from breakascene.studio.screens.events import PageContext, Updates, show_notice
from breakascene.studio.screens.gallery import GalleryPanel
from breakascene.studio.screens.generate_sections import ImageSettings, PromptSection, RunSection, SheetSection
from breakascene.studio.screens.job_panel import JobPanel
from breakascene.studio.screens.layout import VALUES_JS, LayoutSection
from breakascene.studio.state.gallery import image_seed
from breakascene.studio.state.run_store import ChosenRuns, Run
from breakascene.studio.state.session import Session


@dataclass(frozen=True)
class GenerateScreen:
    """The components of step 3.

    Attributes:
        empty: Notice in place of `main` until there is a run.
        added_runs: Further runs whose objects may stand in the prompt.
        run_changes: Events after which the current run may be another.
    """

    empty: gr.HTML
    main: gr.Column
    run_choice: gr.Dropdown
    added_runs: gr.Dropdown
    prompt: PromptSection
    variations: gr.Button
    background: gr.Button
    settings: ImageSettings
    layout: LayoutSection
    sheet: SheetSection
    edit: EditSection
    panel: JobPanel
    gallery: GalleryPanel
    runs: RunSection
    run_changes: list = field(default_factory=list)

    @property
    def live(self) -> list:
        """The components that change while a job runs."""
        return [*self.panel.outputs, *self.gallery.outputs, self.prompt.history]

    @property
    def outputs(self) -> list:
        prompt = [self.prompt.prompt, *self.prompt.chips]
        choices = [self.run_choice, self.added_runs, self.sheet.objects, self.layout.canvas]
        run = [self.runs.base, *self.runs.fields]
        return [self.empty, self.main, *choices, *prompt, *self.edit.outputs, *run, *self.live]

    @property
    def base_outputs(self) -> list:
        """The components that depend on the base in use."""
        chips = [self.prompt.places.toybox, self.prompt.places.others]
        chips += [self.prompt.styles.toybox, self.prompt.styles.others]
        settings = [self.settings.count, self.settings.shape, self.settings.guidance]
        return [*chips, *settings, self.sheet.styles, self.sheet.places]

    def show_base(self) -> Updates:
        sheet = {
            self.sheet.styles: gr.CheckboxGroup(**generate_sections.style_choices()),
            self.sheet.places: gr.CheckboxGroup(**generate_sections.place_choices()),
        }
        chips = {**self.prompt.places.show(), **self.prompt.styles.show()}
        return {**chips, **self.settings.show_base(), **sheet}

    def show(self, session: Session, prompt: str | None = None) -> Updates:
        """Updates of all outputs.

        A new run gets a suggested prompt; afterwards the visitor's prompt stays, unless `prompt` replaces it.
        """
        runs, chosen = session.runs.list(), session.runs.chosen()
        run = chosen and chosen.runs[0]
        updates = {
            self.empty: gr.HTML(f'<p class="notice">{strings.GENERATE_EMPTY}</p>', visible=run is None),
            self.main: gr.Column(visible=run is not None),
            self.run_choice: gr.Dropdown(
                [(other.title, other.id) for other in runs], value=run and run.id, visible=is_choice(runs)
            ),
            self.added_runs: gr.Dropdown(
                [(other.title, other.id) for other in runs if other != run],
                value=[other.id for other in chosen.runs[1:]] if chosen else [],
                visible=len(runs) > 1,
            ),
            **self.prompt.chip_updates(chosen),
            **self.edit.show(session),
            **self.progress(session),
        }
        has_background = chosen is not None and BACKGROUND in chosen.handles
        updates[self.background] = gr.Button(visible=has_background, interactive=not self.panel.running(session))
        updates |= {self.runs.name: run.name if run else "", self.runs.tags: ", ".join(run.details.tags) if run else ""}
        updates[self.runs.base] = base_of(run) if run else ""
        if run is None:
            updates[self.sheet.objects] = gr.CheckboxGroup([], value=[])
        else:
            if session.suggested_runs != chosen.ids:
                session.suggested_runs = chosen.ids
                place = next(iter(prompt_builder.places()))
                prompt = prompt or prompt_builder.with_place("", place, chosen.suggested_handles())
                updates[self.sheet.objects] = self.sheet.objects_of(chosen)
                updates[self.layout.canvas] = layout.canvas_html(chosen)
        if prompt is not None:
            updates[self.prompt.prompt] = prompt
        return updates

    def progress(self, session: Session, follow: bool = True) -> Updates:
        """Updates of `live`; see GalleryPanel.show for `follow`."""
        history = self.prompt.history_update(session.gallery)
        return {**self.panel.update(session), **self.gallery.show(session, follow), **history}


def build(page: PageContext) -> GenerateScreen:
    empty = gr.HTML(charts.skeleton())
    with gr.Column(visible=False) as main, gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=300):
            run_choice = gr.Dropdown([], label=strings.OBJECT_SET, visible=False, elem_id="runs")
            added_runs = gr.Dropdown(
                [], multiselect=True, label=strings.ADDED_SETS, info=strings.ADDED_SETS_INFO, visible=False,
                elem_id="added-runs",
            )  # fmt: skip
            run_base = gr.HTML(elem_id="run-base")
            start = gr.Button(strings.GENERATE, variant="primary", elem_id="generate", render=False)
            stop = gr.Button(strings.STOP, variant="stop", visible=False, elem_id="stop-generation", render=False)
            variations = gr.Button(strings.VARIATIONS, size="sm", elem_id="generate-variations", render=False)
            background = gr.Button(strings.BACKGROUND_ONLY, size="sm", elem_id="generate-background", render=False)
            prompt = generate_sections.build_prompt([start, stop], [variations, background])
            settings = generate_sections.build_settings()
            placing = layout.build()
            sheet = generate_sections.build_sheet(prompt.prompt)
            edits = edit.build()
            upscale = gr.Button(strings.UPSCALE, size="sm", min_width=150, elem_id="upscale", render=False)
        with gr.Column(scale=3, min_width=320, elem_classes="results"):
            idle = f'<p class="hint">{strings.EMPTY_GALLERY}</p>'
            status = gr.HTML(idle, elem_id="generation-status")
            buttons = [start, sheet.start, edits.start, placing.start, variations, background, upscale]
            panel = JobPanel("generation", page, buttons, stop, status, describe, idle)
            images = gallery.build(page, upscale)
    runs = generate_sections.build_runs(page, run_base)
    screen = GenerateScreen(
        empty, main, run_choice, added_runs, prompt, variations, background, settings, placing, sheet, edits, panel,
        images, runs,
    )  # fmt: skip
    generate_sections.connect_prompt(page, prompt)
    connect_hints(page, screen)
    connect_generation(page, screen)
    connect_edits(page, screen)
    connect_chosen_image(page, screen)
    connect_runs(page, screen)
    return screen


def connect_hints(page: PageContext, screen: GenerateScreen) -> None:
    prompt, hints, negative = screen.prompt.prompt, screen.prompt.hints, screen.settings.negative

    def show_hints(session: Session, text: str, negative: str) -> Updates:
        return {hints: prompt_hints.hints_html(session.runs.chosen(), text, negative)}

    for textbox in (prompt, negative):
        page.on(textbox.change, show_hints, [prompt, negative], [hints], trigger_mode="always_last", queue=False)


def connect_generation(page: PageContext, screen: GenerateScreen) -> None:
    settings, panel = screen.settings, screen.panel

    def generate(session: Session, text, count, seed, keep_seed, *options) -> Updates:
        seed = generation_job.choose_seed(seed, keep_seed)
        show_notes(generation_job.submit(session, page.queue, require_runs(session), text, count, seed, *options))
        return {settings.seed: seed}

    def generate_sheet(session: Session, text, objects, styles, places, tries, seed, keep_seed, *options) -> Updates:
        runs, seed = require_runs(session), generation_job.choose_seed(seed, keep_seed)
        text = parse_prompt(text or "", runs.handles, runs.names).text
        rows = prompt_builder.prompt_grid(text, objects, styles, places, runs.handles)
        show_notes(generation_job.submit_sheet(session, page.queue, runs, rows, tries, seed, *options))
        return {settings.seed: seed}

    def generate_variations(session: Session, strength, count, seed, keep_seed, *options) -> Updates:
        seed = generation_job.choose_seed(seed, keep_seed)
        generation_job.submit_variations(session, page.queue, require_runs(session), strength, count, seed, *options)
        return {settings.seed: seed}

    def generate_background(session: Session, count, seed, keep_seed, *options) -> Updates:
        seed = generation_job.choose_seed(seed, keep_seed)
        generation_job.submit_background(session, page.queue, require_runs(session), count, seed, *options)
        return {settings.seed: seed}

    def generate_layout(session: Session, text, count, strength, seed, keep_seed, *options) -> Updates:
        *options, values = options
        runs, seed = require_runs(session), generation_job.choose_seed(seed, keep_seed)
        if not json.loads(values).get("objects"):
            raise UserError(strings.LAYOUT_EMPTY)
        placed = parse_layout(values, runs.handles, runs.names)
        job = generation_job.submit_layout(session, page.queue, runs, placed, strength, text, count, seed, *options)
        show_notes(job)
        return {settings.seed: seed}

    def upscale(session: Session) -> None:
        generation_job.submit_upscaling(session, page.queue, session.gallery.chosen_image())

    def show(session: Session) -> Updates:
        return screen.progress(session, follow=False)

    sheet, prompt, outputs = screen.sheet, screen.prompt.prompt, [*screen.live, settings.seed]
    panel.on_start(panel.start[0], generate, show, [prompt, settings.count, *settings.inputs], outputs)
    sheet_inputs = [prompt, sheet.objects, sheet.styles, sheet.places, sheet.tries, *settings.inputs]
    panel.on_start(sheet.start, generate_sheet, show, sheet_inputs, outputs)
    inputs = [settings.count, *settings.inputs]
    panel.on_start(screen.variations, generate_variations, show, [settings.strength, *inputs], outputs)
    panel.on_start(screen.background, generate_background, show, inputs, outputs)
    inputs = [prompt, settings.count, screen.layout.strength, *settings.inputs, screen.layout.values]
    panel.on_start(screen.layout.start, generate_layout, show, inputs, outputs, js=VALUES_JS)
    panel.on_start(screen.gallery.chosen.upscale, upscale, show, (), screen.live)
    panel.on_stop(screen.progress, screen.live)


def connect_edits(page: PageContext, screen: GenerateScreen) -> None:
    settings, section, panel = screen.settings, screen.edit, screen.panel

    def start(session: Session, text, count, strength, shown, who, scope, until, seed, keep_seed, *options) -> Updates:
        runs, seed = require_runs(session), generation_job.choose_seed(seed, keep_seed)
        repainted = edit.photo_edit(session, strength, shown, who, scope, until)
        show_notes(generation_job.submit_edit(session, page.queue, runs, repainted, text, count, seed, *options))
        return {settings.seed: seed}

    def show(session: Session) -> Updates:
        return screen.progress(session, follow=False)

    def edit_chosen(session: Session, tool: str) -> Updates:
        edit.open_file(session, session.gallery.chosen_image())
        return {**section.show_opened(session, tool), section.accordion: gr.Accordion(open=True)}

    edit.connect(page, section)
    inputs = [screen.prompt.prompt, settings.count, *section.inputs, *settings.inputs]
    panel.on_start(section.start, start, show, inputs, [*screen.live, settings.seed])
    opened = page.on(screen.gallery.chosen.edit.click, edit_chosen, [section.canvas.tool], section.outputs)
    opened.then(None, js=edit.SHOW_JS, api_visibility="private")


def connect_chosen_image(page: PageContext, screen: GenerateScreen) -> None:
    settings = screen.settings

    def keep_seed(session: Session) -> Updates:
        seed = image_seed(read_metadata(session.gallery.chosen_image()))
        show_notice(strings.SEED_KEPT.format(seed=seed))
        return {
            settings.count: 1,
            settings.seed: seed,
            settings.keep_seed: True,
            settings.advanced: gr.Accordion(open=True),
        }

    def use_settings(session: Session) -> Updates:
        return restore(session, read_metadata(session.gallery.chosen_image()))

    def use_file(session: Session, file: str | None) -> Updates:
        if file is None:
            return {}
        return {**restore(session, checked_metadata(file)), settings.image: None}

    def restore(session: Session, metadata: dict) -> Updates:
        session.runs.current_id, *added = generation_job.runs_of(session, metadata).ids
        session.runs.added_ids = tuple(added)
        show_notice(strings.SETTINGS_USED)
        return {**screen.show(session, metadata["prompt"]), **settings.of(metadata)}

    page.on(
        screen.gallery.keep_seed.click,
        keep_seed,
        (),
        [settings.count, settings.seed, settings.keep_seed, settings.advanced],
    )
    outputs = [*screen.outputs, settings.count, settings.strength, *settings.inputs]
    screen.run_changes.append(page.on(screen.gallery.use_settings.click, use_settings, (), outputs))
    outputs = [*outputs, settings.image]
    screen.run_changes.append(page.on(settings.image.upload, use_file, [settings.image], outputs))


def connect_runs(page: PageContext, screen: GenerateScreen) -> None:
    def choose(session: Session, run_id: str) -> None:
        session.runs.current_id = run_id

    def add(session: Session, run_ids: list[str]) -> None:
        session.runs.added_ids = tuple(run_ids or ())

    def import_file(session: Session, file: str) -> None:
        page.check_disk(session)
        session.runs.import_file(file, loaded.base())

    def describe(session: Session, name: str, tags: str) -> None:
        session.runs.describe(name, tags)

    def on(event, change, *inputs) -> None:
        def act(session: Session, *values) -> Updates:
            change(session, *values)
            return screen.show(session)

        screen.run_changes.append(page.on(event, act, inputs, screen.outputs))

    def delete(session: Session) -> Updates:
        session.delete_run()
        return screen.show(session)

    deleted = confirmation.connect(
        page, screen.runs.delete, screen.runs.confirmation,
        lambda session: strings.CONFIRM_DELETE_SET.format(name=session.runs.require_current().name),
        delete, screen.outputs,
    )  # fmt: skip
    screen.run_changes.append(deleted)
    on(screen.run_choice.input, choose, screen.run_choice)
    on(screen.added_runs.input, add, screen.added_runs)
    on(screen.runs.upload.upload, import_file, screen.runs.upload)
    on(screen.runs.save.click, describe, *screen.runs.fields)


def base_of(run: Run) -> str:
    """The base that a run belongs to and, if another is in use, what to do, as HTML."""
    name = short_name(run.base)
    if run.fingerprint != loaded.base().fingerprint:
        return f'<p class="notice">{charts.escape(strings.RUN_OTHER_BASE.format(name=name))}</p>'
    return f'<p class="hint">{charts.escape(strings.RUN_BASE.format(name=name))}</p>'


def is_choice(runs: Sequence[Run]) -> bool:
    """Whether the runs are listed: there is something to choose, or a name of the visitor's own to show."""
    return len(runs) > 1 or any(run.details.name for run in runs)


def show_notes(job: Job) -> None:
    """Say how the prompts were understood."""
    for note in job.details.notes:
        show_notice(note)


def checked_metadata(file: str) -> dict:
    """The metadata of an uploaded PNG; raises UserError if it has none that could be from this studio."""
    try:
        metadata = read_metadata(file)
    except UserError as error:  # names the file on the server
        raise UserError(strings.IMAGE_WITHOUT_SETTINGS) from error
    numbers = ("seed", "index", "num_inference_steps", "guidance_scale")
    texts = ("prompt", "negative_prompt", "run")
    if not all(isinstance(metadata.get(key), int | float) for key in numbers) or not all(
        isinstance(metadata.get(key), str) for key in texts
    ):
        raise UserError(strings.IMAGE_WITHOUT_SETTINGS)
    return metadata


def require_runs(session: Session) -> ChosenRuns:
    """The chosen runs; raises UserError if there is none."""
    if (runs := session.runs.chosen()) is None:
        raise UserError(strings.GENERATE_EMPTY)
    return runs


def describe(job: Job) -> str:
    done, count = len(job.events), job.details.count
    if job.ended:
        return charts.bar(done / count, strings.GENERATED.format(n=done, count=count))
    preview = charts.live_image(job.live_image) if job.state == RUNNING else ""
    return charts.bar(done / count, strings.GENERATING.format(n=done + 1, count=count)) + preview
