"""The models that measure images: CLIP and DINO as in the paper, or the toybox's judge."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from breakascene import hub
from breakascene.errors import TranslatableMessage, UserError, resource_error
from breakascene.hub import DownloadFailed
from breakascene.models.progress import without_progress_bars
from breakascene.toybox.judge import IMAGE_SIZE, encode_images, encode_texts, load_judge

TOYBOX = "toybox"
CLIP, DINO = "openai/clip-vit-large-patch14", "facebook/dino-vitb16"  # the paper's, appendix B.2
WAITING = "waiting"  # the reason of a DownloadFailed for a download that has not ended
LABELS = {CLIP: "CLIP ViT-L/14", DINO: "DINO ViT-B/16"}
VARIABLES = {CLIP: "BREAKASCENE_CLIP", DINO: "BREAKASCENE_DINO"}  # each may name a folder or another model


@dataclass(frozen=True, eq=False)
class FeatureExtractor:
    """A model that encodes images, and texts if it has a text encoder, as unit vectors.

    Args:
        name: "toybox", a folder or a hub id.
        encode_images: Maps B images to features of shape (B, D).
        encode_texts: Maps B texts to features of shape (B, D); None for a model without a text encoder.
    """

    name: str
    encode_images: Callable[[Sequence[Image.Image]], torch.Tensor]
    encode_texts: Callable[[Sequence[str]], torch.Tensor] | None = None


@dataclass(frozen=True, eq=False)
class Judges:
    """The two models of an evaluation.

    Args:
        text: Measures prompt similarity.
        image: Measures identity similarity.
        notes: A sentence for each that is the toybox's judge for want of the model asked for.
    """

    text: FeatureExtractor
    image: FeatureExtractor
    notes: tuple[str, ...] = ()


def load_judges(
    family: str, device: torch.device | str = "cpu", clip: str = "auto", dino: str = "auto", download: bool = True
) -> Judges:
    """Load the models that measure the images of a base.

    Args:
        family: The base's model family.
        device: Device of the models.
        clip, dino: Models for prompt and identity similarity, as for load_feature_extractor. "auto" is the toybox's
            judge for the toybox. For other bases it is the paper's CLIP or DINO, or the model in BREAKASCENE_CLIP or
            BREAKASCENE_DINO; if that is not available, it is the toybox's judge, with a note.
        download: Whether "auto" may download a model.

    Raises:
        UserError: If a model that is not "auto" cannot be loaded.
    """
    notes: dict[str, None] = {}
    extractors = []
    for name, usual in ((clip, CLIP), (dino, DINO)):
        if name != "auto" or family == TOYBOX:
            extractors.append(load_feature_extractor(TOYBOX if name == "auto" else name, device))
            continue
        try:
            extractors.append(_load_automatic(usual, device, download))
        except UserError as error:
            notes[fallback_note(usual, error)] = None
            extractors.append(load_feature_extractor(TOYBOX, device))
    return Judges(*extractors, tuple(notes))


def missing() -> tuple[str, ...]:
    """Return those of CLIP and DINO that "auto" stands for with other bases than the toybox and that are not here."""
    names = [os.environ.get(variable) or usual for usual, variable in VARIABLES.items()]
    return tuple(name for name in names if name in VARIABLES and hub.cached_model(name) is None)


def _load_automatic(usual: str, device: torch.device | str, download: bool) -> FeatureExtractor:
    """Load the model that an environment variable names, or else the usual one."""
    if setting := os.environ.get(VARIABLES[usual]):
        return load_feature_extractor(setting, device)
    folder = hub.cached_model(usual)
    if folder is None and not download:
        raise DownloadFailed(WAITING, f"{LABELS[usual]} has not been downloaded yet.")
    folder = folder or hub.download_model(usual)
    return load_feature_extractor(str(folder), device, label=LABELS[usual])


def fallback_note(usual: str, error: UserError) -> str:
    """Return a sentence that says why the toybox's judge is in use instead of CLIP or DINO, and what to do about it."""
    variable = VARIABLES[usual]
    if not isinstance(error, DownloadFailed):
        return TranslatableMessage(
            "Evaluations use the toybox's judge, because {name} cannot be loaded: set {variable} to the folder "
            "of a CLIP or DINO model, and restart.",
            name=os.environ.get(variable) or LABELS[usual], variable=variable,
        )  # fmt: skip
    if error.reason == WAITING:
        return TranslatableMessage(
            "Evaluations use the toybox's judge, because {name} is still being downloaded: evaluate again in a "
            "few minutes.",
            name=LABELS[usual],
        )
    if error.reason == hub.NO_ROOM:
        return TranslatableMessage(
            "Evaluations use the toybox's judge, because there is no room for {name}: free some space and restart, or "
            "set HF_HOME to a folder on another disk.",
            name=LABELS[usual],
        )
    return TranslatableMessage(
        "Evaluations use the toybox's judge, because {name} could not be downloaded: connect to the internet "
        "and restart, or set {variable} to its folder.",
        name=LABELS[usual], variable=variable,
    )  # fmt: skip


def load_feature_extractor(name: str = TOYBOX, device: torch.device | str = "cpu", label: str = "") -> FeatureExtractor:
    """Load the toybox's judge, or a transformers CLIP or vision transformer such as DINO.

    Args:
        name: "toybox", or the folder or hub id of a model.
        device: Device of the model.
        label: The extractor's name, by default `name`.

    Raises:
        UserError: If the model cannot be loaded.
    """
    if name == TOYBOX:
        judge = load_judge(device)

        @torch.no_grad()
        def encode_with_judge(images: Sequence[Image.Image]) -> torch.Tensor:
            size = (IMAGE_SIZE, IMAGE_SIZE)
            resized = [image.convert("RGB").resize(size, Image.Resampling.BICUBIC) for image in images]
            return encode_images(judge.model, np.stack([np.asarray(image) for image in resized]))

        return FeatureExtractor(
            name, encode_with_judge, torch.no_grad()(lambda texts: encode_texts(judge.model, texts))
        )
    try:
        # A folder, because transformers asks the hub for some files even if it may not.
        folder = name if Path(name).exists() else hub.cached_model(name) or hub.download_model(name)
        extractor = _load_folder(folder, device, label or name)
        _try(extractor)
    except Exception as error:  # a wrong configuration shows in any of the libraries
        if resource_error(error):
            raise
        raise UserError(
            f"The model {name} cannot be loaded: give the folder or hub id of a CLIP or DINO model."
        ) from error
    return extractor


def _load_folder(folder: Path | str, device: torch.device | str, label: str) -> FeatureExtractor:
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

    with without_progress_bars():
        model, info = AutoModel.from_pretrained(
            folder, weights_only=True, local_files_only=True, output_loading_info=True
        )  # a pickle, if any, runs no code
        processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
        has_text = hasattr(model, "text_model")
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True) if has_text else None
    unset = [*info["missing_keys"], *info["mismatched_keys"]]  # they would be random
    if unset := [key for key in unset if "pooler" not in str(key)]:  # DINO has none, and it is not used
        raise ValueError(f"it has no {unset[0]}")
    model = model.eval().to(device)

    @torch.no_grad()
    def encode_images_with_model(images: Sequence[Image.Image]) -> torch.Tensor:
        batch = processor(images=[image.convert("RGB") for image in images], return_tensors="pt").to(device)
        if tokenizer:
            return F.normalize(model.visual_projection(model.vision_model(**batch).pooler_output), dim=-1)
        return F.normalize(model(**batch).last_hidden_state[:, 0], dim=-1)  # the class token, as in the paper

    @torch.no_grad()
    def encode_texts_with_model(texts: Sequence[str]) -> torch.Tensor:
        batch = tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt").to(device)
        return F.normalize(model.text_projection(model.text_model(**batch).pooler_output), dim=-1)

    return FeatureExtractor(label, encode_images_with_model, encode_texts_with_model if tokenizer else None)


def _try(extractor: FeatureExtractor) -> None:
    """Encode an image and a text, so that files that do not fit together show at once; raises what the model raises."""
    features = [extractor.encode_images([Image.new("RGB", (64, 64))])]
    if extractor.encode_texts:
        features.append(extractor.encode_texts(["a photo"]))
    if any(len(one) != 1 or one.ndim != 2 or not one.isfinite().all() for one in features):
        raise ValueError("its features have the wrong shape or are not finite")
