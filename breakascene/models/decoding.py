"""Decode latents with the VAE: in half precision on CUDA, and in smaller batches if memory runs out."""

from collections.abc import Callable

import torch
from diffusers.models.autoencoders.vae import DecoderOutput

from breakascene.errors import is_out_of_memory
from breakascene.models.base import Base
from breakascene.models.precision import stored_in


def decode_dtype(base: Base) -> torch.dtype:
    """Return the dtype that the VAE decodes in: bfloat16 on CUDA, float32 on a CPU.

    On GPUs without bfloat16 it is float16 only if the VAE's configuration clears `force_upcast`, as that of SDXL's
    fixed VAE does: the activations of SDXL's own VAE exceed the range of float16.
    """
    if base.compute_dtype is torch.float16 and base.vae.config["force_upcast"]:
        return torch.float32
    return base.compute_dtype


def half_precision_decode(base: Base) -> Callable:
    """Return a `decode` for the base's VAE, with the arguments of AutoencoderKL.decode; its images are float32."""
    decode = base.vae.decode

    def decode_batch(latents: torch.Tensor) -> torch.Tensor:
        try:
            return decode(latents, return_dict=False)[0]
        except (RuntimeError, MemoryError) as error:
            if len(latents) == 1 or not is_out_of_memory(error):
                raise
        # Outside of the handler: the traceback of the error holds the activations
        if latents.is_cuda:
            torch.cuda.empty_cache()
        return torch.cat([decode_batch(half) for half in latents.tensor_split(2)])

    def run(latents: torch.Tensor, return_dict: bool = True, generator: object = None):
        dtype = decode_dtype(base)
        decoder = [module for module in (base.vae.decoder, base.vae.post_quant_conv) if module is not None]
        with stored_in(dtype, *decoder), torch.autocast(base.device.type, enabled=False):
            images = decode_batch(latents.to(dtype)).float()  # (B, 3, H, W), -1..1
        return DecoderOutput(sample=images) if return_dict else (images,)

    return run
