"""How well a run did (section 4.2 of the paper): are the pictures what was asked for, and are the things the same?

Prompt similarity compares a picture with its prompt, the handles replaced by the things' names. Identity similarity
compares a thing in the photo with the thing found in the picture. Where the judge knows the names and places of the
toybox's world, it also says plainly what it sees.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from breakascene.data.crop import masked_crop
from breakascene.data.scene import Scene, load_scene
from breakascene.errors import UserError
from breakascene.generation.generate import GeneratedImage, generate
from breakascene.models.base import Base
from breakascene.models.concepts import Concepts
from breakascene.models.handles import BACKGROUND
from breakascene.segmentation.segmenter import Segmenter
from breakascene.toybox.judge import SIDE, Judge, load_judge, look, read
from breakascene.toybox.vocabulary import EVERYTHING, EVERYWHERE

PLACES = ("at the beach", "in the snow", "on the grass", "on a wooden table")
NOTHING, OTHER = "nothing", "something else"  # columns of the confusion besides the run's own things


@dataclass(frozen=True, eq=False)
class FeatureExtractor:
    """A model that turns pictures, and texts if it reads, into unit features (B, D)."""

    name: str
    look: Callable[[Sequence[Image.Image]], torch.Tensor]
    read: Callable[[Sequence[str]], torch.Tensor] | None = None


@dataclass(frozen=True, eq=False)
class Score:
    """What is thought of one picture; similarities are cosines, -1..1. Handles that are not in the prompt are left out.

    seen: for each handle what it came out as: its name, another thing's of the run, "something else" or "nothing".
    place: whether the judge sees the place that was asked for. Both None where the judge does not know the words.
    """

    picture: GeneratedImage
    prompt: float
    identity: dict[str, float]
    seen: dict[str, str] | None
    place: bool | None

    @property
    def prompt_text(self) -> str:
        return self.picture.metadata["prompt"]


def load_feature_extractor(name: str = "toybox", device: torch.device | str = "cpu") -> FeatureExtractor:
    """The toybox's judge, or a transformers CLIP or vision transformer (such as DINO) from a folder or the hub.

    Raises UserError if it cannot be had.
    """
    if name == "toybox":
        judge = load_judge(device)

        @torch.no_grad()
        def see(pictures: Sequence[Image.Image]) -> torch.Tensor:
            small = [picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC) for picture in pictures]
            return look(judge.model, np.stack([np.asarray(picture) for picture in small]))

        return FeatureExtractor(name, see, torch.no_grad()(lambda texts: read(judge.model, texts)))
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

    try:
        model = AutoModel.from_pretrained(name, use_safetensors=True).eval().to(device)
        processor = AutoImageProcessor.from_pretrained(name)
        tokenizer = AutoTokenizer.from_pretrained(name) if hasattr(model, "text_model") else None
    except (OSError, ValueError) as error:
        raise UserError(f"The model {name} cannot be had: give a folder or hub id of a CLIP or DINO model.") from error

    @torch.no_grad()
    def see_with(pictures: Sequence[Image.Image]) -> torch.Tensor:
        batch = processor(images=[picture.convert("RGB") for picture in pictures], return_tensors="pt").to(device)
        if tokenizer:
            return F.normalize(model.visual_projection(model.vision_model(**batch).pooler_output), dim=-1)
        return F.normalize(model(**batch).last_hidden_state[:, 0], dim=-1)  # the class token, as the paper does

    @torch.no_grad()
    def read_with(texts: Sequence[str]) -> torch.Tensor:
        batch = tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt").to(device)
        return F.normalize(model.text_projection(model.text_model(**batch).pooler_output), dim=-1)

    return FeatureExtractor(name, see_with, read_with if tokenizer else None)


def default_prompts(handles: Sequence[str]) -> list[str]:
    """Each thing in each of PLACES, then all of them together in each."""
    things = [handle for handle in handles if handle != BACKGROUND]
    subjects = [*things, " and ".join(things)] if len(things) > 1 else things
    return [f"a photo of {subject} {place}" for subject in subjects for place in PLACES]


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
    **drawing,
) -> Iterator[Score]:
    """Draw the prompts (count, seed, steps and guidance as in generate) and score each picture.

    judge: the toybox's, asked where it knows the names. Raises UserError as generate does, and if `text_extractor` cannot
    read.
    """
    if text_extractor.read is None:
        raise UserError(f"{text_extractor.name} cannot read: choose a CLIP model to compare pictures with prompts.")
    names = dict(zip(concepts.handles, concepts.names, strict=True))
    pixels = np.asarray(scene.photo)
    looks = image_extractor.look([masked_crop(pixels, mask) for mask in scene.masks()])  # (K, D)
    own = dict(zip(scene.handles, looks, strict=True))
    for picture in generate(base, concepts, prompts, **drawing):
        prompt = picture.metadata["prompt"]
        asked = [handle for handle in concepts.handles if handle in prompt and handle != BACKGROUND]
        plain = prompt
        for handle, name in names.items():
            plain = plain.replace(handle, name)
        whole = text_extractor.look([picture.image])
        regions = object_regions(picture.image, segmenter) if asked else []
        match = image_extractor.look(regions) @ torch.stack([own[handle] for handle in asked]).T if regions else None
        identity = {h: float(match[:, i].max()) if regions else 0.0 for i, h in enumerate(asked)}
        seen = place = None
        if judge and asked and all(names[handle] in EVERYTHING for handle in asked):
            called = judge.name([np.asarray(region.resize((SIDE, SIDE))) for region in regions]) if regions else []
            best = match.argmax(0).tolist() if regions else []
            seen = {h: _seen(names[h], called, best[i] if regions else -1, names) for i, h in enumerate(asked)}
        wanted = [place for place in EVERYWHERE if prompt.endswith(place)]
        if judge and wanted:
            place = judge.place([np.asarray(picture.image)])[0] in wanted
        yield Score(picture, float(whole @ text_extractor.read([plain])[0]), identity, seen, place)


def object_regions(image: Image.Image, segmenter: Segmenter) -> list[Image.Image]:
    """The things that the segmenter finds in a picture by itself, each alone on black."""
    pixels = np.asarray(image)
    return [masked_crop(pixels, mask) for mask in segmenter.auto(image) if 0.01 < mask.mean() < 0.6]


def _seen(name: str, called: Sequence[str], best: int, names: dict[str, str]) -> str:
    if not called:
        return NOTHING
    if name in called:
        return name
    return called[best] if called[best] in names.values() else OTHER


def summary(scores: Sequence[Score], names: Sequence[str]) -> dict:
    """Means over the pictures, as JSON values; None for what nothing was known about.

    prompt, identity: mean cosines. right: share of handles that came out as themselves, alone and (both) together.
    place: share of right places. confusion: {name: {seen as: share}} and mixed: share of handles that came out as
    another thing of the run.
    """
    pairs = [pair for score in scores if score.seen for pair in _named(score).items()]
    single = [s for s in scores if s.seen and len(s.seen) == 1]
    several = [s for s in scores if s.seen and len(s.seen) > 1]
    confusion = {}
    for name in dict.fromkeys(name for name, _ in pairs):
        answers = [answer for asked, answer in pairs if asked == name]
        confusion[name] = {answer: answers.count(answer) / len(answers) for answer in (*names, OTHER, NOTHING)}
    return {
        "pictures": len(scores),
        "prompt": _mean([score.prompt for score in scores]),
        "identity": _mean([value for score in scores for value in score.identity.values()]),
        "right": _mean([_all_right(score) for score in single]),
        "together_right": _mean([_all_right(score) for score in several]),
        "place": _mean([score.place for score in scores if score.place is not None]),
        "mixed": _mean([answer in names and answer != asked for asked, answer in pairs]),
        "confusion": confusion or None,
    }


def _named(score: Score) -> dict[str, str]:
    """{the thing's name: what it came out as}."""
    return {score.picture.metadata["handles"][handle]: answer for handle, answer in score.seen.items()}


def _all_right(score: Score) -> bool:
    return all(name == answer for name, answer in _named(score).items())


def _mean(values: Sequence[float]) -> float | None:
    return round(float(np.mean(values)), 4) if len(values) else None


def load_run_scene(folder: Path | str) -> Scene:
    """The photo and masks that a run folder holds. Raises UserError if it was written without them."""
    return load_scene(Path(folder) / "scene")
