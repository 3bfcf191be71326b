"""The base: the text-to-image model in use, as its parts, with what the rest of the package needs to know of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from torch import nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from breakascene.models import attention
from breakascene.models.image_codes import ImageCodes, vae_scale_factor

GUIDANCE_SCALES = {"toybox": 1.5, "sd": 7.5, "sdxl": 5.0}  # by model family
ENCODERS = (("tokenizer", "text_encoder"), ("tokenizer_2", "text_encoder_2"))  # by diffusers' names


class TextEncoder(NamedTuple):
    """What reads the prompts. Stable Diffusion has one, SDXL two whose readings are laid side by side."""

    tokenizer: CLIPTokenizer
    model: CLIPTextModel | CLIPTextModelWithProjection

    @property
    def embedding_dim(self) -> int:
        """Numbers in the embedding of a word."""
        return self.model.config.hidden_size

    def tokens(self, prompts: Sequence[str]) -> torch.Tensor:
        """Token ids of the prompts, cut and padded to the model's length: (B, T) on its device."""
        batch = self.tokenizer(
            list(prompts),
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        return batch.input_ids.to(self.model.device)


@dataclass(eq=False, repr=False)
class Base:
    """A latent diffusion model with CLIP text encoders. Made by load_base; all weights frozen, in eval mode."""

    name: str
    encoders: tuple[TextEncoder, ...]
    unet: UNet2DConditionModel
    vae: AutoencoderKL
    scheduler: DDPMScheduler  # of the training, not of the drawing
    fingerprint: str  # 16 hex digits; the same for the same weights on every machine
    family: str  # "toybox", "sd" or "sdxl": decides presets and the default guidance scale
    image_codes: ImageCodes | None = None  # its map from pictures to words, if it brings one

    @property
    def tokenizer(self) -> CLIPTokenizer:
        """The first tokenizer. Others, where there are any, split prompts alike."""
        return self.encoders[0].tokenizer

    @property
    def text_encoder(self) -> CLIPTextModel:
        return self.encoders[0].model

    @property
    def is_sdxl(self) -> bool:
        """Whether it is of the SDXL kind: its UNet is also told a prompt's summary and the picture's size."""
        return self.unet.config.addition_embed_type == "text_time"

    @property
    def trainable_modules(self) -> dict[str, nn.Module]:
        """What training may change, by diffusers' names: "unet", "text_encoder" and, of SDXL, "text_encoder_2"."""
        models = {part: encoder.model for (_, part), encoder in zip(ENCODERS, self.encoders, strict=False)}
        return {"unet": self.unet, **models}

    @property
    def embedding_dim(self) -> int:
        """Numbers in a handle: the embeddings of a word for all text encoders, side by side."""
        return sum(encoder.embedding_dim for encoder in self.encoders)

    @property
    def device(self) -> torch.device:
        return self.unet.device

    @property
    def dtype(self) -> torch.dtype:
        return self.unet.dtype

    @property
    def latent_size(self) -> int:
        """Side of the square latents, in cells."""
        return self.unet.config.sample_size

    @property
    def image_size(self) -> int:
        """Side of the square pictures, in pixels."""
        return self.latent_size * vae_scale_factor(self.vae)

    @property
    def attention_size(self) -> int:
        """Side of the attention maps that the loss reads, in cells; 16 wherever the model has such a level."""
        return attention.select_layers(self.unet)[0]

    @property
    def attention_layers(self) -> tuple[str, ...]:
        """Names of the cross-attention layers with those maps."""
        return attention.select_layers(self.unet)[1]

    @property
    def prediction_type(self) -> str:
        """What the UNet predicts: "epsilon" (the noise) or "v_prediction" (the velocity)."""
        return self.scheduler.config.prediction_type

    @property
    def default_guidance_scale(self) -> float:
        """The guidance scale that suits it."""
        return GUIDANCE_SCALES[self.family]

    def tokens(self, prompts: Sequence[str]) -> torch.Tensor:
        """Token ids of the prompts by the first tokenizer: (B, T) on the model's device."""
        return self.encoders[0].tokens(prompts)

    def tokenize(self, prompts: Sequence[str]) -> tuple[torch.Tensor, ...]:
        """Token ids of B prompts for each text encoder, (B, T) on its device."""
        return tuple(encoder.tokens(prompts) for encoder in self.encoders)

    def encode_prompts(self, prompts: Sequence[str]) -> dict[str, object]:
        """Encode B prompts as keyword arguments of the UNet, see encode_ids."""
        return self.encode_ids(self.tokenize(prompts))

    def encode_ids(self, input_ids: Sequence[torch.Tensor]) -> dict[str, object]:
        """Encode token ids, (B, T) for each text encoder, as keyword arguments of the UNet.

        encoder_hidden_states: (B, T, D). added_cond_kwargs, for SDXL: text_embeds (B, P), the pooled prompts, and time_ids
        (B, 6): original size, crop corner, target size; height before width.
        """
        encoded = [
            encoder.model(ids, output_hidden_states=True) for encoder, ids in zip(self.encoders, input_ids, strict=True)
        ]
        if not self.is_sdxl:
            return {"encoder_hidden_states": encoded[0].last_hidden_state}
        return {
            # The last layer is left out, as in SDXL's training
            "encoder_hidden_states": torch.cat([one.hidden_states[-2] for one in encoded], -1),
            "added_cond_kwargs": {
                "text_embeds": encoded[-1].text_embeds,
                "time_ids": self._time_ids.expand(len(input_ids[0]), -1),
            },
        }

    @cached_property
    def _time_ids(self) -> torch.Tensor:
        size = (self.image_size, self.image_size)  # photos come as squares of this size
        return torch.tensor([[*size, 0, 0, *size]], device=self.device, dtype=torch.float32)

    @property
    def compute_dtype(self) -> torch.dtype:
        """What it computes in: bfloat16 on CUDA, float16 on older chips that are not made for it, float32 on a CPU."""
        if self.device.type != "cuda":
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16

    def autocast(self) -> torch.autocast:
        """A block that computes in `precision`; the weights stay as they are."""
        whole = self.compute_dtype is torch.float32
        return torch.autocast(self.device.type, None if whole else self.compute_dtype, enabled=not whole)

    def predict(self, noisy: torch.Tensor, timesteps: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        """The UNet's prediction for noisy latents (B, C, h, w) at timesteps (B,) under B prompts: (B, C, h, w)."""
        with self.autocast():
            return self.unet(noisy, timesteps, **self.encode_prompts(prompts)).sample

    def add_noise(
        self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add noise to latents (B, C, h, w) at timesteps (B,); return noisy_latents and the UNet's target.

        As the scheduler's add_noise and get_velocity, which copy from the host in each call.
        """
        signal, sigma = (table[timesteps].view(-1, 1, 1, 1) for table in self._noise_tables)
        noisy_latents = signal * latents + sigma * noise
        target = signal * noise - sigma * latents if self.prediction_type == "v_prediction" else noise
        return noisy_latents, target

    @cached_property
    def _noise_tables(self) -> tuple[torch.Tensor, torch.Tensor]:
        """√ᾱ_t and √(1 − ᾱ_t) of all timesteps, on the device."""
        alphas_cumprod = self.scheduler.alphas_cumprod.to(self.device)
        return alphas_cumprod**0.5, (1 - alphas_cumprod) ** 0.5

    @torch.no_grad()
    def encode(self, pixels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """The VAE's posterior of pictures, (B, H, W, 3) uint8: mean and standard deviation of the scaled latents.

        Both (B, C, h, w) float32 on the model's device.
        """
        self.vae.to(self.device)
        images = torch.tensor(pixels).permute(0, 3, 1, 2).to(self.device, self.vae.dtype) / 127.5 - 1  # in -1..1
        posterior = self.vae.encode(images).latent_dist
        scale, shift = self.vae.config.scaling_factor, self.vae.config.shift_factor or 0.0
        return (posterior.mean.float() - shift) * scale, posterior.std.float() * scale

    def pipeline(self) -> StableDiffusionPipeline | StableDiffusionXLPipeline:
        """A diffusers pipeline of the same modules, with DPM-Solver++; made anew on each call, which costs little.

        The VAE is brought to the device of the others, if it lay elsewhere.
        """
        self.vae.to(self.device)
        scheduler = DPMSolverMultistepScheduler.from_config(
            self.scheduler.config,
            algorithm_type="dpmsolver++",
            # A model of zero terminal SNR must start at its very last timestep, and only this spacing does.
            timestep_spacing="trailing",
            thresholding=False,
        )
        tokenizers = {part: encoder.tokenizer for (part, _), encoder in zip(ENCODERS, self.encoders, strict=False)}
        parts = {"vae": self.vae, "scheduler": scheduler, **self.trainable_modules, **tokenizers}
        if self.is_sdxl:
            pipeline = StableDiffusionXLPipeline(**parts, add_watermarker=False)
        else:
            pipeline = StableDiffusionPipeline(
                **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
            )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline
