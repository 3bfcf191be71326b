"""A trial of a base model on its smallest latents: whether its parts fit together, before anything depends on them."""

import numpy as np
import torch
from PIL import Image

from breakascene.models.base import Base
from breakascene.models.image_codes import vae_scale_factor

MAX_LATENT_SIZE = 1024  # side; SDXL's is 128
MAX_LEVELS = 8  # of a UNet or a VAE


@torch.no_grad()
def run(base: Base) -> None:
    """Encode an image, take one denoising step under a prompt, and decode it, on the smallest latents.

    Raises:
        ValueError: For values that are not finite, or that do not fit each other.
        Exception: Whatever else the parts raise.
    """
    for tokenizer, model in base.encoders:
        if max(tokenizer.get_vocab().values()) >= model.get_input_embeddings().num_embeddings:
            raise ValueError("a tokenizer has more tokens than its text encoder")
    unet, vae = base.unet, base.vae
    if not isinstance(base.latent_size, int) or not 1 <= base.latent_size <= MAX_LATENT_SIZE:
        raise ValueError("the size of the latents is not a whole number in its range")
    if max(len(unet.config.block_out_channels), len(vae.config.block_out_channels)) > MAX_LEVELS:
        raise ValueError("too many levels")
    _ = base.attention_layers
    cell = vae_scale_factor(vae)
    side = 2 ** (len(unet.config.block_out_channels) - 1)  # the smallest that passes through all levels
    mean, _ = base.encode(np.zeros((1, side * cell, side * cell, 3), np.uint8))  # (1, C, side, side)
    latents, _ = base.add_noise(mean, torch.ones_like(mean), torch.tensor([1], device=base.device))
    scheduler = base.pipeline().scheduler
    scheduler.set_timesteps(1, device=base.device)
    timestep = scheduler.timesteps[:1]
    model_pred = base.predict(latents, timestep, ["a photo"])
    latents = scheduler.step(model_pred, timestep[0], latents).prev_sample
    image = vae.decode(latents / vae.config.scaling_factor).sample  # (1, 3, side * cell, side * cell)
    if image.shape != (1, 3, side * cell, side * cell) or not image.isfinite().all():
        raise ValueError("its images are not finite or have the wrong size")
    if base.image_codes:
        codes = base.image_codes.encode([Image.new("RGBA", (8, 8))], vae)
        if codes.shape != (1, base.embedding_dim) or not codes.isfinite().all():
            raise ValueError("its image codes do not fit")
