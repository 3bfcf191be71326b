"""Random-weight models of the true architectures, and comparisons of a base with itself."""

import json
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from breakascene.models.base import Base

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
    family: str | None = None,
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
    if family:
        index = json.loads((folder / "model_index.json").read_text())
        (folder / "model_index.json").write_text(json.dumps(index | {"_family": family}))
    return folder


def weights_of(base: Base) -> dict[str, torch.Tensor]:
    """A copy of all weights, by name."""
    return {
        f"{part}.{name}": value.clone()
        for part, module in {**base.trainable_modules, "vae": base.vae}.items()
        for name, value in module.state_dict().items()
    }


def assert_same_base(base: Base, before: dict[str, torch.Tensor]) -> None:
    now = weights_of(base)
    assert now.keys() == before.keys()
    assert all(torch.equal(now[name], before[name]) for name in before)
    assert not any("<asset0>" in encoder.tokenizer.get_vocab() for encoder in base.encoders)
