"""A verdict on an extraction: whether generated images show each object as its cut-out from the photo does.

The thresholds were calibrated on the toybox, with its judge's features: python -m benchmarks.verdicts calibrate.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from breakascene.data.crop import masked_crop, transparent_crop
from breakascene.data.handle_names import BACKGROUND
from breakascene.data.scene import Scene
from breakascene.evaluation.judges import FeatureExtractor
from breakascene.evaluation.metrics import object_regions
from breakascene.generation.generate import generate
from breakascene.models.base import Base
from breakascene.models.concepts import Concepts
from breakascene.models.handles import training_prompt
from breakascene.segmentation.segmenter import Segmenter
from breakascene.toybox.judge import IMAGE_SIZE, Judge, encode_images

UNRECOGNIZABLE, PARTLY, RIGHT = "unrecognizable", "partly", "right"
MIN_RIGHT, MIN_PARTLY = 0.94, 0.68  # similarities of the features
# On photos that the base does not know, its features put shapeless patches close to real objects. There an object is
# at most partly right, and needs the light and dark of its cut-out in the same places.
MIN_UNFAMILIAR, MIN_CORRELATION = 0.8, 0.67
CORRELATION_SIZE = 32  # pixels
MIN_FAMILIARITY = 0.7  # photos of the toybox reach 0.76 and more, the two real ones 0.62 and 0.45
IMAGES, NUM_INFERENCE_STEPS = 4, 12  # for each object


@dataclass(frozen=True, eq=False)
class Verdict:
    """Images of one object beside its cut-out.

    Args:
        name: Of the object.
        cutout: RGBA.
        images: Of the object alone.
        level: RIGHT, PARTLY, UNRECOGNIZABLE, or None where no features are calibrated for the base.
    """

    name: str
    cutout: Image.Image
    images: Sequence[Image.Image]
    level: str | None


def compare(
    base: Base,
    concepts: Concepts,
    scene: Scene,
    extractor: FeatureExtractor | None,
    segmenter: Segmenter,
    familiar: bool = True,
) -> list[Verdict]:
    """Generate images of each object alone and compare them with its cut-out.

    Args:
        base: The base that the concepts were learned on.
        concepts: The run's concepts.
        scene: The run's photo and masks.
        extractor: The toybox's; None gives no levels.
        segmenter: Finds the object in an image.
        familiar: Whether the base knows such photos.
    """
    images = comparison_images(base, concepts)
    found = similarities(scene, images, extractor, segmenter) if extractor else {}
    names, masks = (dict(zip(scene.handles, values, strict=True)) for values in (scene.names, scene.masks()))
    return [
        Verdict(
            names[handle],
            transparent_crop(scene.photo, masks[handle]),
            own,
            level(found[handle], familiar) if extractor else None,
        )
        for handle, own in images.items()
    ]


def comparison_images(base: Base, concepts: Concepts) -> dict[str, list[Image.Image]]:
    """Generate IMAGES images of each object alone, from the same seeds in every run."""
    handles = [handle for handle in concepts.handles if handle != BACKGROUND]
    prompts = [training_prompt([handle]) for handle in handles]
    options = {"count": IMAGES, "same_seeds": True, "num_inference_steps": NUM_INFERENCE_STEPS}
    images = [generated.image for generated in generate(base, concepts, prompts, **options)]
    return {handle: images[i * IMAGES : (i + 1) * IMAGES] for i, handle in enumerate(handles)}


def similarities(
    scene: Scene, images: dict[str, Sequence[Image.Image]], extractor: FeatureExtractor, segmenter: Segmenter
) -> dict[str, list[tuple[float, float]]]:
    """Compare the images of each handle with its cut-out.

    Args:
        scene: The photo and its masks.
        images: By handle.
        extractor: Its features are compared.
        segmenter: Finds the regions of an image; the one closest to the cut-out counts.

    Returns:
        By handle and image, the cosine similarity of the features and the correlation of the lightness; 0 where
        nothing is found.
    """
    photo, masks = np.asarray(scene.photo), dict(zip(scene.handles, scene.masks(), strict=True))
    found = {}
    for handle, own in images.items():
        cutout = masked_crop(photo, masks[handle])
        features = extractor.encode_images([cutout])[0]
        found[handle] = []
        for image in own:
            regions = object_regions(image, segmenter)
            if regions:
                cosines = extractor.encode_images(regions) @ features  # (R,)
                best = regions[int(cosines.argmax())]
                found[handle].append((float(cosines.max()), lightness_correlation(cutout, best)))
            else:
                found[handle].append((0.0, 0.0))
    return found


def lightness_correlation(one: Image.Image, other: Image.Image) -> float:
    """Return the correlation of the lightness of two objects on black, where both are; 0 where one has no contrast."""
    size = (CORRELATION_SIZE, CORRELATION_SIZE)
    a, b = (np.asarray(image.convert("L").resize(size, Image.Resampling.BOX), np.float64) for image in (one, other))
    both = (a > 8) & (b > 8)
    if both.sum() < 2 or a[both].std() == 0 or b[both].std() == 0:
        return 0.0
    return float(np.corrcoef(a[both], b[both])[0, 1])


def level(measured: Sequence[tuple[float, float]], familiar: bool = True) -> str:
    """Return the level of an object: all of its images have to look like it, so the worst similarity decides.

    Args:
        measured: Similarity and correlation of each image with the cut-out.
        familiar: Whether the base knows such photos.
    """
    worst = min(similarity for similarity, _ in measured)
    if not familiar:
        correlation = sum(correlation for _, correlation in measured) / len(measured)
        return PARTLY if worst >= MIN_UNFAMILIAR and correlation >= MIN_CORRELATION else UNRECOGNIZABLE
    return RIGHT if worst >= MIN_RIGHT else PARTLY if worst >= MIN_PARTLY else UNRECOGNIZABLE


@torch.no_grad()
def familiarity(scene: Scene, judge: Judge) -> float:
    """Return the cosine similarity of a scene with the closest of the places that the toybox knows.

    Below MIN_FAMILIARITY the photo is unlike everything that the toybox was trained on.
    """
    pixels = scene.square_crop(IMAGE_SIZE).pixels
    return float((encode_images(judge.model, pixels[None]) @ judge.place_features.T).max())
