"""Exchange of masks with other programs: folders of masks and cut-outs, OneTrainer's mask labels, COCO JSON."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from breakascene.data import coco
from breakascene.data.image_io import read_mask
from breakascene.data.scene import Scene, load_scene, save_scene
from breakascene.data.validation import read_json
from breakascene.errors import UserError
from breakascene.files import atomic_folder

FORMATS = ("scene", "cutouts", "onetrainer", "coco")
MASK_LABEL = "-masklabel"  # OneTrainer's suffix for the mask of an image
MASK_SUFFIXES = (".png", ".webp", ".tif", ".tiff", ".bmp")
MAX_FILES = 64  # masks of one folder


def write_masks(scene: Scene, to: str, out: Path | str) -> None:
    """Write the masks of a scene in one of FORMATS to a folder, atomically.

    - scene: img.png, mask0.png, … and names.txt, the layout of load_scene.
    - cutouts: NAME.png for each object, of the size of the photo and transparent around the object.
    - onetrainer: NAME.png, NAME-masklabel.png and the caption NAME.txt for each object.
    - coco: photo.png and annotations.json with run-length encodings.

    Raises:
        UserError: For an unknown format, or if the folder holds anything already or cannot be written.
    """
    out = Path(out)
    if to not in FORMATS:
        raise UserError(
            'There are no masks of the format "{format}": choose from {formats}.', format=to, formats=", ".join(FORMATS)
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists already: choose a new or empty folder for --out.")
    if to == "scene":
        save_scene(scene, out)
        return
    with atomic_folder(out) as draft:
        if to == "coco":
            masks, names = [concept.mask for concept in scene.concepts], [concept.name for concept in scene.concepts]
            scene.photo.save(draft / "photo.png")
            text = json.dumps(coco.encode(masks, names, "photo.png"), ensure_ascii=False)
            (draft / "annotations.json").write_text(text, encoding="utf-8")
            return
        for stem, concept in zip(file_stems([concept.name for concept in scene.concepts]), scene.concepts, strict=True):
            mask = Image.fromarray(concept.mask.astype(np.uint8) * 255)
            photo = scene.photo.copy()
            if to == "cutouts":
                photo.putalpha(mask)
            else:
                mask.save(draft / f"{stem}{MASK_LABEL}.png")
                (draft / f"{stem}.txt").write_text(f"a photo of {concept.name}\n", encoding="utf-8")
            photo.save(draft / f"{stem}.png")


def read_mask_files(source: Path | str, photo: Image.Image, photo_name: str) -> list[tuple[str, np.ndarray]]:
    """Read the masks of a photo in any of FORMATS.

    Args:
        source: COCO JSON, a scene folder, or a folder of masks or cut-outs, whose file names are the names.
        photo: The photo, as read_photo returned it.
        photo_name: Its file name, by which COCO JSON with several images refers to it.

    Returns:
        Pairs of a name, "" where there is none, and a mask (H, W) bool.

    Raises:
        UserError: If there are no masks, or one does not fit the photo.
    """
    source = Path(source)
    if not source.is_dir():
        return _read_coco(source, photo, photo_name)
    if any(source.glob("mask*.png")) and any(source.glob("img.*")):
        scene = load_scene(source)
        pairs = [(concept.name, concept.mask) for concept in scene.concepts]
        return [(name, _fitted(mask, photo, source)) for name, mask in pairs]
    files = [file for file in sorted(source.iterdir()) if file.suffix.lower() in MASK_SUFFIXES]
    return read_mask_images(files, photo, photo_name, str(source))


def read_mask_images(
    files: Sequence[Path], photo: Image.Image, photo_name: str, folder: str
) -> list[tuple[str, np.ndarray]]:
    """Read masks or cut-outs whose file names are the names; see read_mask_files.

    Beside OneTrainer's mask labels, other images are left out, and so is the photo itself.
    """
    labels = [file for file in files if file.stem.endswith(MASK_LABEL)]
    files = [file for file in labels or files if file.name != photo_name]
    if not files or len(files) > MAX_FILES:
        raise UserError(
            "{folder} has {count} masks: give a folder with up to {most} masks or cut-outs (.png), or a JSON file.",
            folder=folder, count=len(files), most=MAX_FILES,
        )  # fmt: skip
    return [
        (file.stem.removesuffix(MASK_LABEL).replace("_", " "), read_mask(file, photo.size, photo=photo))
        for file in files
    ]


def read_named_mask(source: Path | str, name: str, photo: Image.Image, photo_name: str) -> list[tuple[str, np.ndarray]]:
    """Read one mask file with its name, or all masks of a folder or of COCO JSON; see read_mask_files."""
    if not Path(source).is_dir() and Path(source).suffix.lower() != ".json":
        return [(name, read_mask(source, photo.size, photo=photo))]
    found = read_mask_files(source, photo, photo_name)
    return [(name, mask) for _, mask in found] if name else found


def file_stems(names: Sequence[str]) -> list[str]:
    """Return a file name without suffix for each name, each once."""
    stems: list[str] = []
    for name in names:
        stem = re.sub(r"[^\w -]", "", name).strip() or "object"
        number, candidate = 2, stem
        while candidate.casefold() in map(str.casefold, stems):
            candidate, number = f"{stem} {number}", number + 1
        stems.append(candidate)
    return stems


def _read_coco(file: Path, photo: Image.Image, photo_name: str) -> list[tuple[str, np.ndarray]]:
    if not file.is_file():
        raise UserError("There is no file {file}: check the path.", file=str(file))
    try:
        found = coco.decode(read_json(file), photo_name, photo.width * photo.height)
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError) as error:
        reason = str(error) if type(error) is ValueError else "it is not in COCO's format"
        raise UserError(
            "{file} has no masks of this photo, {reason}: export it as COCO JSON with polygons or RLE.",
            file=file.name, reason=reason,
        ) from error  # fmt: skip
    if not found:
        raise UserError(
            "{file} has no masks of this photo, {reason}: export it as COCO JSON with polygons or RLE.",
            file=file.name, reason="it has no annotations",
        )  # fmt: skip
    return [(name, _fitted(mask, photo, file)) for name, mask in found]


def _fitted(mask: np.ndarray, photo: Image.Image, source: Path) -> np.ndarray:
    """Return a mask in the size of the photo; another size must have its aspect ratio, within 2 %."""
    height, width = mask.shape
    if (width, height) == photo.size:
        return mask
    if abs(width * photo.height / (height * photo.width) - 1) > 0.02:
        raise UserError(
            "The masks of {source} are {width} × {height} pixels and do not fit the photo, {photo_width} × "
            "{photo_height}: use the masks of this photo.",
            source=source.name, width=width, height=height, photo_width=photo.width, photo_height=photo.height,
        )  # fmt: skip
    return np.array(Image.fromarray(mask).resize(photo.size, Image.Resampling.NEAREST))
