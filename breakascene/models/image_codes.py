"""Image codes: a linear map from images of objects to the space of a base model's token embeddings.

A base may come with such a map, made by its pretraining: `image_codes.safetensors` in its folder. Its text encoder then
accepts an object's code in place of the embedding of its name, so a handle can be initialized from its cut-out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from safetensors.torch import load_file, save_file

CELLS = 9  # side of a canvas, in latent cells
FILE, OLD_FILE = "image_codes.safetensors", "looks.safetensors"  # the second is that of earlier versions
GRAY = (128, 128, 128)


@dataclass(frozen=True, eq=False)
class ImageCodes:
    """A linear map from the features (F,) of an image to its code (D,), whose values are about 1 in size."""

    mean: torch.Tensor  # (F,)
    axes: torch.Tensor  # (F, D)

    @classmethod
    def fit(cls, features: torch.Tensor, dim: int) -> "ImageCodes":
        """Fit the map to features (N, F), N ≥ dim: their principal components with compressed variances."""
        mean = features.mean(0)
        u, s, v = torch.linalg.svd(features - mean, full_matrices=False)
        spread = s[:dim] ** 0.7
        spread *= dim**0.5 / (u[:, :dim] * spread).norm(dim=1).mean()
        # Shrink axes that hardly vary: for a new object they would be mostly noise.
        shrinkage = spread.square() / (spread.square() + 1)
        return cls(mean, v[:dim].T * (spread / s[:dim] * shrinkage))

    def encode(self, images: Sequence[Image.Image], vae: AutoencoderKL) -> torch.Tensor:
        """Encode RGBA cut-outs: (N, D) float32 on the CPU. Similar images have similar codes."""
        return self.encode_canvases(canvases(images, vae_scale_factor(vae)), vae).cpu()

    def encode_canvases(self, canvas: np.ndarray | torch.Tensor, vae: AutoencoderKL) -> torch.Tensor:
        """Encode canvases (N, S, S, 4): (N, D) float32 on the VAE's device."""
        return (features(canvas, vae) - self.mean.to(vae.device)) @ self.axes.to(vae.device)

    def save(self, folder: Path) -> None:
        save_file({"mean": self.mean.contiguous(), "axes": self.axes.half().contiguous()}, folder / FILE)

    @classmethod
    def load(cls, folder: Path) -> "ImageCodes | None":
        """Load the map from a base model's folder; None if it has none."""
        for file in (folder / FILE, folder / OLD_FILE):
            if file.is_file():
                state_dict = load_file(file)
                return cls(state_dict["mean"].float(), state_dict["axes"].float())
        return None


def vae_scale_factor(vae: AutoencoderKL) -> int:
    """Return the number of pixels along the side of a latent cell."""
    return 2 ** (len(vae.config.block_out_channels) - 1)


def canvases(images: Sequence[Image.Image], cell: int) -> np.ndarray:
    """Place each RGBA image at the bottom center of a gray square of CELLS latent cells.

    Args:
        images: RGBA cut-outs of any size.
        cell: Pixels along the side of a latent cell.

    Returns:
        (N, S, S, 4) uint8; the fourth channel is the coverage of each pixel by the image.
    """
    side, out = CELLS * cell, []
    for image in images:
        scale = side / max(image.size)
        scaled = image.resize([max(1, round(length * scale)) for length in image.size], Image.Resampling.BICUBIC)
        canvas = Image.new("RGBA", (side, side), (*GRAY, 0))
        canvas.paste(scaled, ((side - scaled.width) // 2, side - scaled.height))
        composite = Image.alpha_composite(Image.new("RGBA", (side, side), (*GRAY, 255)), canvas)
        composite.putalpha(canvas.getchannel("A"))
        out.append(np.asarray(composite))
    return np.stack(out)


@torch.no_grad()
def features(canvas: np.ndarray | torch.Tensor, vae: AutoencoderKL) -> torch.Tensor:
    """Return the scaled latents of canvases (N, S, S, 4) and the coverage of each cell: (N, F), on the VAE's device."""
    pixels = torch.as_tensor(canvas).to(vae.device, vae.dtype).permute(0, 3, 1, 2)  # (N, 4, S, S)
    latents = vae.encode(pixels[:, :3] / 127.5 - 1).latent_dist.mean * vae.config.scaling_factor  # (N, C, s, s)
    coverage = torch.nn.functional.adaptive_avg_pool2d(pixels[:, 3:] / 255, latents.shape[-1])  # (N, 1, s, s)
    return torch.cat([latents.flatten(1).float(), 2 * coverage.flatten(1).float()], 1)
