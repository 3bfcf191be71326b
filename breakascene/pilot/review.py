"""Review of automatic masks: a page on which a person accepts, corrects or rejects each, and its decisions."""

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from breakascene.data import coco
from breakascene.data.validation import checked_dict, checked_list, checked_text, parse_json
from breakascene.errors import UserError
from breakascene.pilot.automatic import automatic_masks
from breakascene.pilot.embedding import data_uri
from breakascene.pilot.page_style import static, styled
from breakascene.pilot.photos import PlannedPhoto
from breakascene.pilot.plan import Plan
from breakascene.pilot.store import Store
from breakascene.rendering import html
from breakascene.segmentation.segmenter import Segmenter

DECISIONS = "review.json"
PAGE = "review/index.html"
SHOWN_SIDE = 512  # pixels of the longer side at which masks are shown and corrected


@dataclass(frozen=True)
class Decision:
    """The masks of a photo that a person has accepted or corrected.

    Args:
        objects: Name, and mask as a COCO run-length encoding {"size": [H, W], "counts": […]}; empty if all were
            rejected.
        photo_hash: PlannedPhoto.file_hash of the photo; "" in files of older pages.
    """

    objects: tuple[tuple[str, dict], ...]
    photo_hash: str = ""

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


def write_review(plan: Plan, store: Store, segmenter: Segmenter) -> int:
    """Write PAGE, a single file on which the automatic masks are reviewed; return the photos on it.

    Raises:
        UserError: If all photos of the plan have masks, or one cannot be read.
    """
    photos = [photo for photo in plan.photos if photo.masks is None]
    if not photos:
        raise UserError("All photos of the plan have masks, so there is nothing to review.")
    shown = []
    for photo in photos:
        image, _ = photo.read()
        try:
            masks = automatic_masks(image, segmenter)
        except UserError:  # none was found: a person can draw one
            masks = [("object 1", np.zeros((image.height, image.width), bool))]
        scale = min(1, SHOWN_SIDE / max(image.size))
        size = tuple(max(1, round(side * scale)) for side in image.size)
        stream = io.BytesIO()
        image.resize(size).save(stream, "png")
        small = [
            (name, np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))) for name, mask in masks
        ]
        objects = [{"name": name, "counts": coco.run_lengths(mask)} for name, mask in small]
        values = {"photo": photo.id, "hash": photo.file_hash(), "size": [size[1], size[0]], "objects": objects}
        shown.append({**values, "image": data_uri(stream.getvalue(), SHOWN_SIDE)})
    text = json.dumps(shown).replace("<", "\\u003c")  # a name must not end the script
    body = f"""<p>Each object has a color. Accept its mask, correct it with the brush, or reject it. A name helps the
extraction: teapot, not object 1. Then save the review, and add the file with pilot review --add.</p>
<div id="photos"></div><div class="bar"><button id="save" type="button">Save review</button>
<span id="state" role="status"></span></div>
<script type="application/json" id="data">{text}</script><script>{static("save.js")}{static("review.js")}</script>"""
    page = html.page(f"{plan.name}: review of the automatic masks", styled(body, "questions.css"))
    store.write_file(PAGE, page.encode())
    return len(photos)


def add_review(store: Store, data: bytes, name: str) -> int:
    """Keep the decisions that the review page has saved, in place of earlier ones; return their photos."""
    decisions = parse_decisions(data, name)
    store.write_file(DECISIONS, data)
    return len(decisions)


def read_decisions(store: Store) -> dict[str, Decision]:
    """Return the decisions by photo, empty if there was no review. Raises UserError for a damaged file."""
    data = store.read(DECISIONS)
    return parse_decisions(data, f"{store.address}/{DECISIONS}") if data else {}


def decision_for(photo: PlannedPhoto, decisions: dict[str, Decision]) -> Decision | None:
    """Return the decision on a photo, or None if there is none, or one on another photo of the same id."""
    decision = decisions.get(photo.id)
    return decision if decision and decision.photo_hash in ("", photo.file_hash()) else None


def parse_decisions(data: bytes, name: str | Path) -> dict[str, Decision]:
    """Parse the file that the review page saves. Raises UserError."""
    try:
        value = checked_dict(parse_json(data), "it")
        photos = checked_dict(value["photos"], "its list of photos")
        hashes = checked_dict(value.get("hashes", {}), "its hashes")
        decisions = {}
        for photo, objects in photos.items():
            found = []
            for one in checked_list(objects, 64, "a list of objects"):
                encoding = checked_dict(one["mask"], "a mask")
                size = [int(side) for side in checked_list(encoding["size"], 2, "a size")]
                if len(size) != 2 or not all(1 <= side <= SHOWN_SIDE for side in size):
                    raise ValueError("no mask of the page has this size")
                coco.decode_segmentation(encoding, tuple(size))
                encoding = {"size": size, "counts": encoding["counts"]}
                found.append((checked_text(one["name"], 60, "a name"), encoding))
            photo_hash = checked_text(hashes[photo], 64, "a hash") if photo in hashes else ""
            decisions[photo] = Decision(tuple(found), photo_hash)
        return decisions
    except (ValueError, KeyError, TypeError, IndexError, OverflowError) as error:
        raise UserError(f"{name} is not a file of the review page: save it there again.") from error
