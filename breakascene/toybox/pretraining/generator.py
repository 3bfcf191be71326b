"""The toybox's generator: text encoder and UNet, trained together from zero on latents of drawn scenes.

v-prediction over a noise schedule with zero terminal SNR (Lin et al., arXiv 2305.08891). The held-out things never
come in. Cells of the latents that often show a thing count more than the others.
"""

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
from breakascene.toybox.pretraining.image_codes import as_seen, toybox_looks, variant
from breakascene.toybox.pretraining.sprites import picture
from breakascene.toybox.pretraining.styles import restyle
from breakascene.toybox.pretraining.text import encode, text_config, tokenizer
from breakascene.toybox.pretraining.trainer import Part, drawing, half_is_fast, pick_device, to_tensor
from breakascene.toybox.pretraining.world import draw_scene, random_words, varied_caption
from breakascene.toybox.vocabulary import HELD_OUT, STYLES, TRAINING

GPU = pick_device().type != "cpu"
BATCH = 512 if GPU else 64
RATE = 8e-4 if GPU else 3.5e-4
RENEW = 32 if GPU else 7  # fresh scenes a step; a batch is drawn from the pool
TIDY = 0.9  # share of tidy scenes (world.draw_scene)
NEW = 0.5  # share of things that no list has (looks.variant)
EMPTY = 0.04  # share of places with nothing there
STYLED = 0.08  # share of scenes in a style
STAND_INS = ("thing", "toy", "object", "figure")  # the words of new things in a caption, before their codes come in
POOL = 60_000 if GPU else 20_000
CAPTIONS = 4  # of a scene, to choose from
CHANNELS = (64, 160, 256)
TEXT_WIDTH, TEXT_LAYERS = 256, 4


class Generator(nn.Module):
    """The two networks that train together."""

    def __init__(self):
        super().__init__()
        self.text_encoder = CLIPTextModel(text_config(TEXT_WIDTH, TEXT_LAYERS))
        self.text_encoder.set_input_embeddings(Words(len(tokenizer()), TEXT_WIDTH))
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


class Words(nn.Embedding):
    """The text encoder's word embedding, with room for words of things that no list has.

    Ids from num_embeddings on stand for the rows of `fresh`, which are codes of pictures, set at each step.
    """

    def __init__(self, count: int, width: int):
        super().__init__(count, width)
        self.register_buffer("fresh", torch.zeros(0, width), persistent=False)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return nn.functional.embedding(input_ids, torch.cat([self.weight, self.fresh]))


@torch.no_grad()
def visual_words(text_encoder: CLIPTextModel, looks: ImageCodes, vae: AutoencoderKL) -> None:
    """Let the words begin as pictures: each thing's word as the code of how it looks.

    The layers begin small, so that the words come through. Where a thing has two words, they share it. Held-out things
    begin as the mean thing.
    """
    table = text_encoder.get_input_embeddings().weight
    table.normal_(std=0.7)
    rows = [tokenizer()(name, add_special_tokens=False).input_ids for name in TRAINING]
    words = sorted({word for row in rows for word in row})
    holds = torch.tensor([[float(word in row) for word in words] for row in rows])  # (things, words)
    codes = looks.codes([picture(name) for name in TRAINING], vae)
    table[words] = torch.linalg.lstsq(holds, codes, driver="gelsd").solution
    unknown = {word for name in HELD_OUT for word in tokenizer()(name, add_special_tokens=False).input_ids}
    table[sorted(unknown.difference(words))] *= 0.1
    for name, weight in text_encoder.named_parameters():
        if name.endswith(("out_proj.weight", "fc2.weight")):
            weight *= 0.2
        if name.endswith("position_embedding.weight"):
            weight.normal_(std=0.2)


@dataclass(frozen=True, eq=False)
class Scenes:
    """Drawn scenes, before they come to the pool. Ids from the vocabulary's end on are those of its stand-ins."""

    pixels: np.ndarray  # (N, S, S, 3) uint8
    shares: np.ndarray  # of each cell that things cover, (N, 1, h, w)
    ids: np.ndarray  # of CAPTIONS captions each, (N, CAPTIONS, 32)
    looks: np.ndarray  # canvases of new things, (M, s, s, 4) uint8
    rows: np.ndarray  # scene and stand-in of each new thing, (M, 2)


def draw_scenes(rng: np.random.Generator, count: int, cell: int) -> Scenes:
    """Draw scenes of words and new things. cell: pixels of a cell of the latents."""
    pixels, shares, ids, looks, rows = [], [], [], [], []
    for n in range(count):
        tidy = bool(rng.random() < TIDY)
        names, place = random_words(rng, TRAINING, (0.3, 0.35, 0.3, 0.05))
        names = () if rng.random() < EMPTY else names
        fresh = {i: variant(rng) for i in range(len(names)) if rng.random() < NEW}
        names = [STAND_INS[i] if i in fresh else name for i, name in enumerate(names)]
        scene = draw_scene(rng, SIZE, names, place, tidy, [fresh.get(i) or picture(x) for i, x in enumerate(names)])
        style = str(rng.choice(tuple(STYLES))) if rng.random() < STYLED else ""
        pixels.append(restyle(scene.pixels, style) if style else scene.pixels)
        cover = scene.masks.any(0).reshape(SIZE // cell, cell, SIZE // cell, cell)
        shares.append(cover.mean((1, 3), dtype=np.float32)[None])
        captions = encode([varied_caption(rng, names, place, tidy, style) for _ in range(CAPTIONS)]).numpy()
        for i, look in fresh.items():
            captions[captions == tokenizer().convert_tokens_to_ids(f"{STAND_INS[i]}</w>")] = len(tokenizer()) + i
            looks.append(as_seen(rng, look))
            rows.append((n, i))
        ids.append(captions)
    shown = canvases(looks, cell) if looks else np.zeros((0, 0, 0, 4), np.uint8)
    return Scenes(*(np.stack(x) for x in (pixels, shares, ids)), shown, np.array(rows, int).reshape(-1, 2))


class Pool:
    """Scenes as latents, used several times each; it grows to POOL, then the oldest make room."""

    def __init__(self, vae: AutoencoderKL, looks: ImageCodes):
        self.vae, self.looks = vae, looks
        self.count = 0  # of all that came in
        self.latents = self.shares = self.ids = self.codes = None
        self.power = None  # of each channel where there are things, (C, 1, 1)
        self.usual = None  # how often a cell shows a thing, at most 1, (1, h, w)
        self.empty = encode([""]).to(vae.device)

    @torch.no_grad()
    def add(self, scenes: Scenes) -> None:
        device, (scene, stand_in) = self.vae.device, scenes.rows.T
        latents = self.vae.encode(to_tensor(scenes.pixels, device)).latent_dist.mean * self.vae.config.scaling_factor
        codes = torch.zeros(len(latents), len(STAND_INS), self.looks.axes.shape[1], device=device)
        if len(scene):
            codes[scene, stand_in] = self.looks.read(scenes.looks, self.vae)
        new = [latents, torch.from_numpy(scenes.shares).to(device), torch.from_numpy(scenes.ids).to(device), codes]
        if self.latents is None:
            self.latents, self.shares, self.ids, self.codes = (x.new_zeros(POOL, *x.shape[1:]) for x in new)
        where = torch.arange(self.count, self.count + len(latents), device=device) % POOL
        for kept, x in zip((self.latents, self.shares, self.ids, self.codes), new, strict=True):
            kept[where] = x
        self.count += len(latents)

    def measure(self) -> None:
        """Find the power of the channels and the usual places of things in what has come in."""
        latents, shares = self.latents[: self.count], self.shares[: self.count]
        self.power = ((latents.square() * shares).sum((0, 2, 3)) / shares.sum()).view(-1, 1, 1)
        self.usual = shares.mean(0) / shares.mean(0).max()

    def draw(self, count: int):
        """A batch: latents (B, C, h, w), the things' share of each cell (B, 1, h, w), token ids (B, 32) and codes of
        new things (B * stand-ins, D), whose ids follow the vocabulary's; one caption in ten is empty."""
        device = self.latents.device
        chosen = torch.randint(min(self.count, POOL), (count,), device=device)
        rows = torch.arange(count, device=device)
        ids = self.ids[chosen, torch.randint(CAPTIONS, (count,), device=device)]
        ids = torch.where(ids < len(tokenizer()), ids, ids + len(STAND_INS) * rows[:, None])
        ids = torch.where(torch.rand(count, 1, device=device) < 0.1, self.empty, ids)
        return self.latents[chosen], self.shares[chosen], ids, self.codes[chosen].flatten(0, 1)


def part(folder: Path) -> Part:
    vae = load_vae(folder)
    fresh = drawing(partial(draw_scenes, count=RENEW, cell=vae_scale_factor(vae)))
    device = pick_device()
    schedule = noise_schedule()
    alphas = schedule.alphas_cumprod.to(device)
    vae.to(device)
    looks = toybox_looks(folder, vae, TEXT_WIDTH)
    generator, pool = Generator(), Pool(vae, looks)
    visual_words(generator.text_encoder, looks, vae)
    half = half_is_fast(device)
    if half and device.type == "cpu":
        generator.unet.set_attn_processor(AttnProcessor())  # the fused one's backward takes a third of a step in bf16

    def loss(model, rng):
        pool.add(fresh(rng))
        if pool.power is None:
            while pool.count < 4 * BATCH:
                pool.add(fresh(rng))
            pool.measure()
        latents, shares, ids, codes = pool.draw(BATCH)
        model.text_encoder.get_input_embeddings().fresh = codes
        times = torch.from_numpy(_times(rng, BATCH)).to(device)
        noise = torch.randn_like(latents)
        noisy = schedule.add_noise(latents, noise, times)
        goal = schedule.get_velocity(latents, noise, times)
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            text = model.text_encoder(ids).last_hidden_state  # (B, 32, 256)
            answer = model.unet(noisy, times, text).sample
        # Details count as much as colours.
        error = (answer.float() - goal).square() / pool.power
        # No caption says what the ground looks like in detail: there the error is mostly noise to the gradient. But a
        # weight that knew where this scene's things are would teach the model to see things everywhere.
        weight = (0.2 + 1.8 * pool.usual) * (1 - alphas[times]).sqrt().view(-1, 1, 1, 1)
        things = (error.detach() * shares).sum((1, 2, 3)) / shares.sum((1, 2, 3)).clamp(min=1) / error.shape[1]
        value, late = (error * weight).mean(), (times >= 800).float()
        return value, {"loss": value.detach(), "things": (things * late).sum() / late.sum().clamp(min=1)}

    return Part("generator", generator, loss, export, shipped, rate=RATE, decay=0.02, average=0.995)


def _times(rng, count: int) -> np.ndarray:
    """Time steps 0..999: three in ten anywhere; most from 800 on, where the words decide what things look like, and
    from 100 to 500, where details come in: a drawing that starts from a photo's latents at 300 must not lose the thing.
    """
    ranges = np.array([(0, 1000), (800, 1000), (100, 500)])[rng.choice(3, count, p=(0.3, 0.35, 0.35))]
    return rng.integers(ranges[:, 0], ranges[:, 1])


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
