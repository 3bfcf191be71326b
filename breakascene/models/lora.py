"""The change of weights that a run makes: trained as LoRA or whole, kept as low-rank factors, added and taken off.

A change is a dict of tensors. For a weight named "unet.….to_q.weight" it has "unet.….to_q.weight.A" (r, in) and
"unet.….to_q.weight.B" (out, r), with the change B @ A in the weight's shape ("in" counts all but the first axis); for a
bias or norm, which has no rank to cut, "unet.….bias.diff" with the change itself, float32. Factors are kept in float16:
what a low rank leaves away is far more than what is rounded.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import nn

from breakascene.models.base import Base

UNET_ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
UNET_INNER = (*UNET_ATTENTION, "conv1", "conv2", "net.0.proj", "net.2")  # with the residual and feed-forward layers
TEXT_ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")

WeightDelta = dict[str, torch.Tensor]


@dataclass(frozen=True)
class TrainableWeights:
    """Weights under training: their parameters by a stable name, and a way to read the change so far."""

    parameters: dict[str, nn.Parameter]
    delta: Callable[[], WeightDelta]


@contextmanager
def inject_lora(
    base: Base, rank: int, seed: int, lora_layers: tuple[str, ...] = UNET_ATTENTION
) -> Iterator[TrainableWeights]:
    """Put trainable LoRA layers on the UNet and the text encoders; they are gone, without a trace, when the block ends.

    lora_layers: ends of the names of the UNet's linear or convolution layers that take part.
    """
    # alpha = rank, so that a file without alpha still means the same
    options = {"r": rank, "lora_alpha": rank, "lora_dropout": 0.0}
    learning = [p for module in base.trainable_modules.values() for p in module.parameters() if p.requires_grad]
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)  # peft draws the A matrices from the global generator
            for part, module in base.trainable_modules.items():
                targets = list(lora_layers if part == "unet" else TEXT_ATTENTION)
                inject_adapter_in_model(LoraConfig(target_modules=targets, **options), module)
        for weight in learning:
            weight.requires_grad_(True)  # peft freezes what it finds, the handles too
        layers = {
            f"{part}.{path}.weight": layer
            for part, module in base.trainable_modules.items()
            for path, layer in module.named_modules()
            if isinstance(layer, LoraLayer)
        }
        parameters = {}
        for name, layer in layers.items():
            parameters[f"{name}.A"] = layer.lora_A["default"].weight
            parameters[f"{name}.B"] = layer.lora_B["default"].weight
        for weight in parameters.values():
            weight.data = weight.data.float()  # peft takes the base's kind, but small steps need all digits
        yield TrainableWeights(parameters, lambda: {name: _kept(p.flatten(1)).half() for name, p in parameters.items()})
    finally:
        for module in base.trainable_modules.values():
            _unwrap(module)


def _unwrap(model: nn.Module) -> None:
    for path, layer in list(model.named_modules()):
        if isinstance(layer, LoraLayer):
            model.set_submodule(path, layer.get_base_layer())
    if hasattr(model, "peft_config"):
        del model.peft_config
    model.requires_grad_(False)


@contextmanager
def full_finetuning(base: Base, rank: int, ends: tuple[str, ...] = ("",)) -> Iterator[TrainableWeights]:
    """Let the weights of the UNet and the text encoders be trained; the block's end gives them their old values again.

    ends: how the names of the weights that take part end; all do by default. The table of words stays as it is: only
    the handles' rows are taught. The change is cut to `rank` and rounded to float16.
    """
    parameters = trainable_parameters(base, ends)
    before = {name: weight.data.to("cpu") for name, weight in parameters.items()}  # where there is room for it
    try:
        for name, weight in parameters.items():
            weight.data = before[name].to(weight.device, copy=True)
            weight.requires_grad_(True)
        yield TrainableWeights(parameters, lambda: _difference(before, parameters, rank))
    finally:
        for name, weight in parameters.items():
            weight.data = before[name].to(weight.device)
            weight.requires_grad_(False).grad = None


def trainable_parameters(base: Base, ends: tuple[str, ...] = ("",)) -> dict[str, nn.Parameter]:
    """The weights of UNet and text encoders whose names end so, by name; not the table of words."""
    return {
        f"{part}.{path}": weight
        for part, module in base.trainable_modules.items()
        for path, weight in module.named_parameters()
        if "token_embedding" not in path and path.endswith(ends)
    }


def _difference(before: dict[str, torch.Tensor], now: dict[str, nn.Parameter], rank: int) -> WeightDelta:
    delta = {}
    for name, weight in now.items():
        difference = weight.detach().float() - before[name].to(weight.device).float()
        if difference.ndim < 2:
            delta[f"{name}.diff"] = _kept(difference)
        else:
            pair = low_rank_factors(difference, rank)
            delta[f"{name}.A"], delta[f"{name}.B"] = (factor.half() for factor in pair)
    return delta


def low_rank_factors(matrix: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The nearest change of a lower rank, by singular values: (out, …) → A (r, in) and B (out, r) with matrix ≈ B @ A.

    Axes after the first are taken as one. r is `rank`, or less where the matrix is smaller.
    """
    u, s, v = torch.linalg.svd(matrix.flatten(1).float(), full_matrices=False)
    root = s[:rank].sqrt()  # shared out evenly, so that neither factor is tiny
    return _kept(root[:, None] * v[:rank]), _kept(u[:, :rank] * root)


@contextmanager
def apply_delta(base: Base, delta: WeightDelta) -> Iterator[None]:
    """While the block runs, the weights of `base` have the change added; then they are the same tensors as before.

    Raises KeyError or RuntimeError if the change belongs to a model of another shape.
    """
    names = dict.fromkeys(key.rpartition(".")[0] for key in delta)
    weights = {name: get_weight(base, name) for name in names}
    before = {name: weight.data for name, weight in weights.items()}
    try:
        for name, weight in weights.items():
            weight.data = weight.data + _expand(delta, name, weight)
        yield
    finally:
        for name, weight in weights.items():
            weight.data = before[name]


def delta_fits(base: Base, delta: WeightDelta) -> bool:
    """Whether every part of the change belongs to a weight of `base` and has its shape."""
    shapes = {
        f"{part}.{path}": p.shape
        for part, module in base.trainable_modules.items()
        for path, p in module.named_parameters()
    }
    for key, value in delta.items():
        name, _, kind = key.rpartition(".")
        shape, other = shapes.get(name), delta.get(f"{name}.{'B' if kind == 'A' else 'A'}")
        if shape is None or kind not in ("A", "B", "diff"):
            return False
        if kind == "diff" and value.shape != shape:
            return False
        if kind == "A" and (other is None or value.shape != (other.shape[-1], shape[1:].numel())):
            return False
        if kind == "B" and (other is None or value.shape != (shape[0], other.shape[0])):
            return False
    return True


def get_weight(base: Base, name: str) -> nn.Parameter:
    """The parameter with this name: "unet.", "text_encoder." or "text_encoder_2." and its path."""
    part, _, path = name.partition(".")
    return base.trainable_modules[part].get_parameter(path)


def _expand(delta: WeightDelta, name: str, weight: torch.Tensor) -> torch.Tensor:
    if f"{name}.diff" in delta:
        return delta[f"{name}.diff"].to(weight)
    a, b = (delta[f"{name}.{factor}"].to(weight.device, torch.float32) for factor in "AB")
    return (b @ a).view_as(weight).to(weight.dtype)


def _kept(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().to("cpu", torch.float32, copy=True).contiguous()
