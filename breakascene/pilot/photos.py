"""The photos of a pilot and the files that their masks come from."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from breakascene.data.consent import Consent, declare_consent
from breakascene.data.image_io import read_photo
from breakascene.data.mask_files import read_mask_files, read_named_mask
from breakascene.data.scene import CONSENT, load_scene, read_consent
from breakascene.data.validation import read_json
from breakascene.errors import UserError
from breakascene.files import file_stem
from breakascene.pilot.yaml_values import YamlValue

SUFFIXES = (".avif", ".bmp", ".heic", ".heif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
AUTOMATIC = "auto"
NOBODY = "nobody"  # is shown, as a declaration
MASK_ENDING = ".mask.png"  # of a mask beside its photo
SCENE_PHOTOS = ("img.jpg", "img.jpeg", "img.png")  # of a scene folder, see load_scene


@dataclass(frozen=True)
class PlannedPhoto:
    """A photo of the plan.

    Args:
        id: A name for files, different for each photo.
        file: The photo.
        masks: A mask, a folder of masks, COCO JSON or a scene folder; None for automatic masks.
        names: Names of the objects, in the order of the masks; empty for those of the masks.
        consent: What the plan or the scene folder declares about people and brands in it.
        place: File and line of the plan, for errors; "" for a folder.
    """

    id: str
    file: Path
    masks: Path | None = None
    names: tuple[str, ...] = ()
    consent: Consent | None = None
    place: str = ""

    def error(self, sentence: str) -> UserError:
        return UserError(f"{self.place}: {sentence}" if self.place else sentence)

    def content_hash(self) -> str:
        """Return a hash of the photo, its masks, names and consent, which changes with any of them."""
        digest = hashlib.sha256(self.file_hash().encode() + repr((self.names, self.consent)).encode())
        for file in _files_of(self.masks):
            digest.update(file.name.encode() + file.read_bytes())
        return digest.hexdigest()

    def file_hash(self) -> str:
        return hashlib.sha256(self.file.read_bytes()).hexdigest()

    def read(self) -> tuple[Image.Image, list[tuple[str, np.ndarray]] | None]:
        """Read the photo, and names and masks (H, W) of its objects, or None for automatic masks. Raises UserError."""
        photo = read_photo(self.file)
        if self.masks is None:
            return photo, None
        if self.masks == self.file.parent and self.file.name in SCENE_PHOTOS:
            found = [(concept.name, concept.mask) for concept in load_scene(self.masks).concepts]
        elif self.masks.is_dir():
            found = read_mask_files(self.masks, photo, self.file.name)
        else:
            found = read_named_mask(self.masks, "", photo, self.file.name)
        if self.names and len(self.names) != len(found):
            raise self.error(
                f"{self.file.name} has {len(found)} masks but {len(self.names)} names: give each mask one name."
            )
        names = self.names or [name for name, _ in found]
        return photo, [(name, mask) for name, (_, mask) in zip(names, found, strict=True)]


def photos_of_folder(folder: Path, masks: YamlValue | None, value: YamlValue | None = None) -> tuple[PlannedPhoto, ...]:
    """Return the photos of a folder, in the order of their names: image files, and scene folders.

    Args:
        folder: The folder.
        masks: Where the masks are, as in a plan; None to look beside the photos: a folder, a JSON file or a PNG mask
            named like the photo, or annotations.json for all.
        value: The folder's place in a plan, for errors.
    """

    def error(sentence: str) -> UserError:
        return value.error(sentence) if value else UserError(sentence)

    if not folder.is_dir():
        raise error(f"there is no folder {folder}: check the path.")
    place = f"{value.file.name}, line {value.line}" if value else ""
    photos = []
    for path in sorted(folder.iterdir()):
        photo = next((path / name for name in SCENE_PHOTOS if (path / name).is_file()), None)
        if path.is_dir() and photo:
            photos.append(PlannedPhoto(path.name, photo, path, consent=read_consent(path / CONSENT), place=place))
        elif (
            path.suffix.lower() in SUFFIXES
            and not path.name.startswith(".")
            and not path.name.endswith(MASK_ENDING)
            and path.is_file()
        ):
            source = _masks_in(masks, path)
            photos.append(PlannedPhoto(path.stem, path, source, place=place))
    if value and not photos:
        raise error(f"the folder {folder} has no photos: add some, or give another folder.")
    return _with_distinct_ids(photos)


def photos_of_list(photos: YamlValue, masks: YamlValue | None) -> tuple[PlannedPhoto, ...]:
    """Return the photos of a plan's list: paths, or mappings with photo, masks and objects.

    Args:
        photos: The list.
        masks: The plan's masks, for photos that have none of their own.
    """
    found = []
    for item in photos.items():
        fields = item.fields(("photo", "masks", "objects", "consent")) if item.is_mapping else {"photo": item}
        if "photo" not in fields:
            raise item.error("this entry has no photo: add the line photo: FILE.")
        file = fields["photo"].path()
        if file.is_dir():
            file = next((file / name for name in SCENE_PHOTOS if (file / name).is_file()), file)
        if not file.is_file():
            raise fields["photo"].error(f"there is no photo {fields['photo'].text()}: check the path.")
        scene = file.parent if file.name in SCENE_PHOTOS and any(file.parent.glob("mask*.png")) else None
        if "masks" in fields:
            source = _named_masks(fields["masks"])
        else:
            source = scene if scene and masks is None else _masks_in(masks, file)
        names = tuple(name.text(60) for name in fields["objects"].items()) if "objects" in fields else ()
        if "consent" in fields:
            consent = declared_consent(fields["consent"])
        else:
            consent = read_consent(scene / CONSENT) if scene else None
        stem = file.parent.name if scene else file.stem
        found.append(PlannedPhoto(stem, file, source, names, consent, f"{item.file.name}, line {item.line}"))
    return _with_distinct_ids(found)


def declared_consent(value: YamlValue) -> Consent:
    """Return what a plan declares about people and brands: NOBODY is shown, or who agreed, to what and until when."""
    if not value.is_mapping:
        value.choice((NOBODY,))
        return Consent(shown=False)
    fields = value.fields(("who", "scope", "until"))
    try:
        return declare_consent(True, **{key: field.text() for key, field in fields.items()})
    except UserError as error:
        raise value.error(f"consent: {error}") from error


def require_distinct(photos: Sequence[PlannedPhoto]) -> None:
    """Raise UserError if two files hold the same photo."""
    seen: dict[str, PlannedPhoto] = {}
    for photo in photos:
        earlier = seen.setdefault(photo.file_hash(), photo)
        if earlier is not photo:
            where = f" (also in {earlier.place})" if earlier.place and earlier.place != photo.place else ""
            raise photo.error(f"{photo.file} is the same photo as {earlier.file}{where}: remove one of the two.")


def _masks_in(masks: YamlValue | None, photo: Path) -> Path | None:
    """Return the source of a photo's masks in the place that the plan names for all photos, else beside the photo."""
    if masks is None:
        beside = [photo.with_suffix(""), photo.with_suffix(".json"), photo.with_suffix(MASK_ENDING)]
        found = next((path for path in beside if path != photo and path.exists()), None)
        everything = photo.with_name("annotations.json")
        return found or (everything if _lists(everything, photo.name) else None)
    source = _named_masks(masks)
    if source is None or source.suffix.lower() == ".json":
        if source and not _lists(source, photo.name):
            raise masks.error(f"{source.name} has no image {photo.name}: add its annotations, or write masks: auto.")
        return source
    names = (photo.stem, f"{photo.stem}.json", f"{photo.stem}.png")
    own = next((path for name in names if (path := source / name).exists() and path != photo), None)
    if own is None:
        raise masks.error(f"{masks.text()} has no masks of {photo.name}: add {photo.stem}/, .json or .png there.")
    return own


def _named_masks(masks: YamlValue) -> Path | None:
    """Return the file or folder that a plan names, or None for automatic masks."""
    if masks.text() == AUTOMATIC:
        return None
    source = masks.path()
    if not source.exists():
        raise masks.error(f"there are no masks {masks.text()}: check the path, or write masks: auto.")
    return source


def _lists(file: Path, photo_name: str) -> bool:
    """Return whether a COCO file lists the photo; for a broken one too, so that reading it names the fault."""
    if not file.is_file():
        return False
    try:
        images = read_json(file)["images"]
        return photo_name in {str(image["file_name"]).replace("\\", "/").split("/")[-1] for image in images}
    except (OSError, ValueError, KeyError, TypeError):
        return True


def _files_of(source: Path | None) -> list[Path]:
    if source is None:
        return []
    return [file for file in sorted(source.rglob("*")) if file.is_file()] if source.is_dir() else [source]


def _with_distinct_ids(photos: Sequence[PlannedPhoto]) -> tuple[PlannedPhoto, ...]:
    """Give each photo an id of its own that is a safe file name."""
    taken: set[str] = set()
    named = []
    for photo in photos:
        stem = file_stem(photo.id, "photo")
        candidate, number = stem, 2
        while candidate.casefold() in taken:
            candidate, number = f"{stem}-{number}", number + 1
        taken.add(candidate.casefold())
        named.append(replace(photo, id=candidate))
    return tuple(named)
