"""What learns in a run and how it steps: LoRA or all weights, AdamW, its state for a checkpoint.

There are two kinds of AdamW, PyTorch's and one that remembers in 8 bits; a run may be saved with one and go on with the
other.
"""

from contextlib import AbstractContextManager
from importlib.util import find_spec

import torch

from breakascene.models import lora
from breakascene.models.base import Base
from breakascene.training.settings import Settings

BLOCK = 256  # numbers that share a scale in bitsandbytes' state
SMALLEST = 2**16  # numbers; smaller weights, the handles among them, keep Adam's state whole
MOMENTS = (("exp_avg", 1), ("exp_avg_sq", 2))  # with their numbers in bitsandbytes
SCALER = ("scale", "_growth_tracker")  # PyTorch's names
FIELDS = ("step", *(f"{moment}{part}" for moment, _ in MOMENTS for part in ("", "_scale", "_code")))


def trainable(base: Base, settings: Settings) -> AbstractContextManager[lora.TrainableWeights]:
    """What phase 2 teaches besides the handles, while the block runs."""
    if settings.train_all_weights:
        return lora.full_finetuning(base, settings.rank, settings.trained_weights)
    return lora.inject_lora(base, settings.rank, settings.seed, settings.lora_layers)


def make_optimizer(
    words: torch.nn.Parameter, weights: dict[str, torch.nn.Parameter], settings: Settings, eight_bit: bool = False
) -> torch.optim.Optimizer:
    """AdamW over the handles and, in phase 2, the weights that learn; with eight_bit its state takes a quarter."""
    groups = [{"params": [words], "lr": settings.handle_lr_phase2 if weights else settings.handle_lr}]
    if weights:
        groups.append({"params": list(weights.values()), "lr": settings.weight_lr})
    if eight_bit:
        import bitsandbytes

        return bitsandbytes.optim.AdamW8bit(groups, weight_decay=settings.weight_decay, min_8bit_size=SMALLEST)
    # One kernel steps all of the many tensors, on CUDA and on a CPU, without the copies that other kinds make.
    return torch.optim.AdamW(groups, weight_decay=settings.weight_decay, fused=True)


def scaler(base: Base) -> torch.amp.GradScaler:
    """What keeps gradients within float16 where the base computes in it; elsewhere it does nothing."""
    return torch.amp.GradScaler(base.device.type, enabled=base.compute_dtype is torch.float16)


def scaler_state(scaler: torch.amp.GradScaler) -> dict[str, torch.Tensor]:
    """Its state for a checkpoint: "scaler.scale", and "scaler._growth_tracker", the steps since that last moved."""
    state = scaler.state_dict()
    return {f"scaler.{key}": torch.tensor(state[key], dtype=torch.float64) for key in SCALER if state}


def restore_scaler(tensors: dict[str, torch.Tensor], scaler: torch.amp.GradScaler) -> None:
    """Put a saved state back; one without, of a run that was begun in another precision, leaves it as it is."""
    if scaler.is_enabled():
        state = {key: tensors[f"scaler.{key}"].item() for key in SCALER if f"scaler.{key}" in tensors}
        scaler.load_state_dict(scaler.state_dict() | state)


def set_learning_rates(optimizer: torch.optim.Optimizer, settings: Settings, left: float) -> None:
    """Set the rates of phase 2 to what is `left` of them, 1..0."""
    for group, rate in zip(optimizer.param_groups, (settings.handle_lr_phase2, settings.weight_lr), strict=True):
        group["lr"] = left * rate


def has_bitsandbytes() -> bool:
    """Whether the library for 8-bit state is installed; it steps on a CPU as on CUDA."""
    return find_spec("bitsandbytes") is not None


def optimizer_state(optimizer: torch.optim.Optimizer, parameters: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Adam's state by "adam.<field>.<parameter name>"; nothing before the first step.

    Fields as in torch.optim.AdamW: "step", "exp_avg", "exp_avg_sq". Where a moment is in 8 bits, the latter are uint8,
    and with them go "<moment>_scale", one for each BLOCK numbers, and "<moment>_code", (256,), what each byte means.
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
def restore(
    tensors: dict[str, torch.Tensor], optimizer: torch.optim.Optimizer, parameters: dict[str, torch.Tensor]
) -> None:
    """Put saved values, of parameters and of optimizer_state, into the parameters and the optimizer that steps them."""
    for name, parameter in parameters.items():
        parameter.copy_(tensors[name])
        fields = {field: tensors[key] for field in FIELDS if (key := f"adam.{field}.{name}") in tensors}
        if "step" not in fields:
            continue
        if "fused" not in optimizer.defaults:
            _restore_eight_bit(optimizer, parameter, fields)
            continue
        step = fields["step"].to(parameter.device, copy=True)
        moments = {field: _widened(fields, field).to(parameter, copy=True) for field, _ in MOMENTS}
        optimizer.state[parameter].update({"step": step, **moments})


def _restore_eight_bit(optimizer: torch.optim.Optimizer, parameter: torch.Tensor, fields: dict) -> None:
    optimizer.init_state(optimizer.param_groups[0], parameter, 0, 0)  # shapes only; nothing there depends on the group
    state = optimizer.state[parameter]
    state["step"] = int(fields["step"])
    for field, number in MOMENTS:
        value, scale = fields[field], fields.get(f"{field}_scale")
        if state[f"state{number}"].dtype != torch.uint8:
            value = _widened(fields, field)
        elif scale is None:
            import bitsandbytes

            value, made = bitsandbytes.functional.quantize_blockwise(
                value.to(parameter.device), code=state[f"qmap{number}"], blocksize=BLOCK
            )
            scale = made.absmax
        state[f"state{number}"].copy_(value)
        if scale is not None:
            state[f"absmax{number}"].copy_(scale)


def _widened(fields: dict[str, torch.Tensor], field: str) -> torch.Tensor:
    """A moment as plain numbers."""
    value = fields[field]
    if value.dtype != torch.uint8:
        return value
    scales = fields[f"{field}_scale"].repeat_interleave(BLOCK)[: value.numel()]
    return fields[f"{field}_code"][value.long()] * scales.view_as(value)
