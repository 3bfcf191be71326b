"""The toybox's VAE: diffusers' AutoencoderKL, 256 px to 8 × 16 × 16 latents, trained on crops of drawn scenes."""

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from PIL import Image
from torch import nn

from breakascene.models.loading import load_base
from breakascene.toybox.pretraining.trainer import Part, drawing, half_is_fast, pick_device, to_tensor
from breakascene.toybox.pretraining.world import random_scene
from breakascene.toybox.vocabulary import EVERYTHING, TRAINING, caption

SIZE = 256
CROP = 128
BATCH = 8 if pick_device().type == "cpu" else 32
REDRAWN_STEPS = 12  # of a whole drawing; of these the last few are done


def build() -> AutoencoderKL:
    channels = (16, 16, 32, 96, 128)  # the cost lies in the full-size layers, so those are thin
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
    start_as_blur(vae)
    return vae


@torch.no_grad()
def start_as_blur(vae: AutoencoderKL) -> None:
    """Set the weights so that the VAE begins as "shrink by averaging, enlarge bilinearly", about 20 dB.

    From random weights the first 20 dB cost most of a CPU's budget. Colour travels in channels 0 to 2 and its
    negative in 3 to 5, since silu(x) - silu(-x) = x; two constant channels keep the group norms from following the
    picture's contrast; residual branches begin at zero. All other channels begin at random, to be learned.
    """
    eye = torch.eye(3)
    for block in vae.modules():
        if isinstance(block, ResnetBlock2D):
            nn.init.zeros_(block.conv2.weight)
            nn.init.zeros_(block.conv2.bias)
            if block.conv_shortcut is not None:
                _keep(block.conv_shortcut, torch.ones(1, 1))
        elif isinstance(block, Downsample2D):
            _keep(block.conv, torch.tensor([[1.0, 1, 0], [1, 1, 0], [0, 0, 0]]) / 4)
        elif isinstance(block, Upsample2D):
            tent = torch.tensor([1.0, 2, 1]) / 4  # after nearest-neighbour doubling: bilinear
            _keep(block.conv, tent[:, None] * tent)
    for conv in (vae.encoder.conv_in, vae.decoder.conv_in):
        conv.weight[:8] = 0
        conv.weight[:6, :3, 1, 1] = torch.cat([eye, -eye])
        conv.bias[:6] = 0
        conv.bias[6:8] = torch.tensor([4.0, -4.0])
    # The gains undo what the last group norms take.
    for conv, gain in ((vae.encoder.conv_out, 0.7), (vae.decoder.conv_out, 1.8)):
        conv.weight[:3] = 0
        conv.weight[:3, :6, 1, 1] = torch.cat([eye, -eye], 1) * gain
        conv.bias[:3] = 0
    vae.encoder.conv_out.weight[8:] = 0
    vae.encoder.conv_out.bias[8:] = -6  # the posterior begins narrow
    for conv in (vae.quant_conv, vae.post_quant_conv):
        nn.init.dirac_(conv.weight)
        nn.init.zeros_(conv.bias)


def _keep(conv: nn.Conv2d, kernel: torch.Tensor) -> None:
    """Let channels 0 to 7 pass through, each filtered by the kernel."""
    conv.weight[:8] = 0
    conv.weight[range(8), range(8)] = kernel
    conv.bias[:8] = 0


def crops(rng: np.random.Generator, count: int) -> np.ndarray:
    """Crops of training scenes, most of them about a thing, where the detail is. (B, 128, 128, 3) uint8"""
    out = []
    while len(out) < count:
        scene = random_scene(rng, SIZE, TRAINING)
        for k in range(2):
            corner = rng.integers(0, SIZE - CROP + 1, 2)
            where = np.argwhere(scene.masks[rng.integers(len(scene.masks))])
            if k == 0 and len(where):
                corner = np.clip(where[rng.integers(len(where))] - CROP // 2, 0, SIZE - CROP)
            out.append(scene.pixels[corner[0] : corner[0] + CROP, corner[1] : corner[1] + CROP])
    return np.stack(out[:count])


def part(folder: Path) -> Part:
    fresh = drawing(lambda rng: crops(rng, BATCH))

    def loss(vae, rng):
        x = to_tensor(fresh(rng), vae.device)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=half_is_fast(x.device)):
            posterior = vae.encode(x).latent_dist
            y = vae.decode(posterior.sample()).sample
        near, square = distance(y.float(), x)
        spread = posterior.kl().mean() / posterior.mean[0].numel()
        return near + 2e-4 * spread, {"psnr": decibels(square), "kl": spread.detach()}

    return Part("vae", build(), loss, export, shipped, rate=1e-3, decay=0.0, average=0.995)


def distance(y: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How far pictures (B, 3, H, W) are apart, as a loss, and their mean square error."""
    error = y - x
    # Edges count once more: the differences between neighbours carry outlines and faces.
    edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
    square = error.square().mean()
    return error.abs().mean() + 0.5 * edges + 2 * square, square


def decibels(square: torch.Tensor) -> torch.Tensor:
    """PSNR of pictures in -1..1 from their mean square error."""
    return 10 * torch.log10(4 / square.detach())


def decoder_part(folder: Path) -> Part:
    """The decoder alone, taught to mend what the generator leaves: half of its latents were noised and drawn anew.

    The encoder stays, so a generator that was trained on its latents stays good.
    """
    vae = load_vae(folder)
    vae.encoder.requires_grad_(False)
    vae.quant_conv.requires_grad_(False)
    fresh = drawing(lambda rng: [random_scene(rng, SIZE, TRAINING) for _ in range(BATCH)])
    painter = load_base(folder)

    @torch.no_grad()
    def redrawn(rng, latents, captions):
        """Latents (B, C, h, w) from some way into the noise and back in a few steps."""
        steps = DDIMScheduler.from_config(painter.scheduler.config)
        steps.set_timesteps(REDRAWN_STEPS)
        times = steps.timesteps[-int(rng.integers(1, REDRAWN_STEPS * 2 // 3)) :]
        latents = painter.scheduler.add_noise(latents, torch.randn_like(latents), times[:1])
        text = painter.encode_prompts(captions)
        for time in times:
            latents = steps.step(painter.unet(latents, time, **text).sample, time, latents).prev_sample
        return latents

    def loss(vae, rng):
        drawn = fresh(rng)
        x = to_tensor(np.stack([scene.pixels for scene in drawn]), vae.device)
        half = BATCH // 2
        with torch.autocast(x.device.type, torch.bfloat16, enabled=half_is_fast(x.device)):
            z = vae.encode(x).latent_dist.mean
            scaled = z[:half] * vae.config.scaling_factor
            captions = [caption(scene.names, scene.place) for scene in drawn[:half]]
            z = torch.cat([redrawn(rng, scaled.float(), captions) / vae.config.scaling_factor, z[half:]])
            z, x = _cut(rng, z, x)
            y = vae.decode(z).sample
        mended, _ = distance(y[:half].float(), x[:half])
        near, square = distance(y[half:].float(), x[half:])
        return 0.5 * (mended + near), {"psnr": decibels(square), "mended": mended.detach()}

    return Part("decoder", vae, loss, export, shipped, rate=5e-4, decay=0.0, average=0.995)


def _cut(rng, latents: torch.Tensor, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The same crop of all latents (B, C, h, w) and pictures (B, 3, H, W), most of them where things stand."""
    cell, side = SIZE // latents.shape[-1], CROP * latents.shape[-1] // SIZE
    top, left = int(rng.integers(side // 2, side + 1)), int(rng.integers(0, side + 1))
    return (
        latents[..., top : top + side, left : left + side],
        pixels[..., top * cell : (top + side) * cell, left * cell : (left + side) * cell],
    )


@torch.no_grad()
def export(vae: AutoencoderKL, folder: Path) -> None:
    """Write fp16 weights, with the scaling factor that gives latents of training scenes unit variance."""
    rng = np.random.default_rng(1)
    scenes = np.stack([random_scene(rng, SIZE, TRAINING).pixels for _ in range(64)])
    latents = vae.encode(to_tensor(scenes, vae.device)).latent_dist.mean
    vae.register_to_config(scaling_factor=float(1 / latents.std()), _name_or_path="")
    copy = AutoencoderKL.from_config(vae.config)
    copy.load_state_dict(vae.state_dict())
    copy.half().save_pretrained(folder / "vae")


def load_vae(folder: Path) -> AutoencoderKL:
    """The VAE of a toybox's folder in float32."""
    return AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32).eval()


@torch.no_grad()
def through_vae(rng, vae: AutoencoderKL, pixels: np.ndarray) -> np.ndarray:
    """A square picture (S, S, 3) uint8 as the VAE shows it from latents that are a little noisy, like a drawing's."""
    image, side = Image.fromarray(pixels), vae.config.sample_size
    large = np.asarray(image.resize((side, side), Image.Resampling.BICUBIC))
    latents = vae.encode(to_tensor(large[None], vae.device)).latent_dist.mean
    noise = torch.randn_like(latents) * rng.uniform(0, 0.4) / vae.config.scaling_factor
    shown = vae.decode(latents + noise).sample[0].permute(1, 2, 0).cpu().numpy()
    shown = np.clip(shown * 127.5 + 128, 0, 255).astype(np.uint8)
    return np.asarray(Image.fromarray(shown).resize(image.size, Image.Resampling.BICUBIC))


def shipped(folder: Path) -> dict[str, torch.Tensor]:
    return load_vae(folder).state_dict()


@torch.no_grad()
def psnr(vae, count: int = 100, seed: int = 10) -> float:
    """Mean PSNR in dB over whole fresh scenes of all things, held-out ones too, through the mean latents."""
    rng = np.random.default_rng(seed)
    figures = []
    for _ in range(count):
        x = to_tensor(random_scene(rng, SIZE, EVERYTHING).pixels[None], vae.device)
        y = vae.decode(vae.encode(x).latent_dist.mean).sample.clamp(-1, 1)
        figures.append(float(decibels((y - x).square().mean())))
    return float(np.mean(figures))
