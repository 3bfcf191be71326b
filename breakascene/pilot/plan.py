"""The plan of a pilot: photos, presets, prompts, sizes, thresholds and prices, from a small YAML file or a folder."""

import re
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from breakascene.errors import UserError
from breakascene.pilot.photos import PlannedPhoto, declared_consent, photos_of_folder, photos_of_list, require_distinct
from breakascene.pilot.yaml_values import YamlValue, optional, read_yaml
from breakascene.training.modes import DEFAULT_PRESET, MEMORY_MODE_NAMES, PRESET_NAMES

PLAN_FILE = "plan.yaml"
PLACEHOLDERS = ("{object}", "{objects}")  # each object in turn, and all objects of a photo together
MIN_SIDE, MAX_SIDE, SIDE_STEP = 64, 4096, 8  # pixels of any base; its own sizes are checked when it is loaded
KEYS = (
    "name", "photos", "masks", "consent", "base", "presets", "steps", "memory", "prompts", "count", "sizes",
    "inference_steps", "guidance_scale", "seed", "background", "thresholds", "prices",
)  # fmt: skip


@dataclass(frozen=True)
class Thresholds:
    """When an image, a photo and the pilot as a whole pass.

    Args:
        identity: Least identity similarity of each object in a usable image; None for the default of the judge.
        prompt: Least prompt similarity of a usable image; None for the default of the judge.
        photo: Least share of usable images of a photo that works.
        pilot: Least share of photos that work.
    """

    identity: float | None = None
    prompt: float | None = None
    photo: float = 0.5
    pilot: float = 0.8


@dataclass(frozen=True)
class Prices:
    """What time costs, and what the images would cost without this software.

    Args:
        currency: Its name or sign.
        gpu_hour: An hour of one worker's machine.
        person_hour: An hour of a person.
        minutes_per_photo: A person's time for a photo: selecting it and checking its masks.
        minutes_per_image: A person's time for looking at one generated image.
        reshoot: One usable image from another photo shoot.
    """

    currency: str = ""
    gpu_hour: float = 0.0
    person_hour: float = 0.0
    minutes_per_photo: float = 0.0
    minutes_per_image: float = 0.0
    reshoot: float = 0.0


@dataclass(frozen=True)
class Plan:
    """Everything that a pilot does; see docs/pilot.md for the file.

    Args:
        name: Title of the report.
        photos: The photos with the sources of their masks.
        base: As for load_base.
        presets: Each photo is extracted with each of them.
        steps: Steps of the two phases, by default those of the preset.
        memory: Memory mode of the extraction.
        prompts: With handles or PLACEHOLDERS; empty for the prompts of an evaluation.
        count: Images for each prompt and size.
        sizes: Widths and heights in pixels; empty for the base's own square.
        inference_steps: Denoising steps of an image.
        guidance_scale: None for the base's own.
        seed: Of the extraction, and of the first image of each photo.
        background: Whether the rest of each photo is extracted too.
        thresholds, prices: See there. They change the report only, so no photo has to be processed again for them.
    """

    name: str
    photos: tuple[PlannedPhoto, ...]
    base: str = "auto"
    presets: tuple[str, ...] = (DEFAULT_PRESET,)
    steps: tuple[int, int] | None = None
    memory: str = "auto"
    prompts: tuple[str, ...] = ()
    count: int = 1
    sizes: tuple[tuple[int, int], ...] = ()
    inference_steps: int = 20
    guidance_scale: float | None = None
    seed: int = 0
    background: bool = False
    thresholds: Thresholds = Thresholds()
    prices: Prices | None = None


def read_plan(source: Path | str, within: Path | None = None) -> Plan:
    """Read a plan file, or make a plan of a folder of photos; a folder with a plan.yaml is that plan.

    Args:
        source: The file or folder.
        within: The folder that photos and masks of a plan from elsewhere have to lie in; None for any place.

    Raises:
        UserError: For a broken plan, missing photos or masks, or the same photo twice; it names file and line.
    """
    source = Path(source)
    if source.is_dir():
        if (source / PLAN_FILE).is_file():
            return read_plan(source / PLAN_FILE, within)
        photos = photos_of_folder(source, None)
        if not photos:
            raise UserError(f"{source} has no photos: give a folder of photos, or a plan in YAML.")
        require_distinct(photos)
        return Plan(source.resolve().name, photos)
    plan = read_yaml(source, within)
    fields = plan.fields(KEYS)
    if "photos" not in fields:
        raise plan.error("the plan has no photos: add the line photos: FOLDER.")
    return Plan(
        name=optional(fields, "name", partial(YamlValue.text, most=80), source.resolve().parent.name),
        photos=_read_photos(fields),
        base=optional(fields, "base", YamlValue.text, "auto"),
        presets=optional(fields, "presets", _read_presets, (DEFAULT_PRESET,)),
        steps=optional(fields, "steps", _read_steps, None),
        memory=optional(fields, "memory", lambda value: value.choice(MEMORY_MODE_NAMES), "auto"),
        prompts=optional(fields, "prompts", _read_prompts, ()),
        count=optional(fields, "count", lambda value: value.whole(1, 64), 1),
        sizes=optional(fields, "sizes", _read_sizes, ()),
        inference_steps=optional(fields, "inference_steps", lambda value: value.whole(1, 1000), 20),
        guidance_scale=optional(fields, "guidance_scale", lambda value: value.number(0, 100), None),
        seed=optional(fields, "seed", lambda value: value.whole(0, 2**32 - 1), 0),
        background=optional(fields, "background", YamlValue.flag, False),
        thresholds=optional(fields, "thresholds", _read_thresholds, Thresholds()),
        prices=optional(fields, "prices", _read_prices, None),
    )


def _read_photos(fields: dict[str, YamlValue]) -> tuple[PlannedPhoto, ...]:
    photos, masks = fields["photos"], fields.get("masks")
    if isinstance(photos.node.value, str):
        found = photos_of_folder(photos.path(), masks, photos)
    else:
        found = photos_of_list(photos, masks)
    if "consent" in fields:  # of all photos that have none of their own
        consent = declared_consent(fields["consent"])
        found = tuple(photo if photo.consent else replace(photo, consent=consent) for photo in found)
    require_distinct(found)
    return found


def _read_presets(value: YamlValue) -> tuple[str, ...]:
    return _distinct(value, [item.choice(PRESET_NAMES) for item in value.items()])


def _read_steps(value: YamlValue) -> tuple[int, int]:
    steps = [item.whole(0, 100_000) for item in value.items()]
    if len(steps) != 2 or not sum(steps):
        raise value.error("steps needs the steps of both phases, such as [8, 32].")
    return tuple(steps)


def _read_prompts(value: YamlValue) -> tuple[str, ...]:
    prompts = []
    for item in value.items():
        prompt = item.text()
        rest = re.sub("|".join(map(re.escape, PLACEHOLDERS)), "", prompt)
        if "{" in rest or "}" in rest:
            raise item.error(f'"{prompt}" has braces that mean nothing: write {" or ".join(PLACEHOLDERS)}.')
        if not any(placeholder in prompt for placeholder in PLACEHOLDERS) and not re.search(r"<[^<>\s]+>", prompt):
            raise item.error(f'"{prompt}" names no object: write {" or ".join(PLACEHOLDERS)}, or a handle.')
        prompts.append(prompt)
    return _distinct(value, prompts)


def _read_sizes(value: YamlValue) -> tuple[tuple[int, int], ...]:
    sizes = []
    for item in value.items():
        match = re.fullmatch(r"(\d{2,5}) ?[x×] ?(\d{2,5})", item.text())
        if not match:
            raise item.error(f'the size "{item.text()}" is not valid: write WIDTHxHEIGHT in pixels, such as 512x512.')
        size = int(match[1]), int(match[2])
        if not all(MIN_SIDE <= side <= MAX_SIDE and side % SIDE_STEP == 0 for side in size):
            raise item.error(
                f'no base generates the size "{item.text()}": write sides from {MIN_SIDE} to {MAX_SIDE} pixels, '
                f"multiples of {SIDE_STEP}."
            )
        sizes.append(size)
    return _distinct(value, sizes)


def _read_thresholds(value: YamlValue) -> Thresholds:
    fields = value.fields(("identity", "prompt", "photo", "pilot"))
    return Thresholds(**{key: field.number(0, 1) for key, field in fields.items()})


def _read_prices(value: YamlValue) -> Prices:
    amounts = ("gpu_hour", "person_hour", "minutes_per_photo", "minutes_per_image", "reshoot")
    fields = value.fields(("currency", *amounts))
    currency = optional(fields, "currency", partial(YamlValue.text, most=8), "")
    return Prices(currency, **{key: fields[key].number(0, 1e6) for key in amounts if key in fields})


def _distinct(value: YamlValue, items: list) -> tuple:
    if len(set(items)) < len(items):
        raise value.error(f"{value.name} has the same entry twice: remove one of the two.")
    return tuple(items)
