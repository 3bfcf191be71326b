"""Generate images from prompts, each with metadata that says how to generate it again."""

import json
import struct
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from PIL import Image

from breakascene.data import validation
from breakascene.data.handle_names import name_handles
from breakascene.errors import UserError
from breakascene.files import atomic_file, file_stem
from breakascene.generation.previews import LivePreview
from breakascene.generation.start import Start, StartCallback
from breakascene.models.base import Base
from breakascene.models.concepts import Concepts
from breakascene.models.graphs import graphed_forward
from breakascene.models.handles import token_positions, with_handles
from breakascene.models.lora import ExternalLora, apply_delta
from breakascene.models.prompts import parse_prompt
from breakascene.provenance import audit, consent
from breakascene.provenance.credentials import EDITED, GENERATED, png_bytes

# Metadata keys up to November 2026 → today's
OLD_KEYS = {"negative": "negative_prompt", "steps": "num_inference_steps", "guidance": "guidance_scale"}
KEY = "breakascene"  # of the text chunk in a PNG
MAX_GUIDANCE_SCALE = 1000
MAX_IMAGES = 10_000  # of one call, whose metadata are prepared at once
BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)
BATCH = 4  # images per batch: faster in total, but the first image takes longer


@dataclass(frozen=True, eq=False)
class GeneratedImage:
    """A generated RGB image with its metadata.

    Attributes:
        image: The image.
        metadata: JSON values under the keys prompt, negative_prompt, seed, index, num_inference_steps,
            guidance_scale, width, height, base (its name), fingerprint (of the base), run (id of the concepts or
            None), handles (handle → name), versions (of the libraries) and, if there are any, loras (name → scale),
            consents (what was declared about the photos, Consent.to_json()), strength and metadata of the start,
            edit (see edit.edit) and upscale (see upscale.upscale).
    """

    image: Image.Image
    metadata: dict


def generate(
    base: Base,
    concepts: Concepts | None,
    prompts: Sequence[str],
    *,
    count: int = 1,
    seed: int = 0,
    num_inference_steps: int = 20,
    guidance_scale: float | None = None,
    negative_prompt: str = "",
    same_seeds: bool = False,
    size: tuple[int, int] | None = None,
    batch_size: int = BATCH,
    loras: Sequence[ExternalLora] = (),
    on_preview: Callable[[Image.Image], None] | None = None,
    start: Start | None = None,
) -> Iterator[GeneratedImage]:
    """Generate `count` images for each prompt with DPM-Solver++.

    Image number `index` depends on seed + index alone, whatever else is generated with it (up to rounding). Between
    images the base is in its original state.

    Args:
        base: The base model.
        concepts: The concepts whose handles the prompts may use; None for the plain base.
        prompts: One or more prompts.
        count: Images per prompt.
        seed: Seed of the first image.
        num_inference_steps: Denoising steps.
        guidance_scale: Classifier-free guidance, off at 1 or below; by default that of the base's model family.
        negative_prompt: Prompt to steer away from.
        same_seeds: Count the index anew for each prompt, so that images of different prompts share their seeds;
            by default it counts over all prompts.
        size: Width and height in pixels; by default the base's native square.
        batch_size: Images generated at once.
        on_preview: Called now and then with a small preview of the image that is being generated.
        loras: LoRAs from other programs, added to the base; prompts may use their bundled embeddings as <name>.
        start: An image to start from; it decides the size.

    Yields:
        The images, in the order of the prompts.

    Raises:
        UserError: For an empty prompt, more than MAX_IMAGES images, an unknown handle or one that is cut off, a size
            that the base cannot generate, concepts of another base, or a consent that has expired. Raised by the call
            itself, before the first image.
    """
    # 1. Check the inputs
    prompts = [prompts] if isinstance(prompts, str) else list(prompts)
    embeddings = _embeddings_of(loras, concepts)
    known_handles = (*(concepts.handles if concepts else ()), *embeddings)
    if not all(prompt.strip() for prompt in prompts) or not prompts:
        raise UserError("The prompt is empty: describe the image to generate.")
    if count < 1 or num_inference_steps < 1:
        raise UserError("The numbers of images and of steps must be at least 1.")
    if count * len(prompts) > MAX_IMAGES:
        raise UserError(
            "These are more than {most} images: generate fewer at a time, the next ones from another seed.",
            most=MAX_IMAGES,
        )
    names = concepts.names if concepts else ()
    parsed = [
        parse_prompt(prompt, known_handles, names, base, plain_names=False) for prompt in (*prompts, negative_prompt)
    ]
    *prompts, negative_prompt = (prompt.text for prompt in parsed)
    for note in dict.fromkeys(note for prompt in parsed for note in prompt.notes):
        warnings.warn(note, stacklevel=2)
    if guidance_scale is not None and not abs(guidance_scale) <= MAX_GUIDANCE_SCALE:  # false for NaN as well
        raise UserError(
            "The guidance scale {value} cannot be used: choose a number from 0 to {most}.",
            value=guidance_scale, most=MAX_GUIDANCE_SCALE,
        )  # fmt: skip
    consents = concepts.consents if concepts else ()
    consent.check_valid(consents)
    width, height = start.size(base) if start else size or image_shapes(base)["square"]
    check_size(base, width, height)

    @contextmanager
    def applied() -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(base.lock.held())
            for lora in loras:
                stack.enter_context(apply_delta(base, lora.delta))
            if concepts:
                stack.enter_context(concepts.applied(base, embeddings))
            elif embeddings:
                stack.enter_context(with_handles(base, list(embeddings), torch.stack(list(embeddings.values()))))
            yield

    with applied():
        for prompt in (*prompts, negative_prompt):
            token_positions(base, prompt, known_handles)

    # 2. Prepare the metadata, which define the images
    guidance_scale = base.default_guidance_scale if guidance_scale is None else guidance_scale
    common = {
        "negative_prompt": negative_prompt,
        "num_inference_steps": num_inference_steps,
        "guidance_scale": guidance_scale,
        "width": width,
        "height": height,
        "base": base.name,
        "fingerprint": base.fingerprint,
        "run": concepts.id if concepts else None,
        "photo": concepts.photo if concepts else "",
        "handles": dict(zip(concepts.handles, concepts.names, strict=True)) if concepts else {},
        "versions": {name: version(name) for name in ("torch", "diffusers", "transformers")},
    }
    if consents:
        common["consents"] = [declared.to_json() for declared in consents]
    if start:
        common |= {"strength": start.strength, **start.metadata}
        if "start" in start.metadata:  # an ingredient, as the photo is
            common["photo"] = "+".join(filter(None, (common["photo"], start.metadata["start"])))
    if loras:
        common["loras"] = {lora.name: lora.scale for lora in loras}
    metadata = [
        {"prompt": prompt, "seed": seed, "index": i if same_seeds else row * count + i, **common}
        for row, prompt in enumerate(prompts)
        for i in range(count)
    ]

    # 3. Generate batch by batch
    def batches() -> Iterator[GeneratedImage]:
        for first in range(0, len(metadata), batch_size):
            batch = metadata[first : first + batch_size]
            with applied():
                images = _run_pipeline(base, batch, on_preview, start and start.part(first, len(batch)))
            for image, values in zip(images, batch, strict=True):
                yield GeneratedImage(image, values)

    return batches()  # an inner generator, so that the checks above run at the call


def _embeddings_of(loras: Sequence[ExternalLora], concepts: Concepts | None) -> dict[str, torch.Tensor]:
    """Return the embeddings of LoRAs by handle. Raises UserError if two things would have the same handle."""
    taken = {*concepts.handles, *name_handles(concepts.handles, concepts.names)} if concepts else set()
    embeddings = {}
    for name, embedding in (pair for lora in loras for pair in lora.embeddings.items()):
        handle = f"<{name}>"
        if handle in taken:
            raise UserError(
                "A LoRA brings the handle {handle}, which the run has too: rename its embedding.", handle=handle
            )
        if handle in embeddings:
            raise UserError("Two LoRAs bring the handle {handle}: rename one of the embeddings.", handle=handle)
        embeddings[handle] = embedding
    return embeddings


def image_shapes(base: Base) -> dict[str, tuple[int, int]]:
    """Return the width and height of "square", "wide" and "tall" images with about the base's native pixel count."""
    side = base.image_size
    long, short = side * 5 // 4, side * 3 // 4  # for SDXL one of its training sizes, 1280 × 768
    return {"square": (side, side), "wide": (long, short), "tall": (short, long)}


def check_size(base: Base, width: int, height: int) -> None:
    """Raise UserError unless the base can generate images of that size."""
    side, cell = base.image_size, base.image_size // base.latent_size
    if not all(side // 2 <= length <= 2 * side and length % cell == 0 for length in (width, height)):
        raise UserError(
            "The image size {width} × {height} is not supported: use sides from {least} to {most} pixels, "
            "in steps of {cell}.",
            width=width, height=height, least=side // 2, most=2 * side, cell=cell,
        )  # fmt: skip


@torch.no_grad()
def _run_pipeline(
    base: Base,
    batch: Sequence[dict],
    on_preview: Callable[[Image.Image], None] | None = None,
    start: Start | None = None,
) -> list[Image.Image]:
    first = batch[0]
    pipeline, steps = base.pipeline(), first["num_inference_steps"]
    generators = [torch.Generator().manual_seed(values["seed"] + values["index"]) for values in batch]
    arguments, callbacks = {"num_inference_steps": steps}, []
    if start:
        pipeline.scheduler.set_timesteps(steps)
        callbacks.append(StartCallback(start, base, pipeline.scheduler.timesteps, generators))
        arguments = callbacks[0].arguments
        steps = len(arguments["timesteps"])
    if on_preview:
        callbacks.append(LivePreview(base, on_preview))

    def after_step(*values) -> dict:
        for callback in callbacks:
            callback(*values)
        return values[-1]

    images_per_call = len(batch) * (2 if first["guidance_scale"] > 1 else 1)  # guidance doubles the batch
    with base.autocast(), graphed_forward(base.unet, steps, images_per_call):
        output = pipeline(
            [values["prompt"] for values in batch],
            # None, not "": SDXL replaces a missing negative prompt by zeros instead of encoding an empty one
            negative_prompt=[values["negative_prompt"] for values in batch] if first["negative_prompt"] else None,
            guidance_scale=first["guidance_scale"],
            width=first["width"],
            height=first["height"],
            generator=generators,
            output_type="pt",
            callback_on_step_end=after_step if callbacks else None,
            **arguments,
        )
    if not output.images.isfinite().all():  # they would become black
        raise UserError(
            "The model generated an image without finite values: lower the strength of the LoRAs, or extract again."
        )
    return pipeline.image_processor.numpy_to_pil(pipeline.image_processor.pt_to_numpy(output.images))


def save_image(generated: GeneratedImage, folder: Path | str) -> Path:
    """Write an image with its metadata as a PNG, atomically, and return its path.

    The file name is made of the index and the start of the readable prompt, with a number added if it is taken.

    Raises:
        UserError: If the folder cannot be written.
    """
    metadata = generated.metadata
    stem = f"{metadata['index']:03d}-{file_stem(readable_prompt(metadata), 'image')}"
    folder = Path(folder)
    path, number = folder / f"{stem}.png", 1
    while path.exists():
        number += 1
        path = folder / f"{stem}-{number}.png"
    text = {KEY: json.dumps(metadata, allow_nan=False)}
    edited = "edit" in metadata or {"layout", "start"} <= set(metadata)  # a photo with a part generated
    action, source = ("edit", EDITED) if edited else ("generate", GENERATED)
    png = png_bytes(generated.image, text, photo=metadata.get("photo", ""), source=source)
    names = ("run", "photo", "base", "fingerprint")
    audit.record(action, image=audit.hash_of_bytes(png), **{name: metadata.get(name) for name in names})
    try:
        with atomic_file(path) as draft:
            draft.write_bytes(png)
    except OSError as error:
        raise UserError(f"Cannot write to {folder} ({error.strerror}): choose another place.") from error
    return path


def readable_prompt(metadata: dict) -> str:
    """Return the prompt of an image with the names of the concepts in place of their handles."""
    text = metadata["prompt"]
    for handle, name in metadata["handles"].items():
        text = text.replace(handle, name)
    return text


def read_metadata(path: Path | str) -> dict:
    """Read the metadata of a PNG that save_image wrote. Raises UserError if it has none, or not such ones."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            values = validation.checked_dict(validation.parse_json(image.text[KEY]), "its metadata")
        return _checked_metadata({OLD_KEYS.get(key, key): value for key, value in values.items()})
    except (OSError, SyntaxError, AttributeError, KeyError, ValueError, struct.error, *BOMBS) as error:
        raise UserError(f"{path} has no metadata: give a PNG that this package generated.") from error


def _checked_metadata(values: dict) -> dict:
    """Return the metadata if the values that other code reads have their types; raises ValueError or KeyError."""
    for key in ("prompt", "negative_prompt"):
        values[key].encode("utf-8")  # raises ValueError for lone surrogates, AttributeError for other types
    for key in ("seed", "index", "num_inference_steps"):
        validation.checked_int(values[key], 0, 2**64 - 1, f"its {key}")
    if "width" in values or "height" in values:  # images of early versions have neither
        for key in ("width", "height"):
            validation.checked_int(values[key], 1, 2**31, f"its {key}")
    validation.checked_float(values["guidance_scale"], -MAX_GUIDANCE_SCALE, MAX_GUIDANCE_SCALE, "its guidance scale")
    if "strength" in values:
        validation.checked_float(values["strength"], 0, 1, "its strength")
    if "upscale" in values:
        validation.checked_int(values["upscale"]["factor"], 1, 2**31, "its factor")
    for handle, name in validation.checked_dict(values["handles"], "its handles").items():
        validation.checked_text(handle, 200, "a handle"), validation.checked_text(name, 200, "a name")
    return values
