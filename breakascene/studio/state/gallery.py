"""The images generated in a session: files with their metadata, favorites, and downloads."""

import csv
import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from breakascene.errors import UserError
from breakascene.files import atomic_file, file_stem
from breakascene.generation.generate import read_metadata, readable_prompt
from breakascene.provenance.credentials import png_bytes
from breakascene.rendering import sheets
from breakascene.studio import strings

COLUMNS = (  # of records.csv
    "objects", "prompt", "negative_prompt", "seed", "index", "num_inference_steps", "guidance_scale", "width", "height",
    "base", "fingerprint", "run",
)  # fmt: skip


FAVORITES, OLD_FAVORITES = "favorites.json", "favourites.json"  # file names; the second is that of earlier versions


@dataclass(eq=False)
class Gallery:
    """The images in a folder of a session. The names of the favorites are kept beside them and survive a restart.

    Attributes:
        chosen: File name of the enlarged image.
        compared: File names of the images that are compared side by side.
        only_favorites: Whether the gallery is filtered.
        selecting: Whether a click on an image marks it instead of enlarging it.
        marked: File names of the images that are marked.
    """

    folder: Path
    chosen: str | None = None
    compared: list[str] = field(default_factory=list)
    only_favorites: bool = False
    selecting: bool = False
    marked: list[str] = field(default_factory=list)

    @property
    def images_folder(self) -> Path:
        return self.folder / "pictures"  # the name that data folders of earlier versions have

    @property
    def sheet(self) -> Path:
        """File of the last contact sheet."""
        return self.folder / "contact-sheet.png"

    def images(self) -> list[Path]:
        """All images, newest first."""
        return sorted(self.images_folder.glob("*.png"), key=lambda path: (path.stat().st_mtime_ns, path.name))[::-1]

    def prompts(self, count: int = 20) -> list[str]:
        """The last `count` different prompts of the images, the newest first."""
        found = {}
        for path in self.images():
            found.setdefault(read_metadata(path)["prompt"])
            if len(found) == count:
                break
        return list(found)

    def favorites(self) -> list[Path]:
        names = self._favorite_names()
        return [path for path in self.images() if path.name in names]

    def visible(self) -> list[Path]:
        """All images, or only the favorites, as the filter says."""
        return self.favorites() if self.only_favorites else self.images()

    def show_all(self) -> None:
        """Clear the filter and close the enlarged image."""
        self.only_favorites, self.chosen = False, None

    def choose(self, name: str | None) -> None:
        """Enlarge an image; None, or a name that is not in this gallery, closes it."""
        self.chosen = name if name in {path.name for path in self.images()} else None

    def chosen_image(self) -> Path:
        if self.chosen is None:
            raise UserError(strings.NO_IMAGE_SELECTED)
        return self.images_folder / self.chosen

    def toggle_favorite(self) -> None:
        """Add the chosen image to the favorites or remove it; removing the last one clears the filter."""
        names = self._favorite_names() ^ {self.chosen_image().name}
        self._save_favorites(names)
        self.only_favorites = self.only_favorites and bool(names)
        if self.only_favorites and self.chosen not in names:
            self.chosen = None

    def toggle_selecting(self) -> None:
        """Begin to mark images, or end it and unmark all."""
        self.selecting, self.marked, self.chosen = not self.selecting, [], None

    def toggle_marked(self, name: str) -> None:
        """Mark an image or unmark it."""
        if name in self.marked:
            self.marked.remove(name)
        elif name in {path.name for path in self.images()}:
            self.marked.append(name)

    def marked_images(self) -> list[Path]:
        return [path for path in self.images() if path.name in self.marked]

    def delete(self, images: Sequence[Path]) -> None:
        """Delete images; they are no longer favorites, compared, marked or enlarged."""
        gone = {path.name for path in images}
        if (favorites := self._favorite_names()) & gone:
            self._save_favorites(favorites - gone)
            self.only_favorites = self.only_favorites and bool(favorites - gone)
        for path in images:
            path.unlink(missing_ok=True)
        self.compared = [name for name in self.compared if name not in gone]
        self.marked = [name for name in self.marked if name not in gone]
        self.chosen = None if self.chosen in gone else self.chosen

    def toggle_compared(self) -> None:
        """Add the chosen image to the comparison or remove it."""
        name = self.chosen_image().name
        self.compared = [other for other in self.compared if other != name] + (
            [name] if name not in self.compared else []
        )

    def zip(self, images: Sequence[Path], file: str) -> Path:
        """Write images, their contact sheet and their metadata as a table to a zip with this file name."""
        if not images:
            raise UserError(strings.NO_IMAGES)
        metadata = [read_metadata(image) for image in images]
        path = self.folder / file
        with atomic_file(path) as draft, zipfile.ZipFile(draft, "w", zipfile.ZIP_STORED) as archive:
            names = [f"{i:03d}-{file_stem(readable_prompt(row), 'image')}.png" for i, row in enumerate(metadata)]
            for image, name in zip(images, names, strict=True):
                archive.write(image, name)
            sheet = captioned_sheet(images, metadata, columns=4)
            archive.writestr("contact-sheet.png", png_bytes(sheet, photo=photos_of(metadata)))
            with archive.open("records.csv", "w") as out, io.TextIOWrapper(out, "utf-8", newline="") as text:
                table = csv.DictWriter(text, ["file", *COLUMNS], extrasaction="ignore")
                table.writeheader()
                for name, row in zip(names, metadata, strict=True):
                    objects = " / ".join(f"{handle} {object_name}" for handle, object_name in row["handles"].items())
                    table.writerow({**row, "file": name, "objects": objects})
        return path

    def save_sheet(self, images: Sequence[Path], columns: int) -> None:
        """Write the contact sheet of images given row by row."""
        metadata = [read_metadata(image) for image in images]
        with atomic_file(self.sheet) as draft:
            draft.write_bytes(png_bytes(captioned_sheet(images, metadata, columns), photo=photos_of(metadata)))

    def _save_favorites(self, names: set[str]) -> None:
        with atomic_file(self.folder / FAVORITES) as draft:
            draft.write_text(json.dumps(sorted(names)), encoding="utf-8")

    def _favorite_names(self) -> set[str]:
        for file in (self.folder / FAVORITES, self.folder / OLD_FAVORITES):
            if file.exists():
                return set(json.loads(file.read_text(encoding="utf-8")))
        return set()


def captioned_sheet(images: Sequence[Path], metadata: Sequence[dict], columns: int) -> Image.Image:
    """Each image with its prompt, and with its seed where the seeds differ."""
    captions, seeds = [readable_prompt(entry) for entry in metadata], [image_seed(entry) for entry in metadata]
    if len(set(seeds)) > 1:
        captions = [f"{caption} · {seed}" for caption, seed in zip(captions, seeds, strict=True)]
    return sheets.contact_sheet([Image.open(image) for image in images], captions, columns)


def photos_of(metadata: Sequence[dict]) -> str:
    """The hashes of the photos that the objects of images come from, each once, joined by "+"."""
    photos = [photo for entry in metadata for photo in entry.get("photo", "").split("+")]
    return "+".join(dict.fromkeys(filter(None, photos)))


def image_seed(metadata: dict) -> int:
    """The seed that generates this image as the first of a batch."""
    return metadata["seed"] + metadata["index"]


def details(metadata: dict) -> dict[str, str]:
    """The settings of an image besides its prompt, each in a few words."""
    entries = {
        "seed": f"{strings.SEED.lower()} {image_seed(metadata)}",
        "steps": f"{strings.INFERENCE_STEPS.lower()} {metadata['num_inference_steps']}",
        "guidance": f"{strings.DETAIL_GUIDANCE} {metadata['guidance_scale']:g}",
    }
    if metadata.get("width") != metadata.get("height"):  # metadata of earlier versions has neither
        entries["size"] = f"{metadata['width']} × {metadata['height']}"
    if "strength" in metadata:
        entries["strength"] = f"{strings.DETAIL_STRENGTH} {metadata['strength']:g}"
    if "layout" in metadata:
        entries["layout"] = strings.DETAIL_LAYOUT
    if "edit" in metadata:
        entries["edit"] = strings.DETAIL_EDIT
    if "upscale" in metadata:
        entries["upscale"] = strings.DETAIL_UPSCALE.format(factor=metadata["upscale"]["factor"])
    if metadata["negative_prompt"]:
        entries["negative"] = f"{strings.DETAIL_NEGATIVE} {metadata['negative_prompt']}"
    return entries


def differences(metadata: Sequence[dict]) -> list[str]:
    """For images side by side, the prompt of each and the settings that are not the same in all."""
    all_details = [details(entry) for entry in metadata]
    texts = []
    for entry, own in zip(metadata, all_details, strict=True):
        distinct = [text for key, text in own.items() if len({other.get(key) for other in all_details}) > 1]
        texts.append(" · ".join([readable_prompt(entry), *distinct]))
    return texts
