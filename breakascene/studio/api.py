"""Named endpoints for programs (gradio_client): /segment, /extract, /generate, /sheet, /edit, /crop and /export.

mcp_server.py offers them as tools too. Each client has a session of its own, or reopens one with the token that
/extract returns, or that the address of a page contains. Runs of other sessions are not found, even by their ids.
"""

import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import gradio as gr
import numpy as np
from PIL import Image

from breakascene.data.consent import Consent, declare_consent
from breakascene.data.image_io import read_mask, read_photo, scaled_clicks
from breakascene.data.scene import make_scene
from breakascene.errors import UserError
from breakascene.files import atomic_file
from breakascene.generation import edit as edits
from breakascene.generation import place, variations
from breakascene.generation.formats import NAMES, check_format, is_larger, save_formats
from breakascene.generation.generate import GeneratedImage, read_metadata
from breakascene.generation.layout import parse_layout
from breakascene.generation.region import box_region
from breakascene.generation.sheet import sheet_prompts
from breakascene.provenance import consent as consent_rules
from breakascene.studio import loaded, strings
from breakascene.studio.jobs import FAILED, Job, JobQueue
from breakascene.studio.screens import export, extraction_job, generation_job
from breakascene.studio.screens.events import log, show_notice
from breakascene.studio.screens.gallery import new_formats_folder
from breakascene.studio.screens.generation_job import SQUARE, PhotoEdit, StartImage
from breakascene.studio.screens.select_sections import photo_input
from breakascene.studio.state.run_store import ChosenRuns
from breakascene.studio.state.session import Session, SessionStore
from breakascene.studio.visitor import acting, login_name, record_download

TOKEN_HEADERS = ("x-session", "x-desk")  # the second is that of earlier versions
OPTIONS = {"show_progress": "hidden", "concurrency_limit": None}
CONSENT = (
    'Whether a person or a brand is shown, and if so who agreed, to what, until when: {"shown": true, "who": "Anna", '
    '"scope": "advertising", "until": "2027-12-31"}'
)
POLL_SECONDS = 0.5  # between two progress events of a job
MAX_PHOTOS = 4  # segmented at the same time
MAX_CLIENTS = 10_000  # whose sessions are found again without their tokens


def build(sessions: SessionStore, queue: JobQueue) -> "Endpoints":
    """Add the endpoints to the app that is being built.

    Gradio needs components for their inputs and outputs; these are never rendered.
    """
    endpoints = Endpoints(sessions, queue)
    with gr.Group(visible=False):
        button = gr.Button()
        for build_endpoint in (
            build_segment, build_extract, build_generate, build_sheet, build_edit, build_crop, build_export
        ):  # fmt: skip
            build_endpoint(button, endpoints)
    return endpoints


class Endpoints:
    """The functions behind the endpoints; their argument names are those that clients see."""

    def __init__(self, sessions: SessionStore, queue: JobQueue):
        self.sessions, self.queue = sessions, queue
        self._tokens: dict[str, str] = {}  # id of a client -> token

    def session_for(self, headers: Mapping[str, str], client: str | None, login: str = "") -> Session:
        """The session of the token in the headers, else the client's own, else a new one.

        Args:
            client: What the protocol identifies the client by, unguessable; None if it does not.
            login: Name of the login, if Gradio does not know it.
        """
        tokens = [headers.get(name) for name in TOKEN_HEADERS]
        token = next(filter(None, tokens), self._tokens.get(client) if client else None)
        session = self.sessions.open(token, login or login_name())
        if client:
            self._tokens[client] = session.token
        while len(self._tokens) > MAX_CLIENTS:
            self._tokens.pop(next(iter(self._tokens)), None)
        return session

    def segment(self, session, photo, points=None, box=None):
        """Segment the object under the points: its mask as a PNG, and the predicted IoU of the three candidates."""
        image = read_photo(_require_photo(photo))
        points, labels = _parse_points(points)
        points, box = scaled_clicks(image, points, _parse_ints(box, 4, strings.API_BOX))
        candidates = loaded.segmenter().predict(points, labels, box, image)
        path = session.folder / "mask.png"
        with atomic_file(path) as draft:
            Image.fromarray(candidates.mask().astype(np.uint8) * 255).save(draft)
        return str(path), [round(float(score), 4) for score in candidates.scores]

    def extract(
        self, session, photo, masks, names=None, background=False, preset="quick", steps=None, seed=0, consent=None
    ):
        """Extract the objects under the masks. Yields the progress, and at last the id of the run."""
        job = self.submit_extraction(session, photo, masks, names, background, preset, steps, seed, consent)
        total = job.details.total
        for events in _watch(job):
            if events:
                event = events[-1]
                yield {"step": event.step, "total": event.total, "seconds_left": round(event.seconds_left, 1),
                       "losses": event.losses}  # fmt: skip
            else:
                position = self.queue.position(job)
                # "place", like "desk" below, is the name that clients of earlier versions read
                yield {"step": 0, "total": total, "position": position, "place": position}
        yield {"step": len(job.events), "total": total, "run": job.result, "state": job.state,
               "handles": list(job.details.names), "session": session.token, "desk": session.token}  # fmt: skip

    def submit_extraction(
        self, session: Session, photo, masks, names, background, preset, steps, seed, consent=None
    ) -> Job:
        """Queue an extraction; photo and masks are paths of files, consent is that of parse_consent."""
        image = read_photo(_require_photo(photo))
        arrays = [read_mask(path, image.size, photo=image) for path in masks or []]
        names = [str(name) for name in names or []]
        if len(names) > len(arrays) > 0:
            raise UserError(strings.API_NAMES)
        scene = make_scene(image, arrays, names[: len(arrays)], bool(background), consent=parse_consent(consent))
        steps_1, steps_2 = _parse_ints(steps, 2, strings.API_STEPS) or (None, None)
        settings = extraction_job.make_settings(scene, preset, steps_1, steps_2, seed)
        return extraction_job.submit(session, self.queue, scene, settings)

    def generate(
        self, session, run, prompt, count=1, seed=0, steps=20, guidance=None, negative="", shape=SQUARE, lora=None,
        lora_scale=1.0, image=None, strength=None, upscale=False, layout=None,
    ):  # fmt: skip
        """Generate square, wide or tall PNGs of a prompt, with their metadata. Yields the growing list of images.

        With several runs, separated by commas, <teapot> is the object named teapot. With an image, generation starts
        from it, and departs the further the higher the strength is, above 0 and up to 1. Upscaling doubles width and
        height. A layout, {"objects": [{"handle": "<asset0>", "box": [left, top, right, bottom], "flip": false}, …]}
        with boxes in 0 to 1 of the image, places the objects of the prompt; the strength is then how far they depart
        from their cut-outs. Without a strength, it is that of the studio.
        """
        options = (steps, guidance or None, negative, shape, lora, lora_scale)
        if strength is None:
            strength = variations.STRENGTH if layout is None else place.STRENGTH
        start = (read_photo(image), float(strength)) if image else None
        for note in consent_rules.check_start(start[0]) if start else ():
            show_notice(strings.translate(note))
        if layout is not None and start:
            raise UserError(strings.API_LAYOUT)
        if layout is not None:
            inputs = (strength, prompt, count, seed, *options)
            job = self.submit_layout(session, run, layout, *inputs, upscale=bool(upscale))
        else:
            further = {"start": start, "upscale": bool(upscale)}
            job = self.submit_generation(session, run, prompt, count, seed, *options, **further)
        yield from _images_of(job)

    def submit_layout(self, session: Session, run, layout, *inputs, upscale: bool = False) -> Job:
        """Queue images with the objects of a layout in their boxes; see generation_job.submit_layout."""
        runs = _runs_of(session, run)
        layout = parse_layout(json.dumps(layout), runs.handles, runs.names)
        return generation_job.submit_layout(session, self.queue, runs, layout, *inputs, upscale=upscale)

    def submit_generation(
        self, session: Session, run, prompt, count, seed, *options, start: StartImage = None, upscale: bool = False
    ) -> Job:
        """Queue images of runs of this session; see generation_job.submit."""
        runs, further = _runs_of(session, run), {"start": start, "upscale": upscale}
        return generation_job.submit(session, self.queue, runs, prompt, count, seed, *options, **further)

    def sheet(
        self, session, run, places=None, styles=None, count=1, seed=0, steps=20, guidance=None, negative="",
        shape=SQUARE,
    ):  # fmt: skip
        """Generate each object of a run in each style and place, from one seed.

        Yields the growing list of images, row by row, and at last the contact sheet too.
        """
        job = self.submit_sheet(session, run, places, styles, count, seed, steps, guidance or None, negative, shape)
        images = []
        for images in _images_of(job):
            yield None, images
        yield str(record_download(session.gallery.sheet)) if images else None, images

    def submit_sheet(self, session: Session, run, places, styles, count, seed, *options) -> Job:
        """Queue a contact sheet; see generation_job.submit_sheet for the options."""
        places, styles = _parse_texts(places, strings.API_TEXTS), _parse_texts(styles, strings.API_TEXTS)
        if not places and not styles:
            raise UserError(strings.API_SHEET)
        runs = _runs_of(session, run)
        rows = sheet_prompts(runs.handles, places, styles)
        return generation_job.submit_sheet(session, self.queue, runs, rows, count, seed, *options)

    def edit(
        self, session, run, photo, prompt, mask=None, box=None, count=1, seed=0, steps=20, guidance=None, negative="",
        strength=edits.STRENGTH, consent=None,
    ):  # fmt: skip
        """Repaint a region of a photo, a mask or a box, by a prompt; the rest stays as it is. Yields as /generate."""
        options = (count, seed, steps, guidance or None, negative)
        yield from _images_of(self.submit_edit(session, run, photo, prompt, mask, box, strength, consent, *options))

    def submit_edit(self, session: Session, run, photo, prompt, mask, box, strength, consent, *options) -> Job:
        """Queue an edit; photo and mask are paths of files, see generation_job.submit_edit for the options."""
        image = read_photo(_require_photo(photo))
        if (mask is None) == (box is None):
            raise UserError(strings.API_REGION)
        if box is not None:
            corners = _parse_ints(box, 4, strings.API_BOX)
            region = box_region(image.size, scaled_clicks(image, [], corners)[1])
        else:
            region = read_mask(mask, image.size, photo=image, allow_inverted=True)
        runs = _runs_of(session, run)
        strength = edits.STRENGTH if strength is None else float(strength)
        edit = PhotoEdit(Path(photo), region, strength, parse_consent(consent))
        return generation_job.submit_edit(session, self.queue, runs, edit, prompt, *options)

    def crop(self, session, image, formats, upscale=False):
        """Crop an image to formats, with its objects in the frame: square, 4:5, 16:9, shop, story, banner or cutout.

        With upscaling, an image of this session that is smaller than a format is first upscaled by the base.
        """
        job = self.submit_upscaling(session, image, formats) if upscale else None
        for _ in _watch(job) if job else ():
            pass
        return [str(record_download(path)) for path in self.save_formats(session, image, formats, job)]

    def submit_upscaling(self, session: Session, image, formats) -> Job | None:
        """Queue the upscaling of an image that is smaller than one of the formats; None if it is not."""
        size = read_photo(_require_photo(image)).size
        if not any(is_larger(name, size) for name in _parse_formats(formats)):
            return None
        return generation_job.submit_upscaling(session, self.queue, Path(image))

    def save_formats(self, session: Session, image, formats, upscaling: Job | None = None) -> list[Path]:
        """Write an image in formats, as it is or as a job has upscaled it; see formats.save_formats."""
        file, names = Path(_require_photo(image)), _parse_formats(formats)
        upscaled = upscaling.events[0] if upscaling and upscaling.events else None
        upscale = upscaled and (lambda _: GeneratedImage(read_photo(upscaled), read_metadata(upscaled)))
        folder = new_formats_folder(session)
        return list(save_formats(file, names, loaded.segmenter(), folder, upscale))

    def export(self, session, run, program="diffusers"):
        """Export a run to diffusers, comfyui, a1111 or kohya: a zip with a LoRA, embeddings, images and a README."""
        job = self.submit_export(session, run, program)
        for _ in _watch(job):
            pass
        return str(record_download(job.result.path))

    def submit_export(self, session: Session, run, program) -> Job:
        return export.submit(session, self.queue, session.runs.find([run]).runs[0], program)

    def handler(self, act: Callable) -> Callable:
        """Turn act(session, …) into a Gradio handler(request, …) with the argument names of act."""
        if inspect.isgeneratorfunction(act):

            def handler(request, *values):
                with errors_as_sentences():
                    session = self.session_for(request.headers, request.session_hash)
                    results = act(session, *values)
                    while True:
                        with acting(session, flat(values)):  # Gradio may continue in another context
                            try:
                                result = next(results)
                            except StopIteration:
                                return
                        yield result
        else:

            def handler(request, *values):
                with errors_as_sentences():
                    session = self.session_for(request.headers, request.session_hash)
                    with acting(session, flat(values)):
                        return act(session, *values)

        signature = inspect.signature(act)
        request = inspect.Parameter("request", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        handler.__signature__ = signature.replace(parameters=[request, *list(signature.parameters.values())[1:]])
        handler.__annotations__ = {"request": gr.Request}
        handler.__name__, handler.__doc__ = act.__name__, act.__doc__
        return handler


def build_segment(button: gr.Button, endpoints: Endpoints) -> None:
    point = {"type": "array", "items": {"type": "number"}}
    inputs = [
        photo_input(label="photo"),
        json_input("points", "[[x, y, 1 to include or 0 to exclude], …] in pixels of the photo", point),
        json_input("box", "[x0, y0, x1, y1] in pixels of the photo", {"type": "number"}),
    ]
    outputs = [gr.File(label="mask"), gr.JSON(label="scores")]
    options = {**OPTIONS, "concurrency_limit": MAX_PHOTOS}
    button.click(endpoints.handler(endpoints.segment), inputs, outputs, api_name="segment", **options)


def build_extract(button: gr.Button, endpoints: Endpoints) -> None:
    inputs = [
        photo_input(label="photo"),
        gr.File(label="masks", file_count="multiple"),
        json_input("names", 'names of the objects: ["fox", "mushroom"]', {"type": "string"}),
        gr.Checkbox(label="background"),
        gr.Textbox("quick", label="preset"),
        json_input("steps", "[phase 1, phase 2]; by default the preset's", {"type": "integer"}),
        gr.Number(0, label="seed", precision=0),
        consent_input(),
    ]
    progress = gr.JSON(label="progress")
    button.click(endpoints.handler(endpoints.extract), inputs, progress, api_name="extract", **OPTIONS)


def build_generate(button: gr.Button, endpoints: Endpoints) -> None:
    inputs = [
        gr.Textbox(label="run"),
        gr.Textbox(label="prompt"),
        gr.Number(1, label="count", precision=0),
        gr.Number(0, label="seed", precision=0),
        gr.Number(20, label="steps", precision=0),
        gr.Number(0, label="guidance"),  # 0: that of the base in use
        gr.Textbox(label="negative"),
        gr.Textbox(SQUARE, label="shape"),
        gr.File(label="lora"),
        gr.Number(1, label="lora_scale"),
        photo_input(label="image"),
        gr.Number(None, label="strength"),  # that of the studio
        gr.Checkbox(label="upscale"),
        gr.JSON(label="layout"),
    ]
    images = gr.File(label="pictures", file_count="multiple")
    button.click(endpoints.handler(endpoints.generate), inputs, images, api_name="generate", **OPTIONS)


def build_sheet(button: gr.Button, endpoints: Endpoints) -> None:
    text = {"type": "string"}
    inputs = [
        gr.Textbox(label="run"),
        json_input("places", 'places, each a row: ["at the beach", "in the snow"]', text),
        json_input("styles", 'styles, each a row for each place: ["a photo", "a painting"]', text),
        gr.Number(1, label="count", precision=0),
        gr.Number(0, label="seed", precision=0),
        gr.Number(20, label="steps", precision=0),
        gr.Number(0, label="guidance"),  # 0: that of the base in use
        gr.Textbox("", label="negative"),
        gr.Textbox(SQUARE, label="shape"),
    ]
    outputs = [gr.File(label="sheet"), gr.File(label="pictures", file_count="multiple")]
    button.click(endpoints.handler(endpoints.sheet), inputs, outputs, api_name="sheet", **OPTIONS)


def build_crop(button: gr.Button, endpoints: Endpoints) -> None:
    inputs = [
        photo_input(label="image"),
        json_input("formats", f"of {', '.join(NAMES)}", {"type": "string"}),
        gr.Checkbox(label="upscale"),
    ]
    files = gr.File(label="pictures", file_count="multiple")
    options = {**OPTIONS, "concurrency_limit": MAX_PHOTOS}
    button.click(endpoints.handler(endpoints.crop), inputs, files, api_name="crop", **options)


def build_edit(button: gr.Button, endpoints: Endpoints) -> None:
    inputs = [
        gr.Textbox(label="run"),
        photo_input(label="photo"),
        gr.Textbox(label="prompt"),
        gr.File(label="mask"),
        json_input("box", "[x0, y0, x1, y1] in pixels of the photo", {"type": "number"}),
        gr.Number(1, label="count", precision=0),
        gr.Number(0, label="seed", precision=0),
        gr.Number(20, label="steps", precision=0),
        gr.Number(0, label="guidance"),  # 0: that of the base in use
        gr.Textbox(label="negative"),
        gr.Number(edits.STRENGTH, label="strength"),
        consent_input(),
    ]
    images = gr.File(label="pictures", file_count="multiple")
    button.click(endpoints.handler(endpoints.edit), inputs, images, api_name="edit", **OPTIONS)


def build_export(button: gr.Button, endpoints: Endpoints) -> None:
    inputs = [gr.Textbox(label="run"), gr.Textbox("diffusers", label="program")]
    button.click(endpoints.handler(endpoints.export), inputs, gr.File(label="zip"), api_name="export", **OPTIONS)


def consent_input() -> gr.JSON:
    component = gr.JSON(label="consent")
    component.api_info = lambda: {"type": "object", "description": CONSENT}
    return component


def parse_consent(values) -> Consent | None:
    """What {"shown": true, "who": …, "scope": …, "until": …} declares; None declares nothing. Raises UserError."""
    if values is None:
        return None
    if not isinstance(values, dict) or not set(values) <= {"shown", "who", "scope", "until"}:
        raise UserError(strings.API_CONSENT)
    shown, texts = values.get("shown"), {key: text for key, text in values.items() if key != "shown"}
    if not (shown is None or isinstance(shown, bool)) or not all(isinstance(text, str) for text in texts.values()):
        raise UserError(strings.API_CONSENT)
    return declare_consent(shown, **texts)


def json_input(label: str, description: str, items: dict) -> gr.JSON:
    """A list input with a schema, which clients can see: Gradio's own allows any JSON."""
    schema = {"type": "array", "items": items, "description": description}
    component = gr.JSON(label=label)
    component.api_info = lambda: schema
    return component


def flat(values: Iterable) -> list:
    """The values, with those of lists in their places."""
    return [one for value in values for one in (value if isinstance(value, list) else [value])]


def _images_of(job: Job) -> Iterator[list[str]]:
    """Yield the growing list of a job's images; say how its prompt was understood."""
    for note in job.details.notes:
        show_notice(note)
    sent = 0
    for events in _watch(job):
        for path in events[sent:]:
            record_download(path)
        sent = len(events)
        yield [str(path) for path in events]


def _watch(job: Job) -> Iterator[list]:
    """Yield the job's events so far every POLL_SECONDS, and once at its end; raises UserError if it failed."""
    while not job.ended:
        yield list(job.events)
        with job.changed:
            job.changed.wait_for(lambda: job.ended, timeout=POLL_SECONDS)
    if job.state == FAILED:
        raise UserError(job.error)
    yield list(job.events)


def _gradio_error(sentence: str) -> gr.Error:
    return gr.Error(sentence, print_exception=False)


@contextmanager
def errors_as_sentences(error_type: Callable[[str], Exception] = _gradio_error):
    """Raise every error as error_type(one sentence); the details of an unexpected one go to the log."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, UserError):
            log.exception("an API call failed")
        raise error_type(strings.message_for(error)) from error


def _require_photo(photo: str | None) -> str:
    if not photo:
        raise UserError(strings.API_PHOTO)
    return photo


def _runs_of(session: Session, run: str | None) -> ChosenRuns:
    """The runs of a session by their ids, separated by commas."""
    return session.runs.find([run_id.strip() for run_id in (run or "").split(",")])


def _parse_texts(values, message: str) -> list[str]:
    """Check a list of texts; None is an empty one. Raises UserError(message)."""
    values = values or []
    if not isinstance(values, list) or not all(isinstance(value, str) and value.strip() for value in values):
        raise UserError(message)
    return values


def _parse_formats(values) -> list[str]:
    """Check a list of formats, and leave out repeated ones; raises UserError."""
    names = list(dict.fromkeys(_parse_texts(values, strings.API_FORMATS)))
    if not names:
        raise UserError(strings.API_FORMATS)
    for name in names:
        check_format(name)
    return names


def _parse_points(points) -> tuple[list, list]:
    """Split [[x, y, include], …] into positions and labels."""
    try:
        points = [(float(x), float(y), bool(include)) for x, y, include in points or []]
    except (TypeError, ValueError) as error:
        raise UserError(strings.API_POINTS) from error
    return [(x, y) for x, y, _ in points], [include for *_, include in points]


def _parse_ints(values, count: int, message: str) -> tuple | None:
    """Convert a list of `count` numbers; None stays None. Raises UserError(message)."""
    if values is None:
        return None
    try:
        numbers = tuple(int(value) for value in values)
    except (TypeError, ValueError) as error:
        raise UserError(message) from error
    if len(numbers) != count:
        raise UserError(message)
    return numbers
