"""Bases with random weights in the true shapes of Stable Diffusion, for timings without a download.

"sd15", "sd21" and "sdxl"; with "-tiny" the same architectures with few channels, to rehearse a benchmark on a CPU.
"""

from collections.abc import Sequence

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from breakascene.models.base import Base
from breakascene.models.loading import assemble

VOCABULARY = 49408  # tokens of CLIP
WORDS = "a photo of and at in on the an dog car apple cat bird flower cup book boat tree beach snow grass table".split()
CROSS, PLAIN = ("CrossAttnDownBlock2D", "CrossAttnUpBlock2D"), ("DownBlock2D", "UpBlock2D")

SHAPES = {
    "sd15": {
        "unet": {"block_out_channels": (320, 640, 1280, 1280), "attention_head_dim": 8, "cross_attention_dim": 768},
        "blocks": (CROSS, CROSS, CROSS, PLAIN),
        "text": [(768, 12, 12, "quick_gelu")],  # width, layers, heads, activation
        "latent": 64,
    },
    "sd21": {
        "unet": {
            "block_out_channels": (320, 640, 1280, 1280),
            "attention_head_dim": (5, 10, 20, 20),
            "cross_attention_dim": 1024,
            "use_linear_projection": True,
        },
        "blocks": (CROSS, CROSS, CROSS, PLAIN),
        "text": [(1024, 23, 16, "gelu")],
        "latent": 64,
    },
    "sdxl": {
        "unet": {
            "block_out_channels": (320, 640, 1280),
            "attention_head_dim": (5, 10, 20),
            "transformer_layers_per_block": (1, 2, 10),
            "cross_attention_dim": 2048,
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 1280 + 6 * 256,
        },
        "blocks": (PLAIN, CROSS, CROSS),
        "text": [(768, 12, 12, "quick_gelu"), (1280, 32, 20, "gelu")],
        "latent": 128,
    },
}
VAE_CHANNELS = (128, 256, 512, 512)


def is_random_base(name: str) -> bool:
    """Whether a name is one of this module's."""
    return name.removesuffix("-tiny") in SHAPES


def random_base(name: str, device: torch.device) -> Base:
    """Build a base with random weights on the device."""
    components = random_components(name, device)
    return assemble(name, components, "sdxl" if "text_encoder_2" in components else "sd", None, device)


def random_components(name: str, device: torch.device) -> dict[str, object]:
    """Build the components of a base, by their names in diffusers."""
    kind, tiny = name.removesuffix("-tiny"), name.endswith("-tiny")
    shapes, is_sdxl = SHAPES[kind], kind == "sdxl"
    unet, vae_channels = {**shapes["unet"], "sample_size": shapes["latent"]}, VAE_CHANNELS
    text = list(shapes["text"])
    if tiny:
        text = [(32, 2, 4, activation) for _, _, _, activation in text]
        channels = tuple(32 for _ in unet["block_out_channels"])
        unet |= {"block_out_channels": channels, "attention_head_dim": 4, "sample_size": 32, "norm_num_groups": 8}
        unet |= {"cross_attention_dim": sum(width for width, *_ in text)}
        vae_channels = (8, 8, 8, 8)
        if is_sdxl:
            unet |= {"transformer_layers_per_block": (1, 1, 2), "addition_time_embed_dim": 8}
            unet |= {"projection_class_embeddings_input_dim": 32 + 6 * 8}
    tokenizer = clip_tokenizer()
    with torch.random.fork_rng(), torch.device(device):
        torch.manual_seed(0)
        components = {
            "tokenizer": tokenizer,
            "text_encoder": CLIPTextModel(_text_config(tokenizer, *text[0])),
            "unet": UNet2DConditionModel(
                **unet,
                down_block_types=[down for down, _ in shapes["blocks"]],
                up_block_types=[up for _, up in reversed(shapes["blocks"])],
            ),
            "vae": AutoencoderKL(
                block_out_channels=vae_channels,
                down_block_types=("DownEncoderBlock2D",) * 4,
                up_block_types=("UpDecoderBlock2D",) * 4,
                layers_per_block=2,
                norm_num_groups=min(32, vae_channels[0]),
                scaling_factor=0.13025 if is_sdxl else 0.18215,
            ),
        }
        if is_sdxl:
            second = CLIPTextModelWithProjection(_text_config(tokenizer, *text[1]))
            components |= {"text_encoder_2": second, "tokenizer_2": clip_tokenizer("!")}
    components["scheduler"] = DDPMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, steps_offset=1, clip_sample=False
    )
    return components


def pieces_of(words: Sequence[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return the vocabulary and the merges of a tokenizer with a token for each letter and each of the words."""
    letters = sorted(ByteLevel.alphabet())
    vocabulary = {piece: i for i, piece in enumerate(letters + [f"{letter}</w>" for letter in letters])}
    merges = []
    for word in words:
        pieces = [*word[:-1], f"{word[-1]}</w>"]
        while len(pieces) > 1:
            if tuple(pieces[:2]) not in merges:
                merges.append(tuple(pieces[:2]))
            pieces = [pieces[0] + pieces[1], *pieces[2:]]
            vocabulary.setdefault(pieces[0], len(vocabulary))
    return vocabulary, merges


def clip_tokenizer(pad: str = "<|endoftext|>") -> CLIPTokenizer:
    """Return a tokenizer with as many tokens as CLIP's, of which only letters and WORDS are in use."""
    vocabulary, merges = pieces_of(WORDS)
    for i in range(len(vocabulary), VOCABULARY - 2):
        vocabulary[f"unused{i}"] = i
    vocabulary |= {"<|startoftext|>": VOCABULARY - 2, "<|endoftext|>": VOCABULARY - 1}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77, pad_token=pad)


def _text_config(tokenizer: CLIPTokenizer, width: int, layers: int, heads: int, activation: str) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=4 * width,
        projection_dim=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        hidden_act=activation,
        max_position_embeddings=77,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
