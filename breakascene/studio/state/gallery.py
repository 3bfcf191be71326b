"""The pictures drawn at a desk: files with their records, which of them are favourites, and all of it as a zip."""

import csv
import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from breakascene.errors import UserError
from breakascene.files import atomic_file
from breakascene.generation.generate import read_metadata
from breakascene.rendering import sheets
from breakascene.studio import strings

COLUMNS = (  # of records.csv
    "prompt", "negative_prompt", "seed", "index", "num_inference_steps", "guidance_scale", "width", "height", "base", "fingerprint", "run",
)  # fmt: skip


@dataclass(eq=False)
class Album:
    """The pictures lie in `folder`/pictures; the names of the favourites beside it, so that they outlive a restart."""

    folder: Path
    chosen: str | None = None  # name of the picture that is seen large
    beside: list[str] = field(default_factory=list)  # names of those laid side by side
    only_favourites: bool = False

    @property
    def pictures_folder(self) -> Path:
        return self.folder / "pictures"

    @property
    def sheet(self) -> Path:
        """Where the last contact sheet lies."""
        return self.folder / "contact-sheet.png"

    def pictures(self) -> list[Path]:
        """All pictures, newest first."""
        return sorted(self.pictures_folder.glob("*.png"), key=lambda path: (path.stat().st_mtime_ns, path.name))[::-1]

    def favourites(self) -> list[Path]:
        names = self._favourites()
        return [path for path in self.pictures() if path.name in names]

    def shown(self) -> list[Path]:
        """What the gallery holds: all pictures, or the favourites alone."""
        return self.favourites() if self.only_favourites else self.pictures()

    def show_all(self) -> None:
        """All pictures small, none large."""
        self.only_favourites, self.chosen = False, None

    def choose(self, name: str | None) -> None:
        """See a picture large, or none; a name that is not of this album is none."""
        self.chosen = name if name in {path.name for path in self.pictures()} else None

    def chosen_picture(self) -> Path:
        if self.chosen is None:
            raise UserError(strings.NO_PICTURE_CHOSEN)
        return self.pictures_folder / self.chosen

    def mark(self) -> None:
        """Make the chosen picture a favourite, or no longer one; with the last one the view of favourites ends."""
        names = self._favourites() ^ {self.chosen_picture().name}
        with atomic_file(self.folder / "favourites.json") as draft:
            draft.write_text(json.dumps(sorted(names)), encoding="utf-8")
        self.only_favourites = self.only_favourites and bool(names)
        if self.only_favourites and self.chosen not in names:
            self.chosen = None

    def lay_beside(self) -> None:
        """Lay the chosen picture side by side with others, or take it away again."""
        name = self.chosen_picture().name
        self.beside = [other for other in self.beside if other != name] + ([name] if name not in self.beside else [])

    def zip(self, pictures: Sequence[Path], file: str) -> Path:
        """Those pictures, a contact sheet and their records as a table, in a file of that name."""
        if not pictures:
            raise UserError(strings.NO_PICTURES)
        records = [read_metadata(picture) for picture in pictures]
        path = self.folder / file
        with atomic_file(path) as draft, zipfile.ZipFile(draft, "w", zipfile.ZIP_STORED) as archive:
            for picture in pictures:
                archive.write(picture, picture.name)
            with archive.open("contact-sheet.png", "w") as out:
                contact_sheet(pictures, records, columns=4).save(out, "PNG")
            with archive.open("records.csv", "w") as out, io.TextIOWrapper(out, "utf-8", newline="") as text:
                table = csv.DictWriter(text, ["file", *COLUMNS], extrasaction="ignore")
                table.writeheader()
                table.writerows({"file": p.name, **metadata} for p, metadata in zip(pictures, records, strict=True))
        return path

    def save_sheet(self, pictures: Sequence[Path], columns: int) -> None:
        """Write the contact sheet of pictures that come row by row."""
        sheet = contact_sheet(pictures, [read_metadata(picture) for picture in pictures], columns)
        with atomic_file(self.sheet) as draft:
            sheet.save(draft)

    def _favourites(self) -> set[str]:
        try:
            return set(json.loads((self.folder / "favourites.json").read_text(encoding="utf-8")))
        except FileNotFoundError:
            return set()


def contact_sheet(pictures: Sequence[Path], records: Sequence[dict], columns: int) -> Image.Image:
    """Each picture with its sentence, and its seed where the seeds are not all the same."""
    captions, seeds = [sentence(metadata) for metadata in records], [seed_of(metadata) for metadata in records]
    if len(set(seeds)) > 1:
        captions = [f"{caption} · {seed}" for caption, seed in zip(captions, seeds, strict=True)]
    return sheets.contact_sheet([Image.open(picture) for picture in pictures], captions, columns)


def seed_of(metadata: dict) -> int:
    """The seed that draws this very picture as the first one."""
    return metadata["seed"] + metadata["index"]


def sentence(metadata: dict) -> str:
    """The prompt with plain names in place of the handles."""
    text = metadata["prompt"]
    for handle, name in metadata["handles"].items():
        text = text.replace(handle, name)
    return text


def details(metadata: dict) -> dict[str, str]:
    """What else made the picture, each a few words."""
    parts = {
        "seed": f"{strings.SEED.lower()} {seed_of(metadata)}",
        "steps": f"{strings.DRAW_STEPS.lower()} {metadata['num_inference_steps']}",
        "guidance": f"{strings.GUIDANCE_SHORT} {metadata['guidance_scale']:g}",
    }
    if metadata.get("width") != metadata.get("height"):  # older records have neither
        parts["size"] = f"{metadata['width']} × {metadata['height']}"
    return (
        {**parts, "negative": f"{strings.WITHOUT} {metadata['negative_prompt']}"}
        if metadata["negative_prompt"]
        else parts
    )


def differences(records: Sequence[dict]) -> list[str]:
    """For pictures side by side, the sentence of each and what is not the same in all."""
    found = [details(metadata) for metadata in records]
    texts = []
    for metadata, own in zip(records, found, strict=True):
        apart = [text for part, text in own.items() if len({other.get(part) for other in found}) > 1]
        texts.append(" · ".join([sentence(metadata), *apart]))
    return texts
