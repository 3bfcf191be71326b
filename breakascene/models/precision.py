"""Half-precision weights of a base on a GPU, and their float32 originals in host memory.

The layers that autocast runs in half precision would convert their weights in each call: they are converted once, when
the base is loaded. What is added to a weight or trained starts from the original: a delta smaller than the spacing of
bfloat16 values would be lost in a weight that is rounded already.

Normalization layers, which autocast runs in float32, then return the dtype of their input, as in a diffusers pipeline
of that dtype: the activations after them take half the memory and time. Their kernels sum in float32 all the same.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional as F

from breakascene.models.base import Base


def autocast_weights(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that autocast converts, by name: those of linear layers and convolutions."""
    return {
        f"{path}.{name}": weight
        for path, layer in module.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d)
        for name, weight in layer.named_parameters(recurse=False)
    }


def store_in_half_precision(base: Base, dtype: torch.dtype) -> None:
    """Convert the weights of UNet and text encoders that autocast converts to `dtype`, and keep the originals.

    The originals lie in page-locked memory, from which a GPU copies many times faster, where the system grants it.
    """
    for component, module in base.trainable_modules.items():
        normalize_in_input_dtype(module)
        for path, weight in autocast_weights(module).items():
            original = weight.data.to("cpu")
            weight.data = weight.data.to(dtype)
            base.originals[f"{component}.{path}"] = _page_locked(original)


def normalize_in_input_dtype(module: nn.Module) -> None:
    """Let the normalization layers of a module compute and return the dtype of their input, also under autocast."""
    for layer in module.modules():
        layer.__class__ = NORMS.get(type(layer), type(layer))


class GroupNorm(nn.GroupNorm):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return F.group_norm(x, self.num_groups, *_weights_in(x.dtype, self), self.eps)


class LayerNorm(nn.LayerNorm):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return F.layer_norm(x, self.normalized_shape, *_weights_in(x.dtype, self), self.eps)


NORMS = {nn.GroupNorm: GroupNorm, nn.LayerNorm: LayerNorm}


def _weights_in(dtype: torch.dtype, layer: nn.Module) -> list[torch.Tensor | None]:
    return [weight if weight is None else weight.to(dtype) for weight in (layer.weight, layer.bias)]


@contextmanager
def stored_in(dtype: torch.dtype, *modules: nn.Module) -> Iterator[None]:
    """Hold the weights of frozen modules in `dtype` while the block runs; then they are the same tensors again."""
    weights = [weight for module in modules for weight in module.parameters()]
    originals = [weight.data for weight in weights]
    try:
        for weight in weights:
            weight.data = weight.data.to(dtype)
        yield
    finally:
        for weight, original in zip(weights, originals, strict=True):
            weight.data = original


def float32_copy(base: Base, name: str, weight: nn.Parameter) -> torch.Tensor:
    """Copy a weight of the base in float32, on the weight's device."""
    source = base.originals.get(name, weight.data)
    return torch.empty_like(weight.data, dtype=torch.float32).copy_(source, non_blocking=True)


def _page_locked(tensor: torch.Tensor) -> torch.Tensor:
    if not torch.cuda.is_available():
        return tensor
    try:
        return tensor.pin_memory()
    except RuntimeError:  # no memory that can be locked, or a Space that has no GPU at the moment
        return tensor
