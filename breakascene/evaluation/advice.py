"""Advice about a scene before training and about a run after it, as sentences for users."""

from dataclasses import replace

import numpy as np

from breakascene.data.scene import MAX_TOGETHER, Scene
from breakascene.errors import TranslatableMessage
from breakascene.models.concepts import Concepts
from breakascene.training.groups import group_scene, groups_of

MIN_AREA = 4 / 16**2  # of the square crop: four cells of the 16 × 16 attention maps
MAX_OVERLAP = 0.1  # share of the smaller mask
MAX_LEAK = 0.8  # share of a handle's attention; about 0.6 after a good run on the toybox, 0.9 before training


def scene_advice(scene: Scene) -> list[str]:
    """Return a sentence for each concept that is tiny in the square crop and for each overlapping pair of masks."""
    advice = []
    for handle, name, area in zip(scene.handles, scene.names, _crop_areas(scene), strict=False):
        if area < MIN_AREA:
            advice.append(
                TranslatableMessage(
                    "{handle} ({name}) covers only {share:.1%} of the training image. Crop the photo closer, or "
                    "extract it in a separate run.",
                    handle=handle, name=name, share=area,
                )
            )  # fmt: skip
    for i, first in enumerate(scene.concepts):
        for j in range(i + 1, len(scene.concepts)):
            second = scene.concepts[j]
            overlap = (first.mask & second.mask).sum() / min(first.mask.sum(), second.mask.sum())
            if overlap > MAX_OVERLAP:
                advice.append(
                    TranslatableMessage(
                        "{one} ({name}) and {other} ({other_name}) overlap by {share:.0%} of the smaller mask, so "
                        "their appearances may mix. Remove the overlap from one of the masks.",
                        one=scene.handles[i], name=first.name,
                        other=scene.handles[j], other_name=second.name, share=overlap,
                    )
                )  # fmt: skip
    return advice


def _crop_areas(scene: Scene) -> np.ndarray:
    """Return the share of each concept in the square crop that it is trained on, (N,)."""
    objects = replace(scene, background=False) if len(scene.concepts) > MAX_TOGETHER else scene
    groups = groups_of(objects) if len(scene.concepts) > MAX_TOGETHER else [range(len(scene.concepts))]
    areas = np.zeros(len(scene.concepts))
    for group in groups:
        areas[list(group)] = group_scene(objects, group).crop_masks(256).mean((1, 2))  # any resolution gives the shares
    return areas


def run_advice(concepts: Concepts) -> list[str]:
    """Return a sentence for each handle that attends too much to pixels outside its mask."""
    return [
        TranslatableMessage(
            "{handle} ({name}) has {share:.0%} of its attention outside its mask, so it may mix with the rest of the "
            "photo. Train for more steps, crop the photo closer, or select fewer objects.",
            handle=handle, name=name, share=concepts.leak[handle],
        )
        for handle, name in zip(concepts.handles, concepts.names, strict=True)
        if concepts.leak.get(handle, 0) > MAX_LEAK
    ]  # fmt: skip
