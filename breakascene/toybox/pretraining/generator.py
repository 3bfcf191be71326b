"""The toybox's generator: text encoder and UNet, trained together from scratch on latents of rendered scenes.

v-prediction with a noise schedule of zero terminal SNR (Lin et al., arXiv 2305.08891). Held-out objects never occur.
Latent cells that often contain an object have a larger weight in the loss.
"""

import json
from dataclasses import dataclass
from functools import partial
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
from diffusers.models.attention_processor import AttnProcessor
from torch import nn
from transformers import CLIPTextModel

from breakascene.models.image_codes import ImageCodes, canvases, vae_scale_factor
from breakascene.toybox.pretraining.autoencoder import SIZE, load_vae
from breakascene.toybox.pretraining.image_codes import augment_cutout, load_or_fit_image_codes, novel_object
from breakascene.toybox.pretraining.sprites import load_sprite
from breakascene.toybox.pretraining.styles import restyle
from breakascene.toybox.pretraining.text import text_config, tokenize, tokenizer
from breakascene.toybox.pretraining.trainer import Component, bf16_is_fast, default_device, prefetch, to_tensor
from breakascene.toybox.pretraining.world import random_caption, render_scene, sample_content
from breakascene.toybox.vocabulary import HELD_OUT, STYLES, TRAINING

GPU = default_device().type != "cpu"
BATCH = 512 if GPU else 64
LR = 8e-4 if GPU else 3.5e-4
NEW_SCENES = 32 if GPU else 7  # rendered in each step; batches are sampled from the pool
POOL = 60_000 if GPU else 20_000  # scenes
FIXED_LAYOUT_PROB = 0.9  # of a scene (world.render_scene)
NOVEL_PROB = 0.5  # of each object (image_codes.novel_object)
EMPTY_PROB = 0.04  # of a scene: a place without objects
STYLE_PROB = 0.08  # of a scene
STAND_INS = ("thing", "toy", "object", "figure")  # words for novel objects in captions, replaced by their image codes
CAPTIONS = 4  # of each scene, to choose from
CHANNELS = (64, 160, 256)
TEXT_WIDTH, TEXT_LAYERS = 256, 4


class Generator(nn.Module):
    """Text encoder and UNet, which are trained together."""

    def __init__(self):
        super().__init__()
        self.text_encoder = CLIPTextModel(text_config(TEXT_WIDTH, TEXT_LAYERS))
        self.text_encoder.set_input_embeddings(ExtendedEmbedding(len(tokenizer()), TEXT_WIDTH))
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
    """Return the training noise schedule."""
    return DDPMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
    )


class ExtendedEmbedding(nn.Embedding):
    """Token embeddings that are extended by the image codes of novel objects.

    Ids from `num_embeddings` on select rows of the buffer `extra_embeddings`, which is set in each step.
    """

    def __init__(self, num_embeddings: int, dim: int):
        super().__init__(num_embeddings, dim)
        self.register_buffer("extra_embeddings", torch.zeros(0, dim), persistent=False)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return nn.functional.embedding(input_ids, torch.cat([self.weight, self.extra_embeddings]))


@torch.no_grad()
def init_from_image_codes(text_encoder: CLIPTextModel, image_codes: ImageCodes, vae: AutoencoderKL) -> None:
    """Initialize the token embeddings of training objects from their image codes.

    A name of two tokens has the sum of their embeddings fitted to its code. Tokens of held-out objects start near zero,
    the code of the mean object. Residual branches start small, so that the embeddings dominate at first.
    """
    table = text_encoder.get_input_embeddings().weight
    table.normal_(std=0.7)
    token_ids = [tokenizer()(name, add_special_tokens=False).input_ids for name in TRAINING]
    used = sorted({token for ids in token_ids for token in ids})
    contains = torch.tensor([[float(token in ids) for token in used] for ids in token_ids])  # (objects, tokens)
    codes = image_codes.encode([load_sprite(name) for name in TRAINING], vae)
    table[used] = torch.linalg.lstsq(contains, codes, driver="gelsd").solution
    held_out = {token for name in HELD_OUT for token in tokenizer()(name, add_special_tokens=False).input_ids}
    table[sorted(held_out.difference(used))] *= 0.1
    for name, weight in text_encoder.named_parameters():
        if name.endswith(("out_proj.weight", "fc2.weight")):
            weight *= 0.2
        if name.endswith("position_embedding.weight"):
            weight.normal_(std=0.2)


@dataclass(frozen=True, eq=False)
class SceneBatch:
    """Rendered scenes on their way to the pool.

    Args:
        pixels: Images, (N, S, S, 3), uint8.
        coverage: Share of each latent cell that objects cover, (N, 1, h, w).
        input_ids: Token ids of CAPTIONS captions each, (N, CAPTIONS, 32); stand-ins have ids after the vocabulary.
        canvases: Canvases of the M novel objects, (M, s, s, 4), uint8.
        positions: Index of the scene and of the stand-in of each novel object, (M, 2).
    """

    pixels: np.ndarray
    coverage: np.ndarray
    input_ids: np.ndarray
    canvases: np.ndarray
    positions: np.ndarray


def sample_scenes(rng: np.random.Generator, count: int, cell: int) -> SceneBatch:
    """Render random scenes of named and novel objects.

    Args:
        rng: Source of all variation.
        count: Number of scenes.
        cell: Pixels along a side of a latent cell.
    """
    pixels, coverage, input_ids, cutouts, positions = [], [], [], [], []
    for n in range(count):
        fixed_layout = bool(rng.random() < FIXED_LAYOUT_PROB)
        names, place = sample_content(rng, TRAINING, (0.3, 0.35, 0.3, 0.05))
        names = () if rng.random() < EMPTY_PROB else names
        novel = {i: novel_object(rng) for i in range(len(names)) if rng.random() < NOVEL_PROB}
        names = [STAND_INS[i] if i in novel else name for i, name in enumerate(names)]
        sprites = [novel.get(i) or load_sprite(name) for i, name in enumerate(names)]
        scene = render_scene(rng, SIZE, names, place, fixed_layout, sprites)
        style = str(rng.choice(tuple(STYLES))) if rng.random() < STYLE_PROB else ""
        pixels.append(restyle(scene.pixels, style) if style else scene.pixels)
        covered = scene.masks.any(0).reshape(SIZE // cell, cell, SIZE // cell, cell)
        coverage.append(covered.mean((1, 3), dtype=np.float32)[None])
        ids = tokenize([random_caption(rng, names, place, fixed_layout, style) for _ in range(CAPTIONS)]).numpy()
        for i, sprite in novel.items():
            ids[ids == tokenizer().convert_tokens_to_ids(f"{STAND_INS[i]}</w>")] = len(tokenizer()) + i
            cutouts.append(augment_cutout(rng, sprite))
            positions.append((n, i))
        input_ids.append(ids)
    canvas = canvases(cutouts, cell) if cutouts else np.zeros((0, 0, 0, 4), np.uint8)
    arrays = (np.stack(values) for values in (pixels, coverage, input_ids))
    return SceneBatch(*arrays, canvas, np.array(positions, int).reshape(-1, 2))


class Pool:
    """A buffer of encoded scenes, each used several times. From POOL scenes on, new ones replace the oldest."""

    def __init__(self, vae: AutoencoderKL, image_codes: ImageCodes):
        self.vae, self.image_codes = vae, image_codes
        self.count = 0  # scenes added so far
        self.latents = self.coverage = self.input_ids = self.codes = None
        self.channel_power = None  # mean square of each latent channel inside objects, (C, 1, 1)
        self.object_frequency = None  # how often a cell contains an object, relative to the maximum, (1, h, w)
        self.empty_caption = tokenize([""]).to(vae.device)

    @torch.no_grad()
    def add(self, scenes: SceneBatch) -> None:
        """Encode scenes and novel objects and store them."""
        device, (scene, stand_in) = self.vae.device, scenes.positions.T
        latents = self.vae.encode(to_tensor(scenes.pixels, device)).latent_dist.mean * self.vae.config.scaling_factor
        codes = torch.zeros(len(latents), len(STAND_INS), self.image_codes.axes.shape[1], device=device)
        if len(scene):
            codes[scene, stand_in] = self.image_codes.encode_canvases(scenes.canvases, self.vae)
        coverage, input_ids = (torch.from_numpy(x).to(device) for x in (scenes.coverage, scenes.input_ids))
        new = [latents, coverage, input_ids, codes]
        if self.latents is None:
            self.latents, self.coverage, self.input_ids, self.codes = (x.new_zeros(POOL, *x.shape[1:]) for x in new)
        rows = torch.arange(self.count, self.count + len(latents), device=device) % POOL
        for stored, x in zip((self.latents, self.coverage, self.input_ids, self.codes), new, strict=True):
            stored[rows] = x
        self.count += len(latents)

    def compute_statistics(self) -> None:
        """Compute channel_power and object_frequency from the scenes stored so far."""
        latents, coverage = self.latents[: self.count], self.coverage[: self.count]
        self.channel_power = ((latents.square() * coverage).sum((0, 2, 3)) / coverage.sum()).view(-1, 1, 1)
        self.object_frequency = coverage.mean(0) / coverage.mean(0).max()

    def sample(self, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Sample a batch; one caption in ten is empty, for classifier-free guidance.

        Returns:
            Latents (B, C, h, w), coverage of each cell by objects (B, 1, h, w), token ids (B, 32), and the image codes
            of novel objects (B * stand-ins, D), whose ids follow the vocabulary's.
        """
        device = self.latents.device
        chosen = torch.randint(min(self.count, POOL), (count,), device=device)
        rows = torch.arange(count, device=device)
        ids = self.input_ids[chosen, torch.randint(CAPTIONS, (count,), device=device)]
        ids = torch.where(ids < len(tokenizer()), ids, ids + len(STAND_INS) * rows[:, None])
        ids = torch.where(torch.rand(count, 1, device=device) < 0.1, self.empty_caption, ids)
        return self.latents[chosen], self.coverage[chosen], ids, self.codes[chosen].flatten(0, 1)


def generator_component(folder: Path) -> Component:
    """Return text encoder and UNet for pretraining on the latents of the folder's VAE."""
    vae = load_vae(folder)
    sample_batch = prefetch(partial(sample_scenes, count=NEW_SCENES, cell=vae_scale_factor(vae)))
    device = default_device()
    scheduler = noise_schedule()
    alphas_cumprod = scheduler.alphas_cumprod.to(device)
    vae.to(device)
    image_codes = load_or_fit_image_codes(folder, vae, TEXT_WIDTH)
    generator, pool = Generator(), Pool(vae, image_codes)
    init_from_image_codes(generator.text_encoder, image_codes, vae)
    bf16 = bf16_is_fast(device)
    if bf16 and device.type == "cpu":
        generator.unet.set_attn_processor(AttnProcessor())  # the fused one's backward takes a third of a step in bf16

    def loss(model, rng):
        pool.add(sample_batch(rng))
        if pool.channel_power is None:
            while pool.count < 4 * BATCH:
                pool.add(sample_batch(rng))
            pool.compute_statistics()
        latents, coverage, input_ids, codes = pool.sample(BATCH)
        model.text_encoder.get_input_embeddings().extra_embeddings = codes
        timesteps = torch.from_numpy(_sample_timesteps(rng, BATCH)).to(device)
        noise = torch.randn_like(latents)
        noisy_latents = scheduler.add_noise(latents, noise, timesteps)
        target = scheduler.get_velocity(latents, noise, timesteps)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            encoder_hidden_states = model.text_encoder(input_ids).last_hidden_state  # (B, 32, 256)
            model_pred = model.unet(noisy_latents, timesteps, encoder_hidden_states).sample
        # Dividing by the channel's power makes details count as much as colors.
        error = (model_pred.float() - target).square() / pool.channel_power
        # Captions do not describe the ground in detail, so its error mostly adds noise to the gradient. The weight must
        # not depend on this scene's objects: that would bias the model to see objects everywhere.
        weight = (0.2 + 1.8 * pool.object_frequency) * (1 - alphas_cumprod[timesteps]).sqrt().view(-1, 1, 1, 1)
        object_error = (error.detach() * coverage).sum((1, 2, 3))
        object_error = object_error / coverage.sum((1, 2, 3)).clamp(min=1) / error.shape[1]
        loss, noisiest = (error * weight).mean(), (timesteps >= 800).float()
        object_error = (object_error * noisiest).sum() / noisiest.sum().clamp(min=1)
        return loss, {"loss": loss.detach(), "object_error": object_error}

    return Component("generator", generator, loss, export, load_exported, lr=LR, weight_decay=0.02, ema_decay=0.995)


def _sample_timesteps(rng, count: int) -> np.ndarray:
    """Sample timesteps 0..999, with more weight on two ranges.

    30 % are uniform, 35 % lie in 800..999, where the text decides an object's appearance, and 35 % in 100..499, where
    its details form.
    """
    ranges = np.array([(0, 1000), (800, 1000), (100, 500)])[rng.choice(3, count, p=(0.3, 0.35, 0.35))]
    return rng.integers(ranges[:, 0], ranges[:, 1])


def export(model: Generator, folder: Path) -> None:
    """Write the whole base model as a diffusers folder in float16."""
    half = Generator()
    half.load_state_dict(model.state_dict())
    half.half()
    vae = load_vae(folder).half()
    vae.register_to_config(_name_or_path="")  # without the path on this machine
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
    index_file = folder / "model_index.json"
    index = json.loads(index_file.read_text(encoding="utf-8")) | {"_family": "toybox"}  # models.loading reads it
    index_file.write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def load_exported(folder: Path) -> dict[str, torch.Tensor]:
    model = Generator()
    model.text_encoder = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32)
    model.unet = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32)
    return model.state_dict()
