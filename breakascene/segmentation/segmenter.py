"""Masks from clicks: Segment Anything, with any model that the segment-anything package can run."""

import hashlib
import math
import threading
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from segment_anything import SamAutomaticMaskGenerator, SamPredictor
from segment_anything.modeling import Sam
from torch.nn import functional as F

from breakascene.data.scene import MIN_AREA
from breakascene.errors import UserError
from breakascene.hub import DownloadFailed
from breakascene.segmentation import checkpoints
from breakascene.segmentation.crf import click_logits, drop_small_components, refine_logits

SAM_IMAGE_SIZE = 1024  # pixels of the longer side in Meta's models; a model below this size has its masks refined
CACHED_EMBEDDINGS = 4  # 4 MB each for Meta's models
OUTSIDE_LOGIT = -1.0  # at most, of a pixel outside the box
AUTOMATIC_LOGIT = 4.0  # of a pixel inside an automatic mask, before refinement
DUPLICATE_IOU = 0.9  # two masks with at least this overlap are one object

Point = tuple[float, float]
Box = tuple[float, float, float, float]
Embedding = tuple[torch.Tensor, tuple[int, int], weakref.ref[Image.Image]]  # features, input size, photo


@dataclass(frozen=True, eq=False)
class Candidates:
    """Three interpretations of the same clicks (part, object, group), best first. With a box, they stay inside it."""

    logits: np.ndarray  # (3, h, w) float32, above 0 inside the mask, at the size that the model works at
    scores: np.ndarray  # (3,) float, the IoU with the true mask that the model predicts, about 0..1
    size: tuple[int, int]  # width and height of the photo
    device: torch.device = torch.device("cpu")  # on which masks are computed
    box: Box | None = None  # in pixels of the photo

    def mask(self, index: int = 0) -> np.ndarray:
        """Return one mask, (H, W) bool in pixels of the photo; computed on demand, as photos may be large."""
        mask = _resize_to_mask(self.logits[index], self.size, self.device)
        return mask if self.box is None else mask & _inside(self.box, mask.shape)

    @property
    def masks(self) -> np.ndarray:
        """All masks, (3, H, W) bool."""
        return np.stack([self.mask(index) for index in range(len(self.logits))])


class Segmenter:
    """Finds masks in a photo from clicks, a box, or automatically. Created by Segmenter.load.

    A photo is embedded once, however often it is clicked; the embeddings of the last few photos are cached by their
    content. A lock guards the model; if several people share a segmenter, pass the photo with each call.

    Attributes:
        name: What it was loaded as.
        note: A sentence that says why it is not the one asked for, and what to do about it; "" if it is.
    """

    def __init__(self, sam: Sam, name: str = "sam", note: str = ""):
        self.name, self.note = name, note
        self.sam = sam.eval().requires_grad_(False)
        self.image_size = sam.image_encoder.img_size  # of the longer side, in pixels
        self.refines = self.image_size < SAM_IMAGE_SIZE
        self._predictor = SamPredictor(sam)
        self._embeddings: OrderedDict[str, Embedding] = OrderedDict()  # by the content of the photo
        self._photo: Image.Image | None = None
        self._lock = threading.RLock()

    @classmethod
    def load(
        cls, name: str = "auto", device: str | torch.device | None = None, family: str | None = None
    ) -> "Segmenter":
        """Load a segmenter.

        Args:
            name: "toybox" (the small embedded model), "vit_b", "vit_l", "vit_h", a .pth file, or a folder. "vit_*" is
                the file in BREAKASCENE_SAM if it is set to one, else that of the hub, downloaded once. "auto" is what
                BREAKASCENE_SAM names; without it, vit_b with CUDA or a base other than the toybox. If that cannot be
                downloaded, "auto" is the small model, with a warning and a `note`.
            device: By default CUDA if available, else the CPU.
            family: Model family of the base that the masks are for (`base.family`), on which "auto" depends; by default
                that of BREAKASCENE_BASE.

        Raises:
            UserError: If the model is missing or damaged, or cannot be downloaded.
        """
        device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        note = ""
        if automatic := name == "auto":
            name, note = checkpoints.fitting(checkpoints.auto_name(family), device)
        try:
            sam, name = checkpoints.load_sam(name)
        except DownloadFailed as error:
            if not automatic:
                remedy = f"set BREAKASCENE_SAM to a local copy of {name}'s file, or use the toybox segmenter"
                raise UserError(f"{str(error).rstrip('.')}, {remedy}.") from error
            note = checkpoints.fallback_note(name, error)
            sam, name = checkpoints.load_sam(checkpoints.SMALL)
        if note:
            warnings.warn(note, stacklevel=2)
        return cls(sam.to(device), name, note)

    def set_image(self, photo: Image.Image) -> None:
        """Make `photo` (RGB) the one that clicks refer to; it is embedded unless its embedding is cached."""
        with self._lock:
            pixels = np.asarray(_fit_within(photo, self.image_size))  # (h, w, 3)
            key = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
            predictor = self._predictor
            if key not in self._embeddings:
                with self._autocast():
                    predictor.set_image(pixels)
                # The mask decoder runs in float32, which it takes little time for
                self._embeddings[key] = (predictor.features.float(), predictor.input_size, weakref.ref(photo))
            features, input_size, _ = self._embeddings[key]
            self._embeddings[key] = (features, input_size, weakref.ref(photo))  # of equal photos, the last
            self._embeddings.move_to_end(key)
            if len(self._embeddings) > CACHED_EMBEDDINGS:
                self._embeddings.popitem(last=False)
            predictor.features, predictor.input_size = features, input_size
            predictor.original_size = pixels.shape[:2]
            predictor.is_image_set = True
            self._photo, self._pixels = photo, pixels

    def _autocast(self) -> torch.autocast:
        """Return a context that computes in half precision on CUDA, bfloat16 where the GPU has it."""
        half = self.half_dtype()
        return torch.autocast(self.sam.device.type, half, enabled=half is not None)

    def half_dtype(self) -> torch.dtype | None:
        """Return the dtype of the image encoder's matrix products; None for float32."""
        if self.sam.device.type != "cuda":
            return None
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16

    def predict(
        self,
        points: list[Point],
        labels: list[bool],
        box: Box | None = None,
        photo: Image.Image | None = None,
    ) -> Candidates:
        """Predict the masks of the object under the clicks.

        Args:
            points: (x, y) in pixels of the photo.
            labels: Whether each point is inside the object.
            box: (x0, y0, x1, y1) around the object.
            photo: By default the one of the last set_image.

        Raises:
            UserError: If a point or the box is outside the photo, or if nothing marks the object.
        """
        with self._lock:
            size = self._use_photo(photo).size
            box = validate_clicks(size, points, labels, box)
            scale = self._predictor.original_size[1] / size[0]
            scaled_points = scale * np.array(points, np.float64).reshape(-1, 2)  # (N, 2)
            logits, scores, _ = self._predictor.predict(
                point_coords=scaled_points if points else None,
                point_labels=np.array(labels, np.int64) if points else None,  # (N,)
                box=scale * np.array(box, np.float64) if box else None,  # (4,)
                return_logits=True,
            )
            if self.refines:
                logits = refine_logits(self._pixels, logits + click_logits(self._pixels, scaled_points, labels))
            if box:  # the candidates are told apart by what they have inside it
                inside = _inside(tuple(scale * edge for edge in box), self._predictor.original_size)
                logits = np.where(inside, logits, np.minimum(logits, OUTSIDE_LOGIT))
        order = np.argsort(-scores, kind="stable")
        return Candidates(logits[order], scores[order].astype(np.float64), size, self.sam.device, box)

    def is_ready_for(self, photo: Image.Image) -> bool:
        """Whether the model is idle and has embedded the photo, so that a prediction is quick and disturbs nobody."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            return any(embedded() is photo for *_, embedded in self._embeddings.values())
        finally:
            self._lock.release()

    def auto(self, photo: Image.Image | None = None) -> list[np.ndarray]:
        """Find the objects in the photo: (H, W) bool masks, largest first and without duplicates; may be empty."""
        with self._lock:
            photo = self._use_photo(photo)
            generator = SamAutomaticMaskGenerator(
                self.sam,
                points_per_side=8 if self.refines else 32,  # one point for two patches, as in SAM
                points_per_batch=16,
                pred_iou_thresh=0.4 if self.refines else 0.88,
                stability_score_thresh=0.65 if self.refines else 0.95,
            )
            masks = [record["segmentation"] for record in generator.generate(self._pixels)]
            if not masks:
                return []
            if self.refines:
                logits = AUTOMATIC_LOGIT * (2.0 * np.stack(masks) - 1)
                masks = drop_small_components(refine_logits(self._pixels, logits) > 0)
        # Only the distinct masks are resized to the photo, which may be large.
        return [_resize_to_mask(mask - 0.5, photo.size) for mask in _distinct(masks)]

    def _use_photo(self, photo: Image.Image | None) -> Image.Image:
        if photo is not None and photo is not self._photo:  # for the same object, hashing its pixels is not needed
            self.set_image(photo)
        if self._photo is None:
            raise RuntimeError("call set_image first")
        return self._photo


def validate_clicks(size: tuple[int, int], points: list[Point], labels: list[bool], box: Box | None) -> Box | None:
    """Check the clicks of Segmenter.predict for a photo of `size` (width, height); returns the box cut to the photo.

    Raises UserError if a point or the box is outside the photo, or if nothing marks the object.
    """
    width, height = size
    for x, y in points:
        if not (0 <= x < width and 0 <= y < height):
            raise UserError(f"The point {x:g},{y:g} lies outside the photo, which is {width} × {height} pixels.")
    if box is None:
        if not any(labels):
            raise UserError("No object is marked: give at least one point on it, or a box around it.")
        return None
    x0, y0, x1, y1 = max(0, box[0]), max(0, box[1]), min(width, box[2]), min(height, box[3])
    if not (x0 < x1 and y0 < y1):
        raise UserError(
            f"The box {','.join(f'{edge:g}' for edge in box)} contains no part of the photo, which is "
            f"{width} × {height} pixels: give its left, top, right and bottom edge."
        )
    return x0, y0, x1, y1


def _inside(box: Box, shape: tuple[int, int]) -> np.ndarray:
    """The pixels that a box touches, (H, W) bool."""
    inside = np.zeros(shape, bool)
    x0, y0, x1, y1 = box
    inside[math.floor(y0) : math.ceil(y1), math.floor(x0) : math.ceil(x1)] = True
    return inside


def _fit_within(photo: Image.Image, longest: int) -> Image.Image:
    """Convert the photo to RGB and shrink it until its longer side is at most `longest` pixels."""
    scale = min(1.0, longest / max(photo.size))
    size = [max(1, round(length * scale)) for length in photo.size]
    # A large photo is first reduced by a whole factor to at least three times the size: a fraction of the time
    return photo.convert("RGB").resize(size, reducing_gap=3.0)


def _distinct(masks: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Sort masks by area, largest first, and drop tiny ones and duplicates of an earlier one."""
    kept: list[np.ndarray] = []
    for mask in sorted(masks, key=lambda mask: mask.sum(), reverse=True):
        if mask.mean() >= MIN_AREA and all((mask & k).sum() < DUPLICATE_IOU * (mask | k).sum() for k in kept):
            kept.append(mask)
    return kept


def _resize_to_mask(logits: np.ndarray, size: tuple[int, int], device: torch.device | str = "cpu") -> np.ndarray:
    """Resize logits (h, w) to `size` (width, height) and threshold them: (H, W) bool."""
    values = torch.tensor(logits, dtype=torch.float32, device=device)[None, None]
    return (F.interpolate(values, size=size[::-1], mode="bilinear")[0, 0] > 0).cpu().numpy()
