"""At the foot of step 3: how well the painter knows the things, in figures and pictures."""

import json
from dataclasses import dataclass
from html import escape

import gradio as gr

from breakascene.errors import UserError
from breakascene.evaluation.metrics import NOTHING, OTHER
from breakascene.rendering import html
from breakascene.studio import engine, strings
from breakascene.studio.jobs import FAILED, STOPPED, WAITING, Job, Line
from breakascene.studio.screens import charts
from breakascene.studio.screens.events import QUIET, at_desk, download_button
from breakascene.studio.state.session import Desk, Desks, Run


@dataclass(frozen=True)
class Check:
    outputs: list
    line: Line

    def show(self, desk: Desk) -> list:
        job, run = desk.checking, desk.current_run()
        running = job is not None and not job.over
        found = figures(run) if run else None
        return [
            gr.Button(interactive=run is not None and not running),
            gr.Button(strings.STOPPING if running and job.stop_asked() else strings.STOP, visible=running),
            status(job, self.line) if job else "",
            table(found) if found else "",
            gr.Gallery(pictures(run, found) if found else [], visible=found is not None),
        ]


def build(desks: Desks, token: gr.State, timer: gr.Timer, line: Line) -> Check:
    with gr.Accordion(strings.CHECK, open=False, elem_id="check"):
        gr.Markdown(strings.CHECK_HINT, elem_classes="hint")
        with gr.Row(elem_classes="tools"):
            start = gr.Button(strings.CHECK_START, size="sm", elem_id="check-start")
            stop = gr.Button(strings.STOP, size="sm", variant="stop", visible=False, elem_id="check-stop")
            download_button(desks, token, Desk.zip_report, strings.TAKE_REPORT, "take-report")
        state = gr.HTML(elem_id="check-status")
        result = gr.HTML(elem_id="check-result")
        drawn = gr.Gallery(
            show_label=False, columns=4, height="auto", object_fit="contain", interactive=False, visible=False,
            buttons=["fullscreen"], elem_id="check-pictures",
        )  # fmt: skip
    check = Check([start, stop, state, result, drawn], line)

    def ask(desk: Desk):
        begin(desk, line)
        return [*check.show(desk), gr.Timer(active=True)]

    def stop_now(desk: Desk):
        if desk.checking:
            desk.checking.ask_stop()
        return check.show(desk)

    start.click(at_desk(desks, ask), [token], [*check.outputs, timer], **QUIET)
    stop.click(at_desk(desks, stop_now), [token], check.outputs, **QUIET)
    return check


def begin(desk: Desk, line: Line) -> Job:
    """Put the check of the current run in line."""
    run = desk.current_run()
    if run is None:
        raise UserError(strings.CREATE_NOTHING)
    if desk.checking and not desk.checking.over:
        raise UserError(strings.ALREADY_CHECKING)

    def work(job: Job) -> None:
        for event in engine.check(run.folder, run.report, job.flag):
            job.say(event)

    desk.checking = line.put(desk.token, "check", work)
    return desk.checking


def figures(run: Run) -> dict | None:
    """What the last check of the run found, or None."""
    try:
        return json.loads((run.report / "scores.json").read_text(encoding="utf-8"))[run.id]
    except FileNotFoundError:
        return None


def table(found: dict) -> str:
    """The figures in plain words, and what each thing came out as."""
    rows = []
    for key, (what, share) in strings.CHECKED.items():
        if found[key] is not None:
            rows.append((what, f"{found[key]:.0%}" if share else f"{found[key]:.2f}"))
    answer = html.table([strings.CHECK_WHAT, strings.CHECK_FIGURE], rows)
    if found["confusion"]:
        columns = [*found["confusion"], OTHER, NOTHING]
        titles = [strings.CHECK_ANSWERS.get(column, column) for column in columns]
        seen = [(name, *(f"{row[c]:.0%}" for c in columns)) for name, row in found["confusion"].items()]
        answer += f'<p class="caption">{escape(strings.CHECK_CONFUSION)}</p>'
        answer += html.table([strings.CHECK_ASKED, *titles], seen)
    return f'<div class="figures">{answer}</div>'


def pictures(run: Run, found: dict) -> list[tuple[str, str]]:
    """Paths with their sentences, the things' names in place of the handles."""
    shown = []
    for row in found["scores"]:
        text = row["prompt"]
        for handle, name in zip(run.handles, run.names, strict=True):
            text = text.replace(handle, name)
        shown.append((str(run.report / row["file"]), text))
    return shown


def status(job: Job, line: Line) -> str:
    if job.state == WAITING:
        return charts.bar(0, strings.WAITING.format(n=line.place(job)))
    if job.state == FAILED:
        return f'<p class="notice bad">{charts.escape(strings.FAILED.format(error=job.error))}</p>'
    if job.state == STOPPED:
        return charts.bar(0, strings.CHECK_STOPPED)
    if job.over:
        return ""
    done, total, _ = job.events[-1] if job.events else (0, 1, "")
    return charts.bar(done / total, strings.CHECKING.format(n=done, count=total) if job.events else strings.STARTING)
