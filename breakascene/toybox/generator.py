"""The toybox's generator: text encoder and UNet, trained together from zero on latents of drawn scenes.

v-prediction over a noise schedule with zero terminal SNR (Lin et al., arXiv 2305.08891). The held-out things never
come in. Cells of the latents that show a thing count more than the ground, which is learned soon enough.
"""

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from torch import nn
from transformers import CLIPTextModel

from breakascene.toybox.training import ASSETS, Part, assets_folder, pick_device, to_tensor
from breakascene.toybox.words import encode, text_config, tokenizer
from breakascene.toybox.world import TRAINING, random_scene, varied_caption

SIZE = 128
BATCH = 16
RENEW = 4  # fresh scenes a step; the others of a batch come from the pool
POOL = 20_000
CHANNELS = (128, 192, 256)
TEXT_WIDTH, TEXT_LAYERS = 256, 4


class Generator(nn.Module):
    """The two networks that train together."""

    def __init__(self):
        super().__init__()
        self.text_encoder = CLIPTextModel(text_config(TEXT_WIDTH, TEXT_LAYERS))
        levels = len(CHANNELS)
        self.unet = UNet2DConditionModel(
            sample_size=16,
            in_channels=8,
            out_channels=8,
            block_out_channels=CHANNELS,
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D",) * levels,
            up_block_types=("CrossAttnUpBlock2D",) * levels,
            cross_attention_dim=TEXT_WIDTH,
            attention_head_dim=4,
            use_linear_projection=True,
        )


def noise_schedule() -> DDPMScheduler:
    return DDPMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
    )


def load_vae() -> AutoencoderKL:
    return AutoencoderKL.from_pretrained(assets_folder("vae"), torch_dtype=torch.float32).eval()


class Latents:
    """A pool of drawn scenes as latents, each with its mirror; it grows to POOL, then forgets the oldest."""

    def __init__(self, device):
        self.vae = load_vae().to(device)
        self.items = []

    @torch.no_grad()
    def add(self, rng, count: int) -> None:
        scenes = [random_scene(rng, SIZE, TRAINING) for _ in range(count)]
        pixels = np.stack([s.pixels for s in scenes] + [s.pixels[:, ::-1] for s in scenes])
        latents = self.vae.encode(to_tensor(pixels, self.vae.device)).latent_dist.mean * self.vae.config.scaling_factor
        side = latents.shape[-1]
        for i, scene in enumerate(scenes):
            shown = torch.from_numpy(scene.masks.any(0)).float()[None, None]
            share = F.interpolate(shown, (side, side), mode="area")[0]  # (1, 16, 16)
            self.items.append((latents[[i, i + count]], torch.stack([share, share.flip(-1)]), scene))
        del self.items[:-POOL]

    def draw(self, rng, count: int):
        """count latents (B, 8, 16, 16), the share of things in each cell (B, 1, 16, 16), and their scenes."""
        newest = range(len(self.items) - RENEW, len(self.items))
        picks = [*newest, *rng.integers(0, len(self.items), count - RENEW)]
        sides = rng.integers(0, 2, count)
        rows = [self.items[i] for i in picks]
        latents = torch.stack([row[0][side] for row, side in zip(rows, sides, strict=True)])
        shares = torch.stack([row[1][side] for row, side in zip(rows, sides, strict=True)])
        return latents, shares.to(latents.device), [row[2] for row in rows]


def part() -> Part:
    device = pick_device()
    schedule = noise_schedule()
    pool = Latents(device)

    def loss(model, rng):
        pool.add(rng, RENEW if len(pool.items) > 1000 else 256)
        latents, shares, scenes = pool.draw(rng, BATCH)
        captions = ["" if rng.random() < 0.1 else varied_caption(rng, scene) for scene in scenes]
        text = model.text_encoder(encode(captions, device)).last_hidden_state  # (B, 32, 256)
        times = torch.from_numpy(_times(rng, BATCH)).to(device)
        noise = torch.randn_like(latents)
        noisy = schedule.add_noise(latents, noise, times)
        goal = schedule.get_velocity(latents, noise, times)
        error = (model.unet(noisy, times, text).sample - goal).square()
        weight = 0.6 + 1.4 * shares
        value = (error * weight).mean()
        return value, {"loss": float(value.detach()), "plain": float(error.detach().mean())}

    return Part("generator", Generator(), loss, export, rate=4e-4, decay=0.01, average=0.999)


def _times(rng, count: int) -> np.ndarray:
    """Time steps 0..999: half of them anywhere, half about the middle, where things take their shape."""
    anywhere = rng.random(count)
    middle = 1 / (1 + np.exp(-rng.normal(0.2, 1.0, count)))
    return np.minimum(999, np.where(rng.random(count) < 0.5, anywhere, middle) * 1000).astype(np.int64)


def export(model: Generator) -> None:
    """Write the whole base model as a diffusers folder in fp16."""
    half = Generator()
    half.load_state_dict(model.state_dict())
    half.half()
    StableDiffusionPipeline(
        vae=load_vae().half(),
        text_encoder=half.text_encoder,
        tokenizer=tokenizer(),
        unet=half.unet,
        scheduler=DPMSolverMultistepScheduler.from_config(noise_schedule().config, algorithm_type="dpmsolver++"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(ASSETS / "toybox")
