"""Weight deltas: trained as LoRA or by full fine-tuning, stored as low-rank factors, applied to a base and removed.

A weight delta is a flat dict of tensors. The delta of a weight "unet.….to_q.weight" is stored as
"unet.….to_q.weight.A" (r, in) and "unet.….to_q.weight.B" (out, r), and is B @ A in the weight's shape; "in" counts all
axes but the first. Biases and norms have no rank to reduce: "unet.….bias.diff" is their delta itself, float32. The
factors are float16, since the low rank discards far more than the rounding.
"""

import statistics
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import nn

from breakascene.errors import UserError
from breakascene.models.base import Base
from breakascene.models.precision import float32_copy

UNET_ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
UNET_INNER = (*UNET_ATTENTION, "conv1", "conv2", "net.0.proj", "net.2")  # with the residual and feed-forward layers
TEXT_ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")

MAX_DELTA_SCALE = 100  # of a delta, in root mean squares of the weights
MAX_EMBEDDING_SCALE = 1000  # of an embedding, in root mean squares of the token embeddings

EXACT_SVD_SIDE = 512  # up to which a CPU computes the exact decomposition
OVERSAMPLING, POWER_ITERATIONS = 8, 4  # of the randomized one

WeightDelta = dict[str, torch.Tensor]
_GLOBAL_GENERATOR = threading.Lock()


@dataclass(frozen=True, eq=False)
class ExternalLora:
    """A LoRA from another program, converted for a base; see exporting.importing."""

    name: str
    scale: float  # strength, already applied to the delta
    delta: WeightDelta
    embeddings: dict[str, torch.Tensor]  # bundled textual inversions, (D,) by name; prompts refer to <name>


@dataclass(frozen=True)
class TrainableWeights:
    """Weights under training."""

    parameters: dict[str, nn.Parameter]  # by names that are stable between runs
    delta: Callable[[], WeightDelta]  # computes the delta so far


@contextmanager
def inject_lora(
    base: Base, rank: int, seed: int, lora_layers: tuple[str, ...] = UNET_ATTENTION
) -> Iterator[TrainableWeights]:
    """Inject trainable LoRA layers into the UNet and the text encoders; they are removed when the block ends.

    Args:
        base: The base to train.
        rank: Rank of all LoRA layers.
        seed: Decides the initial A factors; B starts at zero.
        lora_layers: Name suffixes of the UNet's linear and convolution layers to train.
    """
    # alpha = rank: the scale is 1, so that the factors alone define the delta
    options = {"r": rank, "lora_alpha": rank, "lora_dropout": 0.0}
    trained = [p for module in base.trainable_modules.values() for p in module.parameters() if p.requires_grad]
    try:
        with _GLOBAL_GENERATOR, torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)  # peft samples the A factors from the global generator
            for component, module in base.trainable_modules.items():
                targets = list(lora_layers if component == "unet" else TEXT_ATTENTION)
                inject_adapter_in_model(LoraConfig(target_modules=targets, **options), module)
        for parameter in trained:
            parameter.requires_grad_(True)  # peft freezes all other parameters, the handle embeddings among them
        layers = {
            f"{component}.{path}.weight": layer
            for component, module in base.trainable_modules.items()
            for path, layer in module.named_modules()
            if isinstance(layer, LoraLayer)
        }
        parameters = {}
        for name, layer in layers.items():
            parameters[f"{name}.A"] = layer.lora_A["default"].weight
            parameters[f"{name}.B"] = layer.lora_B["default"].weight
        for parameter in parameters.values():
            parameter.data = parameter.data.float()  # peft takes the base's dtype, too coarse for small updates
        yield TrainableWeights(parameters, lambda: {name: _factor(p.flatten(1)) for name, p in parameters.items()})
    finally:
        for module in base.trainable_modules.values():
            _remove_lora(module)


def _remove_lora(module: nn.Module) -> None:
    for path, layer in list(module.named_modules()):
        if isinstance(layer, LoraLayer):
            module.set_submodule(path, layer.get_base_layer())
    if hasattr(module, "peft_config"):
        del module.peft_config
    module.requires_grad_(False)


@contextmanager
def full_finetuning(base: Base, rank: int, suffixes: tuple[str, ...] = ("",)) -> Iterator[TrainableWeights]:
    """Make the weights of the UNet and the text encoders trainable; their values are restored when the block ends.

    The token embeddings stay frozen: only those of the handles are trained.

    Args:
        base: The base to train.
        rank: Rank that the delta is reduced to.
        suffixes: Name suffixes of the weights to train; all by default.
    """
    parameters = trainable_parameters(base, suffixes)
    dtypes = {name: parameter.dtype for name, parameter in parameters.items()}
    original = {  # on the CPU, which spares GPU memory
        name: base.originals[name] if name in base.originals else parameter.data.to("cpu")
        for name, parameter in parameters.items()
    }
    try:
        for name, parameter in parameters.items():
            parameter.data = float32_copy(base, name, parameter)
            parameter.requires_grad_(True)
        yield TrainableWeights(parameters, lambda: _reduce(original, parameters, rank))
    finally:
        for name, parameter in parameters.items():
            parameter.requires_grad_(False).grad = None
            parameter.data = torch.empty_like(parameter.data, dtype=dtypes[name]).copy_(original[name])


def trainable_parameters(base: Base, suffixes: tuple[str, ...] = ("",)) -> dict[str, nn.Parameter]:
    """Return the parameters of UNet and text encoders whose names have such a suffix, except the token embeddings."""
    return {
        f"{component}.{path}": parameter
        for component, module in base.trainable_modules.items()
        for path, parameter in module.named_parameters()
        if "token_embedding" not in path and path.endswith(suffixes)
    }


def _reduce(original: dict[str, torch.Tensor], parameters: dict[str, nn.Parameter], rank: int) -> WeightDelta:
    delta = {}
    for name, parameter in parameters.items():
        difference = parameter.detach() - original[name].to(parameter.device, non_blocking=True)
        if difference.ndim < 2:
            delta[f"{name}.diff"] = _to_cpu(difference)
        else:
            delta[f"{name}.A"], delta[f"{name}.B"] = map(_factor, low_rank_factors(difference, rank))
    return delta


def low_rank_factors(matrix: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the best low-rank approximation of a matrix by its singular values.

    The decomposition of a large matrix, and of all but small ones on a GPU, is randomized: fast and exact to a few
    thousandths of the error of the cut (Halko et al., arXiv 0909.4061). It is the same in each call.

    Args:
        matrix: (out, …); the axes after the first are flattened.
        rank: Upper bound of the rank r; a smaller matrix has a lower one.

    Returns:
        A (r, in) and B (out, r), float32 on the CPU, with B @ A ≈ matrix.
    """
    matrix = matrix.flatten(1).float()
    side, q = min(matrix.shape), rank + OVERSAMPLING
    if q < side and (matrix.is_cuda or side > EXACT_SVD_SIDE):
        with _GLOBAL_GENERATOR, torch.random.fork_rng(devices=[matrix.device] if matrix.is_cuda else []):
            torch.manual_seed(0)
            u, s, v = torch.svd_lowrank(matrix, q, niter=POWER_ITERATIONS)
        v = v.T
    else:
        u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    root = s[:rank].sqrt()  # split evenly, so that neither factor underflows
    return _to_cpu(root[:, None] * v[:rank]), _to_cpu(u[:, :rank] * root)


@contextmanager
def apply_delta(base: Base, delta: WeightDelta) -> Iterator[None]:
    """Add a delta to the weights of a base for the duration of a block; afterwards they are the same tensors as before.

    Raises:
        KeyError, AttributeError or RuntimeError: If the delta belongs to a model of another architecture.
    """
    names = dict.fromkeys(key.rpartition(".")[0] for key in delta)
    parameters = {name: get_weight(base, name) for name in names}
    original, outer = {name: parameter.data for name, parameter in parameters.items()}, base.applied_deltas
    try:
        base.applied_deltas = (*outer, delta)
        for name, parameter in parameters.items():
            weight = float32_copy(base, name, parameter)
            # The float32 original of a half-precision weight lacks the deltas of outer blocks
            for one in base.applied_deltas if name in base.originals else (delta,):
                if f"{name}.A" in one or f"{name}.diff" in one:
                    weight += dense_delta(one, name, weight)
            parameter.data = weight.to(parameter.dtype)
        yield
    finally:
        base.applied_deltas = outer
        for name, parameter in parameters.items():
            parameter.data = original[name]


def delta_fits(base: Base, delta: WeightDelta) -> bool:
    """Whether every tensor of a delta belongs to a weight of the base and matches its shape."""
    shapes = base.weight_shapes  # not those of the modules: an extraction may be running
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


def check_scale(base: Base, delta: WeightDelta, embeddings: torch.Tensor | None = None) -> None:
    """Raise UserError if a delta or embeddings (K, D) are so large, beside the base's weights, that images are void.

    The delta must fit the base. Reads no weights, so that it works while an extraction runs.
    """
    if not base.weight_scales:
        return
    typical = statistics.median(base.weight_scales.values())
    for name in dict.fromkeys(key.rpartition(".")[0] for key in delta):
        usual = max(base.weight_scales[name], typical)  # a bias may be all zeros
        if not _delta_scale(delta, name) <= MAX_DELTA_SCALE * usual:  # true for NaN as well
            raise UserError(
                "The weights of this file are too large for the base model (at {name}): train again with a lower "
                "learning rate, or use another file.",
                name=name,
            )
    if embeddings is not None:
        usual = max(scale for name, scale in base.weight_scales.items() if "token_embedding" in name)
        if not embeddings.double().square().mean(1).sqrt().max() <= MAX_EMBEDDING_SCALE * usual:
            raise UserError(
                "The embeddings of this file are too large for the base model: train again with a lower learning rate, "
                "or use another file."
            )


def _delta_scale(delta: WeightDelta, name: str) -> float:
    """Return the root mean square of a weight's delta, without computing B @ A."""
    if f"{name}.diff" in delta:
        return delta[f"{name}.diff"].double().square().mean().sqrt().item()
    a, b = (delta[f"{name}.{factor}"].double() for factor in "AB")
    square = ((b.T @ b) * (a @ a.T)).sum() / (len(b) * a.shape[1])  # ‖BA‖² = tr(BᵀB AAᵀ)
    return square.clamp(min=0).sqrt().item()


def get_weight(base: Base, name: str) -> nn.Parameter:
    """Return the parameter of that name: "unet.", "text_encoder." or "text_encoder_2.", followed by its path."""
    component, _, path = name.partition(".")
    return base.trainable_modules[component].get_parameter(path)


def dense_delta(delta: WeightDelta, name: str, weight: torch.Tensor) -> torch.Tensor:
    """Compute the delta of one weight, in its shape, dtype and device."""
    if f"{name}.diff" in delta:
        return delta[f"{name}.diff"].to(weight)
    a, b = (delta[f"{name}.{factor}"].to(weight.device, torch.float32) for factor in "AB")
    return (b @ a).view_as(weight).to(weight.dtype)


def _factor(tensor: torch.Tensor) -> torch.Tensor:
    return _to_cpu(tensor).half()


def _to_cpu(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().to("cpu", torch.float32, copy=True).contiguous()
