"""Pictures as words: the code of how a thing looks, in the space of a base model's word embeddings.

A base may bring such a map (`looks.safetensors` in its folder, made by its pretraining): the text encoder has then
learned to read a code as the word of a thing, and a handle can begin as the picture of its thing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from safetensors.torch import load_file, save_file

SIDE = 72  # pixels: nine cells of the latents
FILE = "looks.safetensors"


@dataclass(frozen=True, eq=False)
class Looks:
    """A linear map from a picture's latents to a code of D numbers, each about 1 in size."""

    mean: torch.Tensor  # (F,) of the features
    axes: torch.Tensor  # (F, D): features to code

    @classmethod
    def of(cls, features: torch.Tensor, width: int) -> "Looks":
        """The principal components of features (N, F), N at least `width`; the large ones shrunk towards the others."""
        mean = features.mean(0)
        u, s, v = torch.linalg.svd(features - mean, full_matrices=False)
        spread = s[:width] ** 0.7
        spread *= width**0.5 / (u[:, :width] * spread).norm(dim=1).mean()
        # Axes that hardly vary would be mostly noise for another thing: they are shrunk.
        keep = spread.square() / (spread.square() + 1)
        return cls(mean, v[:width].T * (spread / s[:width] * keep))

    def codes(self, pictures: Sequence[Image.Image], vae: AutoencoderKL) -> torch.Tensor:
        """RGBA pictures → (N, D) float32 on the CPU; pictures that look alike have codes that lie near."""
        return (features(pictures, vae) - self.mean) @ self.axes

    def save(self, folder: Path) -> None:
        save_file({"mean": self.mean.contiguous(), "axes": self.axes.half().contiguous()}, folder / FILE)

    @classmethod
    def load(cls, folder: Path) -> "Looks | None":
        """The map of a base model's folder, None where it brings none."""
        if not (folder / FILE).is_file():
            return None
        stored = load_file(folder / FILE)
        return cls(stored["mean"].float(), stored["axes"].float())


@torch.no_grad()
def features(pictures: Sequence[Image.Image], vae: AutoencoderKL) -> torch.Tensor:
    """Latents and share of each cell of the pictures, standing on the lower edge of a grey square. (N, F)"""
    alphas, pixels = [], []
    for sprite in pictures:
        scale = SIDE / max(sprite.size)
        small = sprite.resize([max(1, round(side * scale)) for side in sprite.size], Image.Resampling.BICUBIC)
        canvas = Image.new("RGBA", (SIDE, SIDE), (128, 128, 128, 0))
        canvas.paste(small, ((SIDE - small.width) // 2, SIDE - small.height))
        alphas.append(np.asarray(canvas.getchannel("A"), np.float32) / 255)
        grey = Image.new("RGBA", (SIDE, SIDE), (128, 128, 128, 255))
        pixels.append(np.asarray(Image.alpha_composite(grey, canvas).convert("RGB")))
    values = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).to(vae.device, vae.dtype) / 127.5 - 1
    latents = vae.encode(values).latent_dist.mean * vae.config.scaling_factor  # (N, C, s, s)
    cells = SIDE // latents.shape[-1]
    covers = torch.tensor(np.stack(alphas)).unflatten(1, (-1, cells)).unflatten(3, (-1, cells)).mean((2, 4))
    return torch.cat([latents.flatten(1).float().cpu(), 2 * covers.flatten(1)], 1)
