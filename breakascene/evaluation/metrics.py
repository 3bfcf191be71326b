"""Metrics of a run: prompt similarity and identity similarity (section 4.1 and appendix B.2 of arXiv 2305.16311).

Prompt similarity compares an image with its prompt, in which the concepts' names replace the handles. Identity
similarity compares a concept's cut-out from the photo with the best-matching region of the image. Where the toybox's
judge knows the names and places in a prompt, its classifications are recorded as well.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from breakascene.data.crop import masked_crop
from breakascene.data.handle_names import BACKGROUND
from breakascene.data.scene import Scene, load_scene
from breakascene.errors import UserError
from breakascene.evaluation.judges import FeatureExtractor
from breakascene.generation.generate import GeneratedImage, generate
from breakascene.models.base import Base
from breakascene.models.concepts import Concepts
from breakascene.segmentation.segmenter import Segmenter
from breakascene.toybox.judge import IMAGE_SIZE, Judge
from breakascene.toybox.vocabulary import ALL_NAMES, ALL_PLACES

NOTHING, OTHER = "nothing", "something else"  # columns of the confusion matrix besides the run's own concepts
MIN_REGION_AREA, MAX_REGION_AREA = 0.01, 0.6  # shares of the image; larger regions are background


@dataclass(frozen=True, eq=False)
class Score:
    """Metrics of one generated image. Similarities are cosines in [-1, 1].

    Args:
        generated: The image and its metadata.
        prompt_similarity: Between the image and its prompt.
        identity_similarity: For each handle in the prompt, except `<background>`.
        predicted: For each handle the predicted class: a concept of the run, OTHER or NOTHING. None if the judge does
            not know all names.
        place_correct: Whether the judge recognizes the place in the prompt. None if it does not know the place.
    """

    generated: GeneratedImage
    prompt_similarity: float
    identity_similarity: dict[str, float]
    predicted: dict[str, str] | None
    place_correct: bool | None

    @property
    def prompt(self) -> str:
        return self.generated.metadata["prompt"]


def evaluate(
    base: Base,
    concepts: Concepts,
    scene: Scene,
    prompts: Sequence[str],
    *,
    text_extractor: FeatureExtractor,
    image_extractor: FeatureExtractor,
    segmenter: Segmenter,
    judge: Judge | None = None,
    **generation,
) -> Iterator[Score]:
    """Generate images of the prompts and score each.

    Args:
        base: The base that the concepts were learned on.
        concepts: The run's concepts.
        scene: The run's photo and masks.
        prompts: Prompts with handles.
        text_extractor: Measures prompt similarity; needs a text encoder.
        image_extractor: Measures identity similarity.
        segmenter: Finds the regions of a generated image that are compared with the concepts.
        judge: The toybox's judge, which classifies images where it knows the names and places.
        generation: Options of `generate`, such as count, seed and guidance_scale.

    Yields:
        A Score for each image, in the order of `generate`.

    Raises:
        UserError: As `generate` does, and if `text_extractor` has no text encoder.
    """
    if text_extractor.encode_texts is None:
        raise UserError(f"{text_extractor.name} has no text encoder: choose a CLIP model for prompt similarity.")
    names = dict(zip(concepts.handles, concepts.names, strict=True))
    photo = np.asarray(scene.photo)
    cutout_features = image_extractor.encode_images([masked_crop(photo, mask) for mask in scene.masks()])  # (K, D)
    features = dict(zip(scene.handles, cutout_features, strict=True))
    for generated in generate(base, concepts, prompts, **generation):
        prompt = generated.metadata["prompt"]
        handles = [handle for handle in concepts.handles if handle in prompt and handle != BACKGROUND]
        named_prompt = prompt
        for handle, name in names.items():
            named_prompt = named_prompt.replace(handle, name)
        image_features = text_extractor.encode_images([generated.image])
        prompt_similarity = float(image_features @ text_extractor.encode_texts([named_prompt])[0])

        regions = object_regions(generated.image, segmenter) if handles else []
        if regions:
            # (R, K): each region against each concept in the prompt
            similarity = image_extractor.encode_images(regions) @ torch.stack([features[h] for h in handles]).T
            identity_similarity = {h: float(similarity[:, i].max()) for i, h in enumerate(handles)}
        else:
            identity_similarity = dict.fromkeys(handles, 0.0)

        predicted = place_correct = None
        if judge and handles and all(names[handle] in ALL_NAMES for handle in handles):
            if regions:
                size = (IMAGE_SIZE, IMAGE_SIZE)
                classes = judge.classify_objects([np.asarray(region.resize(size)) for region in regions])
                best = similarity.argmax(0).tolist()
                predicted = {h: _predicted(names[h], classes, best[i], names) for i, h in enumerate(handles)}
            else:
                predicted = dict.fromkeys(handles, NOTHING)
        places = [place for place in ALL_PLACES if prompt.endswith(place)]
        if judge and places:
            place_correct = judge.classify_places([np.asarray(generated.image)])[0] in places
        yield Score(generated, prompt_similarity, identity_similarity, predicted, place_correct)


def object_regions(image: Image.Image, segmenter: Segmenter) -> list[Image.Image]:
    """Return the objects that the segmenter finds in an image, each cropped and on black."""
    pixels = np.asarray(image)
    masks = [mask for mask in segmenter.auto(image) if MIN_REGION_AREA < mask.mean() < MAX_REGION_AREA]
    return [masked_crop(pixels, mask) for mask in masks]


def _predicted(name: str, classes: Sequence[str], best: int, names: dict[str, str]) -> str:
    """Return the predicted class of a concept, from the classes of all regions and the index of the closest region."""
    if name in classes:
        return name
    return classes[best] if classes[best] in names.values() else OTHER


def summarize(scores: Sequence[Score], names: Sequence[str]) -> dict:
    """Average the scores of a run.

    Args:
        scores: Scores of one or more images.
        names: Names of the run's concepts.

    Returns:
        JSON values; a metric that was never measured is None.

        - pictures: number of images.
        - prompt, identity: mean similarities.
        - right, together_right: share of images with one concept, and with several, in which every concept was
          recognized as itself.
        - place: share of correct places.
        - mixed: share of handles recognized as another concept of the run.
        - confusion: {name: {predicted class: share}}.
    """
    pairs = [pair for score in scores if score.predicted for pair in _predicted_names(score).items()]
    single = [s for s in scores if s.predicted and len(s.predicted) == 1]
    several = [s for s in scores if s.predicted and len(s.predicted) > 1]
    confusion = {}
    for name in dict.fromkeys(name for name, _ in pairs):
        predicted = [prediction for target, prediction in pairs if target == name]
        confusion[name] = {column: predicted.count(column) / len(predicted) for column in (*names, OTHER, NOTHING)}
    return {
        "pictures": len(scores),
        "prompt": _mean([score.prompt_similarity for score in scores]),
        "identity": _mean([value for score in scores for value in score.identity_similarity.values()]),
        "right": _mean([_all_correct(score) for score in single]),
        "together_right": _mean([_all_correct(score) for score in several]),
        "place": _mean([score.place_correct for score in scores if score.place_correct is not None]),
        "mixed": _mean([prediction in names and prediction != target for target, prediction in pairs]),
        "confusion": confusion or None,
    }


def _predicted_names(score: Score) -> dict[str, str]:
    """Return {name of the concept: predicted class}."""
    return {score.generated.metadata["handles"][handle]: prediction for handle, prediction in score.predicted.items()}


def _all_correct(score: Score) -> bool:
    return all(name == prediction for name, prediction in _predicted_names(score).items())


def _mean(values: Sequence[float]) -> float | None:
    return round(float(np.mean(values)), 4) if len(values) else None


def load_run_scene(folder: Path | str) -> Scene:
    """Load the photo and masks of a run folder. Raises UserError if it has none."""
    return load_scene(Path(folder) / "scene")
