"""What learns in a run and how it steps: LoRA or all weights, AdamW, its state for a checkpoint.

Adam's state is told in the fields of torch.optim.AdamW, "step", "exp_avg" and "exp_avg_sq", whichever kind steps: a run
may be saved with one kind and go on with the other.
"""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import cache
from importlib.util import find_spec

import torch

from breakascene import adapter
from breakascene.base import Base
from breakascene.settings import Settings

BLOCK = 256  # numbers that share a scale in bitsandbytes' state
SMALLEST = 2**16  # numbers; smaller weights, the handles among them, keep Adam's state whole
MOMENTS = (("exp_avg", 1), ("exp_avg_sq", 2))  # with their numbers in bitsandbytes


def trainable(base: Base, settings: Settings) -> AbstractContextManager[adapter.Trainable]:
    """What phase 2 teaches besides the handles, while the block runs."""
    if settings.full:
        return adapter.whole(base, settings.rank)
    return adapter.lora(base, settings.rank, settings.seed, settings.unet_layers)


def adamw(
    words: torch.nn.Parameter, weights: dict[str, torch.nn.Parameter], settings: Settings, eight_bit: bool = False
) -> torch.optim.Optimizer:
    """AdamW over the handles and, in phase 2, the weights that learn; with eight_bit its state takes a quarter."""
    groups = [{"params": [words], "lr": settings.late_handle_rate if weights else settings.handle_rate}]
    if weights:
        groups.append({"params": list(weights.values()), "lr": settings.weight_rate})
    if eight_bit:
        return _bitsandbytes().optim.AdamW8bit(groups, weight_decay=settings.weight_decay, min_8bit_size=SMALLEST)
    # There are many small tensors. On CUDA one kernel steps them all, without the copies that foreach makes.
    kind = "fused" if words.device.type == "cuda" else "foreach"
    return torch.optim.AdamW(groups, weight_decay=settings.weight_decay, **{kind: True})


def eight_bit_at_hand() -> bool:
    """Whether the library for 8-bit state is installed; it steps on a CPU as on CUDA."""
    return find_spec("bitsandbytes") is not None


@cache
def _bitsandbytes():
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # on a CPU it misses kernels that are not used here
    import bitsandbytes

    return bitsandbytes


def adam_state(optimizer: torch.optim.Optimizer, parameters: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Adam's state by "adam.<field>.<parameter name>"; nothing before the first step."""
    return {
        f"adam.{field}.{name}": value
        for name, parameter in parameters.items()
        for field, value in _fields(optimizer.state.get(parameter, {}))
    }


def _fields(state: dict) -> Iterator[tuple[str, torch.Tensor]]:
    if "state1" not in state:
        yield from state.items()
        return
    yield "step", torch.tensor(float(state["step"]))
    for field, number in MOMENTS:
        value = state[f"state{number}"]
        if value.dtype == torch.uint8:
            scale, code = state[f"absmax{number}"], state[f"qmap{number}"]
            value = _bitsandbytes().functional.dequantize_blockwise(value, absmax=scale, code=code, blocksize=BLOCK)
        yield field, value.cpu()  # one after another: all of them, whole, may not fit on the GPU


@torch.no_grad()
def restore(
    tensors: dict[str, torch.Tensor], optimizer: torch.optim.Optimizer, parameters: dict[str, torch.Tensor]
) -> None:
    """Put saved values, of parameters and of adam_state, into the parameters and the optimizer that steps them."""
    for name, parameter in parameters.items():
        parameter.copy_(tensors[name])
        fields = {field: tensors.get(f"adam.{field}.{name}") for field in ("step", "exp_avg", "exp_avg_sq")}
        if fields["step"] is None:
            continue
        if "fused" not in optimizer.defaults:
            _restore_eight_bit(optimizer, parameter, fields)
            continue
        # Adam counts its steps on the CPU whatever the device of the weights, but not where one kernel does all
        fields["step"] = fields["step"].to(parameter.device if optimizer.defaults["fused"] else "cpu", copy=True)
        fields |= {field: fields[field].to(parameter, copy=True) for field, _ in MOMENTS}
        optimizer.state[parameter].update(fields)


def _restore_eight_bit(optimizer: torch.optim.Optimizer, parameter: torch.Tensor, fields: dict) -> None:
    optimizer.init_state(optimizer.param_groups[0], parameter, 0, 0)  # shapes only; nothing there depends on the group
    state = optimizer.state[parameter]
    state["step"] = int(fields["step"])
    for field, number in MOMENTS:
        value = fields[field].to(parameter)
        if state[f"state{number}"].dtype == torch.uint8:
            code = state[f"qmap{number}"]
            value, scales = _bitsandbytes().functional.quantize_blockwise(value, code=code, blocksize=BLOCK)
            state[f"absmax{number}"].copy_(scales.absmax)
        state[f"state{number}"].copy_(value)
