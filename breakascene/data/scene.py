"""Scenes: a photo and the named masks of the objects in it. Validation, cropping, loading and saving."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from breakascene.data.consent import Consent
from breakascene.data.crop import SquareCrop, crop_box, square_box, transparent_crop
from breakascene.data.handle_names import MAX_CONCEPTS, handles_of
from breakascene.data.image_io import Source, read_mask, read_photo
from breakascene.data.validation import read_json, read_text
from breakascene.errors import UserError
from breakascene.files import atomic_folder

MAX_TOGETHER = 8  # concepts that are extracted together; more are extracted in groups
MIN_AREA = 0.0005  # fraction of the photo; a smaller mask is less than one cell of the attention maps
MAX_NAME_LENGTH = 60  # characters
CONSENT = "consent.json"  # in the folder of a scene


@dataclass(frozen=True, eq=False)
class Concept:
    """An object in the photo: its plain name ("mug") and its mask, (H, W) bool in pixels of the photo."""

    name: str
    mask: np.ndarray


@dataclass(frozen=True, eq=False)
class Scene:
    """An upright RGB photo with one to sixteen concepts and, optionally, the rest of the photo as the background.

    `other_photos` holds further photos of some of the same concepts, which have the same names there. Create scenes
    with make_scene, read_scene or load_scene, which validate them.
    """

    photo: Image.Image
    concepts: tuple[Concept, ...]
    background: bool = False
    other_photos: tuple["Scene", ...] = ()
    consent: Consent | None = None  # what was declared about people and brands in the photo

    @property
    def handles(self) -> tuple[str, ...]:
        """The concepts' handles: "<asset0>", "<asset1>", …, then "<background>" if the background is on."""
        return handles_of(len(self.concepts), self.background)

    @property
    def names(self) -> tuple[str, ...]:
        """The plain names, in the order of the handles; the name of the background is "background"."""
        return tuple(concept.name for concept in self.concepts) + ("background",) * self.background

    @property
    def photo_hash(self) -> str:
        """See the function of that name."""
        return photo_hash(self.photo)

    @property
    def consents(self) -> tuple[Consent, ...]:
        """What was declared about the photos, as far as it was."""
        return tuple(photo.consent for photo, _ in self.photos() if photo.consent)

    def photos(self) -> list[tuple["Scene", list[int]]]:
        """Return each photo as a scene, this one first, with the indices of its concepts among this scene's handles."""
        others = [(other, [self.names.index(name) for name in other.names]) for other in self.other_photos]
        return [(self, list(range(len(self.handles)))), *others]

    def masks(self) -> np.ndarray:
        """Return the masks in the order of the handles, (K, H, W) bool; the background is outside all other masks."""
        masks = np.stack([concept.mask for concept in self.concepts])  # (N, H, W)
        if self.background:
            masks = np.concatenate([masks, ~masks.any(axis=0, keepdims=True)])
        return masks

    def check(self) -> None:
        """Raise UserError for the first fault that would make training on this scene pointless."""
        count = len(self.concepts)
        if not count:
            raise UserError("There is no mask: mark at least one object in the photo.")
        if count > MAX_CONCEPTS:
            raise UserError(f"There are {count} masks: keep at most {MAX_CONCEPTS}.")
        width, height = self.photo.size
        for handle, concept in zip(self.handles, self.concepts, strict=False):
            if concept.mask.shape != (height, width):
                mask_size = " × ".join(str(side) for side in reversed(concept.mask.shape))
                raise UserError(
                    f"The mask of {handle} ({concept.name}) is {mask_size} pixels but the photo {width} × {height}: "
                    "draw the mask on the photo itself."
                )
            area = concept.mask.mean()
            if not area:
                raise UserError(
                    f"The mask of {handle} ({concept.name}) is empty: "
                    "mark the object white on black or opaque on transparent."
                )
            if area < MIN_AREA:
                raise UserError(
                    "The mask of {handle} ({name}) covers less than 0.05 % of the photo: "
                    "mark the whole object, or crop the photo around it.",
                    handle=handle, name=concept.name,
                )  # fmt: skip
        for i in range(count):
            for j in range(i):
                if np.array_equal(self.concepts[i].mask, self.concepts[j].mask):
                    raise UserError(
                        "The masks of {one} ({name}) and {other} ({other_name}) are the same: remove one of them.",
                        one=self.handles[j], name=self.concepts[j].name,
                        other=self.handles[i], other_name=self.concepts[i].name,
                    )  # fmt: skip
        for name in (name for other in self.other_photos for name in other.names):
            if self.names.count(name) != 1:
                raise UserError(
                    'A further photo has an object named "{name}", which is not the name of exactly one object in the '
                    "first photo: give each object one name, and use it in every photo.",
                    name=name,
                )
        if any(len(set(other.names)) < len(other.names) for other in self.other_photos):
            raise UserError("A further photo has the same object twice: mark it once in each photo.")
        if self.background and self.masks()[-1].mean() < MIN_AREA:
            raise UserError("The masks cover the whole photo and leave no background: switch the background off.")

    def square_crop(self, size: int) -> SquareCrop:
        """Crop the square that a model of `size` pixels trains on; see SquareCrop."""
        box = self._square_box(size)
        masks = list(self.crop_masks(size))
        valid = crop_box(np.ones(self.photo.size[::-1], bool), box, size, pad="constant")
        if self.background:
            masks.append(valid & ~np.any(masks, axis=0))
        pixels = crop_box(np.asarray(self.photo), box, size, pad="edge")
        return SquareCrop(pixels, np.stack(masks), box, valid, self.photo.size)

    def crop_masks(self, size: int) -> np.ndarray:
        """Return the masks in the square crop, (K, size, size) bool, without the background's."""
        box = self._square_box(size)
        return np.stack([crop_box(concept.mask, box, size, pad="constant") for concept in self.concepts])

    def _square_box(self, size: int) -> tuple[int, int, int]:
        return square_box([concept.mask for concept in self.concepts], size, self.background)


def photo_hash(photo: Image.Image) -> str:
    """SHA-256, as hex digits, of an RGB image's size as "WIDTHxHEIGHT" followed by its bytes."""
    width, height = photo.size
    return hashlib.sha256(f"{width}x{height}".encode() + photo.tobytes()).hexdigest()


def make_scene(
    photo: Image.Image,
    masks: list[np.ndarray],
    names: list[str] | None = None,
    background: bool = False,
    other_photos: Sequence[Scene] = (),
    consent: Consent | None = None,
) -> Scene:
    """Create a validated scene.

    Args:
        photo: The photo, in any mode that read_photo takes.
        masks: One (H, W) bool mask for each object, in pixels of the upright photo.
        names: Plain names of the objects; a missing or empty name becomes "object".
        background: Whether the rest of the photo is a concept too.
        other_photos: Further photos of objects with the same names.
        consent: What was declared about people and brands in the photo.

    Raises:
        UserError: As read_photo and Scene.check do.
    """
    names = list(names or []) + [""] * (len(masks) - len(names or []))
    concepts = (
        Concept(_clean_name(name), np.array(mask, dtype=bool, copy=True))
        for mask, name in zip(masks, names, strict=True)
    )
    flat = tuple(replace(photo, other_photos=()) for other in other_photos for photo, _ in other.photos())
    scene = Scene(read_photo(photo), tuple(concepts), background, flat, consent)
    scene.check()
    return scene


def without_overlaps(masks: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Give each pixel of overlapping masks (H, W) to the smallest one alone."""
    separate, taken = {}, np.zeros_like(masks[0])
    for i in np.argsort([mask.sum() for mask in masks], kind="stable"):
        separate[i], taken = masks[i] & ~taken, masks[i] | taken
    return [separate[i] for i in range(len(masks))]


def innermost_on_top(scene: Scene) -> Scene:
    """Separate entangled objects, such as a pattern and what it is on: an overlap belongs to the smaller mask alone.

    Raises:
        UserError: If smaller objects cover an object entirely.
    """
    masks = without_overlaps([concept.mask for concept in scene.concepts])
    for handle, concept, mask in zip(scene.handles, scene.concepts, masks, strict=False):
        if not mask.any():
            raise UserError(
                "The smaller objects cover {handle} ({name}) entirely: mark more of it, or remove one of them.",
                handle=handle, name=concept.name,
            )  # fmt: skip
    concepts = zip(scene.concepts, masks, strict=True)
    separate = replace(scene, concepts=tuple(replace(concept, mask=mask) for concept, mask in concepts))
    separate.check()
    return separate


def read_scene(
    photo: Source, masks: list[tuple[Source, str]], background: bool = False, other_photos: Sequence[Scene] = ()
) -> Scene:
    """Read a photo and its (mask, name) pairs as a validated scene; see make_scene. Raises UserError."""
    image = read_photo(photo)
    arrays = [read_mask(source, image.size, photo=image) for source, _ in masks]
    return make_scene(image, arrays, [name for _, name in masks], background, other_photos)


def load_scene(folder: Path | str) -> Scene:
    """Load a scene folder: img.jpg or img.png, mask0.png, mask1.png, … and optionally names.txt, one name a line.

    A last line "background", one line more than there are masks, switches the background on. Subfolders also00,
    also01, … of the same layout hold the further photos. consent.json holds Consent.to_json(). Raises UserError.
    """
    folder = Path(folder)
    photos = [path for suffix in ("jpg", "jpeg", "png") if (path := folder / f"img.{suffix}").is_file()]
    if not photos:
        raise UserError(f"{folder} is not a scene folder: it needs img.jpg or img.png, mask0.png, mask1.png and so on.")
    matches = (re.fullmatch(r"mask(\d+)\.png", path.name) for path in folder.iterdir())
    numbers = sorted(int(match[1]) for match in matches if match)
    names_file = folder / "names.txt"
    try:
        names = read_text(names_file).splitlines() if names_file.is_file() else []
    except (OSError, ValueError) as error:
        raise UserError(f"{names_file} is not a short text file: write one name per line, in UTF-8.") from error
    background = len(names) == len(numbers) + 1 and names[-1] == "background"
    names = names[: len(names) - background]
    if len(names) > len(numbers):
        raise UserError(f"{names_file} has {len(names)} names for {len(numbers)} masks: give each mask one line.")
    names += [""] * (len(numbers) - len(names))
    photo = read_photo(photos[0])
    # allow_inverted: in a saved scene the surroundings may be an object
    masks = [
        read_mask(folder / f"mask{number}.png", photo.size, photo=photo, allow_inverted=True) for number in numbers
    ]
    other_photos = [load_scene(other) for other in sorted(folder.glob("also[0-9][0-9]"))]
    return make_scene(photo, masks, names, background, other_photos, read_consent(folder / CONSENT))


def read_consent(file: Path) -> Consent | None:
    """Read the declaration in a scene folder; None if there is none. Raises UserError."""
    try:
        return Consent.from_json(read_json(file)) if file.is_file() else None
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{file} is not a declaration of consent: delete it, and declare it again.") from error


def save_scene(scene: Scene, folder: Path | str) -> None:
    """Write the scene in the layout of load_scene, atomically; an existing scene is replaced."""
    with atomic_folder(folder) as draft:
        scene.photo.save(draft / "img.png")
        for i, concept in enumerate(scene.concepts):
            Image.fromarray(concept.mask.astype(np.uint8) * 255).save(draft / f"mask{i}.png")
        for i, other in enumerate(scene.other_photos):
            save_scene(other, draft / f"also{i:02}")
        if scene.consent is not None:
            (draft / CONSENT).write_text(json.dumps(scene.consent.to_json(), ensure_ascii=False), encoding="utf-8")
        (draft / "names.txt").write_text("".join(f"{name}\n" for name in scene.names), encoding="utf-8")


def cutout(scene: Scene, index: int) -> Image.Image:
    """Crop the concept at this index among the handles to its mask; see transparent_crop."""
    return transparent_crop(scene.photo, scene.masks()[index])


def _clean_name(name: str) -> str:
    name = " ".join(name.split())
    if len(name) > MAX_NAME_LENGTH or re.search(r"[<>]", name):
        raise UserError(
            'The name "{name}" cannot be used: write a few plain words without < and >.', name=name[:MAX_NAME_LENGTH]
        )
    return name or "object"
