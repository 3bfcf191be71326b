"""A/B variants: images of the objects of a pilot in two to six places, styles and crops, named for ad platforms."""

import csv
import hashlib
import io
import json
import re
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from breakascene.data.handle_names import BACKGROUND
from breakascene.errors import UserError
from breakascene.files import atomic_folder
from breakascene.generation.generate import KEY, GeneratedImage, generate, image_shapes
from breakascene.models.base import Base
from breakascene.models.concepts import Concepts
from breakascene.models.grouped import GroupedConcepts, load_run
from breakascene.pilot.run import PHOTOS, read_results
from breakascene.pilot.store import Store
from breakascene.pilot.task import DONE
from breakascene.pilot.yaml_values import YamlValue, optional, read_yaml
from breakascene.provenance.credentials import png_bytes

MOST_NAME = 40  # characters of the photo, and of the variant, in a file name
FIELDS = ("name", "place", "style", "crop")
TABLE = "variants.csv"


class _Stopped(Exception):
    """Leaves the block that would keep what is written."""


@dataclass(frozen=True)
class AdVariant:
    """One version of an ad.

    Args:
        name: In file names and in the results of the campaign.
        place: Such as "at the beach"; "" for none.
        style: Such as "a painting".
        crop: Width and height of the aspect ratio, such as (4, 5); None for the whole image.
    """

    name: str
    place: str = ""
    style: str = "a photo"
    crop: tuple[float, float] | None = None


def read_variants(file: Path | str) -> tuple[list[AdVariant], list[str]]:
    """Read a YAML file with the keys variants and, optionally, photos: ids of photos of the pilot.

    Raises:
        UserError: For a mistake; it names file and line.
    """
    root = read_yaml(Path(file))
    fields = root.fields(("variants", "photos"))
    if "variants" not in fields:
        raise root.error("there are no variants: add the line variants: and two to six entries.")
    items = fields["variants"].items()
    if not 2 <= len(items) <= 6:
        raise fields["variants"].error(f"there are {len(items)} variants: write two to six.")
    variants = [_read_variant(item) for item in items]
    for item, one in zip(items, variants, strict=True):
        if sum(_ascii_name(other.name) == _ascii_name(one.name) for other in variants) > 1:
            raise item.error(f"the name {one.name} is used twice: give each variant its own.")
    photos = [item.text(80) for item in fields["photos"].items()] if "photos" in fields else []
    return variants, list(dict.fromkeys(photos))


def write_variants(
    base: Base,
    store: Store,
    variants: list[AdVariant],
    photos: list[str],
    out: Path,
    seed: int = 0,
    stop: Callable[[], bool] = lambda: False,
) -> int:
    """Generate each variant of each photo with the same seed, so that they differ in nothing else; return the images.

    Args:
        base: The base of the pilot.
        store: Its results.
        variants: The variants.
        photos: Ids of photos; empty for all.
        out: A new folder: PHOTO_VARIANT_SIZE_SEED.png, and TABLE with variant, file, photo, prompt, seed, size, hash.
        seed: Of the images.
        stop: Once it returns True, nothing is written and 0 is returned.

    Raises:
        UserError: If a photo is not done.
    """
    done = {result["photo"]: result for result in read_results(store) if result["state"] == DONE}
    if missing := next((photo for photo in photos if photo not in done), None):
        raise UserError(f"The pilot has no finished photo {missing}: write one of {', '.join(list(done)[:8])}.")
    if not done:
        raise UserError(f"{store.address} has no finished photo: run pilot run first.")
    rows = []
    with suppress(_Stopped), atomic_folder(out) as draft:
        for photo in photos or done:
            concepts = _concepts(store, done[photo])
            for variant in variants:
                if stop():
                    raise _Stopped
                for generated in generate(
                    base, concepts, [prompt_of(variant, concepts)], seed=seed, size=size_for(base, variant.crop)
                ):
                    rows.append(_save(generated, photo, variant, draft))
        stream = io.StringIO()
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        (draft / TABLE).write_text(stream.getvalue(), encoding="utf-8-sig")
        return len(rows)
    return 0


def prompt_of(variant: AdVariant, concepts: Concepts) -> str:
    """Return the prompt of a variant for the objects of a run."""
    objects = " and ".join(handle for handle in concepts.handles if handle != BACKGROUND)
    return f"{variant.style} of {objects} {variant.place}".strip()


def size_for(base: Base, crop: tuple[float, float] | None) -> tuple[int, int]:
    """Return the size that the base generates, of which a crop leaves the most."""
    ratio = crop[0] / crop[1] if crop else 1.0
    shapes = image_shapes(base).values()
    return max(shapes, key=lambda size: min(size[0] / size[1] / ratio, ratio / (size[0] / size[1])))


def cropped(image: Image.Image, crop: tuple[float, float] | None) -> Image.Image:
    """Cut the middle of an image to an aspect ratio."""
    if crop is None:
        return image
    width, height = image.size
    scale = min(width / crop[0], height / crop[1])
    new = round(crop[0] * scale), round(crop[1] * scale)
    left, top = (width - new[0]) // 2, (height - new[1]) // 2
    return image.crop((left, top, left + new[0], top + new[1]))


def _read_variant(item: YamlValue) -> AdVariant:
    fields = item.fields(FIELDS)
    if "name" not in fields:
        raise item.error("this variant has no name: add the line name: WORD.")
    name = fields["name"].text(30)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 -]*", name):
        raise fields["name"].error(f'the name "{name}" does not suit ad platforms: use letters, digits and hyphens.')
    crop = None
    if "crop" in fields:
        match = re.fullmatch(r"(\d{1,4}(?:\.\d{1,3})?)\s*[x:]\s*(\d{1,4}(?:\.\d{1,3})?)", fields["crop"].text())
        crop = (float(match[1]), float(match[2])) if match else (0.0, 0.0)
        if not all(crop) or not 0.25 <= crop[0] / crop[1] <= 4:
            raise fields["crop"].error(
                f'the crop "{fields["crop"].text()}" is not usable: write 1x1, 4x5, 9x16 or 1.91x1.'
            )
    place = optional(fields, "place", lambda value: value.text(120), "")
    return AdVariant(name, place, optional(fields, "style", lambda value: value.text(60), "a photo"), crop)


def _concepts(store: Store, result: dict) -> Concepts | GroupedConcepts:
    with tempfile.TemporaryDirectory(prefix="breakascene-pilot-") as folder:
        for name, data in store.files(f"{PHOTOS}/{result['photo']}/{result['preset']}/run").items():
            (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / name).write_bytes(data)
        return load_run(folder)


def _ascii_name(text: str) -> str:
    """Return a short name of small ASCII letters and digits, with a part of its hash where letters were lost."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:MOST_NAME]
    return plain if len(text) <= MOST_NAME and text.isascii() else f"{plain}-{_hash(text.encode())[:6]}".strip("-")


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _save(generated: GeneratedImage, photo: str, variant: AdVariant, folder: Path) -> dict:
    image = cropped(generated.image, variant.crop)
    size = f"{image.width}x{image.height}"
    metadata = generated.metadata
    seed = metadata["seed"] + metadata["index"]
    ending = f"_{_ascii_name(variant.name)}_{size}_s{seed}.png"
    file = _ascii_name(photo) + ending
    if (folder / file).exists():  # of IMG-1 for IMG_1
        file = f"{_ascii_name(photo)}-{_hash(photo.encode())[:6]}{ending}"
    data = png_bytes(image, {KEY: json.dumps(metadata, allow_nan=False)}, photo=metadata.get("photo", ""))
    (folder / file).write_bytes(data)
    return {
        "variant": variant.name, "file": file, "photo": photo, "prompt": metadata["prompt"], "seed": seed, "size": size,
        "hash": _hash(data),
    }  # fmt: skip
