"""Random-weight bases of the true architectures, built once a session, and a scene of two things."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from breakascene.base import Base, load_base
from breakascene.scene import Scene, make_scene

WORDS = "a photo of and at in on the dog cat car ball mug beach snow grass object".split()


def small_tokenizer(length: int) -> CLIPTokenizer:
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
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=length)


def save_base(folder: Path, length: int, latent: int, vae: int, scheduler: dict, unet: dict) -> Path:
    """Save a model with random weights, the same each time, as a diffusers folder."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tokenizer = small_tokenizer(length)
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=4,
                max_position_embeddings=length,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
            )
        )
        # CLIP's own initial embeddings are so near each other that all words would look alike
        torch.nn.init.normal_(text_encoder.get_input_embeddings().weight, std=0.5)
        parts = {
            "unet": UNet2DConditionModel(sample_size=latent, cross_attention_dim=32, norm_num_groups=4, **unet),
            "vae": AutoencoderKL(
                block_out_channels=(4,) * vae,
                down_block_types=("DownEncoderBlock2D",) * vae,
                up_block_types=("UpDecoderBlock2D",) * vae,
                norm_num_groups=2,
                latent_channels=4,
                scaling_factor=0.7,
            ),
            "scheduler": DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, **scheduler),
        }
        StableDiffusionPipeline(
            tokenizer=tokenizer,
            text_encoder=text_encoder,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
            **parts,
        ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    os.environ["BREAKASCENE_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory) -> Path:
    """The toybox's architecture: 128 px, latents 16 × 16 with cross-attention on them, velocity, zero terminal SNR."""
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
def tiny_base(tiny_folder) -> Base:
    return load_base(tiny_folder, "cpu")


@pytest.fixture(scope="session")
def sd_base(sd_folder) -> Base:
    return load_base(sd_folder, "cpu")


@pytest.fixture(scope="session")
def scene() -> Scene:
    """A red disc on the left and a blue square on the right of a lit ground, 160 × 160."""
    y, x = np.mgrid[:160, :160]
    pixels = np.stack([120 + 0 * x, 150 + x // 4, 100 + y // 4], axis=-1)
    disc, square = (x - 45) ** 2 + (y - 90) ** 2 < 30**2, (abs(x - 115) < 25) & (abs(y - 80) < 25)
    pixels[disc], pixels[square] = (220, 30, 40), (30, 40, 220)
    return make_scene(Image.fromarray(pixels.astype(np.uint8)), [disc, square], ["ball", "mug"], background=True)


def weights_of(base: Base) -> dict[str, torch.Tensor]:
    """A copy of all weights, by name."""
    return {
        f"{part}.{name}": value.clone()
        for part in ("text_encoder", "unet", "vae")
        for name, value in getattr(base, part).state_dict().items()
    }


def assert_same_base(base: Base, before: dict[str, torch.Tensor]) -> None:
    now = weights_of(base)
    assert now.keys() == before.keys()
    assert all(torch.equal(now[name], before[name]) for name in before)
    assert "<asset0>" not in base.tokenizer.get_vocab()
