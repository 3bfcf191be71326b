"""The pilot of a session on disk: photos with their masks, the plan, and the results."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import yaml

from breakascene.errors import UserError
from breakascene.files import atomic_file, atomic_folder
from breakascene.pilot.photos import SUFFIXES
from breakascene.pilot.plan import PLAN_FILE, Plan, read_plan
from breakascene.pilot.run import read_status
from breakascene.pilot.store import Store
from breakascene.studio import strings
from breakascene.toybox.pretraining.pilot_photos import write_pilot_photos

PLAN_SUFFIXES = (".yaml", ".yml")
PHOTOS, RESULTS, ADS = "photos", "results", "ads"  # folders
ABOUT = "about.json"
SAMPLE_PHOTOS = 6
MAX_FILES = 200  # photos and masks


@dataclass(frozen=True)
class About:
    """What the page says of a pilot, so that it need not read all photos.

    Args:
        name: Of the plan.
        photos: Their number.
        automatic: Photos without masks.
        presets: Their names.
        prompts: Their number; 0 for those of an evaluation.
    """

    name: str
    photos: int
    automatic: int
    presets: tuple[str, ...]
    prompts: int


@dataclass(frozen=True)
class PilotFolder:
    """The folder of a session's pilot, which may not exist."""

    folder: Path

    @property
    def store(self) -> Store:
        return Store(self.folder / RESULTS)

    @property
    def ads(self) -> Path:
        """Folder of the variants for an A/B test."""
        return self.folder / ADS

    def about(self) -> About | None:
        """What there is; None without a pilot."""
        try:
            return About(**json.loads((self.folder / ABOUT).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None

    def status(self) -> dict | None:
        """The state of the last run; None before it."""
        try:
            return read_status(self.store)
        except UserError:
            return None

    def plan(self, base: str) -> Plan:
        """Read the plan for a base. Raises UserError if there is none, or if it is for another base."""
        if self.about() is None:
            raise UserError(strings.PILOT_MISSING)
        plan = read_plan(self.folder / PLAN_FILE, self.folder)
        if plan.base not in ("auto", base):
            raise UserError(strings.PILOT_OTHER_BASE.format(name=plan.base))
        return replace(plan, base=base)

    def create(self, files: Sequence[Path], fields: dict) -> None:
        """Make a pilot of uploaded files in place of an earlier one; a plan among them takes the place of `fields`.

        Raises:
            UserError: For a mistake in the plan or the files; the earlier pilot stays.
        """
        plans = [file for file in files if file.suffix.lower() in PLAN_SUFFIXES]
        others = [file for file in files if file not in plans]
        if not any(file.suffix.lower() in SUFFIXES for file in others):
            raise UserError(strings.PILOT_NO_PHOTOS)
        if len(plans) > 1 or len(others) > MAX_FILES:
            raise UserError(strings.PILOT_TOO_MANY_FILES.format(most=MAX_FILES))
        names = [file.name.casefold() for file in others]
        if twice := next((file.name for file in others if names.count(file.name.casefold()) > 1), None):
            raise UserError(strings.PILOT_SAME_NAME.format(name=twice))
        with atomic_folder(self.folder) as draft:
            (draft / PHOTOS).mkdir()
            for file in others:
                shutil.copyfile(file, draft / PHOTOS / file.name)
            text = plans[0].read_bytes() if plans else plan_text({"photos": PHOTOS, **fields})
            self._finish(draft, text)

    def create_sample(self, fields: dict) -> None:
        """Make a pilot of rendered photos with masks."""
        with atomic_folder(self.folder) as draft:
            write_pilot_photos(draft / PHOTOS, SAMPLE_PHOTOS)
            places = {"photos": f"{PHOTOS}/photos", "masks": f"{PHOTOS}/masks"}
            self._finish(draft, plan_text({**places, **fields}))

    def _finish(self, draft: Path, text: bytes) -> None:
        """Write and check the plan."""
        (draft / PLAN_FILE).write_bytes(text)
        plan = read_plan(draft / PLAN_FILE, draft)
        automatic = sum(photo.masks is None for photo in plan.photos)
        about = About(plan.name, len(plan.photos), automatic, plan.presets, len(plan.prompts))
        with atomic_file(draft / ABOUT) as file:
            file.write_text(json.dumps(asdict(about)), encoding="utf-8")


def plan_text(fields: dict) -> bytes:
    """Return a plan as YAML; empty values are left out."""
    kept = {key: value for key, value in fields.items() if value not in (None, "", [], {})}
    return yaml.safe_dump(kept, allow_unicode=True, sort_keys=False).encode()
