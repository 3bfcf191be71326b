"""Memory modes: the choice of one that fits, and their application to a base.

Not part of Settings, because the mode belongs to the machine and not to the run: "fast" and "lean" give the same
result, bit for bit on one CPU, "least" differs by rounding, and a run started in one mode may resume in another.

On CUDA every mode includes the savings that cost nothing: the VAE is offloaded to the CPU during the steps, frozen
weights are stored in the half precision that autocast computes in anyway (models/precision.py), and the original
weights of a full fine-tuning are kept on the CPU. The text encoders stay on the GPU: both phases train through them in
every step.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

import psutil
import torch
from torch.utils.checkpoint import checkpoint

from breakascene.errors import UserError
from breakascene.models.base import Base
from breakascene.training import memory_estimate, optim
from breakascene.training.modes import MEMORY_MODE_NAMES, MEMORY_MODES, MemoryMode
from breakascene.training.settings import Settings


@dataclass(frozen=True)
class MemoryPlan:
    """The memory mode of a run, and the estimate behind the choice."""

    mode: MemoryMode
    needs: int  # bytes, an estimate, including the base's weights
    free: int  # bytes, including those that the base's weights take now
    after: str = ""  # the mode that ran out of memory before

    def __str__(self) -> str:
        mode = f"{self.mode.name}, {self.mode.description}"
        size = f"about {self.needs / 1e9:.1f} GB of {self.free / 1e9:.1f} GB."
        return (
            f"Memory ran out with {self.after}; resuming with {mode}; {size}"
            if self.after
            else f"Memory: {mode}; {size}"
        )


def plan_memory(name: str, base: Base, settings: Settings) -> MemoryPlan:
    """Choose a mode by name or, for "auto", the fastest that fits the free memory, else the most economical one.

    Raises:
        UserError: For an unknown name, and for 8-bit state without the library for it.
    """
    if name not in MEMORY_MODE_NAMES:
        raise UserError(
            f'There is no memory mode "{name}": choose {", ".join(MEMORY_MODE_NAMES[:-1])} or {MEMORY_MODE_NAMES[-1]}.'
        )
    modes = _available() if name == "auto" else [mode for mode in MEMORY_MODES if mode.name == name]
    if not set(modes) <= set(_available()):
        raise UserError(
            f'The memory mode "{name}" needs bitsandbytes: install it (pip install bitsandbytes), or choose lean.'
        )
    free = free_bytes(base.device) + weight_bytes(base)
    for mode in modes:
        plan = MemoryPlan(mode, estimate(base, settings, mode), free)
        if plan.needs <= free:
            break
    return plan


def next_plan(plan: MemoryPlan, base: Base, settings: Settings) -> MemoryPlan:
    """The next mode after one that ran out of memory.

    Raises:
        UserError: If there is none.
    """
    modes = _available()
    if plan.mode == modes[-1]:
        if modes[-1] != MEMORY_MODES[-1]:
            raise UserError(
                "Memory ran out: install bitsandbytes (pip install bitsandbytes) for a mode that needs less, close "
                "other programs, or choose a smaller base or a LoRA preset, light or quick."
            )
        raise UserError(
            "Memory ran out in the most economical mode too: close other programs, or choose a smaller base or a LoRA "
            "preset, light or quick."
        )
    free = free_bytes(base.device) + weight_bytes(base)
    mode = modes[modes.index(plan.mode) + 1]
    return MemoryPlan(mode, estimate(base, settings, mode), free, after=plan.mode.name)


def _available() -> list[MemoryMode]:
    return [mode for mode in MEMORY_MODES if not mode.eight_bit or optim.has_bitsandbytes()]


def free_bytes(device: torch.device) -> int:
    """Bytes that can still be allocated on the device; PyTorch's unused reserve counts as free."""
    if device.type != "cuda":
        return psutil.virtual_memory().available
    reserve = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + reserve


def weight_bytes(base: Base) -> int:
    """Bytes of the weights of UNet and text encoders."""
    return sum(p.numel() * p.element_size() for module in base.trainable_modules.values() for p in module.parameters())


def estimate(base: Base, settings: Settings, mode: MemoryMode) -> int:
    """Bytes that a run needs at its peak on the base's device, including the base's weights."""
    return memory_estimate.estimate(base, settings, mode.gradient_checkpointing, mode.eight_bit)


@contextmanager
def memory_mode(base: Base, mode: MemoryMode) -> Iterator[None]:
    """Apply a memory mode to a base for the duration of a block; it is restored bit for bit."""
    with ExitStack() as stack:
        if mode.gradient_checkpointing:
            # No layer uses random numbers in eval mode; saving their state would forbid capture as a CUDA graph
            base.unet.enable_gradient_checkpointing(partial(checkpoint, use_reentrant=False, preserve_rng_state=False))
            stack.callback(base.unet.disable_gradient_checkpointing)
        if base.device.type == "cuda":
            stack.callback(base.vae.to, base.device)
        yield


def offload_vae(base: Base) -> None:
    """Move the VAE from a GPU to the CPU until Base.pipeline or Base.encode needs it again; on a CPU it stays."""
    if base.device.type == "cuda":
        base.vae.to("cpu")
