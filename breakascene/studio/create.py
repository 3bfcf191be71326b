"""Step 3, Create: a sentence with the handles in it becomes pictures."""

from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from breakascene.errors import UserError
from breakascene.generate import read_record, save_picture
from breakascene.handles import check_prompt
from breakascene.scene import MAX_CONCEPTS
from breakascene.studio import charts, models, words
from breakascene.studio.desk import Desk, Desks, Run
from breakascene.studio.jobs import FAILED, WAITING, Job, Line
from breakascene.studio.screen import QUIET, at_desk, download_button

CHIPS = MAX_CONCEPTS + 1  # the things and the background
MOST_PICTURES, MOST_STEPS, LONGEST_PROMPT = 16, 100, 500

# Puts a handle where the cursor stands in the sentence, as one would type it.
INSERT = """(prompt, chip) => {
  const box = document.querySelector("#prompt textarea");
  const [a, b] = box ? [box.selectionStart, box.selectionEnd] : [prompt.length, prompt.length];
  const before = prompt.slice(0, a), after = prompt.slice(b);
  const left = before && !/\\s$/.test(before) ? " " : "", right = after && !/^[\\s,.]/.test(after) ? " " : "";
  const word = left + chip.match(/<[^>]+>$/)[0] + right;
  setTimeout(() => { if (box) { box.focus(); box.setSelectionRange(a + word.length, a + word.length); } }, 60);
  return before + word + after;
}"""


@dataclass(frozen=True)
class Create:
    outputs: list
    live: list
    line: Line
    changes: list  # events after which another run may be the current one

    def show(self, desk: Desk) -> list:
        runs, run = desk.runs(), desk.current_run()
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
            self.first_prompt(desk, run),
            *chips,
            *self.progress(desk),
        ]

    def first_prompt(self, desk: Desk, run: Run | None):
        """A sentence to begin with for each new run; after that the sentence is the visitor's."""
        if run is None or desk.prompted == run.id:
            return gr.skip()
        desk.prompted = run.id
        return with_place("", next(iter(words.PLACES)), run.handles)

    def progress(self, desk: Desk) -> list:
        job = desk.drawing
        running = job is not None and not job.over
        return [
            status(job, self.line) if job else no_pictures_yet(),
            gallery(desk),
            gr.Button(interactive=not running),
            gr.Button(words.STOPPING if running and job.stop_asked() else words.STOP, visible=running),
        ]


def build(desks: Desks, token: gr.State, timer: gr.Timer, line: Line) -> Create:
    nothing = gr.Markdown(words.CREATE_NOTHING, elem_classes="notice", visible=True)
    with gr.Column(visible=False) as table, gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=300):
            runs = gr.Dropdown([], label=words.RUN, visible=False, elem_id="runs")
            prompt = gr.Textbox(
                label=words.PROMPT, info=words.PROMPT_INFO, placeholder=words.PROMPT_HINT, lines=2, max_lines=4,
                max_length=LONGEST_PROMPT, elem_id="prompt",
            )  # fmt: skip
            gr.Markdown(words.CHIPS, elem_classes="caption")
            with gr.Row(elem_classes="chips"):
                chips = [gr.Button(visible=False, size="sm", min_width=90, elem_id=f"chip-{i}") for i in range(CHIPS)]
            gr.Markdown(words.PLACES_TITLE, elem_classes="caption")
            with gr.Row(elem_classes="chips places"):
                places = {place: gr.Button(name, size="sm", min_width=60) for place, name in words.PLACES.items()}
            gr.Markdown(words.MANNERS_TITLE, elem_classes="caption")
            with gr.Row(elem_classes="chips manners"):
                manners = {manner: gr.Button(name, size="sm", min_width=60) for manner, name in words.MANNERS.items()}
            count = gr.Slider(1, MOST_PICTURES, 4, step=1, label=words.COUNT, elem_id="count")
            with gr.Accordion(words.ADVANCED, open=False, elem_id="create-advanced"):
                seed = gr.Number(0, label=words.SEED, info=words.SEED_INFO, precision=0, elem_id="seed")
                steps = gr.Slider(1, MOST_STEPS, 20, step=1, label=words.DRAW_STEPS, elem_id="draw-steps")
                guidance = gr.Slider(1, 20, models.base().guidance, step=0.5, label=words.GUIDANCE)
                negative = gr.Textbox(label=words.NEGATIVE, max_lines=2, max_length=LONGEST_PROMPT)
            start = gr.Button(words.DRAW, variant="primary", elem_id="draw")
            stop = gr.Button(words.STOP, variant="stop", visible=False, elem_id="stop-drawing")
        with gr.Column(scale=3, min_width=320):
            state = gr.HTML(no_pictures_yet(), elem_id="drawing")
            pictures = gr.Gallery(
                show_label=False, columns=4, height="auto", object_fit="contain", interactive=False,
                buttons=["download", "fullscreen"], elem_id="pictures", min_width=200,
            )  # fmt: skip
            download_button(desks, token, Desk.zip_pictures, words.ZIP, "zip")

    with gr.Accordion(words.KEPT_RUNS, open=False, elem_id="kept-runs"), gr.Row():
        download_button(desks, token, Desk.pack_run, words.TAKE_RUN, "take-run")
        bring = gr.UploadButton(words.BRING_RUN, file_types=[".zip"], size="sm", elem_id="bring-run")
        forget = gr.Button(words.FORGET_RUN, size="sm", elem_id="forget-run")

    live = [state, pictures, start, stop]
    create = Create([nothing, table, runs, prompt, *chips, *live], live, line, [])

    def ask(desk: Desk, text, number, seed_value, steps_value, guidance_value, negative_value):
        run = desk.current_run()
        if run is None:
            raise UserError(words.CREATE_NOTHING)
        begin(desk, line, run, text, number, seed_value, steps_value, guidance_value, negative_value)
        return [*create.progress(desk), gr.Timer(active=True)]

    def stop_now(desk: Desk):
        if desk.drawing:
            desk.drawing.ask_stop()
        return create.progress(desk)

    def choose_run(desk: Desk, run):
        desk.run = run
        return create.show(desk)

    def bring_run(desk: Desk, file):
        desk.bring_run(file, models.base())
        return create.show(desk)

    def forget_run(desk: Desk):
        desk.forget_run()
        return create.show(desk)

    def handles(desk: Desk) -> tuple[str, ...]:
        run = desk.current_run()
        return run.handles if run else ()

    start.click(at_desk(desks, ask), [token, prompt, count, seed, steps, guidance, negative], [*live, timer], **QUIET)
    stop.click(at_desk(desks, stop_now), [token], live, **QUIET)
    create.changes.extend(
        [
            runs.input(at_desk(desks, choose_run), [token, runs], create.outputs, **QUIET),
            bring.upload(at_desk(desks, bring_run), [token, bring], create.outputs, **QUIET),
            forget.click(at_desk(desks, forget_run), [token], create.outputs, **QUIET),
        ]
    )
    for chip in chips:
        chip.click(None, [prompt, chip], [prompt], js=INSERT, api_visibility="private")
    for place, button in places.items():
        put = at_desk(desks, lambda desk, text, place=place: with_place(text, place, handles(desk)))
        button.click(put, [token, prompt], prompt, **QUIET)
    for manner, button in manners.items():
        button.click(lambda text, manner=manner: with_manner(text, manner), [prompt], prompt, **QUIET)
    return create


def begin(desk: Desk, line: Line, run: Run, prompt, count, seed, steps, guidance, negative) -> Job:
    """Put a drawing in line; what is wrong with the sentence is said at once, before the wait."""
    prompt, negative = " ".join((prompt or "").split()), " ".join((negative or "").split())
    if not prompt:
        raise UserError(words.NO_PROMPT)
    if max(len(prompt), len(negative)) > LONGEST_PROMPT:
        raise UserError(words.PROMPT_LONG.format(most=LONGEST_PROMPT))
    check_prompt(prompt, run.handles)
    check_prompt(negative, run.handles)
    if desk.drawing and not desk.drawing.over:
        raise UserError(words.ALREADY_DRAWING)
    options = {
        "count": min(max(int(count or 1), 1), MOST_PICTURES),
        "seed": abs(int(seed or 0)) % 2**31,
        "steps": min(max(int(steps or 20), 1), MOST_STEPS),
        "guidance": None if guidance is None else float(guidance),
        "negative": negative,
    }

    def work(job: Job) -> list[Path]:
        for picture in models.draw(run.folder, [prompt], job.flag, **options):
            job.say(save_picture(picture, desk.pictures_folder))
        return list(job.events)

    desk.drawing = line.put(desk.token, "generate", work)
    desk.drawing.shown = options["count"]
    return desk.drawing


def with_place(text: str, place: str, handles: tuple[str, ...]) -> str:
    """The sentence with another place: it replaces one of the known places, or is added at the end."""
    text = (text or "").strip().rstrip(".")
    if not text:
        things = [handle for handle in handles if handle != "<background>"]
        text = f"a photo of {' and '.join(things[:2])}"
    for known in words.PLACES:
        if text.endswith(known):
            text = text[: -len(known)].rstrip(" ,")
    return f"{text} {place}"


def with_manner(text: str, manner: str) -> str:
    """The sentence for a picture made in another way: "a painting of …" instead of "a photo of …"."""
    text = (text or "").strip()
    for known in words.MANNERS:
        text = text.removeprefix(f"{known} of ")
    return f"{manner} of {text}"


def no_pictures_yet() -> str:
    return f'<p class="hint">{words.EMPTY_GALLERY}</p>'


def gallery(desk: Desk) -> list[tuple[str, str]]:
    """Paths, never images: the files go out as they are, with the records inside."""
    return [(str(path), caption(read_record(path))) for path in desk.pictures()]


def caption(record: dict) -> str:
    """The sentence with plain names in place of the handles."""
    text = record["prompt"]
    for handle, name in record["handles"].items():
        text = text.replace(handle, name)
    return f"{text} · {words.SEED.lower()} {record['seed'] + record['index']}"


def status(job: Job, line: Line) -> str:
    drawn, count = len(job.events), job.shown
    if job.state == WAITING:
        return charts.bar(0, words.WAITING.format(n=line.place(job)))
    if job.state == FAILED:
        return f'<p class="notice bad">{charts.escape(words.FAILED.format(error=job.error))}</p>'
    if job.over:
        return charts.bar(drawn / count, words.DREW.format(n=drawn, count=count))
    return charts.bar(drawn / count, words.DRAWING.format(n=drawn + 1, count=count))
