"""Random-weight bases of the true architectures, built once a session, and a scene of two things."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from PIL import Image
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from breakascene.data.scene import Scene, make_scene
from breakascene.models.base import Base
from breakascene.models.loading import load_base

CHROMIUM_FLAGS = """--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync --use-fake-device-for-media-stream --use-fake-ui-for-media-stream""".split()
WORDS = "a photo of and at in on the dog cat car ball mug beach snow grass object".split()


def small_tokenizer(length: int, pad: str = "<|endoftext|>") -> CLIPTokenizer:
    """A CLIP tokenizer that knows WORDS whole and spells all others."""
    letters = sorted(ByteLevel.alphabet())
    vocab = {piece: i for i, piece in enumerate(letters + [f"{letter}</w>" for letter in letters])}
    merges = []
    for word in WORDS:
        pieces = [*word[:-1], f"{word[-1]}</w>"]
        while len(pieces) > 1:
            if tuple(pieces[:2]) not in merges:
                merges.append(tuple(pieces[:2]))
            pieces = [pieces[0] + pieces[1], *pieces[2:]]
            vocab.setdefault(pieces[0], len(vocab))
    for mark in ("<|startoftext|>", "<|endoftext|>"):
        vocab[mark] = len(vocab)
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=length, pad_token=pad)


def text_config(tokenizer: CLIPTokenizer, **changes) -> CLIPTextConfig:
    """CLIP's text encoder, two layers of 32 numbers; changes: fields to set otherwise."""
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    marks = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    length = {"max_position_embeddings": tokenizer.model_max_length}
    return CLIPTextConfig(vocab_size=len(tokenizer), **{**sizes, **marks, **length, **changes})


def save_base(
    folder: Path,
    length: int,
    latent: int,
    vae: int,
    scheduler: dict,
    unet: dict,
    text: dict | None = None,
    text_2: dict | None = None,
    pad: str = "<|endoftext|>",
) -> Path:
    """Save a model with random weights, the same each time, as a diffusers folder; of the SDXL kind with `text_2`."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tokenizer = small_tokenizer(length, pad)
        text_encoder = CLIPTextModel(text_config(tokenizer, **(text or {})))
        # CLIP's own initial embeddings are so near each other that all words would look alike
        torch.nn.init.normal_(text_encoder.get_input_embeddings().weight, std=0.5)
        parts = {
            "unet": UNet2DConditionModel(
                **{"sample_size": latent, "cross_attention_dim": 32, "norm_num_groups": 4, **unet}
            ),
            "vae": AutoencoderKL(
                block_out_channels=(4,) * vae,
                down_block_types=("DownEncoderBlock2D",) * vae,
                up_block_types=("UpDecoderBlock2D",) * vae,
                norm_num_groups=2,
                latent_channels=4,
                scaling_factor=0.7,
            ),
            "scheduler": DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, **scheduler),
            "tokenizer": tokenizer,
            "text_encoder": text_encoder,
        }
        if text_2:
            second = CLIPTextModelWithProjection(text_config(tokenizer, **text_2))
            torch.nn.init.normal_(second.get_input_embeddings().weight, std=0.5)
            # its tokenizer fills up with the id 0, whatever the first does
            parts |= {"text_encoder_2": second, "tokenizer_2": small_tokenizer(length, "!")}
            pipeline = StableDiffusionXLPipeline(**parts)
        else:
            pipeline = StableDiffusionPipeline(
                **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
            )
        pipeline.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    os.environ["BREAKASCENE_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory) -> Path:
    """The toybox's kind at half its size: 128 px, latents 16 × 16 with cross-attention, velocity, zero terminal SNR."""
    return save_base(
        tmp_path_factory.mktemp("tiny"),
        length=24,
        latent=16,
        vae=4,
        scheduler={"prediction_type": "v_prediction", "rescale_betas_zero_snr": True},
        unet={
            "block_out_channels": (16, 24, 32),
            "layers_per_block": 1,
            "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
            "attention_head_dim": 4,
        },
    )


@pytest.fixture(scope="session")
def sd_folder(tmp_path_factory) -> Path:
    """Stable Diffusion 1's architecture: four levels, latents 64 × 64, noise prediction; its VAE only halves twice."""
    return save_base(
        tmp_path_factory.mktemp("sd"),
        length=77,
        latent=64,
        vae=3,
        scheduler={"prediction_type": "epsilon"},
        unet={
            "block_out_channels": (4, 8, 8, 8),
            "layers_per_block": 2,
            "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
            "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
            "attention_head_dim": 2,
        },
    )


@pytest.fixture(scope="session")
def sd2_folder(tmp_path_factory) -> Path:
    """Stable Diffusion 2's architecture: OpenCLIP's text encoder, linear projections, velocity."""
    return save_base(
        tmp_path_factory.mktemp("sd2"),
        length=77,
        latent=32,
        vae=3,
        scheduler={"prediction_type": "v_prediction"},
        text={"hidden_act": "gelu"},
        pad="!",
        unet={
            "block_out_channels": (4, 8, 8, 8),
            "layers_per_block": 2,
            "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
            "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
            "attention_head_dim": (1, 2, 2, 2),
            "use_linear_projection": True,
        },
    )


@pytest.fixture(scope="session")
def sdxl_folder(tmp_path_factory) -> Path:
    """SDXL's architecture: two text encoders, cross-attention from half size down, told of summary and size."""
    return save_base(
        tmp_path_factory.mktemp("sdxl"),
        length=77,
        latent=32,
        vae=3,
        scheduler={"prediction_type": "epsilon"},
        text={"eos_token_id": 2},  # as its configurations have it
        text_2={"eos_token_id": 2, "hidden_size": 48, "hidden_act": "gelu", "projection_dim": 40},
        unet={
            "block_out_channels": (4, 8, 8),
            "layers_per_block": 2,
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "transformer_layers_per_block": (1, 1, 2),
            "attention_head_dim": (1, 2, 2),
            "use_linear_projection": True,
            "cross_attention_dim": 32 + 48,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 40 + 6 * 8,
        },
    )


@pytest.fixture(scope="session")
def tiny_base(tiny_folder) -> Base:
    return load_base(tiny_folder, "cpu")


@pytest.fixture(scope="session")
def sd_base(sd_folder) -> Base:
    return load_base(sd_folder, "cpu")


@pytest.fixture(scope="session")
def sd2_base(sd2_folder) -> Base:
    return load_base(sd2_folder, "cpu")


@pytest.fixture(scope="session")
def sdxl_base(sdxl_folder) -> Base:
    return load_base(sdxl_folder, "cpu")


@pytest.fixture(scope="session")
def scene() -> Scene:
    """A red disc on the left and a blue square on the right of a lit ground, 160 × 160."""
    y, x = np.mgrid[:160, :160]
    pixels = np.stack([120 + 0 * x, 150 + x // 4, 100 + y // 4], axis=-1)
    disc, square = (x - 45) ** 2 + (y - 90) ** 2 < 30**2, (abs(x - 115) < 25) & (abs(y - 80) < 25)
    pixels[disc], pixels[square] = (220, 30, 40), (30, 40, 220)
    return make_scene(Image.fromarray(pixels.astype(np.uint8)), [disc, square], ["ball", "mug"], background=True)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Of a studio of the module's own."""
    from helpers.studio import running_studio

    with running_studio(tmp_path_factory.mktemp("studio")) as address:
        yield address


@pytest.fixture(scope="module")  # while it is open no other loop of events can run
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or "/usr/bin/chromium"
    if not Path(chromium).exists():
        pytest.skip("needs Chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, headless=True, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


def weights_of(base: Base) -> dict[str, torch.Tensor]:
    """A copy of all weights, by name."""
    return {
        f"{part}.{name}": value.clone()
        for part, module in {**base.parts, "vae": base.vae}.items()
        for name, value in module.state_dict().items()
    }


def assert_same_base(base: Base, before: dict[str, torch.Tensor]) -> None:
    now = weights_of(base)
    assert now.keys() == before.keys()
    assert all(torch.equal(now[name], before[name]) for name in before)
    assert not any("<asset0>" in encoder.tokenizer.get_vocab() for encoder in base.encoders)
