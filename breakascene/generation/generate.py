"""Prompts to pictures, each with a record of how it came about."""

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from PIL import Image, PngImagePlugin

from breakascene.errors import UserError
from breakascene.files import atomic_file
from breakascene.models.base import Base
from breakascene.models.concepts import Concepts
from breakascene.models.handles import token_positions
from breakascene.models.prompts import parse_prompt

# Metadata keys up to November 2026 → today's
OLD_KEYS = {"negative": "negative_prompt", "steps": "num_inference_steps", "guidance": "guidance_scale"}
KEY = "breakascene"  # of the text chunk in a PNG
MAX_GUIDANCE_SCALE = 1000
BATCH = 4  # pictures at once: quicker for all of them, slower for the first


@dataclass(frozen=True, eq=False)
class GeneratedImage:
    """A drawn RGB image and its record, JSON values by name; see generate."""

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
) -> Iterator[GeneratedImage]:
    """Draw `count` pictures of each prompt, in order, with DPM-Solver++; they come `together` at a time.

    concepts: whose handles the prompts may use; None for the bare base. guidance: 1 or below for none; by default
    what suits the base. size: width and height, by default the square that the base learned. GeneratedImage `index` comes
    from seed + index alone, so it is the same whatever is drawn with it (up to the last digits of the arithmetic). It
    is counted over all prompts; with `paired` anew for each prompt, so that what differs between two prompts' pictures
    is due to the prompts. Its record has prompt, negative, seed, index, steps, guidance, width, height, base,
    fingerprint, run (the concepts' id or None), handles and versions.
    Between pictures the base is as it was.
    Raises UserError for an unknown handle, one that is cut off, an empty prompt, a size that the base cannot draw, or
    concepts of another base.
    """
    prompts = [prompts] if isinstance(prompts, str) else list(prompts)
    known = concepts.handles if concepts else ()
    if not all(prompt.strip() for prompt in prompts) or not prompts:
        raise UserError("The prompt is empty: write what to draw.")
    if count < 1 or num_inference_steps < 1:
        raise UserError("The number of pictures and of steps must be at least 1.")
    parsed = [parse_prompt(prompt, known, base=base) for prompt in (*prompts, negative_prompt)]
    *prompts, negative_prompt = (prompt.text for prompt in parsed)
    for note in dict.fromkeys(note for prompt in parsed for note in prompt.notes):
        warnings.warn(note, stacklevel=2)
    if guidance_scale is not None and not abs(guidance_scale) <= MAX_GUIDANCE_SCALE:  # false for NaN as well
        raise UserError(
            "The guidance scale {value} cannot be used: choose a number from 0 to {most}.",
            value=guidance_scale, most=MAX_GUIDANCE_SCALE,
        )  # fmt: skip
    width, height = size or image_shapes(base)["square"]
    check_size(base, width, height)

    def on_base():
        return concepts.applied(base) if concepts else nullcontext()

    with on_base():
        for prompt in (*prompts, negative_prompt):
            token_positions(base, prompt, known)
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
        "handles": dict(zip(concepts.handles, concepts.names, strict=True)) if concepts else {},
        "versions": {name: version(name) for name in ("torch", "diffusers", "transformers")},
    }
    records = [
        {"prompt": prompt, "seed": seed, "index": i if same_seeds else row * count + i, **common}
        for row, prompt in enumerate(prompts)
        for i in range(count)
    ]

    def draw() -> Iterator[GeneratedImage]:
        for start in range(0, len(records), batch_size):
            batch = records[start : start + batch_size]
            with on_base():
                images = _draw(base, batch)
            for image, record in zip(images, batch, strict=True):
                yield GeneratedImage(image, record)

    return draw()  # so that a mistake is raised by the call itself, not by the first picture


def image_shapes(base: Base) -> dict[str, tuple[int, int]]:
    """Width and height of pictures that the base draws well: its own square, and as many pixels wide or tall."""
    side = base.image_size
    long, short = side * 5 // 4, side * 3 // 4  # of SDXL one of the sizes that it learned, 1280 × 768
    return {"square": (side, side), "wide": (long, short), "tall": (short, long)}


def check_size(base: Base, width: int, height: int) -> None:
    """Raise UserError unless the base can draw pictures of that size."""
    side, cell = base.image_size, base.image_size // base.latent_size
    if not all(side // 2 <= length <= 2 * side and length % cell == 0 for length in (width, height)):
        raise UserError(
            "The picture size {width} × {height} will not do: take sides from {least} to {most} pixels, "
            "in steps of {cell}.",
            width=width, height=height, least=side // 2, most=2 * side, cell=cell,
        )  # fmt: skip


@torch.no_grad()
def _draw(base: Base, records: Sequence[dict]) -> list[Image.Image]:
    first = records[0]
    with base.autocast():
        drawn = base.pipeline()(
            [record["prompt"] for record in records],
            # SDXL draws away from nothing at all where nothing is named, and not from an empty prompt
            negative_prompt=[record["negative_prompt"] for record in records] if first["negative_prompt"] else None,
            num_inference_steps=first["num_inference_steps"],
            guidance_scale=first["guidance_scale"],
            width=first["width"],
            height=first["height"],
            generator=[torch.Generator().manual_seed(record["seed"] + record["index"]) for record in records],
        )
    return drawn.images


def save_image(picture: GeneratedImage, folder: Path | str) -> Path:
    """Write the picture as a PNG with its record inside, whole or not at all; returns its path.

    The name is its index and the start of its prompt; a number is added where that name is taken.
    Raises UserError if the folder cannot be written.
    """
    record = picture.metadata
    plain = "".join(c if c.isalnum() and c.isascii() else " " for c in record["prompt"]).split()
    stem = f"{record['index']:03d}-{'-'.join(plain)[:60].rstrip('-')}"
    folder = Path(folder)
    path, number = folder / f"{stem}.png", 1
    while path.exists():
        number += 1
        path = folder / f"{stem}-{number}.png"
    chunk = PngImagePlugin.PngInfo()
    chunk.add_text(KEY, json.dumps(record, allow_nan=False))
    try:
        with atomic_file(path) as draft:
            picture.image.save(draft, pnginfo=chunk)
    except OSError as error:
        raise UserError(f"Cannot write to {folder} ({error.strerror}): choose another place for --out.") from error
    return path


def read_metadata(path: Path | str) -> dict:
    """Read the record from a PNG that save_image wrote. Raises UserError if the file has none."""
    try:
        with Image.open(path) as image:
            return {OLD_KEYS.get(key, key): value for key, value in json.loads(image.text[KEY]).items()}
    except (OSError, AttributeError, KeyError, ValueError) as error:
        raise UserError(f"{path} has no record: give a PNG that this package drew.") from error
