"""Step 3, Create: a sentence with the handles in it becomes pictures."""

import json
import secrets
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from breakascene.data.scene import MAX_CONCEPTS
from breakascene.errors import UserError
from breakascene.generation.generate import BATCH, image_shapes, read_metadata, save_image
from breakascene.models.prompts import parse_prompt
from breakascene.studio import engine, strings
from breakascene.studio.jobs import FAILED, WAITING, Job, Line
from breakascene.studio.screens import charts, gallery, prompt_builder
from breakascene.studio.screens.events import QUIET, at_desk, download_button
from breakascene.studio.screens.gallery import Pictures
from breakascene.studio.state.gallery import seed_of
from breakascene.studio.state.session import LONGEST_NAME, Desk, Desks, Run

CHIPS = MAX_CONCEPTS + 1  # the things and the background
MOST_PICTURES, MOST_ON_SHEET, MOST_STEPS, LONGEST_PROMPT = 16, 48, 100, 500
SQUARE = "square"  # of generate.shapes
SEEDS = 1_000_000  # new ones are below, short enough to be noted

INSERT = Path(__file__).parent.with_name("static").joinpath("insert.js").read_text(encoding="utf-8")

# Says on the button how many pictures the sheet would have.
SHEET_LABEL = """(prompt, things, places, tries) => {
  const lines = prompt.split("\\n").filter((line) => line.trim()).length;
  return LABEL.replace("{n}", lines * Math.max(1, places.length) * Math.max(1, things.length) * tries);
}"""


@dataclass(frozen=True)
class Drawing:
    """What the screen needs to know of a drawing besides its pictures."""

    count: int
    columns: int = 0  # of the contact sheet, if it makes one


@dataclass(frozen=True)
class Create:
    outputs: list
    live: list
    pictures: Pictures
    reopen: gr.Button  # leads back to step 1
    line: Line
    changes: list  # events after which another run may be the current one

    def show(self, desk: Desk, text: str | None = None) -> list:
        """The whole step, with this sentence, if one is given, else with the visitor's."""
        runs, run = desk.runs(), desk.current_run()
        first = run is not None and desk.prompted != run.id
        if first:  # a sentence to begin with for each new run; after that the sentence is the visitor's
            desk.prompted = run.id
            text = text or prompt_builder.with_place("", next(iter(prompt_builder.places())), run.handles)
        chips = []
        for i in range(CHIPS):
            there = run is not None and i < len(run.handles)
            chips.append(
                gr.Button(f"{run.names[i]}  {run.handles[i]}", icon=str(run.thumbnails()[i]), visible=True)
                if there
                else gr.Button(visible=False)
            )
        return [
            gr.Markdown(visible=run is None),
            gr.Column(visible=run is not None),
            gr.Dropdown([(r.title, r.id) for r in runs], value=run and run.id, visible=len(runs) > 1),
            gr.skip() if text is None else text,
            *chips,
            self.things(run) if first else gr.skip(),
            gr.skip() if run is None else run.called,
            *self.progress(desk),
        ]

    def things(self, run: Run):
        names = dict(zip(run.handles, run.names, strict=True))
        things = prompt_builder.things_of(run.handles)
        return gr.CheckboxGroup([(names[thing], thing) for thing in things], value=things)

    def progress(self, desk: Desk, follow: bool = True) -> list:
        job = desk.drawing
        running = job is not None and not job.over
        return [
            status(job, self.line) if job else no_pictures_yet(),
            gr.Button(interactive=not running),
            gr.Button(interactive=not running),
            gr.Button(strings.STOPPING if running and job.stop_asked() else strings.STOP, visible=running),
            *self.pictures.show(desk, follow),
        ]


def build(desks: Desks, token: gr.State, timer: gr.Timer, line: Line) -> Create:
    nothing = gr.Markdown(strings.CREATE_NOTHING, elem_classes="notice", visible=True)
    with gr.Column(visible=False) as table, gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=300):
            runs = gr.Dropdown([], label=strings.RUN, visible=False, elem_id="runs")
            prompt = gr.Textbox(
                label=strings.PROMPT, info=strings.PROMPT_INFO, placeholder=strings.PROMPT_HINT, lines=2, max_lines=4,
                max_length=LONGEST_PROMPT, elem_id="prompt",
            )  # fmt: skip
            gr.Markdown(strings.CHIPS, elem_classes="caption")
            with gr.Row(elem_classes="chips"):
                chips = [gr.Button(visible=False, size="sm", min_width=90, elem_id=f"chip-{i}") for i in range(CHIPS)]
            gr.Markdown(strings.PLACES_TITLE, elem_classes="caption")
            with gr.Row(elem_classes="chips places"):
                places = {
                    place: gr.Button(name, size="sm", min_width=60) for place, name in prompt_builder.places().items()
                }
            gr.Markdown(strings.MANNERS_TITLE, elem_classes="caption")
            with gr.Row(elem_classes="chips manners"):
                manners = {
                    way: gr.Button(name, size="sm", min_width=60) for way, name in prompt_builder.manners().items()
                }
            count = gr.Slider(1, MOST_PICTURES, 4, step=1, label=strings.COUNT, elem_id="count")
            shape = gr.Radio(shape_choices(), value=SQUARE, label=strings.SHAPE, elem_id="shape")
            with gr.Accordion(strings.ADVANCED, open=False, elem_id="create-advanced") as advanced:
                seed = gr.Number(None, label=strings.SEED, info=strings.SEED_INFO, precision=0, elem_id="seed")
                keep = gr.Checkbox(False, label=strings.KEEP_SEED, elem_id="keep-seed")
                steps = gr.Slider(1, MOST_STEPS, 20, step=1, label=strings.DRAW_STEPS, elem_id="draw-steps")
                guidance = gr.Slider(1, 20, engine.base().default_guidance_scale, step=0.5, label=strings.GUIDANCE)
                negative = gr.Textbox(label=strings.NEGATIVE, max_lines=2, max_length=LONGEST_PROMPT)
            start = gr.Button(strings.DRAW, variant="primary", elem_id="draw")
            stop = gr.Button(strings.STOP, variant="stop", visible=False, elem_id="stop-drawing")
            with gr.Accordion(strings.SHEET, open=False, elem_id="sheet-options"):
                gr.Markdown(strings.SHEET_HINT, elem_classes="hint")
                things = gr.CheckboxGroup([], label=strings.SHEET_THINGS, elem_id="sheet-things")
                named = [(name, place) for place, name in prompt_builder.places().items()]
                where = gr.CheckboxGroup(
                    named, value=[place for _, place in named[:4]], label=strings.SHEET_PLACES, elem_id="sheet-places"
                )
                tries = gr.Slider(1, 4, 1, step=1, label=strings.SHEET_TRIES, elem_id="sheet-tries")
                start_sheet = gr.Button(strings.SHEET_DRAW.format(n=1), variant="primary", elem_id="draw-sheet")
        with gr.Column(scale=3, min_width=320):
            state = gr.HTML(no_pictures_yet(), elem_id="drawing")
            drawn = gallery.build(desks, token)

    with gr.Accordion(strings.KEPT_RUNS, open=False, elem_id="kept-runs"):
        with gr.Row(equal_height=False):
            name = gr.Textbox(label=strings.RUN_NAME, max_length=LONGEST_NAME, scale=3, elem_id="run-name")
            rename = gr.Button(strings.RENAME_RUN, size="sm", scale=1, min_width=100, elem_id="rename-run")
        with gr.Row():
            reopen = gr.Button(strings.REOPEN_RUN, size="sm", elem_id="reopen-run")
            download_button(desks, token, Desk.pack_run, strings.TAKE_RUN, "take-run")
            bring = gr.UploadButton(strings.BRING_RUN, file_types=[".zip"], size="sm", elem_id="bring-run")
            forget = gr.Button(strings.FORGET_RUN, size="sm", elem_id="forget-run")

    live = [state, start, start_sheet, stop, *drawn.outputs]
    create = Create([nothing, table, runs, prompt, *chips, things, name, *live], live, drawn, reopen, line, [])
    settings = [seed, keep, steps, guidance, negative, shape]  # for all pictures of a drawing

    def current_run(desk: Desk) -> Run:
        run = desk.current_run()
        if run is None:
            raise UserError(strings.CREATE_NOTHING)
        return run

    def ask(desk: Desk, text, number, seed_value, kept, *rest):
        seed_value = pick_seed(seed_value, kept)
        begin(desk, line, current_run(desk), text, number, seed_value, *rest)
        return [*create.progress(desk, follow=False), seed_value, gr.Timer(active=True)]

    def ask_sheet(desk: Desk, text, chosen_things, chosen_places, number, seed_value, kept, *rest):
        run, seed_value = current_run(desk), pick_seed(seed_value, kept)
        text = parse_prompt(text or "", run.handles, run.names).text
        rows = prompt_builder.rows_and_columns(text, chosen_things, chosen_places, run.handles)
        begin_sheet(desk, line, run, rows, number, seed_value, *rest)
        return [*create.progress(desk, follow=False), seed_value, gr.Timer(active=True)]

    def stop_now(desk: Desk):
        if desk.drawing:
            desk.drawing.ask_stop()
        return create.progress(desk)

    def again(desk: Desk):
        number = seed_of(read_metadata(desk.album.chosen_picture()))
        gr.Info(strings.SEED_KEPT.format(seed=number), title="")
        return [1, number, True, gr.Accordion(open=True)]

    def use_settings(desk: Desk):
        metadata = read_metadata(desk.album.chosen_picture())
        found = [run.id for run in desk.runs() if run.concepts == metadata["run"]]
        if not found:
            raise UserError(strings.THINGS_FORGOTTEN)
        desk.run = found[0]
        gr.Info(strings.SETTINGS_USED, title="")
        values = [
            1,
            seed_of(metadata),
            True,
            metadata["num_inference_steps"],
            metadata["guidance_scale"],
            metadata["negative_prompt"],
            shape_of(metadata),
        ]
        return [*create.show(desk, metadata["prompt"]), *values]

    def on_runs(event, change, *inputs):
        """An event after which the runs, or the one in use, may be others."""

        def act(desk: Desk, *values):
            change(desk, *values)
            return create.show(desk)

        create.changes.append(event(at_desk(desks, act), [token, *inputs], create.outputs, **QUIET))

    def choose_run(desk: Desk, run: str) -> None:
        desk.run = run

    def handles(desk: Desk) -> tuple[str, ...]:
        run = desk.current_run()
        return run.handles if run else ()

    on_draw = {"outputs": [*live, seed, timer], **QUIET}
    start.click(at_desk(desks, ask), [token, prompt, count, *settings], **on_draw)
    start_sheet.click(at_desk(desks, ask_sheet), [token, prompt, things, where, tries, *settings], **on_draw)
    stop.click(at_desk(desks, stop_now), [token], live, **QUIET)
    seed.input(lambda: True, None, keep, **QUIET)  # whoever types a seed wants that one
    drawn.again.click(at_desk(desks, again), [token], [count, seed, keep, advanced], **QUIET)
    create.changes.append(
        drawn.use.click(at_desk(desks, use_settings), [token], [*create.outputs, count, *settings], **QUIET)
    )
    on_runs(runs.input, choose_run, runs)
    on_runs(bring.upload, lambda desk, file: desk.bring_run(file, engine.base()), bring)
    on_runs(forget.click, Desk.forget_run)
    on_runs(rename.click, Desk.rename_run, name)
    label = SHEET_LABEL.replace("LABEL", json.dumps(strings.SHEET_DRAW))
    for event in (prompt.change, things.change, where.change, tries.change):
        event(None, [prompt, things, where, tries], [start_sheet], js=label, api_visibility="private")
    for chip in chips:
        chip.click(None, [prompt, chip], [prompt], js=INSERT, api_visibility="private")
    for place, button in places.items():
        put = at_desk(desks, lambda desk, text, place=place: prompt_builder.with_place(text, place, handles(desk)))
        button.click(put, [token, prompt], prompt, **QUIET)
    for manner, button in manners.items():
        button.click(lambda text, manner=manner: prompt_builder.with_manner(text, manner), [prompt], prompt, **QUIET)
    return create


def begin(desk: Desk, line: Line, run: Run, prompt, count, seed, *rest) -> Job:
    """Put a drawing in line; what is wrong with the sentence is said at once, before the wait."""
    prompt, count = " ".join((prompt or "").split()), min(max(int(count or 1), 1), MOST_PICTURES)
    return _begin(desk, line, run, [prompt], Drawing(count), count, seed, *rest)


def begin_sheet(desk: Desk, line: Line, run: Run, rows: list[list[str]], tries, seed, *rest) -> Job:
    """The same for a contact sheet of sentences, `tries` pictures of each, the first of each from the same seed."""
    prompts, tries = [prompt for row in rows for prompt in row], max(int(tries or 1), 1)
    drawing = Drawing(len(prompts) * tries, columns=len(rows[0]) * tries)
    if drawing.count > MOST_ON_SHEET:
        raise UserError(strings.SHEET_LARGE.format(n=drawing.count, most=MOST_ON_SHEET))
    return _begin(desk, line, run, prompts, drawing, tries, seed, *rest)


def _begin(
    desk: Desk, line: Line, run: Run, prompts: list[str], drawing: Drawing,
    count, seed, steps, guidance, negative, shape=SQUARE,
) -> Job:  # fmt: skip
    negative = " ".join((negative or "").split())
    if not all(prompts):
        raise UserError(strings.NO_PROMPT)
    if max(map(len, [*prompts, negative])) > LONGEST_PROMPT:
        raise UserError(strings.PROMPT_LONG.format(most=LONGEST_PROMPT))
    parsed = [parse_prompt(prompt, run.handles, run.names, engine.base()) for prompt in prompts]
    parsed.append(parse_prompt(negative, run.handles, base=engine.base()))
    *prompts, negative = (one.text for one in parsed)
    for note in dict.fromkeys(note for one in parsed for note in one.notes):
        gr.Info(strings.told(note), title="")
    if (size := image_shapes(engine.base()).get(shape or SQUARE)) is None:
        raise UserError(strings.SHAPE_BAD.format(known=", ".join(image_shapes(engine.base()))))
    if desk.drawing and not desk.drawing.over:
        raise UserError(strings.ALREADY_DRAWING)
    options = {
        "count": count,
        "seed": abs(int(seed or 0)) % 2**31,
        "num_inference_steps": min(max(int(steps or 20), 1), MOST_STEPS),
        "guidance_scale": None if guidance is None else float(guidance),
        "negative_prompt": negative,
        "same_seeds": bool(drawing.columns),
        "size": size,
        "batch_size": BATCH if drawing.columns else 1,  # one by one to look at, a sheet to be done soon
    }

    def work(job: Job) -> list[Path]:
        for picture in engine.draw(run.folder, prompts, job.flag, **options):
            job.say(save_image(picture, desk.album.pictures_folder))
        if drawing.columns and job.events:
            desk.album.save_sheet(job.events, drawing.columns)
        return list(job.events)

    desk.drawing = line.put(desk.token, "generate", work)
    desk.drawing.shown = drawing
    desk.album.show_all()  # so that the new pictures are seen
    return desk.drawing


def pick_seed(seed: float | None, kept: bool) -> int:
    """The seed that is kept, or a new one."""
    return abs(int(seed)) % 2**31 if kept and seed is not None else secrets.randbelow(SEEDS)


def shape_choices() -> list[tuple[str, str]]:
    sizes = image_shapes(engine.base())
    return [(f"{strings.SHAPES[name]} {width} × {height}", name) for name, (width, height) in sizes.items()]


def shape_of(metadata: dict) -> str:
    """The shape of a picture's metadata; records of before there were shapes have none."""
    sizes = {size: name for name, size in image_shapes(engine.base()).items()}
    return sizes.get((metadata.get("width"), metadata.get("height")), SQUARE)


def no_pictures_yet() -> str:
    return f'<p class="hint">{strings.EMPTY_GALLERY}</p>'


def status(job: Job, line: Line) -> str:
    drawn, count = len(job.events), job.shown.count
    if job.state == WAITING:
        return charts.bar(0, strings.WAITING.format(n=line.place(job)))
    if job.state == FAILED:
        return f'<p class="notice bad">{charts.escape(strings.FAILED.format(error=job.error))}</p>'
    if job.over:
        return charts.bar(drawn / count, strings.DREW.format(n=drawn, count=count))
    return charts.bar(drawn / count, strings.DRAWING.format(n=drawn + 1, count=count))
