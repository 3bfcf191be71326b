"""Masks of photos for which the plan has none."""

import numpy as np
from PIL import Image

from breakascene.errors import UserError
from breakascene.evaluation.metrics import MAX_REGION_AREA, MIN_REGION_AREA
from breakascene.segmentation.segmenter import Segmenter

MAX_AUTOMATIC = 4  # objects of a photo


def automatic_masks(photo: Image.Image, segmenter: Segmenter) -> list[tuple[str, np.ndarray]]:
    """Return names and masks of up to MAX_AUTOMATIC objects that the segmenter finds, none inside another."""
    kept: list[np.ndarray] = []
    for mask in segmenter.auto(photo):  # largest first
        inside = any((mask & other).sum() > 0.5 * mask.sum() for other in kept)
        if MIN_REGION_AREA < mask.mean() < MAX_REGION_AREA and not inside and len(kept) < MAX_AUTOMATIC:
            kept.append(mask)
    if not kept:
        raise UserError("No object was found in the photo: give masks for it.")
    return [(f"object {index + 1}", mask) for index, mask in enumerate(kept)]
