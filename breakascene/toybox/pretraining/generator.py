"""The toybox's generator: text encoder and UNet, trained together from scratch on latents of rendered scenes.

v-prediction with a noise schedule of zero terminal SNR (Lin et al., arXiv 2305.08891). Held-out objects never occur.
Latent cells that often contain an object have a larger weight in the loss.
"""

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDPMScheduler, DPMSolverMultistepScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import nn
from transformers import CLIPTextModel

from breakascene.models.image_codes import ImageCodes, vae_scale_factor
from breakascene.toybox.pretraining.autoencoder import load_vae
from breakascene.toybox.pretraining.drawing import send
from breakascene.toybox.pretraining.image_codes import load_or_fit_image_codes
from breakascene.toybox.pretraining.scenes import CAPTIONS, STAND_INS, SceneBatch, SceneDrawer, SceneSampler
from breakascene.toybox.pretraining.sprites import load_sprite
from breakascene.toybox.pretraining.text import text_config, tokenize, tokenizer
from breakascene.toybox.pretraining.trainer import Component, bf16_is_fast, default_device, prefetch
from breakascene.toybox.vocabulary import HELD_OUT, TRAINING

GPU = default_device().type != "cpu"
BATCH = 512 if GPU else 64
LR = 8e-4 if GPU else 3.5e-4
EMA_DECAY = 0.998 if GPU else 0.995
NEW_SCENES = 64 if GPU else 7  # drawn in each step; batches are sampled from the pool
POOL = 32_768 if GPU else 20_000  # scenes
FIRST_SCENES = POOL if GPU else 4 * BATCH  # drawn before the first step; a captured step samples from a full pool
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


class Pool:
    """A buffer of encoded scenes, each used several times. From POOL scenes on, new ones replace the oldest."""

    def __init__(self, vae: AutoencoderKL, image_codes: ImageCodes):
        self.vae = vae
        self.image_codes = ImageCodes(image_codes.mean.to(vae.device), image_codes.axes.to(vae.device))
        self.drawer = SceneDrawer(vae.device, vae_scale_factor(vae))
        self.count = 0  # scenes added so far
        self.latents = self.coverage = self.input_ids = self.codes = None
        self.channel_power = None  # mean square of each latent channel inside objects, (C, 1, 1)
        self.object_frequency = None  # how often a cell contains an object, relative to the maximum, (1, h, w)
        self.empty_caption = tokenize([""]).to(vae.device)

    @torch.no_grad()
    def add(self, batch: SceneBatch) -> None:
        """Draw and encode scenes and novel objects and store them."""
        vae, device, scenes = self.vae, self.vae.device, self.drawer.draw(batch)
        images = scenes.images.to(vae.dtype, memory_format=torch.channels_last)
        latents = vae.encode(images * 2 - 1).latent_dist.mean.float() * vae.config.scaling_factor
        codes = torch.zeros(len(latents), len(STAND_INS), self.image_codes.axes.shape[1], device=device)
        if count := len(scenes.canvases):
            # cuDNN prepares its kernels for each shape: pad the batch to one of few sizes.
            padding = -count % 64 if device.type == "cuda" else 0
            padded = F.pad(scenes.canvases, (0, 0, 0, 0, 0, 0, 0, padding))
            scene, stand_in = send(batch.positions, device)
            codes[scene, stand_in] = self.image_codes.encode_canvases(padded, vae)[:count]
        coverage = F.avg_pool2d(scenes.covered[:, None].float(), self.drawer.cell)
        new = [latents, coverage, send(batch.input_ids, device), codes]
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


def drawing_vae(folder: Path) -> AutoencoderKL:
    """Load the folder's VAE for encoding drawn scenes: on a GPU in half precision, which takes half the time."""
    device = default_device()
    vae = load_vae(folder).to(memory_format=torch.channels_last)
    return vae.to(device, torch.float16) if device.type == "cuda" else vae


def generator_component(folder: Path) -> Component:
    """Return text encoder and UNet for pretraining on the latents of the folder's VAE."""
    sample_scenes = prefetch(SceneSampler(NEW_SCENES))
    device = default_device()
    vae = drawing_vae(folder)
    alphas_cumprod = noise_schedule().alphas_cumprod.to(device)
    image_codes = load_or_fit_image_codes(folder, vae, TEXT_WIDTH)
    generator, pool = Generator(), Pool(vae, image_codes)
    init_from_image_codes(generator.text_encoder, image_codes, vae)
    bf16 = bf16_is_fast(device)
    if bf16 and device.type == "cpu":
        generator.unet.set_attn_processor(AttnProcessor())  # the fused one's backward takes a third of a step in bf16

    def draw(rng) -> int:
        before = pool.count
        pool.add(sample_scenes(rng))
        if pool.channel_power is None:
            while pool.count < FIRST_SCENES:
                pool.add(sample_scenes(rng))
            pool.compute_statistics()
        return pool.count - before

    def loss(model, _):
        dtype = model.unet.dtype
        latents, coverage, input_ids, codes = pool.sample(BATCH)
        model.text_encoder.get_input_embeddings().extra_embeddings = codes.to(dtype)
        timesteps = _sample_timesteps(BATCH, device)
        alpha = alphas_cumprod[timesteps].sqrt().view(-1, 1, 1, 1)
        sigma = (1 - alphas_cumprod[timesteps]).sqrt().view(-1, 1, 1, 1)
        noise = torch.randn_like(latents)
        noisy_latents = (alpha * latents + sigma * noise).to(dtype, memory_format=torch.channels_last)
        target = alpha * noise - sigma * latents
        encoder_hidden_states = model.text_encoder(input_ids).last_hidden_state  # (B, 32, 256)
        model_pred = model.unet(noisy_latents, timesteps, encoder_hidden_states).sample
        # Dividing by the channel's power makes details count as much as colors.
        error = (model_pred.float() - target).square() / pool.channel_power
        # Captions do not describe the ground in detail, so its error mostly adds noise to the gradient. The weight must
        # not depend on this scene's objects: that would bias the model to see objects everywhere.
        weight = (0.2 + 1.8 * pool.object_frequency) * sigma
        object_error = (error.detach() * coverage).sum((1, 2, 3))
        object_error = object_error / coverage.sum((1, 2, 3)).clamp(min=1) / error.shape[1]
        loss, noisiest = (error * weight).mean(), (timesteps >= 800).float()
        object_error = (object_error * noisiest).sum() / noisiest.sum().clamp(min=1)
        return loss, {"loss": loss.detach(), "object_error": object_error}

    return Component(
        "generator",
        generator,
        loss,
        export,
        load_exported,
        lr=LR,
        weight_decay=0.02,
        ema_decay=EMA_DECAY,
        draw=draw,
        dtype=torch.bfloat16 if bf16 else torch.float32,
        batch=BATCH,
    )


def _sample_timesteps(count: int, device: torch.device) -> torch.Tensor:
    """Sample timesteps 0..999, with more weight on two ranges.

    30 % are uniform, 35 % lie in 800..999, where the text decides an object's appearance, and 35 % in 100..499, where
    its details form.
    """
    kind, position = torch.rand(2, count, device=device)
    late, middle = 800 + 200 * position, 100 + 400 * position
    return torch.where(kind < 0.35, late, torch.where(kind < 0.7, middle, 1000 * position)).long().clamp(max=999)


def export(model: Generator, folder: Path) -> None:
    """Write the whole base model as a diffusers folder in float16."""
    from diffusers import StableDiffusionPipeline  # takes seconds, which a training with a time limit would miss

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
