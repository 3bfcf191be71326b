"""Generation as a job: images of one prompt, or of the prompts of a contact sheet."""

import secrets
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from breakascene.data.consent import Consent
from breakascene.data.image_io import read_photo
from breakascene.data.scene import load_scene
from breakascene.errors import UserError
from breakascene.exporting.importing import load_lora
from breakascene.generation.edit import STRENGTH, check_edit, read_origin
from breakascene.generation.generate import BATCH, image_shapes, read_metadata, save_image
from breakascene.generation.layout import Layout, check_prompt
from breakascene.generation.upscale import check_image, check_loras, pixel_steps_of
from breakascene.generation.variations import background_prompt, check_strength, scene_view, variation_prompt
from breakascene.models.prompts import parse_prompt
from breakascene.studio import engine, strings
from breakascene.studio.jobs import Job, JobQueue
from breakascene.studio.state.run_store import ChosenRuns
from breakascene.studio.state.session import Session

MAX_IMAGES, MAX_SHEET_IMAGES, MAX_INFERENCE_STEPS = 16, 48, 100
MAX_LORA_SCALE = 10.0
MAX_PROMPT = 500  # characters
SQUARE = "square"  # key of image_shapes
StartImage = tuple[Image.Image, float] | None  # with the strength, see variations.start_from
NEW_SEEDS = 1_000_000  # new seeds are below: short enough to be written down


@dataclass(frozen=True)
class GenerationDetails:
    """What the screen needs to describe a generation, besides its images."""

    count: int
    columns: int = 0  # of the contact sheet; 0 if there is none
    notes: tuple[str, ...] = ()  # on how the prompts were understood


@dataclass(frozen=True, eq=False)
class PhotoEdit:
    """What is repainted; see breakascene.generation.edit.edit.

    Attributes:
        photo: Its file.
        region: (H, W) bool; None if nothing is marked.
    """

    photo: Path
    region: np.ndarray | None
    strength: float = STRENGTH
    consent: Consent | None = None


def submit(
    session: Session, queue: JobQueue, runs: ChosenRuns, prompt, count, seed, *options, start: StartImage = None,
    upscale: bool = False,
) -> Job:  # fmt: skip
    """Queue the images of one prompt; raises UserError at once if the prompt or an option is wrong.

    Args:
        count, seed: See breakascene.generation.generate.generate.
        options: num_inference_steps, guidance_scale, negative_prompt and, optionally, the key of image_shapes if not
            square, and the file and the strength of a LoRA.
        start: An image to start from, and the strength.
        upscale: Double the width and height of each image.
    """
    prompt, count = " ".join((prompt or "").split()), min(max(int(count or 1), 1), MAX_IMAGES)
    details, further = GenerationDetails(count), {"start": start, "upscale": upscale}
    return _submit(session, queue, runs, [prompt], details, count, seed, *options, **further)


def submit_variations(
    session: Session, queue: JobQueue, runs: ChosenRuns, strength, count, seed, steps, guidance, negative, shape, *lora
) -> Job:
    """Queue variations of the photo of the first run; see submit."""
    scene = load_scene(runs.folders[0] / "scene")
    prompt = variation_prompt(runs.handles, scene)
    start = (scene_view(scene, _size_of(shape)), float(strength))
    return submit(session, queue, runs, prompt, count, seed, steps, guidance, negative, shape, *lora, start=start)


def submit_background(session: Session, queue: JobQueue, runs: ChosenRuns, count, seed, *options) -> Job:
    """Queue images of the scene without its objects; see submit."""
    return submit(session, queue, runs, background_prompt(runs.handles), count, seed, *options)


def submit_sheet(
    session: Session, queue: JobQueue, runs: ChosenRuns, rows: list[list[str]], tries, seed, *options
) -> Job:
    """Queue a contact sheet: `tries` images of each prompt, the first image of each from the same seed."""
    prompts, tries = [prompt for row in rows for prompt in row], max(int(tries or 1), 1)
    details = GenerationDetails(len(prompts) * tries, columns=len(rows[0]) * tries)
    if details.count > MAX_SHEET_IMAGES:
        raise UserError(strings.SHEET_TOO_LARGE.format(n=details.count, most=MAX_SHEET_IMAGES))
    return _submit(session, queue, runs, prompts, details, tries, seed, *options)


def submit_edit(
    session: Session, queue: JobQueue, runs: ChosenRuns, edit: PhotoEdit, prompt, count, seed, *options
) -> Job:
    """Queue edits of a region of a photo; see `submit`. The shape does not matter."""
    if edit.region is None or not edit.region.any():
        raise UserError(strings.NO_REGION)
    check_strength(edit.strength)
    prompt, count = " ".join((prompt or "").split()), min(max(int(count or 1), 1), MAX_IMAGES)
    declared = edit.consent or next(iter(read_origin(edit.photo).consents), None)
    notes = check_edit(engine.base(), read_photo(edit.photo), edit.region, declared)
    details = GenerationDetails(count, notes=tuple(strings.translate(note) for note in notes))
    return _submit(session, queue, runs, [prompt], details, count, seed, *options, edit=edit)


def submit_layout(
    session: Session, queue: JobQueue, runs: ChosenRuns, layout: Layout, strength, prompt, count, seed, *options,
    upscale: bool = False,
) -> Job:  # fmt: skip
    """Queue images of one prompt with the objects of a layout in their boxes; see `submit`."""
    check_strength(float(strength))
    prompt, count = " ".join((prompt or "").split()), min(max(int(count or 1), 1), MAX_IMAGES)
    further = {"layout": (layout, float(strength)), "upscale": upscale}
    return _submit(session, queue, runs, [prompt], GenerationDetails(count), count, seed, *options, **further)


def submit_upscaling(session: Session, queue: JobQueue, file: Path) -> Job:
    """Queue the upscaling of an image file; raises UserError at once if it is impossible."""
    base = engine.base()
    try:
        metadata = read_metadata(file)
    except UserError as error:  # names the file on the server
        raise UserError(strings.IMAGE_WITHOUT_SETTINGS) from error
    check_loras(metadata)
    runs = runs_of(session, metadata)
    with Image.open(file) as image:
        check_image(base, image)
        pixel_steps = pixel_steps_of(image.size, base)
    if session.generation and not session.generation.ended:
        raise UserError(strings.ALREADY_GENERATING)

    def work(job: Job) -> list[Path]:
        job.emit(save_image(engine.upscale(runs.folders, file), session.gallery.images_folder))
        return list(job.events)

    def seconds_left(job: Job) -> float | None:
        return engine.expected_image_seconds(pixel_steps)

    session.generation = queue.submit(session.token, "generate", work, GenerationDetails(1), seconds_left)
    session.gallery.show_all()  # so that the new image is visible
    return session.generation


def runs_of(session: Session, metadata: dict) -> ChosenRuns:
    """The runs of the session that an image was generated with; raises UserError if one is missing."""
    runs = {run.concepts_id: run.id for run in session.runs.list()}
    wanted = str(metadata.get("run")).split("+")
    if not set(wanted) <= set(runs):
        raise UserError(strings.OBJECT_SET_DELETED)
    return session.runs.find([runs[concepts_id] for concepts_id in wanted])


def _submit(
    session: Session, queue: JobQueue, runs: ChosenRuns, prompts: list[str], details: GenerationDetails,
    count, seed, num_inference_steps, guidance_scale, negative_prompt, shape=SQUARE, lora=None, lora_scale=1.0,
    start: StartImage = None, edit: PhotoEdit | None = None, layout: tuple[Layout, float] | None = None,
    upscale: bool = False,
) -> Job:  # fmt: skip
    negative_prompt = " ".join((negative_prompt or "").split())
    if not all(prompts):
        raise UserError(strings.NO_PROMPT)
    if max(map(len, [*prompts, negative_prompt])) > MAX_PROMPT:
        raise UserError(strings.PROMPT_TOO_LONG.format(most=MAX_PROMPT))
    lora_scale = 1.0 if lora_scale is None else min(max(float(lora_scale), -MAX_LORA_SCALE), MAX_LORA_SCALE)
    handles, names = runs.handles, runs.names
    if lora:
        handles += tuple(f"<{name}>" for name in load_lora(lora, engine.base()).embeddings)  # raises UserError
    parsed = [parse_prompt(prompt, handles, names, engine.base()) for prompt in prompts]
    parsed.append(parse_prompt(negative_prompt, handles, names, engine.base(), plain_names=False))
    *prompts, negative_prompt = (one.text for one in parsed)
    notes = dict.fromkeys(strings.translate(note) for one in parsed for note in one.notes)
    details = replace(details, notes=(*notes, *details.notes))
    size = _size_of(shape)
    if start:
        check_strength(start[1])
    if session.generation and not session.generation.ended:
        raise UserError(strings.ALREADY_GENERATING)
    options = {
        "count": count,
        "seed": valid_seed(seed or 0),
        "num_inference_steps": min(max(int(num_inference_steps or 20), 1), MAX_INFERENCE_STEPS),
        "guidance_scale": None if guidance_scale is None else float(guidance_scale),
        "negative_prompt": negative_prompt,
        "same_seeds": bool(details.columns),
        "size": size,
        "loras": [(Path(lora), lora_scale)] if lora else [],
        "start": start,
        "upscale": upscale,
        "batch_size": BATCH if details.columns else 1,  # single images appear one by one, a sheet is ready sooner
    }

    draw, inputs, strength = engine.generate, (runs.folders, prompts), start[1] if start else 1
    if edit:
        del options["same_seeds"], options["size"], options["start"], options["upscale"]
        options |= {"strength": edit.strength, "consent": edit.consent}
        draw, inputs, strength = engine.edit, (*inputs, edit.photo, edit.region), edit.strength
    if layout:
        check_prompt(layout[0], prompts[0])
        for name in ("same_seeds", "start", "batch_size"):
            del options[name]
        options["strength"] = layout[1]
        draw, inputs = engine.place, (*inputs, layout[0])
        strength = 1 + len(layout[0].boxes) * layout[1]  # the scene, then each object
    pixel_steps = options["num_inference_steps"] * size[0] * size[1] * strength
    if upscale:
        pixel_steps += pixel_steps_of(size, engine.base(), options["num_inference_steps"])

    started: list[float] = []  # when the job did

    def seconds_left(job: Job) -> float | None:
        remaining = details.count - len(job.events)
        if job.events and started:
            return (time.perf_counter() - started[0]) / len(job.events) * remaining
        return engine.expected_image_seconds(pixel_steps * remaining)

    def work(job: Job) -> list[Path]:
        started.append(time.perf_counter())
        for image in draw(*inputs, job.stop_file, job.live_image, **options):
            job.live_image.unlink(missing_ok=True)
            job.emit(save_image(image, session.gallery.images_folder))
        engine.record_images(pixel_steps * len(job.events), time.perf_counter() - started[0])
        if details.columns and job.events:
            session.gallery.save_sheet(job.events, details.columns)
        return list(job.events)

    session.generation = queue.submit(session.token, "generate", work, details, seconds_left)
    session.gallery.show_all()  # so that the new images are visible
    return session.generation


def _size_of(shape: str | None) -> tuple[int, int]:
    """Width and height of a key of image_shapes, by default square; raises UserError for another one."""
    shapes = image_shapes(engine.base())
    if (shape or SQUARE) not in shapes:
        raise UserError(strings.UNKNOWN_SHAPE.format(known=", ".join(shapes)))
    return shapes[shape or SQUARE]


def valid_seed(seed: float) -> int:
    return abs(int(seed)) % 2**31


def choose_seed(seed: float | None, keep: bool) -> int:
    """The seed if it is kept, else a new one."""
    return valid_seed(seed) if keep and seed is not None else secrets.randbelow(NEW_SEEDS)


def shape_choices() -> list[tuple[str, str]]:
    """Label and key of each image shape."""
    sizes = image_shapes(engine.base())
    return [(f"{strings.SHAPES[name]} {width} × {height}", name) for name, (width, height) in sizes.items()]


def shape_of(metadata: dict) -> str:
    """The shape of an image by its metadata; that of earlier versions has no size."""
    sizes = {size: name for name, size in image_shapes(engine.base()).items()}
    factor = metadata.get("upscale", {}).get("factor", 1)
    return sizes.get((metadata.get("width", 0) // factor, metadata.get("height", 0) // factor), SQUARE)
