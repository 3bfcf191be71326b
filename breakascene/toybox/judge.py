"""The toybox's judge: a small transformers CLIPModel that knows every thing, place and style of its world.

It stands in for CLIP and DINO where the base is the toybox. It looks at whole scenes and at single regions, other
pixels black.
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
from breakascene.paths import TOYBOX
from breakascene.toybox.vocabulary import EVERYTHING, EVERYWHERE, STYLES, caption

SIDE = 64
MANNERS = ("a photo", *STYLES)


@functools.cache
def _tokenizer() -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(TOYBOX / "tokenizer")


def look(model: CLIPModel, pixels: np.ndarray) -> torch.Tensor:
    """Unit features (B, 128) of pictures (B, 64, 64, 3) uint8."""
    images = torch.from_numpy(pixels).to(model.device).permute(0, 3, 1, 2).float() / 127.5 - 1  # (B, 3, S, S)
    vision = model.vision_model(pixel_values=images).pooler_output
    return F.normalize(model.visual_projection(vision), dim=-1)


def read(model: CLIPModel, texts: Sequence[str]) -> torch.Tensor:
    """Unit features (B, 128) of texts."""
    batch = _tokenizer()(list(texts), padding=True, truncation=True, return_tensors="pt").to(model.device)
    text = model.text_model(**batch).pooler_output
    return F.normalize(model.text_projection(text), dim=-1)


def name_text(name: str) -> str:
    return caption([name])


def place_text(place: str) -> str:
    return f"a photo {place}"


def region(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """What the mask (H, W) shows of a picture (H, W, 3), as crop.masked_crop does, scaled to (64, 64, 3)."""
    return np.asarray(masked_crop(pixels, mask).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def shrink(pixels: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) as the judge sees it whole: (64, 64, 3)."""
    return np.asarray(Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


@dataclass
class Judge:
    """Names things, places and styles. Made by load_judge."""

    model: CLIPModel
    names: torch.Tensor  # (310, 128)
    places: torch.Tensor  # (20, 128)
    manners: torch.Tensor  # (5, 128)

    @torch.no_grad()
    def name(self, regions: Sequence[np.ndarray]) -> list[str]:
        """The likeliest thing, among all, for each region (64, 64, 3) made by region()."""
        return [EVERYTHING[i] for i in (look(self.model, np.stack(regions)) @ self.names.T).argmax(1)]

    def place(self, pictures: Sequence[np.ndarray]) -> list[str]:
        """The likeliest place for each picture (H, W, 3) uint8."""
        return self._likeliest(pictures, EVERYWHERE, self.places)

    def style(self, pictures: Sequence[np.ndarray]) -> list[str]:
        """What each picture (H, W, 3) uint8 is most like, of MANNERS: "a photo" or a style."""
        return self._likeliest(pictures, MANNERS, self.manners)

    @torch.no_grad()
    def _likeliest(self, pictures: Sequence[np.ndarray], words: Sequence[str], features: torch.Tensor) -> list[str]:
        seen = look(self.model, np.stack([shrink(picture) for picture in pictures]))
        return [words[i] for i in (seen @ features.T).argmax(1)]


@torch.no_grad()
def load_judge(device=None) -> Judge:
    model = CLIPModel.from_pretrained(TOYBOX / "judge", dtype=torch.float32).eval()
    model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    names = read(model, [name_text(name) for name in EVERYTHING])
    return Judge(model, names, read(model, [place_text(place) for place in EVERYWHERE]), read(model, MANNERS))
