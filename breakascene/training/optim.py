"""Trainable weights, AdamW and the gradient scaler of a run, and their state in a checkpoint.

There are two implementations of AdamW, PyTorch's and one with 8-bit state; a run may be saved with one and resumed with
the other.
"""

from contextlib import AbstractContextManager
from importlib.util import find_spec

import torch

from breakascene.errors import UserError
from breakascene.models import lora
from breakascene.models.base import Base
from breakascene.training.settings import Settings

BLOCK_SIZE = 256  # values that share a scale in bitsandbytes' state
MIN_8BIT_SIZE = 2**16  # values; smaller weights, the handles among them, keep Adam's state in float32
MOMENTS = (("exp_avg", 1), ("exp_avg_sq", 2))  # with their indices in bitsandbytes
SCALER_FIELDS = ("scale", "_growth_tracker")  # PyTorch's names
ADAM_FIELDS = ("step", *(f"{moment}{suffix}" for moment, _ in MOMENTS for suffix in ("", "_scale", "_code")))


def trainable(base: Base, settings: Settings) -> AbstractContextManager[lora.TrainableWeights]:
    """The weights that phase 2 trains besides the handles, trainable while the block runs."""
    if settings.train_all_weights:
        return lora.full_finetuning(base, settings.rank, settings.trained_weights)
    return lora.inject_lora(base, settings.rank, settings.seed, settings.lora_layers)


def make_optimizer(
    embeddings: torch.nn.Parameter, weights: dict[str, torch.nn.Parameter], settings: Settings, eight_bit: bool = False
) -> torch.optim.Optimizer:
    """AdamW over the handles' embeddings and, in phase 2, the weights; eight_bit reduces its state to a quarter."""
    groups = [{"params": [embeddings], "lr": settings.handle_lr_phase2 if weights else settings.handle_lr}]
    if weights:
        groups.append({"params": list(weights.values()), "lr": settings.weight_lr})
    if eight_bit:
        import bitsandbytes

        return bitsandbytes.optim.AdamW8bit(groups, weight_decay=settings.weight_decay, min_8bit_size=MIN_8BIT_SIZE)
    if capturable := embeddings.is_cuda:
        for group in groups:
            group["lr"] = torch.tensor(group["lr"], device=embeddings.device)  # a CUDA graph reads it in each replay
    # Fused: one kernel for all tensors, on CUDA and on a CPU, without the copies of the other implementations
    return torch.optim.AdamW(groups, weight_decay=settings.weight_decay, fused=True, capturable=capturable)


def set_learning_rates(optimizer: torch.optim.Optimizer, settings: Settings, factor: float) -> None:
    """Set the learning rates of phase 2 to `factor`, 1..0, of their initial values."""
    for group, lr in zip(optimizer.param_groups, (settings.handle_lr_phase2, settings.weight_lr), strict=True):
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(factor * lr)
        else:
            group["lr"] = factor * lr


def has_bitsandbytes() -> bool:
    """Whether the library for 8-bit optimizer state is installed; it supports CPUs and CUDA."""
    return find_spec("bitsandbytes") is not None


def make_scaler(base: Base) -> torch.amp.GradScaler:
    """A gradient scaler, enabled where the base computes in float16."""
    return torch.amp.GradScaler(base.device.type, enabled=base.compute_dtype is torch.float16)


def scaler_state(scaler: torch.amp.GradScaler) -> dict[str, torch.Tensor]:
    """The scaler's state for a checkpoint, by "scaler.<field>"; empty where it is disabled."""
    state = scaler.state_dict()
    return {f"scaler.{field}": torch.tensor(state[field], dtype=torch.float64) for field in SCALER_FIELDS if state}


def load_scaler_state(scaler: torch.amp.GradScaler, tensors: dict[str, torch.Tensor]) -> None:
    """Restore a saved state; a checkpoint of a run in another precision has none, and the scaler is left unchanged."""
    if scaler.is_enabled():
        state = {field: tensors[f"scaler.{field}"].item() for field in SCALER_FIELDS if f"scaler.{field}" in tensors}
        scaler.load_state_dict(scaler.state_dict() | state)


def optimizer_state(optimizer: torch.optim.Optimizer, parameters: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Adam's state by "adam.<field>.<parameter name>"; empty before the first step.

    Fields as in torch.optim.AdamW: "step", "exp_avg", "exp_avg_sq". In 8 bits the moments are uint8 and come with
    "<moment>_scale", one value for each BLOCK_SIZE values, and "<moment>_code", (256,), the value of each byte.
    """
    return {
        f"adam.{field}.{name}": value
        for name, parameter in parameters.items()
        for field, value in _fields(optimizer.state.get(parameter, {})).items()
    }


def _fields(state: dict) -> dict[str, torch.Tensor]:
    if "state1" not in state:
        return state
    fields = {"step": torch.tensor(float(state["step"]))}
    for field, number in MOMENTS:
        fields[field] = state[f"state{number}"]
        if fields[field].dtype == torch.uint8:
            fields |= {f"{field}_scale": state[f"absmax{number}"], f"{field}_code": state[f"qmap{number}"].clone()}
    return fields


@torch.no_grad()
def load_optimizer_state(
    tensors: dict[str, torch.Tensor], optimizer: torch.optim.Optimizer, parameters: dict[str, torch.Tensor]
) -> None:
    """Copy saved parameters and their saved optimizer state into `parameters` and `optimizer`.

    Raises:
        UserError: For tensors of other shapes, on which the fused optimizer would crash.
    """
    for name, parameter in parameters.items():
        fields = {field: tensors[key] for field in ADAM_FIELDS if (key := f"adam.{field}.{name}") in tensors}
        if name not in tensors or tensors[name].shape != parameter.shape or not _fit(fields, parameter):
            raise UserError("The checkpoint does not fit the run: delete it and start again.")
        parameter.copy_(tensors[name])
        if "step" not in fields:
            continue
        if "fused" not in optimizer.defaults:
            _load_8bit_state(optimizer, parameter, fields)
            continue
        step = fields["step"].to(parameter.device, torch.float32, copy=True).reshape(())
        moments = {field: _dequantized(fields, field).to(parameter, copy=True) for field, _ in MOMENTS}
        optimizer.state[parameter].update({"step": step, **moments})


def _fit(fields: dict[str, torch.Tensor], parameter: torch.Tensor) -> bool:
    """Whether saved optimizer state has the shapes of a parameter's."""
    if not fields:
        return True
    if any(value.is_complex() for value in fields.values()):
        return False
    if "step" not in fields or fields["step"].numel() != 1 or not 0 <= fields["step"].item() < 2**31:
        return False
    for moment, _ in MOMENTS:
        if moment not in fields or fields[moment].numel() != parameter.numel():
            return False
        if fields[moment].dtype != torch.uint8:
            if fields[moment].shape != parameter.shape or not fields[moment].is_floating_point():
                return False
            continue
        scale, code = fields.get(f"{moment}_scale"), fields.get(f"{moment}_code")
        blocks = -(-parameter.numel() // BLOCK_SIZE)
        if scale is None or scale.shape != (blocks,) or code is None or code.shape != (256,):
            return False
    return True


def _load_8bit_state(optimizer: torch.optim.Optimizer, parameter: torch.Tensor, fields: dict) -> None:
    optimizer.init_state(optimizer.param_groups[0], parameter, 0, 0)  # shapes only, the same for every group
    state = optimizer.state[parameter]
    state["step"] = int(fields["step"])
    for field, number in MOMENTS:
        value, scale = fields[field], fields.get(f"{field}_scale")
        if state[f"state{number}"].dtype != torch.uint8:
            value = _dequantized(fields, field)
        elif scale is None:
            import bitsandbytes

            value, made = bitsandbytes.functional.quantize_blockwise(
                value.to(parameter.device), code=state[f"qmap{number}"], blocksize=BLOCK_SIZE
            )
            scale = made.absmax
        state[f"state{number}"].copy_(value)
        if scale is not None:
            state[f"absmax{number}"].copy_(scale)


def _dequantized(fields: dict[str, torch.Tensor], field: str) -> torch.Tensor:
    """A moment in float32."""
    value = fields[field]
    if value.dtype != torch.uint8:
        return value
    scales = fields[f"{field}_scale"].repeat_interleave(BLOCK_SIZE)[: value.numel()]
    return fields[f"{field}_code"][value.long()] * scales.view_as(value)
