"""The base model: a text-to-image diffusion model with the operations that training and generation need."""

from collections.abc import Sequence
from dataclasses import dataclass, field
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
from breakascene.models.lock import BaseLock

GUIDANCE_SCALES = {"toybox": 1.5, "sd": 7.5, "sdxl": 5.0}  # by model family
ENCODERS = (("tokenizer", "text_encoder"), ("tokenizer_2", "text_encoder_2"))  # component names in diffusers


class TextEncoder(NamedTuple):
    """A tokenizer/text-encoder pair. Stable Diffusion has one; SDXL has two and concatenates their hidden states."""

    tokenizer: CLIPTokenizer
    model: CLIPTextModel | CLIPTextModelWithProjection

    @property
    def embedding_dim(self) -> int:
        """Dimension of the token embeddings."""
        return self.model.config.hidden_size

    def tokenize(self, prompts: Sequence[str]) -> torch.Tensor:
        """Tokenize B prompts, padded and truncated to the model's length: ids (B, T) on its device."""
        batch = self.tokenizer(
            list(prompts),
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        device = self.model.device
        ids = batch.input_ids.pin_memory() if device.type == "cuda" else batch.input_ids  # pageable memory would wait
        return ids.to(device, non_blocking=True)


def autocast_dtype(device: torch.device) -> torch.dtype:
    """The autocast dtype of a device: bfloat16 on CUDA, float16 on GPUs without it, float32 on a CPU."""
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


@dataclass(eq=False, repr=False)
class Base:
    """A latent diffusion model with CLIP text encoders, its weights frozen and in eval mode. Created by load_base.

    Threads may share a base: whatever reads or changes its weights holds `lock`.
    """

    name: str
    encoders: tuple[TextEncoder, ...]
    unet: UNet2DConditionModel
    vae: AutoencoderKL
    scheduler: DDPMScheduler  # the training noise schedule; pipeline() samples with another one
    fingerprint: str  # 16 hex digits that identify the weights on every machine
    family: str  # "toybox", "sd" or "sdxl": decides presets and the default guidance scale
    image_codes: ImageCodes | None = None  # map from images to token embeddings, where the base has one
    weight_scales: dict[str, float] = field(default_factory=dict)  # root mean square of each weight, by name
    originals: dict[str, torch.Tensor] = field(default_factory=dict)  # float32, of weights stored in half precision
    applied_deltas: tuple[dict, ...] = ()  # see lora.apply_delta
    weight_shapes: dict[str, torch.Size] = field(init=False)  # by name; available while an extraction runs
    lock: BaseLock = field(init=False, default_factory=BaseLock)

    def __post_init__(self):
        self.weight_shapes = {
            f"{component}.{path}": parameter.shape
            for component, module in self.trainable_modules.items()
            for path, parameter in module.named_parameters()
        }

    @property
    def tokenizer(self) -> CLIPTokenizer:
        """The first tokenizer. SDXL's second one splits prompts in the same way."""
        return self.encoders[0].tokenizer

    @property
    def text_encoder(self) -> CLIPTextModel:
        return self.encoders[0].model

    @property
    def is_sdxl(self) -> bool:
        """Whether the UNet takes SDXL's added conditions: pooled prompt embeddings and image sizes."""
        return self.unet.config.addition_embed_type == "text_time"

    @property
    def trainable_modules(self) -> dict[str, nn.Module]:
        """The modules that training may change: "unet", "text_encoder" and, for SDXL, "text_encoder_2"."""
        text_encoders = {name: encoder.model for (_, name), encoder in zip(ENCODERS, self.encoders, strict=False)}
        return {"unet": self.unet, **text_encoders}

    @property
    def embedding_dim(self) -> int:
        """Dimension of a handle's embedding: the token embeddings of all text encoders, concatenated."""
        return sum(encoder.embedding_dim for encoder in self.encoders)

    @property
    def device(self) -> torch.device:
        return self.unet.device

    @property
    def latent_size(self) -> int:
        """Side of the square latents."""
        return self.unet.config.sample_size

    @property
    def image_size(self) -> int:
        """Side of the square images, in pixels."""
        return self.latent_size * vae_scale_factor(self.vae)

    @property
    def attention_size(self) -> int:
        """Side of the attention maps that the attention loss reads: 16, or the nearest side that the UNet has."""
        return attention.select_layers(self.unet)[0]

    @property
    def attention_layers(self) -> tuple[str, ...]:
        """Names of the cross-attention layers with those maps."""
        return attention.select_layers(self.unet)[1]

    @property
    def prediction_type(self) -> str:
        """The UNet's target: "epsilon" or "v_prediction"."""
        return self.scheduler.config.prediction_type

    @property
    def default_guidance_scale(self) -> float:
        """The guidance scale for this model family."""
        return GUIDANCE_SCALES[self.family]

    def tokenize(self, prompts: Sequence[str]) -> tuple[torch.Tensor, ...]:
        """Tokenize B prompts for each text encoder: ids (B, T) on its device."""
        return tuple(encoder.tokenize(prompts) for encoder in self.encoders)

    def encode_prompts(self, prompts: Sequence[str]) -> dict[str, object]:
        """Encode B prompts as keyword arguments of the UNet, see encode_ids."""
        return self.encode_ids(self.tokenize(prompts))

    def encode_ids(self, input_ids: Sequence[torch.Tensor]) -> dict[str, object]:
        """Encode token ids, (B, T) for each text encoder, into keyword arguments of the UNet.

        Returns:
            `encoder_hidden_states` (B, T, D) and, for SDXL, `added_cond_kwargs` with `text_embeds` (B, P), the pooled
            prompt embeddings, and `time_ids` (B, 6): original size, crop corner and target size, height before width.
        """
        encoded = [
            encoder.model(ids, output_hidden_states=True) for encoder, ids in zip(self.encoders, input_ids, strict=True)
        ]
        if not self.is_sdxl:
            return {"encoder_hidden_states": encoded[0].last_hidden_state}
        return {
            # SDXL is conditioned on the penultimate layer
            "encoder_hidden_states": torch.cat([one.hidden_states[-2] for one in encoded], -1),
            "added_cond_kwargs": {
                "text_embeds": encoded[-1].text_embeds,
                "time_ids": self._time_ids.expand(len(input_ids[0]), -1),
            },
        }

    @cached_property
    def _time_ids(self) -> torch.Tensor:
        size = (self.image_size, self.image_size)  # photos are cropped to squares of this size
        return torch.tensor([[*size, 0, 0, *size]], device=self.device, dtype=torch.float32)

    @property
    def compute_dtype(self) -> torch.dtype:
        """The autocast dtype, see autocast_dtype."""
        return autocast_dtype(self.device)

    def autocast(self) -> torch.autocast:
        """Return a context that computes in `compute_dtype`; the weights keep their dtype."""
        full = self.compute_dtype is torch.float32
        dtype = None if full else self.compute_dtype
        # A cached cast would be missing from a CUDA graph
        return torch.autocast(self.device.type, dtype, enabled=not full, cache_enabled=False)

    def predict(self, noisy_latents: torch.Tensor, timesteps: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        """Run the UNet on noisy latents (B, C, h, w) at timesteps (B,) under B prompts: model_pred (B, C, h, w)."""
        with self.lock.held(), self.autocast():
            return self.unet(noisy_latents, timesteps, **self.encode_prompts(prompts)).sample

    def add_noise(
        self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add noise to latents (B, C, h, w) at timesteps (B,).

        Equal to the scheduler's add_noise and get_velocity, which copy from the host in each call.

        Returns:
            The noisy latents and the UNet's target, which is the noise or the velocity; both (B, C, h, w).
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
        """Encode images (B, H, W, 3) uint8 into the VAE's posterior.

        Moves the VAE to the model's device if it was offloaded.

        Returns:
            Mean and standard deviation of the scaled latents, both (B, C, h, w) float32 on the model's device.
        """
        with self.lock.held():
            self.vae.to(self.device)
            images = torch.tensor(pixels).permute(0, 3, 1, 2).to(self.device, self.vae.dtype) / 127.5 - 1  # in -1..1
            posterior = self.vae.encode(images).latent_dist
        scale, shift = self.vae.config.scaling_factor, self.vae.config.shift_factor or 0.0
        return (posterior.mean.float() - shift) * scale, posterior.std.float() * scale

    def pipeline(self) -> StableDiffusionPipeline | StableDiffusionXLPipeline:
        """Build a diffusers pipeline from these modules, with DPM-Solver++. Cheap: no weights are copied.

        Moves the VAE to the model's device if it was offloaded.
        """
        self.vae.to(self.device)
        scheduler = DPMSolverMultistepScheduler.from_config(
            self.scheduler.config,
            algorithm_type="dpmsolver++",
            # Only this spacing starts at the last timestep, as zero terminal SNR requires.
            timestep_spacing="trailing",
            thresholding=False,
        )
        tokenizers = {name: encoder.tokenizer for (name, _), encoder in zip(ENCODERS, self.encoders, strict=False)}
        components = {"vae": self.vae, "scheduler": scheduler, **self.trainable_modules, **tokenizers}
        if self.is_sdxl:
            pipeline = StableDiffusionXLPipeline(**components, add_watermarker=False)
        else:
            pipeline = StableDiffusionPipeline(
                **components, safety_checker=None, feature_extractor=None, requires_safety_checker=False
            )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline
