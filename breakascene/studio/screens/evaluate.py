"""The evaluation at the end of step 3: scores and images of the current run."""

import json
import time
from dataclasses import dataclass
from html import escape

import gradio as gr

from breakascene.data.handle_names import BACKGROUND
from breakascene.errors import UserError
from breakascene.evaluation.judges import TOYBOX
from breakascene.evaluation.metrics import NOTHING, OTHER
from breakascene.evaluation.verdict import PARTLY, RIGHT, UNRECOGNIZABLE
from breakascene.rendering import html
from breakascene.studio import engine, strings
from breakascene.studio.jobs import STOPPED, Job, JobQueue
from breakascene.studio.screens import charts
from breakascene.studio.screens.events import PageContext, Updates
from breakascene.studio.screens.job_panel import JobPanel
from breakascene.studio.state.run_store import Run
from breakascene.studio.state.session import Session

MIN_RIGHT, MIN_PARTLY = 0.75, 0.4  # shares of the images in which the judge recognizes an object


@dataclass(frozen=True)
class EvaluateScreen:
    panel: JobPanel
    result: gr.HTML
    images: gr.Gallery

    @property
    def outputs(self) -> list:
        return [*self.panel.outputs, self.result, self.images]

    def show(self, session: Session) -> Updates:
        run = session.runs.current()
        scores = read_scores(run) if run else None
        return {
            **self.panel.update(session),
            self.panel.start[0]: gr.Button(interactive=run is not None and not self.panel.running(session)),
            self.result: verdict(run, scores) + score_table(scores) if scores else "",
            self.images: gr.Gallery(captioned_images(run, scores) if scores else [], visible=scores is not None),
        }


def build(page: PageContext) -> EvaluateScreen:
    with gr.Accordion(strings.EVALUATE_TITLE, open=False, elem_id="evaluate"):
        gr.Markdown(strings.EVALUATE_HINT, elem_classes="hint")
        with gr.Row(elem_classes="tools"):
            start = gr.Button(strings.EVALUATE, size="sm", elem_id="evaluate-start")
            stop = gr.Button(strings.STOP, size="sm", variant="stop", visible=False, elem_id="evaluate-stop")
            page.download_button(lambda session: session.runs.zip_report(), strings.DOWNLOAD_REPORT, "download-report")
        panel = JobPanel("evaluation", page, [start], stop, gr.HTML(elem_id="evaluate-status"), describe)
        result = gr.HTML(elem_id="evaluate-result")
        images = gr.Gallery(
            show_label=False, columns=4, height="auto", object_fit="contain", interactive=False, visible=False,
            buttons=["fullscreen"], elem_id="evaluate-images",
        )  # fmt: skip
    screen = EvaluateScreen(panel, result, images)

    def submit_evaluation(session: Session) -> None:
        submit(session, page.queue)

    panel.on_start(start, submit_evaluation, screen.show, (), screen.outputs)
    panel.on_stop(screen.show, screen.outputs)
    return screen


def submit(session: Session, queue: JobQueue) -> Job:
    """Queue an evaluation of the current run."""
    run = session.runs.current()
    if run is None:
        raise UserError(strings.GENERATE_EMPTY)
    if session.evaluation and not session.evaluation.ended:
        raise UserError(strings.ALREADY_EVALUATING)

    started: list[float] = []  # when the job did

    def seconds_left(job: Job) -> float | None:
        if not job.events:
            return None
        done, total, _ = job.events[-1]
        return (time.perf_counter() - started[0]) / done * (total - done)

    def work(job: Job) -> None:
        started.append(time.perf_counter())
        for event in engine.evaluate(run.folder, run.name, run.report, job.stop_file, strings.language.get()):
            job.emit(event)

    session.evaluation = queue.submit(session.token, "evaluate", work, remaining=seconds_left)
    return session.evaluation


def read_scores(run: Run) -> dict | None:
    """The results of the run's last evaluation, or None."""
    try:
        return json.loads((run.report / "scores.json").read_text(encoding="utf-8"))[run.id]
    except FileNotFoundError:
        return None


def verdict(run: Run, scores: dict) -> str:
    """What the images show, in words and before any figure: for each object, and what could not be judged; as HTML."""
    levels, unjudged, counts = {RIGHT: [], PARTLY: [], UNRECOGNIZABLE: []}, [], []
    for handle, name in zip(run.handles, run.names, strict=True):
        if handle == BACKGROUND:
            continue
        seen = [row["seen"][handle] for row in scores["scores"] if handle in (row["seen"] or {})]
        if not seen:
            unjudged.append(name)
            continue
        share = seen.count(name) / len(seen)
        levels[RIGHT if share >= MIN_RIGHT else PARTLY if share >= MIN_PARTLY else UNRECOGNIZABLE].append(name)
        counts.append(strings.RECOGNIZED.format(name=name, n=seen.count(name), count=len(seen)))
    sentences = [strings.VERDICTS[level].format(names=strings.join_names(own)) for level, own in levels.items() if own]
    if unjudged:
        sentences.append(strings.NOT_JUDGED.format(names=strings.join_names(unjudged)))
    text = strings.SENTENCE_SEPARATOR.join(sentences)
    return f'<p class="notice verdict-text">{escape(text)}</p><p class="caption">{escape(" · ".join(counts))}</p>'


def judged_share(scores: dict, key: str) -> str:
    """For the share of right objects or places: on how many images it rests, unless on all."""
    alone = {"right": True, "together_right": False}
    rows = [row for row in scores["scores"] if key not in alone or alone[key] == (len(row["identity"]) == 1)]
    if key == "place":
        judged = [row for row in rows if row["place"] is not None]
    elif key in ("right", "together_right", "mixed"):
        judged = [row for row in rows if row["seen"]]
    else:
        return ""
    return strings.JUDGED_SHARE.format(n=len(judged), count=len(rows)) if len(judged) < len(rows) else ""


def score_table(scores: dict) -> str:
    """The scores, and the confusion of the concepts, as HTML."""
    rows, models = [], measured_by(scores)
    for key, (label, percentage) in strings.METRICS.items():
        if scores[key] is not None:
            label += judged_share(scores, key)
            value = f"{scores[key]:.0%}" if percentage else f"{scores[key]:.2f}"
            model = strings.TOYBOX_JUDGE if models[key] == TOYBOX else models[key]
            rows.append((strings.MEASURED_BY.format(metric=label, model=model), value))
    tables = html.table([strings.TABLE_METRIC, strings.TABLE_RESULT], rows)
    if scores["confusion"]:
        columns = [*scores["confusion"], OTHER, NOTHING]
        titles = [strings.CONFUSION_OTHER.get(column, column) for column in columns]
        confusion = [(name, *(f"{row[c]:.0%}" for c in columns)) for name, row in scores["confusion"].items()]
        tables += f'<p class="caption">{escape(strings.CONFUSION)}</p>'
        tables += html.table([strings.CONFUSION_REQUESTED, *titles], confusion)
    return f'<div class="figures">{tables}</div>'


def measured_by(scores: dict) -> dict[str, str]:
    """The model that gave each metric; reports of earlier versions name those of the similarities only."""
    if "measured_by" in scores:
        return scores["measured_by"]
    return dict.fromkeys(strings.METRICS, TOYBOX) | dict(zip(("prompt", "identity"), scores["eyes"], strict=True))


def captioned_images(run: Run, scores: dict) -> list[tuple[str, str]]:
    """Paths with their prompts, the names of the concepts in place of the handles."""
    images = []
    for row in scores["scores"]:
        text = row["prompt"]
        for handle, name in zip(run.handles, run.names, strict=True):
            text = text.replace(handle, name)
        images.append((str(run.report / row["file"]), text))
    return images


def describe(job: Job) -> str:
    if job.state == STOPPED:
        return charts.bar(0, strings.EVALUATE_STOPPED)
    if job.ended:
        return ""
    if not job.events:
        return charts.bar(0, strings.STARTING)
    done, total, _ = job.events[-1]
    return charts.bar(done / total, strings.EVALUATING.format(n=done, count=total))
