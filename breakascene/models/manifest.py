"""The part of manifest.json that the runs of both formats have, see concepts.py and grouped.py.

It says what a run is without reading its weights, which may take hundreds of megabytes.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from breakascene.data import validation

FILE = "manifest.json"
SINGLE, GROUPED = 1, 2  # formats: Concepts and GroupedConcepts


@dataclass(frozen=True)
class Manifest:
    """What is known of a run without its weights. The attributes are those of Concepts."""

    id: str
    handles: tuple[str, ...]
    names: tuple[str, ...]
    base: str
    fingerprint: str
    steps: int
    photo: str

    @classmethod
    def of(cls, concepts) -> Self:
        """Return the manifest of Concepts or GroupedConcepts."""
        return cls(**{name: getattr(concepts, name) for name in cls.__dataclass_fields__})

    @classmethod
    def from_json(cls, values: dict) -> Self:
        """Validate the values of a manifest. Raises ValueError or KeyError."""
        handles, names = validation.checked_handles(values["handles"], values["names"])
        return cls(
            id=validation.checked_text(values["id"], 64, "its id"),
            handles=handles,
            names=names,
            base=validation.checked_text(values["base"], 4096, "its base"),
            fingerprint=validation.checked_text(values["fingerprint"], 64, "its fingerprint"),
            steps=validation.checked_int(values["steps"], 0, validation.MAX_STEPS, "its number of steps"),
            photo=validation.checked_text(values.get("photo", ""), 64, "the hash of its photo"),  # early runs lack it
        )

    def to_json(self) -> dict:
        return asdict(self)


def read_values(run: Path) -> dict:
    """Read the manifest of a run folder as JSON values. Raises OSError or ValueError."""
    return validation.checked_dict(validation.read_json(run / FILE), "its manifest")


def read_manifest(run: Path) -> Manifest:
    """Read and validate the manifest of a run folder. Raises OSError, ValueError or KeyError."""
    values = read_values(run)
    if values.get("format") not in (SINGLE, GROUPED):
        raise ValueError("it was written by another version")
    return Manifest.from_json(values)
