"""The toybox's VAE: an AutoencoderKL from 256 px to 8 × 16 × 16 latents, trained on crops of rendered scenes."""

from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import nn

from breakascene.models.loading import load_base
from breakascene.toybox.pretraining.trainer import Component, bf16_is_fast, default_device, prefetch, to_tensor
from breakascene.toybox.pretraining.world import RenderedScene, random_scene
from breakascene.toybox.vocabulary import ALL_NAMES, TRAINING, caption

SIZE = 256  # pixels
CROP = 128  # pixels
BATCH = 8 if default_device().type == "cpu" else 32
SCALING_SCENES = 64  # whose latents give the scaling factor
REGENERATION_STEPS = 12  # denoising steps from pure noise; only the last few are run


def build() -> AutoencoderKL:
    """Build the VAE, initialized by `init_as_blur`."""
    channels = (16, 16, 32, 96, 128)  # the full-resolution layers cost most, so they are thin
    vae = AutoencoderKL(
        block_out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        layers_per_block=1,
        latent_channels=8,
        norm_num_groups=1,
        mid_block_add_attention=False,
        sample_size=SIZE,
        scaling_factor=1.0,
    )
    init_as_blur(vae)
    return vae


@torch.no_grad()
def init_as_blur(vae: AutoencoderKL) -> None:
    """Initialize the VAE to average pooling followed by bilinear upsampling, a PSNR of about 20 dB.

    From random weights the first 20 dB take most of a CPU's budget. Colors pass through channels 0 to 2 and their
    negatives through 3 to 5, since silu(x) - silu(-x) = x. Two constant channels keep the group norms independent of
    the image's contrast. Residual branches start at zero; all other channels keep their random weights.
    """
    eye = torch.eye(3)
    for block in vae.modules():
        if isinstance(block, ResnetBlock2D):
            nn.init.zeros_(block.conv2.weight)
            nn.init.zeros_(block.conv2.bias)
            if block.conv_shortcut is not None:
                _pass_through(block.conv_shortcut, torch.ones(1, 1))
        elif isinstance(block, Downsample2D):
            _pass_through(block.conv, torch.tensor([[1.0, 1, 0], [1, 1, 0], [0, 0, 0]]) / 4)
        elif isinstance(block, Upsample2D):
            tent = torch.tensor([1.0, 2, 1]) / 4  # makes nearest-neighbor upsampling bilinear
            _pass_through(block.conv, tent[:, None] * tent)
    for conv in (vae.encoder.conv_in, vae.decoder.conv_in):
        conv.weight[:8] = 0
        conv.weight[:6, :3, 1, 1] = torch.cat([eye, -eye])
        conv.bias[:6] = 0
        conv.bias[6:8] = torch.tensor([4.0, -4.0])
    # The gains compensate the last group norms.
    for conv, gain in ((vae.encoder.conv_out, 0.7), (vae.decoder.conv_out, 1.8)):
        conv.weight[:3] = 0
        conv.weight[:3, :6, 1, 1] = torch.cat([eye, -eye], 1) * gain
        conv.bias[:3] = 0
    vae.encoder.conv_out.weight[8:] = 0
    vae.encoder.conv_out.bias[8:] = -6  # the posterior starts narrow
    for conv in (vae.quant_conv, vae.post_quant_conv):
        nn.init.dirac_(conv.weight)
        nn.init.zeros_(conv.bias)


def _pass_through(conv: nn.Conv2d, kernel: torch.Tensor) -> None:
    """Copy channels 0 to 7, each filtered by the kernel."""
    conv.weight[:8] = 0
    conv.weight[range(8), range(8)] = kernel
    conv.bias[:8] = 0


def random_crops(rng: np.random.Generator, count: int) -> np.ndarray:
    """Render crops of training scenes, half of them centered on an object. (B, 128, 128, 3) uint8"""
    out = []
    while len(out) < count:
        scene = random_scene(rng, SIZE, TRAINING)
        for k in range(2):
            corner = rng.integers(0, SIZE - CROP + 1, 2)
            inside = np.argwhere(scene.masks[rng.integers(len(scene.masks))])
            if k == 0 and len(inside):
                corner = np.clip(inside[rng.integers(len(inside))] - CROP // 2, 0, SIZE - CROP)
            out.append(scene.pixels[corner[0] : corner[0] + CROP, corner[1] : corner[1] + CROP])
    return np.stack(out[:count])


def vae_component(folder: Path) -> Component:
    """Return the VAE for pretraining on crops."""
    sample_batch = prefetch(lambda rng: random_crops(rng, BATCH))

    def loss(vae, rng):
        x = to_tensor(sample_batch(rng), vae.device)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16_is_fast(x.device)):
            posterior = vae.encode(x).latent_dist
            y = vae.decode(posterior.sample()).sample
        reconstruction, mse = reconstruction_loss(y.float(), x)
        kl = posterior.kl().mean() / posterior.mean[0].numel()
        return reconstruction + 2e-4 * kl, {"psnr": psnr_of(mse), "kl": kl.detach()}

    return Component("vae", build(), loss, export, load_exported, lr=1e-3, weight_decay=0.0, ema_decay=0.995)


def reconstruction_loss(y: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the loss of reconstructions y of images x, both (B, 3, H, W), and their mean squared error."""
    error = y - x
    # Differences between neighbors carry outlines and faces.
    gradients = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
    mse = error.square().mean()
    return error.abs().mean() + 0.5 * gradients + 2 * mse, mse


def psnr_of(mse: torch.Tensor) -> torch.Tensor:
    """Return the PSNR in dB of images in [-1, 1] with a mean squared error."""
    return 10 * torch.log10(4 / mse.detach())


def decoder_component(folder: Path) -> Component:
    """Return the VAE for training its decoder to clean up latents of the generator.

    Half of the latents are noised and denoised by the generator first. The encoder is frozen, so the generator's latent
    space stays the same.
    """
    vae = load_vae(folder)
    vae.encoder.requires_grad_(False)
    vae.quant_conv.requires_grad_(False)
    sample_scenes = prefetch(lambda rng: [random_scene(rng, SIZE, TRAINING) for _ in range(BATCH)])
    base = load_base(folder)

    @torch.no_grad()
    def regenerate(rng, latents: torch.Tensor, scenes: list[RenderedScene]) -> torch.Tensor:
        """Add noise of a random level to scaled latents (B, C, h, w) and denoise them in a few steps."""
        scheduler = DDIMScheduler.from_config(base.scheduler.config)
        scheduler.set_timesteps(REGENERATION_STEPS)
        timesteps = scheduler.timesteps[-int(rng.integers(1, REGENERATION_STEPS * 2 // 3)) :]
        latents = base.scheduler.add_noise(latents, torch.randn_like(latents), timesteps[:1])
        conditions = base.encode_prompts([caption(scene.names, scene.place) for scene in scenes])
        for timestep in timesteps:
            model_pred = base.unet(latents, timestep, **conditions).sample
            latents = scheduler.step(model_pred, timestep, latents).prev_sample
        return latents

    def loss(vae, rng):
        scenes = sample_scenes(rng)
        x = to_tensor(np.stack([scene.pixels for scene in scenes]), vae.device)
        count = BATCH // 2  # latents that are regenerated
        with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16_is_fast(x.device)):
            z = vae.encode(x).latent_dist.mean
            scaled = z[:count] * vae.config.scaling_factor
            regenerated = regenerate(rng, scaled.float(), scenes[:count])
            z = torch.cat([regenerated / vae.config.scaling_factor, z[count:]])
            z, x = _crop(rng, z, x)
            y = vae.decode(z).sample
        regenerated_loss, _ = reconstruction_loss(y[:count].float(), x[:count])
        loss, mse = reconstruction_loss(y[count:].float(), x[count:])
        return 0.5 * (regenerated_loss + loss), {"psnr": psnr_of(mse), "regenerated": regenerated_loss.detach()}

    return Component("decoder", vae, loss, export, load_exported, lr=5e-4, weight_decay=0.0, ema_decay=0.995)


def _crop(rng, latents: torch.Tensor, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Crop latents (B, C, h, w) and images (B, 3, H, W) alike, in the lower part, where the objects are."""
    cell, side = SIZE // latents.shape[-1], CROP * latents.shape[-1] // SIZE
    top, left = int(rng.integers(side // 2, side + 1)), int(rng.integers(0, side + 1))
    return (
        latents[..., top : top + side, left : left + side],
        pixels[..., top * cell : (top + side) * cell, left * cell : (left + side) * cell],
    )


@torch.no_grad()
def export(vae: AutoencoderKL, folder: Path) -> None:
    """Write float16 weights, with the scaling factor that gives latents of training scenes unit variance."""
    rng = np.random.default_rng(1)
    scenes = np.stack([random_scene(rng, SIZE, TRAINING).pixels for _ in range(SCALING_SCENES)])
    latents = vae.encode(to_tensor(scenes, vae.device)).latent_dist.mean
    vae.register_to_config(scaling_factor=float(1 / latents.std()), _name_or_path="")
    copy = AutoencoderKL.from_config(vae.config)
    copy.load_state_dict(vae.state_dict())
    copy.half().save_pretrained(folder / "vae")


def load_vae(folder: Path) -> AutoencoderKL:
    """Load the VAE of a toybox folder in float32."""
    return AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32).eval()


@torch.no_grad()
def reconstruct(vae: AutoencoderKL, pixels: torch.Tensor) -> torch.Tensor:
    """Encode square images (B, 3, S, S), uint8, and decode them from noisy latents, to imitate generated images."""
    size, side = pixels.shape[-1], vae.config.sample_size
    resize = partial(F.interpolate, mode="bicubic", antialias=True)
    latents = vae.encode(resize(pixels.float(), (side, side)).clamp(0, 255) / 127.5 - 1).latent_dist.mean
    strength = torch.rand(len(pixels), 1, 1, 1, device=pixels.device) * 0.4 / vae.config.scaling_factor
    decoded = vae.decode(latents + strength * torch.randn_like(latents)).sample.float()
    return (resize(decoded, (size, size)) * 127.5 + 127.5).clamp(0, 255).round().to(torch.uint8)


def load_exported(folder: Path) -> dict[str, torch.Tensor]:
    return load_vae(folder).state_dict()


@torch.no_grad()
def decoded(vae: AutoencoderKL, pixels: np.ndarray) -> np.ndarray:
    """Encode an image (S, S, 3), uint8, and decode its mean latents."""
    latents = vae.encode(to_tensor(pixels[None], vae.device).to(vae.dtype)).latent_dist.mean
    image = vae.decode(latents).sample[0].float().permute(1, 2, 0).cpu().numpy()
    return np.clip(image * 127.5 + 128, 0, 255).astype(np.uint8)


@torch.no_grad()
def psnr(vae: AutoencoderKL, count: int = 100, seed: int = 10) -> float:
    """Return the mean PSNR in dB of reconstructions from mean latents, over new scenes of all objects."""
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(count):
        x = to_tensor(random_scene(rng, SIZE, ALL_NAMES).pixels[None], vae.device)
        y = vae.decode(vae.encode(x).latent_dist.mean).sample.clamp(-1, 1)
        values.append(float(psnr_of((y - x).square().mean())))
    return float(np.mean(values))
