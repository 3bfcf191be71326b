"""A scene: one photo and the named masks of the things in it. Checking, squaring, reading and saving as a folder."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from breakascene.data.image_io import Source, read_mask, read_photo
from breakascene.errors import UserError
from breakascene.files import atomic_folder

MAX_CONCEPTS = 8
MIN_AREA = 0.0005  # of the photo; a smaller thing is less than one cell of the attention maps
MARGIN = 0.10  # room around the masks on each side of the square
NEARLY_SQUARE = 1.1  # long side by short side


@dataclass(frozen=True, eq=False)
class Concept:
    """One thing in the photo: its plain name ("mug") and its mask, (H, W) bool in pixels of the photo."""

    name: str
    mask: np.ndarray


@dataclass(frozen=True, eq=False)
class Scene:
    """An upright RGB photo with one to eight concepts, and the rest of it as a concept of its own if wanted.

    `also` holds further photos of some of the same concepts, which have the same names there. Make one with make_scene,
    read_scene or load_scene, which check it.
    """

    photo: Image.Image
    concepts: tuple[Concept, ...]
    background: bool = False
    other_photos: tuple["Scene", ...] = ()

    @property
    def handles(self) -> tuple[str, ...]:
        """The words of the concepts: "<asset0>", "<asset1>", …, and "<background>" last when background is on."""
        assets = tuple(f"<asset{i}>" for i in range(len(self.concepts)))
        return assets + ("<background>",) * self.background

    @property
    def names(self) -> tuple[str, ...]:
        """The plain names, in the order of the handles; the background's is "background"."""
        return tuple(concept.name for concept in self.concepts) + ("background",) * self.background

    def photos(self) -> list[tuple["Scene", list[int]]]:
        """Each photo as a scene, this one first, with the numbers of its concepts among the handles of this one."""
        others = [(other, [self.names.index(name) for name in other.names]) for other in self.other_photos]
        return [(self, list(range(len(self.handles)))), *others]

    def masks(self) -> np.ndarray:
        """All masks in the order of the handles, (K, H, W) bool; the background is what no other mask holds."""
        masks = np.stack([concept.mask for concept in self.concepts])  # (N, H, W)
        if self.background:
            masks = np.concatenate([masks, ~masks.any(axis=0, keepdims=True)])
        return masks

    def check(self) -> None:
        """Raise UserError with the first thing that would make learning from this scene pointless."""
        count = len(self.concepts)
        if not count:
            raise UserError("There is no mask: mark at least one thing in the photo.")
        if count > MAX_CONCEPTS:
            raise UserError(f"There are {count} masks: keep at most {MAX_CONCEPTS}.")
        width, height = self.photo.size
        for handle, concept in zip(self.handles, self.concepts, strict=False):
            if concept.mask.shape != (height, width):
                got = " × ".join(str(side) for side in reversed(concept.mask.shape))
                raise UserError(
                    f"The mask of {handle} ({concept.name}) is {got} pixels but the photo {width} × {height}: "
                    "draw the mask on the photo itself."
                )
            area = concept.mask.mean()
            if not area:
                raise UserError(
                    f"The mask of {handle} ({concept.name}) is empty: mark the thing white on black or opaque on clear."
                )
            if area < MIN_AREA:
                raise UserError(
                    "The mask of {handle} ({name}) covers under 0.05 % of the photo: "
                    "mark the whole thing, or crop the photo around it.",
                    handle=handle, name=concept.name,
                )  # fmt: skip
        for i in range(count):
            for j in range(i):
                if np.array_equal(self.concepts[i].mask, self.concepts[j].mask):
                    raise UserError(
                        "The masks of {one} ({name}) and {other} ({other_name}) are the same: drop one of them.",
                        one=self.handles[j], name=self.concepts[j].name,
                        other=self.handles[i], other_name=self.concepts[i].name,
                    )  # fmt: skip
        for name in (name for other in self.other_photos for name in other.names):
            if self.names.count(name) != 1:
                raise UserError(
                    'A further photo shows "{name}", which is not the name of just one thing in the first: '
                    "give a thing the same name in every photo, and each thing another.",
                    name=name,
                )  # fmt: skip
        if any(len(set(other.names)) < len(other.names) for other in self.other_photos):
            raise UserError("A further photo shows the same thing twice: mark it once in each photo.")
        if self.background and self.masks()[-1].mean() < MIN_AREA:
            raise UserError("The masks cover the whole photo, nothing is left for the background: switch it off.")

    def square_crop(self, size: int) -> "SquareCrop":
        """Cut the square that a model of `size` pixels learns from; see SquareCrop."""
        box = _square_box(self, size)
        masks = list(self.crop_masks(size))
        valid = _fit(np.ones(self.photo.size[::-1], bool), box, size, pad="constant")
        if self.background:
            masks.append(valid & ~np.any(masks, axis=0))
        pixels = _fit(np.asarray(self.photo), box, size, pad="edge")
        return SquareCrop(pixels, np.stack(masks), box, valid, self.photo.size)

    def crop_masks(self, size: int) -> np.ndarray:
        """The concepts' masks in that square alone, (K, size, size) bool, without the background's."""
        box = _square_box(self, size)
        return np.stack([_fit(concept.mask, box, size, pad="constant") for concept in self.concepts])


@dataclass(frozen=True, eq=False)
class SquareCrop:
    """A square of the photo at a model's size, with the way back. Never distorted.

    It is the smallest square that holds all masks with a margin of 10 %, moved inside the photo, and at least
    min(short side of the photo, size) wide. With the background on, or on a nearly square photo, it is as large as
    the photo's short side. Where things span more than that, it reaches outside and the edge pixels are repeated.
    """

    pixels: np.ndarray  # (size, size, 3) uint8
    masks: np.ndarray  # (K, size, size) bool, False where padded
    box: tuple[int, int, int]  # x0, y0, side in pixels of the photo; x0 or y0 is negative where it reaches outside
    valid: np.ndarray  # (size, size) bool, False where padded
    photo_size: tuple[int, int]  # width, height

    def to_photo(self, array: np.ndarray) -> np.ndarray:
        """Bring (size, size[, C]) bool, uint8 or float back to photo pixels: (H, W[, C]) of the same kind.

        What lies outside the square is False or 0. Where no resizing is needed, values come back bit for bit.
        """
        x0, y0, side = self.box
        width, height = self.photo_size
        left, top, right, bottom = max(x0, 0), max(y0, 0), min(x0 + side, width), min(y0 + side, height)
        resample = Image.Resampling.LANCZOS if array.dtype == np.uint8 else Image.Resampling.BILINEAR
        part = _resize(array, (side, side), resample)[top - y0 : bottom - y0, left - x0 : right - x0]
        whole = np.zeros((height, width, *array.shape[2:]), part.dtype)
        whole[top:bottom, left:right] = part
        return whole


def make_scene(
    photo: Image.Image,
    masks: list[np.ndarray],
    names: list[str] | None = None,
    background: bool = False,
    other_photos: Sequence[Scene] = (),
) -> Scene:
    """Make a checked scene of a photo and (H, W) bool masks; a missing or empty name becomes "object".

    other_photos: further photos of things with the same names. Raises UserError as read_photo and Scene.check do.
    """
    names = list(names or []) + [""] * (len(masks) - len(names or []))
    concepts = (
        Concept(_clean(name), np.array(mask, dtype=bool, copy=True)) for mask, name in zip(masks, names, strict=True)
    )
    further = tuple(replace(one, other_photos=()) for other in other_photos for one, _ in other.photos())
    scene = Scene(read_photo(photo), tuple(concepts), background, further)
    scene.check()
    return scene


def read_scene(
    photo: Source, masks: list[tuple[Source, str]], background: bool = False, other_photos: Sequence[Scene] = ()
) -> Scene:
    """Read a photo and its masks, each with a name ("" for "object"), as a checked scene. Raises UserError."""
    image = read_photo(photo)
    arrays = [read_mask(source, image.size) for source, _ in masks]
    return make_scene(image, arrays, [name for _, name in masks], background, other_photos)


def load_scene(folder: Path | str) -> Scene:
    """Read img.jpg or img.png with mask0.png, mask1.png, … and, if it is there, names.txt with a name a line.

    One line more than masks, "background", switches the background on. Folders also00, also01, … in it, of the same
    layout, are further photos. Raises UserError.
    """
    folder = Path(folder)
    photos = [path for suffix in ("jpg", "jpeg", "png") if (path := folder / f"img.{suffix}").is_file()]
    if not photos:
        raise UserError(f"{folder} is not a scene folder: it needs img.jpg or img.png, mask0.png, mask1.png and so on.")
    matches = (re.fullmatch(r"mask(\d+)\.png", path.name) for path in folder.iterdir())
    numbers = sorted(int(match[1]) for match in matches if match)
    listed = folder / "names.txt"
    names = listed.read_text(encoding="utf-8").splitlines() if listed.is_file() else []
    background = len(names) == len(numbers) + 1 and names[-1] == "background"
    names = names[: len(names) - background]
    if len(names) > len(numbers):
        raise UserError(f"{listed} has {len(names)} names for {len(numbers)} masks: give each mask one line.")
    names += [""] * (len(numbers) - len(names))
    masks = [(folder / f"mask{number}.png", name) for number, name in zip(numbers, names, strict=True)]
    other_photos = [load_scene(other) for other in sorted(folder.glob("also[0-9][0-9]"))]
    return read_scene(photos[0], masks, background, other_photos)


def save_scene(scene: Scene, folder: Path | str) -> None:
    """Write the scene in the layout of load_scene, whole or not at all; a scene that was there is replaced."""
    with atomic_folder(folder) as draft:
        scene.photo.save(draft / "img.png")
        for i, concept in enumerate(scene.concepts):
            Image.fromarray(concept.mask.astype(np.uint8) * 255).save(draft / f"mask{i}.png")
        for i, other in enumerate(scene.other_photos):
            save_scene(other, draft / f"also{i:02}")
        (draft / "names.txt").write_text("".join(f"{name}\n" for name in scene.names), encoding="utf-8")


def cutout(scene: Scene, index: int) -> Image.Image:
    """The thing with this index among the handles, cropped to its mask, RGBA with the rest transparent."""
    mask = Image.fromarray(scene.masks()[index].astype(np.uint8) * 255)
    picture = scene.photo.convert("RGBA")
    picture.putalpha(mask)
    return picture.crop(mask.getbbox())


def masked_crop(pixels: np.ndarray, mask: np.ndarray) -> Image.Image:
    """What the mask (H, W) shows of a picture (H, W, 3), other pixels black, in a square around it with a margin."""
    ys, xs = np.nonzero(mask)
    side = int(max(np.ptp(ys), np.ptp(xs)) * 1.1) + 2
    top, left = (ys.min() + ys.max() - side) // 2, (xs.min() + xs.max() - side) // 2
    shown = Image.fromarray(pixels * mask[..., None].astype(np.uint8))
    return shown.crop((left, top, left + side, top + side))


def _clean(name: str) -> str:
    name = " ".join(name.split())
    if len(name) > 60 or re.search(r"[<>]", name):
        raise UserError('The name "{name}" will not do: use a few plain words, without < and >.', name=name[:60])
    return name or "object"


def _square_box(scene: Scene, size: int) -> tuple[int, int, int]:
    width, height = scene.photo.size
    short, long = min(width, height), max(width, height)
    union = np.any([concept.mask for concept in scene.concepts], axis=0)
    xs, ys = np.flatnonzero(union.any(axis=0)), np.flatnonzero(union.any(axis=1))
    x0, x1, y0, y1 = xs[0], xs[-1] + 1, ys[0], ys[-1] + 1
    need = max(x1 - x0, y1 - y0)
    side = max(int(np.ceil(need * (1 + 2 * MARGIN))), min(short, size))
    if scene.background or long <= NEARLY_SQUARE * short:
        side = max(side, short)
    # Padding shows the model what no camera saw, so the margin is given up before the square leaves the photo.
    side = min(side, short if need <= short else long)
    return _place(x0, x1, side, width), _place(y0, y1, side, height), side


def _place(start: int, stop: int, side: int, length: int) -> int:
    """Where a span of `side` begins that is centred on start..stop and then moved inside 0..length."""
    if side >= length:
        return -((side - length) // 2)
    return int(np.clip((start + stop - side) // 2, 0, length - side))


def _fit(array: np.ndarray, box: tuple[int, int, int], size: int, pad: str) -> np.ndarray:
    """Cut the box out of (H, W[, C]) bool or uint8, pad it where it reaches outside, resize to (size, size[, C])."""
    x0, y0, side = box
    solid = array.dtype == bool
    values = array.astype(np.uint8) * 255 if solid else array
    # The axis that needs no padding goes first: a long strip is small before its short side is padded.
    for axis in sorted((0, 1), key=lambda axis: array.shape[axis] < side):
        start = (y0, x0)[axis]
        if array.shape[axis] < side:
            widths = [(0, 0)] * array.ndim
            widths[axis] = (-start, start + side - array.shape[axis])
            values = np.pad(values, widths, mode=pad)
        else:
            values = values.take(range(start, start + side), axis=axis)
        shape = list(values.shape[:2])
        shape[axis] = size
        values = _resize(values, tuple(shape), Image.Resampling.BILINEAR if solid else Image.Resampling.LANCZOS)
    if not solid:
        return values
    # A thing thinner than a pixel of the square would vanish at the usual threshold: keep its densest pixels.
    return values >= max(1, min(128, values.max()))


def _resize(array: np.ndarray, shape: tuple[int, int], resample: Image.Resampling) -> np.ndarray:
    """Resize (H, W[, C]) of any kind to (*shape[, C]) of the same kind; bool by way of its coverage."""
    if array.shape[:2] == shape:
        return array
    values = array.astype(np.uint8 if array.dtype == np.uint8 else np.float32)
    planes = values.reshape(*values.shape[:2], -1)
    resized = [
        np.asarray(Image.fromarray(np.ascontiguousarray(planes[..., i])).resize(shape[::-1], resample))
        for i in range(planes.shape[2])
    ]
    values = np.stack(resized, axis=-1).reshape(*shape, *array.shape[2:])
    return values >= 0.5 if array.dtype == bool else values.astype(array.dtype)
