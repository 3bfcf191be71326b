"""Crop and rotate a photo together with the objects selected in it."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from PIL import Image

from breakascene.data.image_io import MAX_ASPECT, MIN_SIDE
from breakascene.errors import UserError
from breakascene.studio import strings
from breakascene.studio.state.selection import Box, SelectedObject, Selection, ordered_box


def crop(selection: Selection, corners: Box) -> Selection:
    """Cut the photo and the masks to a box, given by two opposite corners in pixels of the photo."""
    x0, y0, x1, y1 = ordered_box(corners)
    width, height = x1 - x0, y1 - y0
    if min(width, height) < MIN_SIDE or max(width, height) > MAX_ASPECT * min(width, height):
        raise UserError(strings.CROP_TOO_SMALL)
    return _edited(selection, selection.photo.crop((x0, y0, x1, y1)), lambda mask: mask[y0:y1, x0:x1])


def rotate(selection: Selection) -> Selection:
    """Turn the photo and the masks clockwise by a quarter."""
    photo = selection.photo.transpose(Image.Transpose.ROTATE_270)
    return _edited(selection, photo, lambda mask: np.rot90(mask, -1))


def _edited(selection: Selection, photo: Image.Image, edit: Callable[[np.ndarray], np.ndarray]) -> Selection:
    """The selection on an edited photo. Later clicks add to the masks or take from them, because the clicks before
    belong to the photo as it was.
    """
    masks = [None if obj.mask is None else np.ascontiguousarray(edit(obj.mask)) for obj in selection.objects]
    objects = tuple(
        SelectedObject(obj.name, initial_mask=mask, mask=mask, key=obj.key)
        for obj, mask in zip(selection.objects, masks, strict=True)
    )
    return replace(selection, photo=photo, objects=objects, corner=None)
