"""Ways to make a run fit into memory: what each costs, which one fits, and what happens when memory runs out.

None of this is in Settings, because it belongs to the machine and not to the run: "fast" and "lean" end alike bit for
bit on one CPU, "least" differs by rounding, and a run that was begun one mode may go on in another.

What costs nothing is done in every mode, on CUDA: the VAE rests on the CPU while steps are done, weights that do not
learn lie in the halves that the arithmetic takes anyway, and what a full change is compared with lies on the CPU. The
text encoders stay: both phases learn through them in every step.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import psutil
import torch
from diffusers import UNet2DConditionModel
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from breakascene.errors import UserError
from breakascene.errors import is_out_of_memory as is_out_of_memory  # for the training loop
from breakascene.models import lora
from breakascene.models.attention import AttentionStore
from breakascene.models.base import Base
from breakascene.training import optim
from breakascene.training.settings import Settings

ROOM = 1.15  # on top of the tensors: gradients on their mode, and memory lost between blocks
ASIDE = 250_000_000  # bytes that libraries take for themselves


@dataclass(frozen=True)
class MemoryMode:
    """One mode to use memory, from what it keeps."""

    name: str
    reason: str
    recompute: bool = False  # gradient checkpointing of the UNet
    eight_bit: bool = False  # Adam's state in 8 bits


MEMORY_MODES = (  # from the quickest to the most memory_mode
    MemoryMode("fast", "all that a step computes is kept: the quickest"),
    MemoryMode("lean", "the UNet's blocks are computed twice instead of kept: the same result, a third slower", True),
    MemoryMode("least", "like lean, and Adam remembers in 8 bits: saves most where all weights learn", True, True),
)
MEMORY_MODE_NAMES = ("auto", *(mode.name for mode in MEMORY_MODES))


@dataclass(frozen=True)
class MemoryPlan:
    """The mode that a run takes, and why."""

    mode: MemoryMode
    needs: int  # bytes with the base's weights, an estimate
    free: int  # bytes there, those of the base's weights among them
    after: str = ""  # the mode that ran out of memory before

    def __str__(self) -> str:
        why = f"{self.mode.name}, {self.mode.reason}; about {self.needs / 1e9:.1f} GB of {self.free / 1e9:.1f} GB."
        return f"Memory ran out with {self.after}; going on with {why}" if self.after else f"Memory: {why}"


def plan_memory(name: str, base: Base, settings: Settings) -> MemoryPlan:
    """The mode with this name or, for "auto", the quickest that fits the free memory, else the most economical one.

    Raises UserError for a name that is none, and for 8 bits where the library for them is missing.
    """
    if name not in MEMORY_MODE_NAMES:
        raise UserError(
            f'There is no memory "{name}": choose {", ".join(MEMORY_MODE_NAMES[:-1])} or {MEMORY_MODE_NAMES[-1]}.'
        )
    modes = _at_hand() if name == "auto" else [mode for mode in MEMORY_MODES if mode.name == name]
    if not set(modes) <= set(_at_hand()):
        raise UserError(f'The memory "{name}" needs bitsandbytes: install it (pip install bitsandbytes), or take lean.')
    free = free_bytes(base.device) + weight_bytes(base)
    choices = (MemoryPlan(mode, estimate(base, settings, mode), free) for mode in modes)
    for choice in choices:
        if choice.needs <= free:
            break
    return choice


def next_plan(choice: MemoryPlan, base: Base, settings: Settings) -> MemoryPlan:
    """The next mode after one that ran out of memory. Raises UserError if there is none."""
    modes = _at_hand()
    if choice.mode == modes[-1]:
        if modes[-1] != MEMORY_MODES[-1]:
            raise UserError(
                "Memory ran out: install bitsandbytes (pip install bitsandbytes), with which a run needs less, close "
                "other programs, or take a smaller base or a preset with LoRA, light or quick."
            )
        raise UserError(
            "Memory ran out even in the most sparing way: close other programs, or take a smaller base or a preset "
            "with LoRA, light or quick."
        )
    free = free_bytes(base.device) + weight_bytes(base)
    mode = modes[modes.index(choice.mode) + 1]
    return MemoryPlan(mode, estimate(base, settings, mode), free, after=choice.mode.name)


def _at_hand() -> list[MemoryMode]:
    return [mode for mode in MEMORY_MODES if not mode.eight_bit or optim.has_bitsandbytes()]


def free_bytes(device: torch.device) -> int:
    """Bytes that can still be had on the device; what PyTorch holds in reserve counts as free."""
    gc.collect()
    if device.type != "cuda":
        return psutil.virtual_memory().available
    torch.cuda.empty_cache()
    return torch.cuda.mem_get_info(device)[0]


def weight_bytes(base: Base) -> int:
    """Bytes of the base's weights where they learn: UNet and text encoders."""
    return sum(p.numel() * p.element_size() for module in base.trainable_modules.values() for p in module.parameters())


def estimate(base: Base, settings: Settings, mode: MemoryMode) -> int:
    """Bytes that a run needs at its peak, with the base's weights, on the base's device.

    Counted on a twin of the base without values: what a step keeps for its backward pass, and what a learning number
    costs: its gradient, Adam's two, and itself (LoRA) or its half for the arithmetic (all weights, on CUDA).
    """
    key = base.fingerprint, base.device.type, settings, mode
    if key not in _estimates:
        _estimates[key] = _count(base, settings, mode)
    return _estimates[key]


def _count(base: Base, settings: Settings, mode: MemoryMode) -> int:
    cuda, twin = base.device.type == "cuda", _twin(base)
    halves = (
        {id(w) for m in twin.trainable_modules.values() for w in _halvable(m)}
        if cuda and not settings.train_all_weights
        else set()
    )
    frozen = sum(
        p.numel() * (2 if id(p) in halves else 4) for m in twin.trainable_modules.values() for p in m.parameters()
    )
    with ExitStack() as undo:
        taught = {}
        if settings.steps[1] and settings.train_all_weights:
            taught = lora.trainable_parameters(twin, settings.trained_weights)
            for weight in taught.values():
                weight.requires_grad_(True)
        elif settings.steps[1]:
            taught = undo.enter_context(optim.trainable(twin, settings)).parameters
        pictures = settings.train_batch_size * (2 if settings.steps[1] and settings.prior_loss_weight else 1)
        kept = _kept_for_backward(twin, pictures, settings.train_batch_size, mode.recompute)
    number = 4 + (2 if mode.eight_bit else 8) + (2 * cuda if settings.train_all_weights else 4)  # bytes
    # On CUDA a part of what is kept lies in halves, but not norms and what goes into them.
    tensors = frozen + number * sum(p.numel() for p in taught.values()) + kept * (0.75 if cuda else 1)
    return int(ROOM * tensors) + ASIDE


_estimates: dict[tuple, int] = {}  # counting takes about a second


def _twin(base: Base) -> Base:
    """A base of the same shapes on the device "meta", where tensors have no values and calls cost nothing."""
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(base.unet.config)
        models = [type(encoder.model)(encoder.model.config) for encoder in base.encoders]
    for module in (unet, *models):
        module.eval().requires_grad_(False)
    encoders = tuple(e._replace(model=model) for e, model in zip(base.encoders, models, strict=True))
    return replace(base, encoders=encoders, unet=unet)


class _Fused(TorchFunctionMode):
    """Attention as it is on a real device: on "meta" alone PyTorch takes plain matrices, which would be counted."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is F.scaled_dot_product_attention:
            return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(*args[:3])[0]
        return function(*args, **(kwargs or {}))


def _kept_for_backward(twin: Base, pictures: int, own: int, recompute: bool) -> int:
    """Bytes, as float32, of all tensors that a step over so many pictures keeps for its backward pass."""
    weights = {p.untyped_storage()._cdata for module in twin.trainable_modules.values() for p in module.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}  # the storages themselves, so that none of their addresses is used anew
    largest = 0

    def note(tensor: torch.Tensor, store: dict) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            store[storage._cdata] = storage
        return tensor

    def block(work: Callable, *args):
        """A block that is computed twice: its inputs are kept, what is inside only while its own turn lasts."""
        nonlocal largest
        inside = {}
        for value in args:
            if isinstance(value, torch.Tensor):
                note(value, kept)
        with saved_tensors_hooks(lambda tensor: note(tensor, inside), lambda tensor: tensor):
            result = work(*args)
        largest = max(largest, sum(storage.nbytes() for storage in inside.values()))
        return result

    if recompute:
        twin.unet.enable_gradient_checkpointing(block)
    for encoder in twin.encoders:
        encoder.model.get_input_embeddings().weight.requires_grad_(True)  # as the handles do
    size = twin.latent_size
    noisy = torch.empty(pictures, twin.unet.config.in_channels, size, size, device="meta")
    with (
        AttentionStore(twin.unet, twin.attention_layers, own),
        saved_tensors_hooks(lambda tensor: note(tensor, kept), lambda tensor: tensor),
        _Fused(),
    ):
        told = twin.encode_prompts(["a photo"] * pictures)
        twin.unet(noisy, torch.zeros(pictures, device="meta"), **told)
    return sum(storage.nbytes() for storage in kept.values()) + largest


@contextmanager
def memory_mode(base: Base, settings: Settings, mode: MemoryMode) -> Iterator[None]:
    """While the block runs, `base` uses memory in this mode; afterwards it is as it was, bit for bit."""
    with ExitStack() as undo:
        if mode.recompute:
            base.unet.enable_gradient_checkpointing()
            undo.callback(base.unet.disable_gradient_checkpointing)
        if base.device.type == "cuda":
            undo.callback(base.vae.to, base.device)
            if not settings.train_all_weights:
                undo.enter_context(half_precision_weights(base))
        yield


@contextmanager
def half_precision_weights(base: Base) -> Iterator[None]:
    """While the block runs, the weights that do not learn lie in halves where autocast would make them so anyway.

    So nothing that is computed under Base.autocast changes, and each step is spared the making. The full values wait on
    the CPU.
    """
    weights = [
        weight for module in base.trainable_modules.values() for weight in _halvable(module) if not weight.requires_grad
    ]
    before = [weight.data.to("cpu") for weight in weights]
    try:
        for weight in weights:
            weight.data = weight.data.to(base.compute_dtype)
        yield
    finally:
        for weight, whole in zip(weights, before, strict=True):
            weight.data = whole.to(weight.device)


def _halvable(module: nn.Module) -> list[nn.Parameter]:
    """Weights and biases of linear layers and convolutions."""
    layers = (layer for layer in module.modules() if isinstance(layer, nn.Linear | nn.Conv2d))
    return [weight for layer in layers for weight in layer.parameters(recurse=False)]


def offload_vae(base: Base) -> None:
    """Put the VAE away to the CPU until Base.pipeline or Base.encode wants it again; on a CPU it stays."""
    if base.device.type == "cuda":
        base.vae.to("cpu")
