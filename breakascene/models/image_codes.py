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

CELLS = 9  # of the latents, along a side
FILE = "looks.safetensors"


@dataclass(frozen=True, eq=False)
class ImageCodes:
    """A linear map from a picture's latents to a code of D numbers, each about 1 in size."""

    mean: torch.Tensor  # (F,) of the features
    axes: torch.Tensor  # (F, D): features to code

    @classmethod
    def of(cls, features: torch.Tensor, width: int) -> "ImageCodes":
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
        return self.read(canvases(pictures, vae_scale_factor(vae)), vae).cpu()

    def read(self, shown: np.ndarray, vae: AutoencoderKL) -> torch.Tensor:
        """The codes of canvases: (N, D) float32 on the VAE's device."""
        return (features(shown, vae) - self.mean.to(vae.device)) @ self.axes.to(vae.device)

    def save(self, folder: Path) -> None:
        save_file({"mean": self.mean.contiguous(), "axes": self.axes.half().contiguous()}, folder / FILE)

    @classmethod
    def load(cls, folder: Path) -> "ImageCodes | None":
        """The map of a base model's folder, None where it brings none."""
        if not (folder / FILE).is_file():
            return None
        stored = load_file(folder / FILE)
        return cls(stored["mean"].float(), stored["axes"].float())


def vae_scale_factor(vae: AutoencoderKL) -> int:
    """Pixels along a side of a cell of the latents."""
    return 2 ** (len(vae.config.block_out_channels) - 1)


def canvases(pictures: Sequence[Image.Image], cell: int) -> np.ndarray:
    """RGBA pictures, each standing on the lower edge of a grey square of CELLS cells: (N, S, S, 4) uint8, with how much
    of each pixel the picture covers. cell: pixels of a cell of the latents."""
    side, out = CELLS * cell, []
    for sprite in pictures:
        scale = side / max(sprite.size)
        small = sprite.resize([max(1, round(length * scale)) for length in sprite.size], Image.Resampling.BICUBIC)
        canvas = Image.new("RGBA", (side, side), (128, 128, 128, 0))
        canvas.paste(small, ((side - small.width) // 2, side - small.height))
        whole = Image.alpha_composite(Image.new("RGBA", (side, side), (128, 128, 128, 255)), canvas)
        whole.putalpha(canvas.getchannel("A"))
        out.append(np.asarray(whole))
    return np.stack(out)


@torch.no_grad()
def features(shown: np.ndarray, vae: AutoencoderKL) -> torch.Tensor:
    """Latents of canvases and the covered share of each cell: (N, F) on the VAE's device."""
    values = torch.from_numpy(shown).to(vae.device, vae.dtype).permute(0, 3, 1, 2)  # (N, 4, S, S)
    latents = vae.encode(values[:, :3] / 127.5 - 1).latent_dist.mean * vae.config.scaling_factor  # (N, C, s, s)
    covers = torch.nn.functional.adaptive_avg_pool2d(values[:, 3:] / 255, latents.shape[-1])
    return torch.cat([latents.flatten(1).float(), 2 * covers.flatten(1).float()], 1)
