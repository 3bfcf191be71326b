"""Clicks to masks: Segment Anything, as the segment-anything package has it, over any of its models."""

import hashlib
import json
import os
import pickle
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from segment_anything import SamAutomaticMaskGenerator, SamPredictor, sam_model_registry
from segment_anything.modeling import Sam
from torch.nn import functional as F

from breakascene.data.scene import MIN_AREA
from breakascene.errors import UserError
from breakascene.paths import TOYBOX
from breakascene.segmentation.crf import click_logits, drop_small_components, refine_logits
from breakascene.segmentation.small_sam import build_sam

HUB_REPO = "ybelkada/segment-anything"  # Meta's three files, unchanged
HUB_FILES = {"vit_b": "sam_vit_b_01ec64.pth", "vit_l": "sam_vit_l_0b3195.pth", "vit_h": "sam_vit_h_4b8939.pth"}
WIDTHS = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}  # of the image encoder: tells the kind of a checkpoint
SAM_SIDE = 1024  # pixels of the longer side that SAM sees; masks of a larger photo would only take time
REMEMBERED = 4  # embeddings kept; 4 MB each for SAM
CERTAIN = 4.0  # the logit of a pixel that the automatic masks hold
SAME = 0.9  # two masks with this overlap (IoU) are one thing

Point = tuple[float, float]
Box = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Candidates:
    """Three readings of the same clicks (part, thing, group), best first."""

    logits: np.ndarray  # (3, h, w) float32, above 0 in the mask, of the photo as the model saw it
    scores: np.ndarray  # (3,) float: the overlap with the truth (IoU) that the model expects, about 0..1
    size: tuple[int, int]  # width and height of the photo

    def mask(self, index: int = 0) -> np.ndarray:
        """A reading as (H, W) bool in pixels of the photo; made when asked for, because a photo may be large."""
        return _enlarged(self.logits[index], self.size)

    @property
    def masks(self) -> np.ndarray:
        """All readings, (3, H, W) bool."""
        return np.stack([self.mask(index) for index in range(len(self.logits))])


class Segmenter:
    """Finds masks in a photo from clicks, a box or nothing at all. Make one with Segmenter.load.

    A photo is embedded once, however often it is clicked; the last few photos are remembered by their content. One
    lock guards the model; where several people share a segmenter, give the photo with each call.
    """

    def __init__(self, sam: Sam, name: str = "sam"):
        self.name = name
        self.sam = sam.eval().requires_grad_(False)
        self.side = sam.image_encoder.img_size  # of the photo as the model sees it
        self.small = self.side < SAM_SIDE
        self._predictor = SamPredictor(sam)
        self._remembered: OrderedDict[str, tuple[torch.Tensor, tuple[int, int]]] = OrderedDict()
        self._photo: Image.Image | None = None
        self._lock = threading.RLock()

    @classmethod
    def load(cls, name: str = "auto", device: str | torch.device | None = None) -> "Segmenter":
        """Load "toybox" (the small one that comes along), "vit_b", "vit_l", "vit_h", a .pth file or a folder.

        "auto" is the file in BREAKASCENE_SAM if that is set, else the toybox. "vit_*" takes the file in BREAKASCENE_SAM
        if it is of that kind, else the hub's. `device` defaults to CUDA where there is one.
        Raises UserError if the model cannot be had.
        """
        local = os.environ.get("BREAKASCENE_SAM", "")
        if name == "auto":
            name = local or "toybox"
        if name == "toybox":
            sam = _read_folder(TOYBOX / "segmenter")
        elif name in HUB_FILES:
            sam = _read_checkpoint(Path(local or _download(name)), kind=name)
        elif Path(name).is_dir():
            sam = _read_folder(Path(name))
        elif Path(name).is_file():
            sam = _read_checkpoint(Path(name))
        else:
            raise UserError(f'There is no segmenter "{name}": use toybox, vit_b, vit_l, vit_h or a .pth file.')
        return cls(sam.to(device or ("cuda" if torch.cuda.is_available() else "cpu")), name)

    def set_image(self, photo: Image.Image) -> None:
        """Make `photo` (RGB) the one that clicks are about; embeds it unless it is one of the last few."""
        with self._lock:
            pixels = np.asarray(_view(photo, self.side))  # (h, w, 3)
            key = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
            predictor = self._predictor
            if key not in self._remembered:
                predictor.set_image(pixels)
                self._remembered[key] = (predictor.features, predictor.input_size)
            self._remembered.move_to_end(key)
            if len(self._remembered) > REMEMBERED:
                self._remembered.popitem(last=False)
            predictor.features, predictor.input_size = self._remembered[key]
            predictor.original_size = pixels.shape[:2]
            predictor.is_image_set = True
            self._photo, self._pixels = photo, pixels

    def predict(
        self,
        points: list[Point],
        labels: list[bool],
        box: Box | None = None,
        photo: Image.Image | None = None,
    ) -> Candidates:
        """Find the thing under the clicks.

        `points` are (x, y) pixels of the photo; a label is True for "this is in it", False for "this is not"; `box` is
        (x0, y0, x1, y1). `photo` defaults to that of the last set_image.
        Raises UserError for a point or box outside the photo, or with nothing that says where the thing is.
        """
        with self._lock:
            size = self._current(photo).size
            box = validate_clicks(size, points, labels, box)
            scale = self._predictor.original_size[1] / size[0]
            spots = scale * np.array(points, np.float64).reshape(-1, 2)  # (N, 2)
            logits, scores, _ = self._predictor.predict(
                point_coords=spots if points else None,
                point_labels=np.array(labels, np.int64) if points else None,  # (N,)
                box=scale * np.array(box, np.float64) if box else None,  # (4,)
                return_logits=True,
            )
            if self.small:
                logits = refine_logits(self._pixels, logits + click_logits(self._pixels, spots, labels))
        order = np.argsort(-scores, kind="stable")
        return Candidates(logits[order], scores[order].astype(np.float64), size)

    def auto(self, photo: Image.Image | None = None) -> list[np.ndarray]:
        """Find all things in the photo: (H, W) bool masks, largest first, each thing once; may be empty."""
        with self._lock:
            photo = self._current(photo)
            generator = SamAutomaticMaskGenerator(
                self.sam,
                points_per_side=8 if self.small else 32,  # a click for two patches, as in SAM
                points_per_batch=16,
                pred_iou_thresh=0.4 if self.small else 0.88,
                stability_score_thresh=0.65 if self.small else 0.95,
            )
            found = [record["segmentation"] for record in generator.generate(self._pixels)]
            if not found:
                return []
            if self.small:
                found = drop_small_components(refine_logits(self._pixels, CERTAIN * (2.0 * np.stack(found) - 1)) > 0)
        # Only those that stay are brought to the photo's size, which may be large.
        return [_enlarged(mask - 0.5, photo.size) for mask in _distinct(found)]

    def _current(self, photo: Image.Image | None) -> Image.Image:
        if photo is not None and photo is not self._photo:  # the very same one needs no second look at its pixels
            self.set_image(photo)
        if self._photo is None:
            raise RuntimeError("set_image comes first")
        return self._photo


def _view(photo: Image.Image, side: int) -> Image.Image:
    """The photo in RGB, its longer side at most so long."""
    scale = min(1.0, side / max(photo.size))
    return photo.convert("RGB").resize([max(1, round(length * scale)) for length in photo.size])


def validate_clicks(size: tuple[int, int], points: list[Point], labels: list[bool], box: Box | None) -> Box | None:
    """Check clicks as `predict` takes them for a photo of `size` (width, height); returns the box cut to the photo.

    Raises UserError for a point or box outside the photo, or with nothing that says where the thing is.
    """
    width, height = size
    for x, y in points:
        if not (0 <= x < width and 0 <= y < height):
            raise UserError(f"The point {x:g},{y:g} lies outside the photo, which is {width} × {height} pixels.")
    if box is None:
        if not any(labels):
            raise UserError("Nothing says where the thing is: give at least one point on it, or a box around it.")
        return None
    x0, y0, x1, y1 = max(0, box[0]), max(0, box[1]), min(width, box[2]), min(height, box[3])
    if not (x0 < x1 and y0 < y1):
        raise UserError(
            f"The box {','.join(f'{side:g}' for side in box)} holds nothing of the photo, which is {width} × {height} "
            "pixels: give its left, top, right and bottom edge."
        )
    return x0, y0, x1, y1


def _distinct(masks: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Largest first, without specks and without those that an earlier one equals."""
    kept: list[np.ndarray] = []
    for mask in sorted(masks, key=lambda mask: mask.sum(), reverse=True):
        if mask.mean() >= MIN_AREA and all((mask & k).sum() < SAME * (mask | k).sum() for k in kept):
            kept.append(mask)
    return kept


def _enlarged(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Logits (h, w) as a mask (H, W) for a photo of `size`, width and height."""
    values = torch.tensor(logits, dtype=torch.float32)[None, None]
    return (F.interpolate(values, size=size[::-1], mode="bilinear")[0, 0] > 0).numpy()


def _read_folder(folder: Path) -> Sam:
    """Build the toybox's kind of SAM from config.json and model.safetensors."""
    try:
        sam = build_sam(json.loads((folder / "config.json").read_text(encoding="utf-8")))
        state = load_file(folder / "model.safetensors")
        sam.load_state_dict({name: value.float() for name, value in state.items()})
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise UserError(
            f"The segmenter in {folder} cannot be read: it needs config.json and model.safetensors that fit each other."
        ) from error
    return sam


def _read_checkpoint(path: Path, kind: str | None = None) -> Sam:
    """Build SAM from one of Meta's .pth files; its kind shows in the width of its image encoder."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        found = WIDTHS[state["image_encoder.pos_embed"].shape[-1]]
    except FileNotFoundError as error:
        raise UserError(f"There is no file {path}: set BREAKASCENE_SAM to a SAM checkpoint (.pth).") from error
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path.name} is not a SAM checkpoint: use one of {', '.join(HUB_FILES.values())}.") from error
    if kind not in (None, found):
        raise UserError(f"{path.name} is {found}, not {kind}: ask for {found} or set BREAKASCENE_SAM to another file.")
    sam = sam_model_registry[found]()
    try:
        sam.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(f"{path.name} lacks parts of {found}: download it again.") from error
    return sam


def _download(kind: str) -> str:
    from huggingface_hub import constants, get_session, hf_hub_download

    file = f"checkpoints/{HUB_FILES[kind]}"
    try:
        try:
            return hf_hub_download(HUB_REPO, file, local_files_only=True)
        except OSError:
            # One short knock first: the hub's own client tries a dead line for half a minute.
            get_session().head(constants.ENDPOINT, timeout=10)
            return hf_hub_download(HUB_REPO, file)
    except Exception as error:  # whatever the hub or the line has against it, the way out is the same
        raise UserError(
            f"SAM {kind} cannot be had from the hub: set BREAKASCENE_SAM to a downloaded {HUB_FILES[kind]}, "
            "or use the toybox segmenter."
        ) from error
