"""Upscaling of generated images by the base itself, in overlapping tiles (image-to-image).

The image is enlarged by Lanczos interpolation. Tiles of the base's own size are then noised a little and denoised with
the image's prompt and handles, so that details come from what the base has learned. All tiles take their noise from one
field, so that they agree where they overlap, and are blended there in pixels: the memory does not depend on their
number. Colors and coarse shapes stay those of the image, as the low frequencies are taken from it at the end; otherwise
a tile of the sky would show a faint object of the prompt.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from PIL import Image

from breakascene.errors import UserError
from breakascene.generation.generate import BATCH, GeneratedImage, generate
from breakascene.generation.start import Start
from breakascene.generation.variations import check_strength
from breakascene.models.base import Base
from breakascene.models.concepts import Concepts
from breakascene.models.image_codes import vae_scale_factor
from breakascene.models.lora import ExternalLora
from breakascene.provenance import consent

FACTOR = 2
# The defaults by model family. What the toybox denoises is softer than before at any strength: its VAE alone is best,
# see benchmarks/upscaling.py. For the others it is a usual one.
STRENGTHS = {"toybox": 0.0, "sd": 0.3, "sdxl": 0.3}
NUM_INFERENCE_STEPS = 20
MIN_OVERLAP = 1 / 4  # of neighboring tiles, by their side
MIN_SIDE, MAX_SIDE = 1 / 2, 5 / 2  # of an image, by the base's own images: all shapes, and once upscaled


def upscale(
    base: Base,
    concepts: Concepts | None,
    generated: GeneratedImage,
    *,
    strength: float | None = None,
    num_inference_steps: int = NUM_INFERENCE_STEPS,
    batch_size: int = BATCH,
    loras: Sequence[ExternalLora] = (),
) -> GeneratedImage:
    """Double the width and height of a generated image, with details by the base.

    The same image gives the same result (up to rounding): the prompt, the seed and the guidance scale are those of its
    metadata.

    Args:
        base: The base model.
        concepts: The concepts whose handles the image's prompt uses; None for the plain base.
        generated: The image with its metadata.
        strength: Share of the denoising steps that are done, 0 to 1: more gives more details, and departs further from
            the image. At 0, tiles are only encoded and decoded by the VAE. By default that of the model family.
        num_inference_steps: Denoising steps, of which that share is done.
        batch_size: Tiles generated at once.
        loras: LoRAs from other programs that the image was generated with, see generate.

    Returns:
        The image, with "upscale" in its metadata: the factor by which it is larger than it was generated, and the
        strength and the steps.

    Raises:
        UserError: As generate does, for a strength out of range, an image that is too small or too large for the base,
            or that has transparent parts.
    """
    # 1. Enlarge the image and cut it into tiles
    strength = STRENGTHS[base.family] if strength is None else strength
    if strength:
        check_strength(strength)
    check_image(base, generated.image)
    check_loras(generated.metadata, loras)
    if concepts:
        concepts.check(base)
        consent.check_valid(concepts.consents)
    image, metadata = generated.image.convert("RGB"), generated.metadata
    size = image.width * FACTOR, image.height * FACTOR
    tiles = Tiles.covering(size, base)
    enlarged = image.resize(size, Image.Resampling.LANCZOS)
    pixels = tiles.cut(np.asarray(enlarged))  # (T, S, S, 3)

    # 2. Noise them by one field and denoise them
    latents = torch.cat([
        base.encode(pixels[first : first + batch_size])[0] for first in range(0, len(pixels), batch_size)
    ])  # fmt: skip
    if strength:
        field_seed = (metadata["seed"] + metadata["index"]) % 2**63
        painted = generate(
            base,
            concepts,
            [metadata["prompt"]],
            count=len(tiles.corners),
            num_inference_steps=num_inference_steps,
            guidance_scale=metadata["guidance_scale"],
            negative_prompt=metadata["negative_prompt"],
            batch_size=batch_size,
            loras=loras,
            start=Start(latents, strength, noise=tiles.noise(field_seed, latents.shape[1])),
        )
        results = [np.asarray(one.image) for one in painted]
    else:
        results = [_decode(base, latents[i : i + 1]) for i in range(len(latents))]

    # 3. Blend them, with the low frequencies of the image
    blended = tiles.blend(results).astype(np.float32)
    lost = _blurred(np.asarray(enlarged, np.float32) - blended, tiles.cell)
    result = Image.fromarray((blended + lost).round().clip(0, 255).astype(np.uint8))
    factor = metadata.get("upscale", {}).get("factor", 1) * FACTOR
    upscaled = {"factor": factor, "strength": strength, "num_inference_steps": num_inference_steps}
    return GeneratedImage(result, {**metadata, "width": size[0], "height": size[1], "upscale": upscaled})


def check_image(base: Base, image: Image.Image) -> None:
    """Raise UserError unless the base can upscale the image."""
    if image.has_transparency_data:
        raise UserError("The image has transparent parts: upscale the image that they were cut from.")
    least, most = round(MIN_SIDE * base.image_size), round(MAX_SIDE * base.image_size)
    if not least <= min(image.size) <= max(image.size) <= most:
        raise UserError(
            "The image is {width} × {height} pixels, and {base} upscales images with sides from {least} to {most}: "
            "choose another one.",
            width=image.width, height=image.height, base=base.name, least=least, most=most,
        )  # fmt: skip


def check_loras(metadata: dict, loras: Sequence[ExternalLora] = ()) -> None:
    """Raise UserError if an image was generated with LoRAs and none are given: its details would change their style."""
    if metadata.get("loras") and not loras:
        raise UserError("The image was generated with a LoRA: such images are upscaled only while they are generated.")


def pixel_steps_of(size: tuple[int, int], base: Base, num_inference_steps: int = NUM_INFERENCE_STEPS) -> float:
    """Return the pixels times the denoising steps that it takes to upscale an image of this width and height.

    Encoding and decoding count as a step.
    """
    tiles = Tiles.covering((size[0] * FACTOR, size[1] * FACTOR), base)
    return len(tiles.corners) * tiles.side**2 * (1 + num_inference_steps * STRENGTHS[base.family])


@torch.no_grad()
def _decode(base: Base, latents: torch.Tensor) -> np.ndarray:
    """Decode latents (1, C, h, w) to pixels (H, W, 3) uint8."""
    config = base.vae.config
    latents = latents / config.scaling_factor + (config.shift_factor or 0)
    with base.lock.held():
        pixels = base.vae.decode(latents.to(base.vae.dtype)).sample[0].float()  # (3, H, W), -1..1
    return (pixels.clamp(-1, 1) * 127.5 + 127.5).round().byte().permute(1, 2, 0).cpu().numpy()


def _blurred(values: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(values, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)


@dataclass(frozen=True)
class Tiles:
    """Overlapping square tiles that cover an image, on the grid of its latent cells.

    Attributes:
        size: Width and height of the image in pixels.
        side: Of a tile in pixels.
        cell: Pixels along the side of a latent cell.
        corners: Left and top of each tile in pixels, row by row. The last ones may reach beyond the image, by less
            than a cell.
    """

    size: tuple[int, int]
    side: int
    cell: int
    corners: tuple[tuple[int, int], ...]

    @classmethod
    def covering(cls, size: tuple[int, int], base: Base) -> "Tiles":
        """Return the tiles of an image that is at least as wide and high as the base's images."""
        side, cell = base.image_size, vae_scale_factor(base.vae)
        starts = [_starts(math.ceil(length / cell), side // cell) for length in size]
        return cls(size, side, cell, tuple((x * cell, y * cell) for y in starts[1] for x in starts[0]))

    def cut(self, pixels: np.ndarray) -> np.ndarray:
        """Cut (H, W, 3) into tiles (T, S, S, 3); the edge is repeated beyond the image."""
        height, width = (self.cell * math.ceil(length / self.cell) for length in pixels.shape[:2])
        padded = np.pad(pixels, ((0, height - len(pixels)), (0, width - pixels.shape[1]), (0, 0)), mode="edge")
        return np.stack([padded[y : y + self.side, x : x + self.side] for x, y in self.corners])

    def noise(self, seed: int, channels: int) -> torch.Tensor:
        """Return the noise of each tile, (T, C, s, s), cut from one field."""
        width, height = (math.ceil(length / self.cell) for length in self.size)
        field = torch.randn(channels, height, width, generator=torch.Generator().manual_seed(seed))
        s, cells = self.side // self.cell, [(x // self.cell, y // self.cell) for x, y in self.corners]
        return torch.stack([field[:, y : y + s, x : x + s] for x, y in cells])

    def blend(self, tiles: Sequence[np.ndarray]) -> np.ndarray:
        """Join tiles (S, S, 3) to an image (H, W, 3) uint8; where they overlap, one fades into the other."""
        width, height = (self.cell * math.ceil(length / self.cell) for length in self.size)
        total, weights = np.zeros((height, width, 3), np.float32), np.zeros((height, width, 1), np.float32)
        ramp = np.minimum(np.arange(self.side) + 0.5, self.side - np.arange(self.side) - 0.5)
        ramp = np.minimum(1, ramp / (MIN_OVERLAP * self.side)).astype(np.float32)
        opacity = np.minimum.outer(ramp, ramp)[..., None]  # (S, S, 1)
        for (x, y), tile in zip(self.corners, tiles, strict=True):
            part = slice(y, y + self.side), slice(x, x + self.side)
            total[part] += opacity * tile
            weights[part] += opacity
        blended = (total / weights)[: self.size[1], : self.size[0]]
        return blended.round().clip(0, 255).astype(np.uint8)


def _starts(length: int, side: int) -> list[int]:
    """Return the starts of intervals of `side` that cover 0..length evenly and overlap by at least MIN_OVERLAP."""
    count = 1 + math.ceil((length - side) / (side * (1 - MIN_OVERLAP)))
    return [round(i * (length - side) / max(1, count - 1)) for i in range(count)]
