"""Models of the real architectures with small random weights, and a check that a base is unchanged."""

import json
from functools import partial
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    ViTConfig,
    ViTImageProcessorPil,
    ViTModel,
)

from benchmarks.random_base import pieces_of
from breakascene.models.base import Base
from breakascene.toybox.pretraining.text import tokenizer

WORDS = "a photo of and at in on the dog cat car ball mug beach snow grass object".split()


def small_tokenizer(length: int, pad: str = "<|endoftext|>") -> CLIPTokenizer:
    """Return a CLIP tokenizer that has a token for each of WORDS and spells all other words."""
    vocab, merges = pieces_of(WORDS)
    for special in ("<|startoftext|>", "<|endoftext|>"):
        vocab[special] = len(vocab)
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=length, pad_token=pad)


def text_config(tokenizer: CLIPTokenizer, **changes) -> CLIPTextConfig:
    """Return the configuration of a CLIP text encoder with two layers of width 32; `changes` are fields to replace."""
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    special = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    length = {"max_position_embeddings": tokenizer.model_max_length}
    return CLIPTextConfig(vocab_size=len(tokenizer), **{**sizes, **special, **length, **changes})


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
    """Save a model with fixed random weights as a diffusers folder; with `text_2` it is an SDXL model."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tokenizer = small_tokenizer(length, pad)
        text_encoder = CLIPTextModel(text_config(tokenizer, **(text or {})))
        # CLIP's own initialization is so narrow that all words would be nearly equal
        torch.nn.init.normal_(text_encoder.get_input_embeddings().weight, std=0.5)
        components = {
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
            # the second tokenizer pads with the id 0, unlike the first
            components |= {"text_encoder_2": second, "tokenizer_2": small_tokenizer(length, "!")}
            pipeline = StableDiffusionXLPipeline(**components)
        else:
            pipeline = StableDiffusionPipeline(
                **components, safety_checker=None, feature_extractor=None, requires_safety_checker=False
            )
        pipeline.save_pretrained(folder)
    if family:
        index = json.loads((folder / "model_index.json").read_text())
        (folder / "model_index.json").write_text(json.dumps(index | {"_family": family}))
    return folder


def save_clip_and_dino(clip: Path, dino: Path) -> None:
    """Save small models of the real classes with random weights."""
    torch.manual_seed(0)
    vision = {"image_size": 32, "patch_size": 8, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    toybox_tokenizer = tokenizer()
    text = {"vocab_size": len(toybox_tokenizer), "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text |= {"bos_token_id": toybox_tokenizer.bos_token_id, "eos_token_id": toybox_tokenizer.eos_token_id}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).save_pretrained(clip)
    toybox_tokenizer.save_pretrained(clip)
    size = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    CLIPImageProcessorPil(**size).save_pretrained(clip)
    ViTModel(ViTConfig(**vision)).save_pretrained(dino)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(dino)


def tiny_sam(seed: int = 0) -> Sam:
    """Build a SAM for images of 64 pixels, with random weights."""
    torch.manual_seed(seed)
    return Sam(
        ImageEncoderViT(
            img_size=64, patch_size=8, embed_dim=32, depth=2, num_heads=2, out_chans=32,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6), use_rel_pos=True, window_size=4, global_attn_indexes=(1,),
        ),
        PromptEncoder(32, (8, 8), (64, 64), 4),
        MaskDecoder(transformer_dim=32, transformer=TwoWayTransformer(2, 32, 2, 64), iou_head_hidden_dim=32),
    )  # fmt: skip


def weights_of(base: Base) -> dict[str, torch.Tensor]:
    """Copy all weights, by name."""
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
