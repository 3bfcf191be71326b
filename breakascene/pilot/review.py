"""Review of automatic masks: a page on which a person accepts, corrects or rejects each, and its decisions."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from breakascene.data import coco
from breakascene.data.validation import checked_dict, checked_list, checked_text, parse_json
from breakascene.errors import UserError
from breakascene.pilot.store import Store

DECISIONS = "review.json"


@dataclass(frozen=True)
class Decision:
    """The masks of a photo that a person has accepted or corrected.

    Args:
        objects: Name, and mask as a COCO run-length encoding {"size": [H, W], "counts": […]}; empty if all were
            rejected.
    """

    objects: tuple[tuple[str, dict], ...]

    def content_hash(self) -> str:
        return hashlib.sha256(json.dumps(self.objects).encode()).hexdigest()

    def masks(self, size: tuple[int, int]) -> list[tuple[str, np.ndarray]]:
        """Return names and masks (H, W) for a photo of this width and height. Raises UserError."""
        if not self.objects:
            raise UserError("All automatic masks of this photo were rejected: mark its objects and give masks for it.")
        masks = []
        for name, encoding in self.objects:
            mask = coco.decode_segmentation(encoding, tuple(encoding["size"]))
            masks.append((name, np.array(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))))
        return masks


def read_decisions(store: Store) -> dict[str, Decision]:
    """Return the decisions by photo, empty if there was no review. Raises UserError for a damaged file."""
    data = store.read(DECISIONS)
    return parse_decisions(data, f"{store.address}/{DECISIONS}") if data else {}


def parse_decisions(data: bytes, name: str | Path) -> dict[str, Decision]:
    """Parse the file that the review page saves. Raises UserError."""
    try:
        photos = checked_dict(checked_dict(parse_json(data), "it")["photos"], "its list of photos")
        decisions = {}
        for photo, objects in photos.items():
            found = []
            for one in checked_list(objects, 64, "a list of objects"):
                encoding = checked_dict(one["mask"], "a mask")
                size = [int(side) for side in checked_list(encoding["size"], 2, "a size")]
                coco.decode_segmentation(encoding, tuple(size))
                encoding = {"size": size, "counts": encoding["counts"]}
                found.append((checked_text(one["name"], 60, "a name"), encoding))
            decisions[photo] = Decision(tuple(found))
        return decisions
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise UserError(f"{name} is not a file of the review page: save it there again.") from error
