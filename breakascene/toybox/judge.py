"""The toybox's judge: a small transformers CLIPModel that classifies the toybox's objects, places and styles.

It takes the roles of CLIP and DINO in the evaluation where the base is the toybox. Its input is either a whole scene or
a single region with all other pixels black.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from transformers import CLIPModel, CLIPTokenizer

from breakascene.data.crop import masked_crop
from breakascene.models.progress import without_progress_bars
from breakascene.paths import TOYBOX
from breakascene.toybox.vocabulary import ALL_NAMES, ALL_PLACES, STYLES, caption

IMAGE_SIZE = 64
STYLE_PROMPTS = ("a photo", *STYLES)


@functools.cache
def _tokenizer() -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(TOYBOX / "tokenizer")


def encode_images(model: CLIPModel, pixels: np.ndarray) -> torch.Tensor:
    """Encode uint8 images of shape (B, 64, 64, 3) as unit features of shape (B, 128)."""
    images = torch.from_numpy(pixels).to(model.device).permute(0, 3, 1, 2).float() / 127.5 - 1  # (B, 3, S, S)
    pooled = model.vision_model(pixel_values=images).pooler_output
    return F.normalize(model.visual_projection(pooled), dim=-1)


def encode_texts(model: CLIPModel, texts: Sequence[str]) -> torch.Tensor:
    """Encode B texts as unit features of shape (B, 128)."""
    batch = _tokenizer()(list(texts), padding=True, truncation=True, return_tensors="pt").to(model.device)
    pooled = model.text_model(**batch).pooler_output
    return F.normalize(model.text_projection(pooled), dim=-1)


def object_prompt(name: str) -> str:
    """Return the text that a region is compared with."""
    return caption([name])


def place_prompt(place: str) -> str:
    """Return the text that a scene is compared with."""
    return f"a photo {place}"


def crop_region(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Cut out a mask as `masked_crop` does and resize it to the judge's input.

    Args:
        pixels: Image of shape (H, W, 3), uint8.
        mask: Boolean mask of shape (H, W).

    Returns:
        An array of shape (64, 64, 3), uint8.
    """
    return resize(np.asarray(masked_crop(pixels, mask)))


def resize(pixels: np.ndarray) -> np.ndarray:
    """Resize an image (H, W, 3) to the judge's input (64, 64, 3)."""
    return np.asarray(Image.fromarray(pixels).resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC))


@dataclass
class Judge:
    """A zero-shot classifier of objects, places and styles; `load_judge` makes one.

    Args:
        model: The CLIP model.
        object_features: Text features of ALL_NAMES, (310, 128).
        place_features: Text features of ALL_PLACES, (20, 128).
        style_features: Text features of STYLE_PROMPTS, (5, 128).
    """

    model: CLIPModel
    object_features: torch.Tensor
    place_features: torch.Tensor
    style_features: torch.Tensor

    def classify_objects(self, regions: Sequence[np.ndarray]) -> list[str]:
        """Return the most likely of ALL_NAMES for each region (64, 64, 3) from `crop_region`."""
        return self._classify(regions, ALL_NAMES, self.object_features)

    def classify_places(self, images: Sequence[np.ndarray]) -> list[str]:
        """Return the most likely of ALL_PLACES for each image (H, W, 3)."""
        return self._classify([resize(image) for image in images], ALL_PLACES, self.place_features)

    def classify_styles(self, images: Sequence[np.ndarray]) -> list[str]:
        """Return the most likely of STYLE_PROMPTS for each image (H, W, 3)."""
        return self._classify([resize(image) for image in images], STYLE_PROMPTS, self.style_features)

    @torch.no_grad()
    def _classify(self, images: Sequence[np.ndarray], classes: Sequence[str], features: torch.Tensor) -> list[str]:
        similarity = encode_images(self.model, np.stack(images)) @ features.T  # (B, C)
        return [classes[i] for i in similarity.argmax(1)]


@torch.no_grad()
def load_judge(device: torch.device | str | None = None) -> Judge:
    """Load the judge from assets/toybox; on CUDA if there is one, unless a device is given."""
    with without_progress_bars():
        model = CLIPModel.from_pretrained(TOYBOX / "judge", dtype=torch.float32).eval()
    model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    object_prompts = [object_prompt(name) for name in ALL_NAMES]
    place_prompts = [place_prompt(place) for place in ALL_PLACES]
    return Judge(
        model,
        encode_texts(model, object_prompts),
        encode_texts(model, place_prompts),
        encode_texts(model, STYLE_PROMPTS),
    )
