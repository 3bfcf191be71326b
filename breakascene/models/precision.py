"""Half-precision weights of a base on a GPU, and their float32 originals in host memory.

The layers that autocast runs in half precision would convert their weights in each call: they are converted once, when
the base is loaded. What is added to a weight or trained starts from the original: a delta smaller than the spacing of
bfloat16 values would be lost in a weight that is rounded already.
"""

import torch
from torch import nn

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

    Results under Base.autocast do not change. The originals lie in page-locked memory, from which a GPU copies many
    times faster, where the system grants it.
    """
    for component, module in base.trainable_modules.items():
        for path, weight in autocast_weights(module).items():
            original = weight.data.to("cpu")
            weight.data = weight.data.to(dtype)
            base.originals[f"{component}.{path}"] = _page_locked(original)


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
