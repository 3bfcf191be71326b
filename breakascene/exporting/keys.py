"""Key names of LoRA files: kohya's, diffusers' and those of the original (LDM) UNet.

A layer is named by its component and path, such as ("unet", "down_blocks.0.attentions.0.proj_in").
"""

import re
from collections.abc import Iterator

from diffusers import UNet2DConditionModel

from breakascene.models.base import Base

# The only text-encoder layers that all programs accept LoRA for
_TEXT_LAYER = re.compile(r"encoder\.layers\.\d+\.(self_attn\.[a-z]+_proj|mlp\.fc[12])")

_LDM_LAYERS = {  # outside the blocks
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_LDM_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
# Diffusers' kohya conversion and A1111 know these layers by their LDM names only
_LDM_ONLY = ("add_embedding.linear_1", "add_embedding.linear_2", "conv_norm_out")


def split_name(name: str) -> tuple[str, str, str]:
    """Split a weight's name: "unet.conv_in.weight" → ("unet", "conv_in", "weight")."""
    component, _, path = name.partition(".")
    layer, _, kind = path.rpartition(".")
    return component, layer, kind


def accepts_lora(component: str, layer: str) -> bool:
    """Whether LoRA files have keys for the factors of a layer: all of the UNet, attention and MLP of text encoders."""
    return component == "unet" or bool(_TEXT_LAYER.fullmatch(layer.removeprefix("text_model.")))


def kohya_prefix(base: Base, component: str, layer: str) -> str:
    """Return the layer's name in kohya's format, such as "lora_unet_down_blocks_0_attentions_0_proj_in"."""
    if component == "unet":
        layer = _LDM_LAYERS[layer] if layer in _LDM_ONLY else layer
        return f"lora_unet_{layer.replace('.', '_')}"
    encoder = {"text_encoder": "te1" if base.is_sdxl else "te", "text_encoder_2": "te2"}[component]
    return f"lora_{encoder}_text_model_{layer.removeprefix('text_model.').replace('.', '_')}"


def diffusers_prefix(component: str, layer: str) -> str:
    """Return the layer's name in diffusers' format; its loader drops "text_model." where the model has none."""
    return f"{component}.{layer}" if component == "unet" else f"{component}.text_model.{_without_text_model(layer)}"


def layers(base: Base) -> Iterator[tuple[str, str]]:
    """Iterate over the layers of UNet and text encoders that have a weight, as component and path."""
    for name in base.weight_shapes:
        component, layer, kind = split_name(name)
        if kind == "weight" and "token_embedding" not in name:
            yield component, layer


def known_prefixes(base: Base) -> dict[str, tuple[str, str]]:
    """Map every name that a LoRA file may use for a layer of the base to the layer."""
    known = {}
    for component, layer in layers(base):
        known[kohya_prefix(base, component, layer)] = component, layer
        known[diffusers_prefix(component, layer)] = component, layer
        known[f"{component}.{layer}"] = component, layer
        if component == "unet":
            known[f"lora_unet_{layer.replace('.', '_')}"] = component, layer
            known[f"lora_unet_{ldm_layer(base.unet, layer).replace('.', '_')}"] = component, layer
            # of diffusers before 0.20: "….attn1.processor.to_q_lora.down.weight"
            known[f"unet.{layer.replace('.to_', '.processor.to_').replace('to_out.0', 'to_out')}_lora"] = (
                component,
                layer,
            )
        elif component == "text_encoder":  # some tools number the text encoder of Stable Diffusion
            known[kohya_prefix(base, component, layer).replace("lora_te_", "lora_te1_")] = component, layer
    return known


def ldm_layer(unet: UNet2DConditionModel, layer: str) -> str:
    """Return the name of a UNet layer in the original code: "down_blocks.0.resnets.0.conv1" → "input_blocks.1.0.…"."""
    if layer in _LDM_LAYERS:
        return _LDM_LAYERS[layer]
    side, block, kind, index, rest = re.fullmatch(
        r"(down|mid|up)_blocks?\.(?:(\d+)\.)?(\w+)\.(\d+)\.(.*)", layer
    ).groups()
    block, index, per_block = int(block or 0), int(index), unet.config.layers_per_block + 1
    if kind == "resnets":
        rest = _LDM_RESNET.get(rest, rest)
    if side == "mid":
        return f"middle_block.{1 if kind == 'attentions' else 2 * index}.{rest}"
    if kind == "downsamplers":
        return f"input_blocks.{(block + 1) * per_block}.0.op"
    if kind == "upsamplers":
        position = 2 if hasattr(unet.up_blocks[block], "attentions") else 1
        return f"output_blocks.{block * per_block + per_block - 1}.{position}.conv"
    start, blocks = (1, "input_blocks") if side == "down" else (0, "output_blocks")
    return f"{blocks}.{start + block * per_block + index}.{int(kind == 'attentions')}.{rest}"


def _without_text_model(layer: str) -> str:
    return layer.removeprefix("text_model.")
