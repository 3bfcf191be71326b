"""The same chain for programs: three named endpoints, /segment, /extract and /generate, for gradio_client.

Each client has a desk of its own, or comes back to one with the token that /extract told, or that a page has in its
address. Runs of other desks are not found, even by their ids.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import gradio as gr
import numpy as np
from PIL import Image

from breakascene.data.image_io import read_mask, read_photo, scaled_clicks
from breakascene.data.scene import make_scene
from breakascene.errors import UserError
from breakascene.files import atomic_file
from breakascene.studio import engine, strings
from breakascene.studio.jobs import FAILED, Job, Line
from breakascene.studio.screens import create
from breakascene.studio.screens import extract as extract_screen
from breakascene.studio.screens.events import log
from breakascene.studio.screens.pick import photo_input
from breakascene.studio.state.session import Desk, Desks

DESK = "x-desk"  # the header with the token
OPTIONS = {"show_progress": "hidden", "concurrency_limit": None}


def build(desks: Desks, line: Line) -> None:
    """Endpoints need components for their inputs and outputs; these are never rendered on the page."""
    with gr.Group(visible=False):
        photo = photo_input(label="photo")
        click = {"type": "array", "items": {"type": "number"}}
        points = json_input("points", "[[x, y, 1 on the thing or 0 beside it], …] in pixels of the photo", click)
        box = json_input("box", "[x0, y0, x1, y1] in pixels of the photo", {"type": "number"})
        masks = gr.File(label="masks", file_count="multiple")
        names = json_input("names", 'what the things are called: ["fox", "mushroom"]', {"type": "string"})
        background = gr.Checkbox(label="background")
        preset = gr.Textbox("quick", label="preset")
        steps = json_input("steps", "[phase 1, phase 2], else the preset's", {"type": "integer"})
        seed = gr.Number(0, label="seed", precision=0)
        run = gr.Textbox(label="run")
        prompt = gr.Textbox(label="prompt")
        count = gr.Number(1, label="count", precision=0)
        drawing_steps = gr.Number(20, label="steps", precision=0)
        guidance = gr.Number(engine.base().default_guidance_scale, label="guidance")
        negative = gr.Textbox(label="negative")
        shape = gr.Textbox(create.SQUARE, label="shape")
        mask, scores = gr.File(label="mask"), gr.JSON(label="scores")
        progress, pictures = gr.JSON(label="progress"), gr.File(label="pictures", file_count="multiple")
        button = gr.Button()

    sessions: dict[str, str] = {}  # of gradio_client -> token of its desk

    def desk_of(request: gr.Request) -> Desk:
        desk = desks.enter(request.headers.get(DESK) or sessions.get(request.session_hash))
        sessions[request.session_hash] = desk.token
        return desk

    def segment(desk, photo, points=None, box=None):
        """The mask of the thing under the points, a PNG, and how sure the three best readings are."""
        image = read_photo(_given(photo))
        points, labels = _clicks(points)
        points, box = scaled_clicks(image, points, _numbers(box, 4, strings.API_BOX))
        candidates = engine.segmenter().predict(points, labels, box, image)
        path = desk.folder / "mask.png"
        with atomic_file(path) as draft:
            Image.fromarray(candidates.mask().astype(np.uint8) * 255).save(draft)
        return str(path), [round(float(score), 4) for score in candidates.scores]

    def extract(desk, photo, masks, names=None, background=False, preset="quick", steps=None, seed=0):
        """Learn the things under the masks; tells its progress, and at last the id of the run."""
        image = read_photo(_given(photo))
        arrays = [read_mask(path, image.size, photo=image) for path in masks or []]
        names = [str(name) for name in names or []]
        if len(names) > len(arrays) > 0:
            raise UserError(strings.API_NAMES)
        scene = make_scene(image, arrays, names[: len(arrays)], bool(background))
        wanted = _numbers(steps, 2, strings.API_STEPS) or (None, None)
        settings = extract_screen.make_settings(scene, preset, *wanted, seed)
        job = extract_screen.begin(desk, line, scene, settings)
        for events in _watch(job):
            if events:
                event = events[-1]
                yield {"step": event.step, "total": event.total, "seconds_left": round(event.seconds_left, 1),
                       "losses": event.losses}  # fmt: skip
            else:
                yield {"step": 0, "total": settings.total, "place": line.place(job)}
        yield {"step": len(job.events), "total": settings.total, "run": job.result, "state": job.state,
               "handles": list(scene.handles), "desk": desk.token}  # fmt: skip

    def generate(desk, run, prompt, count=1, seed=0, steps=20, guidance=None, negative="", shape=create.SQUARE):
        """Pictures of the prompt, square, wide or tall PNGs with their records; the list grows as they are drawn."""
        found = [own for own in desk.runs() if own.id == run]
        if not found:
            raise UserError(strings.RUN_UNKNOWN)
        job = create.begin(desk, line, found[0], prompt, count, seed, steps, guidance, negative, shape)
        for events in _watch(job):
            yield [str(path) for path in events]

    def answer(act: Callable) -> Callable:
        """act(desk, …) as Gradio's handler(request, …), with the names of its arguments for the client."""
        if inspect.isgeneratorfunction(act):

            def handler(request, *values):
                with plain_errors():
                    yield from act(desk_of(request), *values)
        else:

            def handler(request, *values):
                with plain_errors():
                    return act(desk_of(request), *values)

        own = inspect.signature(act)
        request = inspect.Parameter("request", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        handler.__signature__ = own.replace(parameters=[request, *list(own.parameters.values())[1:]])
        handler.__annotations__ = {"request": gr.Request}
        handler.__name__, handler.__doc__ = act.__name__, act.__doc__  # of the tool, for MCP
        return handler

    button.click(answer(segment), [photo, points, box], [mask, scores], api_name="segment", **OPTIONS)
    button.click(
        answer(extract), [photo, masks, names, background, preset, steps, seed], progress,
        api_name="extract", **OPTIONS,
    )  # fmt: skip
    button.click(
        answer(generate), [run, prompt, count, seed, drawing_steps, guidance, negative, shape], pictures,
        api_name="generate", **OPTIONS,
    )  # fmt: skip


def json_input(label: str, meaning: str, items: dict) -> gr.JSON:
    """A list, with a schema that says so: MCP has no use for Gradio's own, which allows anything."""
    schema = {"type": "array", "items": items, "description": meaning}
    part = gr.JSON(label=label)
    part.api_info = lambda: schema
    return part


def _watch(job: Job, often: float = 0.5) -> Iterator[list]:
    """The job's events so far, now and then, and once at its end. Raises UserError if it failed."""
    while not job.over:
        yield list(job.events)
        with job.changed:
            job.changed.wait_for(lambda: job.over, timeout=often)
    if job.state == FAILED:
        raise UserError(job.error)
    yield list(job.events)


@contextmanager
def plain_errors():
    """A user's mistake reaches the program as its one sentence; anything else as a sentence too, details to the log."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, UserError):
            log.exception("an API call failed")
        raise gr.Error(strings.sentence_for(error), print_exception=False) from error


def _given(photo: str | None) -> str:
    if not photo:
        raise UserError(strings.API_PHOTO)
    return photo


def _clicks(points) -> tuple[list, list]:
    try:
        points = [(float(x), float(y), bool(include)) for x, y, include in points or []]
    except (TypeError, ValueError) as error:
        raise UserError(strings.API_POINTS) from error
    return [(x, y) for x, y, _ in points], [include for *_, include in points]


def _numbers(values, count: int, message: str) -> tuple | None:
    if values is None:
        return None
    try:
        found = tuple(int(value) for value in values)
    except (TypeError, ValueError) as error:
        raise UserError(message) from error
    if len(found) != count:
        raise UserError(message)
    return found
