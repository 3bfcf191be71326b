"""LoRA files in diffusers' format, for load_lora_weights."""

import torch

from breakascene.exporting.keys import accepts_lora, diffusers_prefix, layers, split_name
from breakascene.exporting.kohya import factors_in_shape, uniform_rank
from breakascene.models.base import Base
from breakascene.models.concepts import Concepts
from breakascene.models.lora import dense_delta

FILE = "pytorch_lora_weights.safetensors"
DIFFERENCES = "differences.safetensors"


def state_dicts(base: Base, concepts: Concepts) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Return the tensors of two files.

    Returns:
        The LoRA, "unet.….to_q.lora_A.weight" and so on; and the differences of the weights that LoRA cannot express
        (biases, norms, position embeddings), by parameter name, to be added to the pipeline's parameters.
    """
    lora, differences = {}, {}
    for name, factors in uniform_rank(concepts.delta).items():
        component, layer, _ = split_name(name)
        if accepts_lora(component, layer):
            prefix, (down, up) = diffusers_prefix(component, layer), factors_in_shape(base, name, *factors)
            lora[f"{prefix}.lora_A.weight"], lora[f"{prefix}.lora_B.weight"] = down, up
        else:
            weight = torch.empty(base.weight_shapes[name])
            differences[name] = dense_delta(concepts.delta, name, weight)
    for key, value in concepts.delta.items():
        if key.endswith(".diff"):
            differences[key.removesuffix(".diff")] = value.clone()
    return lora, differences


def unknown_keys(base: Base, keys: list[str]) -> list[str]:
    """Return the keys that load_lora_weights would drop."""
    known = {
        f"{diffusers_prefix(component, layer)}.lora_{factor}.weight"
        for component, layer in layers(base)
        if accepts_lora(component, layer)
        for factor in "AB"
    }
    return [key for key in keys if key not in known]
