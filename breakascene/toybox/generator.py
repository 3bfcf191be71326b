"""The toybox's generator: text encoder and UNet, trained together from zero on latents of drawn scenes.

v-prediction over a noise schedule with zero terminal SNR (Lin et al., arXiv 2305.08891). The held-out things never
come in. Cells of the latents that often show a thing count more than the others.
"""

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
from PIL import Image, ImageOps
from torch import nn
from transformers import CLIPTextModel

from breakascene.toybox.sprites import picture
from breakascene.toybox.training import Part, pick_device, to_tensor
from breakascene.toybox.words import encode, text_config, tokenizer
from breakascene.toybox.world import HELD_OUT, TRAINING, random_scene, varied_caption

SIZE = 128
BATCH = 12
RENEW = 3  # fresh scenes a step; a batch is drawn from the pool
TIDY = 0.9  # share of tidy scenes (world.draw_scene)
POOL = 20_000
CHANNELS = (64, 160, 256)
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
            norm_num_groups=16,
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


@torch.no_grad()
def visual_words(text_encoder: CLIPTextModel, vae: AutoencoderKL) -> None:
    """Let the words begin as pictures: each thing's word as the principal components of how its latents look.

    Then one map from words to looks serves all things, also a handle that is learned later. The layers begin small, so
    that the words come through. Where a thing has two words, they share it. Held-out things begin as the mean thing.
    """
    side = 72  # nine cells of the latents
    alphas, pictures = [], []
    for name in TRAINING:
        sprite = ImageOps.contain(picture(name), (side, side), Image.Resampling.BICUBIC)
        canvas = Image.new("RGBA", (side, side), (128, 128, 128, 0))
        canvas.paste(sprite, ((side - sprite.width) // 2, side - sprite.height))
        alphas.append(np.asarray(canvas.getchannel("A"), np.float32) / 255)
        grey = Image.new("RGBA", (side, side), (128, 128, 128, 255))
        pictures.append(np.asarray(Image.alpha_composite(grey, canvas).convert("RGB")))
    latents = vae.encode(to_tensor(np.stack(pictures), vae.device)).latent_dist.mean * vae.config.scaling_factor
    covers = torch.tensor(np.stack(alphas)).unflatten(1, (9, 8)).unflatten(3, (9, 8)).mean((2, 4))
    looks = torch.cat([latents.flatten(1).cpu(), 2 * covers.flatten(1)], 1)  # (things, features)
    u, s, _ = torch.linalg.svd(looks - looks.mean(0), full_matrices=False)
    width = text_encoder.config.hidden_size
    codes = (u * s**0.7)[:, :width]
    codes *= width**0.5 / codes.norm(dim=1).mean()
    table = text_encoder.get_input_embeddings().weight
    table.normal_(std=0.7)
    rows = [tokenizer()(name, add_special_tokens=False).input_ids for name in TRAINING]
    words = sorted({word for row in rows for word in row})
    holds = torch.tensor([[float(word in row) for word in words] for row in rows])  # (things, words)
    table[words, : codes.shape[1]] = torch.linalg.lstsq(holds, codes, driver="gelsd").solution
    table[words, codes.shape[1] :] = 0
    unknown = {word for name in HELD_OUT for word in tokenizer()(name, add_special_tokens=False).input_ids}
    table[sorted(unknown.difference(words))] *= 0.1
    for name, weight in text_encoder.named_parameters():
        if name.endswith(("out_proj.weight", "fc2.weight")):
            weight *= 0.2
        if name.endswith("position_embedding.weight"):
            weight.normal_(std=0.2)


def load_vae(folder: Path) -> AutoencoderKL:
    return AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32).eval()


@dataclass(frozen=True)
class Item:
    """A scene of the pool: its latents (C, h, w), each thing's share of each cell (K, h, w)."""

    latents: torch.Tensor
    shares: np.ndarray
    names: tuple[str, ...]
    place: str
    tidy: bool


class Pool:
    """Drawn scenes as latents, used several times each; it grows to POOL, then forgets the oldest."""

    def __init__(self, vae: AutoencoderKL):
        self.vae = vae
        self.items: list[Item] = []
        self.power = None  # of each channel where there are things, (C, 1, 1)
        self.usual = None  # how often a cell shows a thing, at most 1, (1, h, w)

    @torch.no_grad()
    def add(self, rng, count: int) -> None:
        tidy = rng.random(count) < TIDY
        scenes = [random_scene(rng, SIZE, TRAINING, (0.35, 0.5, 0.1, 0.05), t) for t in tidy]
        pixels = to_tensor(np.stack([s.pixels for s in scenes]), self.vae.device)
        latents = self.vae.encode(pixels).latent_dist.mean * self.vae.config.scaling_factor
        side = latents.shape[-1]
        for scene, latent, tidily in zip(scenes, latents, tidy, strict=True):
            cells = scene.masks.reshape(len(scene.names), side, SIZE // side, side, SIZE // side)
            self.items.append(Item(latent, cells.mean((2, 4), dtype=np.float32), scene.names, scene.place, tidily))
        del self.items[:-POOL]
        if self.power is None:
            shares = torch.from_numpy(np.stack([item.shares.sum(0) for item in self.items]))[:, None].to(latents.device)
            self.power = ((latents.square() * shares).sum((0, 2, 3)) / shares.sum()).view(-1, 1, 1)
            self.usual = shares.mean(0) / shares.mean(0).max()

    def draw(self, rng, count: int):
        """A batch: latents (B, C, h, w), the things' share of each cell (B, 1, h, w), captions; one in ten is empty."""
        items = [self.items[i] for i in rng.integers(len(self.items), size=count)]
        latents = torch.stack([item.latents for item in items])
        shares = torch.from_numpy(np.stack([item.shares.sum(0, keepdims=True) for item in items]))
        captions = [varied_caption(rng, i.names, i.place, i.tidy) if rng.random() > 0.1 else "" for i in items]
        return latents, shares.to(latents.device), captions


def part(folder: Path) -> Part:
    device = pick_device()
    schedule = noise_schedule()
    alphas = schedule.alphas_cumprod.to(device)
    vae = load_vae(folder).to(device)
    generator, pool = Generator(), Pool(vae)
    visual_words(generator.text_encoder, vae)

    def loss(model, rng):
        pool.add(rng, RENEW if pool.items else 512)
        latents, shares, captions = pool.draw(rng, BATCH)
        text = model.text_encoder(encode(captions, device)).last_hidden_state  # (B, 32, 256)
        times = torch.from_numpy(_times(rng, BATCH)).to(device)
        noise = torch.randn_like(latents)
        noisy = schedule.add_noise(latents, noise, times)
        goal = schedule.get_velocity(latents, noise, times)
        # Details count as much as colours.
        error = (model.unet(noisy, times, text).sample - goal).square() / pool.power
        # No caption says what the ground looks like in detail: there the error is mostly noise to the gradient. But a
        # weight that knew where this scene's things are would teach the model to see things everywhere.
        weight = (0.2 + 1.8 * pool.usual) * (1 - alphas[times]).sqrt().view(-1, 1, 1, 1)
        things = (error.detach() * shares).sum((1, 2, 3)) / shares.sum((1, 2, 3)).clamp(min=1) / error.shape[1]
        value = (error * weight).mean()
        return value, {"loss": float(value.detach()), "things": float(things[times >= 800].mean().nan_to_num(0.5))}

    return Part("generator", generator, loss, export, shipped, rate=2e-4, decay=0.02, average=0.995)


def _times(rng, count: int) -> np.ndarray:
    """Time steps 0..999: half of them anywhere, half from 800 on, where the words decide what things look like."""
    return np.where(rng.random(count) < 0.5, rng.integers(0, 1000, count), rng.integers(800, 1000, count))


def export(model: Generator, folder: Path) -> None:
    """Write the whole base model as a diffusers folder in fp16."""
    half = Generator()
    half.load_state_dict(model.state_dict())
    half.half()
    vae = load_vae(folder).half()
    vae.register_to_config(_name_or_path="")  # not where it lay on this machine
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=half.text_encoder,
        tokenizer=tokenizer(),
        unet=half.unet,
        scheduler=DPMSolverMultistepScheduler.from_config(noise_schedule().config, algorithm_type="dpmsolver++"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)


def shipped(folder: Path) -> dict[str, torch.Tensor]:
    model = Generator()
    model.text_encoder = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32)
    model.unet = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32)
    return model.state_dict()
