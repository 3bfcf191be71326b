"""Write models in the layout of the original code, as one file, for the package to load."""

import re
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from breakascene.models.base import Base

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
UNET_ENDS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
VAE_NAMES = {
    "mid_block.resnets.0": "mid.block_1",
    "mid_block.resnets.1": "mid.block_2",
    "mid_block.attentions.0": "mid.attn_1",
    "downsamplers.0.conv": "downsample.conv",
    "upsamplers.0.conv": "upsample.conv",
    ".resnets.": ".block.",
    "conv_shortcut": "nin_shortcut",
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
    "conv_norm_out": "norm_out",
}
OPENCLIP_NAMES = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm": "ln_final",
    "encoder.layers.": "transformer.resblocks.",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}


def without_weights(folder: Path, target: Path) -> Path:
    """Copy a model folder without its weights."""
    return shutil.copytree(folder, target, ignore=shutil.ignore_patterns("*.safetensors"))


def save_original(base: Base, file: Path) -> Path:
    """Write a base as a single file in the original layout."""
    weights = {f"model.diffusion_model.{unet_name(k, base.unet)}": v for k, v in base.unet.state_dict().items()}
    for key, value in base.vae.state_dict().items():
        square = re.search(r"attentions.*\b(to_.*)\.weight", key)  # a 1 × 1 convolution there
        weights[f"first_stage_model.{_vae_name(key, base.vae)}"] = value[..., None, None] if square else value
    for prefix, encoder in zip(_encoder_prefixes(base), base.encoders, strict=True):
        state = {key.removeprefix("text_model."): value for key, value in encoder.model.state_dict().items()}
        if prefix.endswith("transformer.text_model."):
            weights |= {f"{prefix}{key}": value for key, value in state.items()}
        else:
            weights |= {f"{prefix}{key}": value for key, value in _openclip(state).items()}
    save_file({key: value.contiguous().clone() for key, value in weights.items()}, file)
    return file


def _encoder_prefixes(base: Base) -> list[str]:
    if base.is_sdxl:
        return ["conditioner.embedders.0.transformer.text_model.", "conditioner.embedders.1.model."]
    if base.text_encoder.config.hidden_act == "gelu":
        return ["cond_stage_model.model."]
    return ["cond_stage_model.transformer.text_model."]


def unet_name(key: str, unet) -> str:
    path, _, kind = key.rpartition(".")
    if path in UNET_ENDS:
        return f"{UNET_ENDS[path]}.{kind}"
    part, block, layer, index, rest = re.fullmatch(r"(\w+)_blocks?\.(?:(\d+)\.)?(\w+)\.(\d+)\.(.*)", path).groups()
    each = unet.config.layers_per_block + 1
    block, index = int(block or 0), int(index)
    for old, new in RESNET.items() if layer == "resnets" else ():
        rest = new if rest == old else rest
    if part == "mid":
        return f"middle_block.{1 if layer == 'attentions' else 2 * index}.{rest}.{kind}"
    if layer == "downsamplers":
        return f"input_blocks.{(block + 1) * each}.0.op.{kind}"
    if layer == "upsamplers":
        beside = 2 if hasattr(unet.up_blocks[block], "attentions") else 1
        return f"output_blocks.{block * each + each - 1}.{beside}.conv.{kind}"
    side, start = ("input", 1) if part == "down" else ("output", 0)
    return f"{side}_blocks.{start + block * each + index}.{int(layer == 'attentions')}.{rest}.{kind}"


def _vae_name(key: str, vae) -> str:
    last = len(vae.config.block_out_channels) - 1
    key = re.sub(r"down_blocks\.(\d+)", r"down.\1", key)
    key = re.sub(r"up_blocks\.(\d+)", lambda match: f"up.{last - int(match[1])}", key)
    for old, new in VAE_NAMES.items():
        key = key.replace(old, new)
    return key


def _openclip(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    converted = {}
    for key, value in state.items():
        for old, new in OPENCLIP_NAMES.items():
            key = key.replace(old, new)
        if key == "text_projection.weight":
            converted["text_projection"] = value.T
        elif ".self_attn.q_proj." in key:  # query, key and value are one matrix
            parts = [state[_original_of(key).replace("q_proj", name)] for name in ("q_proj", "k_proj", "v_proj")]
            converted[re.sub(r"self_attn\.q_proj\.", "attn.in_proj_", key)] = torch.cat(parts)
        elif "self_attn" not in key:
            converted[key] = value
    return converted


def _original_of(key: str) -> str:
    return key.replace("transformer.resblocks.", "encoder.layers.")
