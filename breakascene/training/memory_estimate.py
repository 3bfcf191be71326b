"""Estimate of the memory that a run needs, counted on a copy of the base on the meta device."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

import torch
from diffusers import UNet2DConditionModel
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from breakascene.models import lora
from breakascene.models.attention import AttentionStore
from breakascene.models.base import Base
from breakascene.models.precision import autocast_weights
from breakascene.training import optim
from breakascene.training.settings import Settings

OVERHEAD = 1.15  # factor for gradients in flight and fragmentation
LIBRARIES = 250_000_000  # bytes that libraries allocate for themselves

_cache: dict[tuple, int] = {}  # counting takes about a second


def estimate(base: Base, settings: Settings, gradient_checkpointing: bool, eight_bit: bool) -> int:
    """Bytes that a run needs at its peak on the base's device, including the base's weights.

    The sum of the tensors that a step saves for its backward pass and of the bytes of each trained value: its gradient,
    Adam's two moments, and the value itself (LoRA) or its half-precision copy (all weights, on CUDA).
    """
    sizes = (
        bool(settings.steps[1]),
        settings.train_all_weights,
        settings.trained_weights,
        settings.rank,
        settings.lora_layers,
        settings.train_batch_size,
        bool(settings.prior_loss_weight),
    )
    key = base.fingerprint, base.device.type, sizes, gradient_checkpointing, eight_bit
    if key not in _cache:
        _cache[key] = _count(base, settings, gradient_checkpointing, eight_bit)
    return _cache[key]


def _count(base: Base, settings: Settings, gradient_checkpointing: bool, eight_bit: bool) -> int:
    cuda, meta = base.device.type == "cuda", _meta_copy(base)
    modules = list(meta.trainable_modules.values())
    half = set()
    if cuda and not settings.train_all_weights:
        half = {id(weight) for module in modules for weight in autocast_weights(module).values()}
    frozen = sum(p.numel() * (2 if id(p) in half else 4) for module in modules for p in module.parameters())
    with ExitStack() as stack:
        trained = {}
        if settings.steps[1] and settings.train_all_weights:
            trained = lora.trainable_parameters(meta, settings.trained_weights)
            for weight in trained.values():
                weight.requires_grad_(True)
        elif settings.steps[1]:
            trained = stack.enter_context(optim.trainable(meta, settings)).parameters
        num_samples = settings.train_batch_size
        batch = num_samples * (2 if settings.steps[1] and settings.prior_loss_weight else 1)
        saved = _saved_for_backward(meta, batch, num_samples, gradient_checkpointing)
    bytes_per_value = 4 + (2 if eight_bit else 8) + (2 * cuda if settings.train_all_weights else 4)
    # On CUDA nearly all saved tensors are in half precision
    tensors = frozen + bytes_per_value * sum(p.numel() for p in trained.values()) + saved * (0.55 if cuda else 1)
    return int(OVERHEAD * tensors) + LIBRARIES


def _meta_copy(base: Base) -> Base:
    """Return a base of the same shapes on the meta device, where tensors have no values and calls cost nothing."""
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(base.unet.config)
        models = [type(encoder.model)(encoder.model.config) for encoder in base.encoders]
    for module in (unet, *models):
        module.eval().requires_grad_(False)
    encoders = tuple(encoder._replace(model=model) for encoder, model in zip(base.encoders, models, strict=True))
    return replace(base, encoders=encoders, unet=unet)


class _FusedAttention(TorchFunctionMode):
    """Fused attention as on a real device; on the meta device PyTorch would use, and we would count, full matrices."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is F.scaled_dot_product_attention:
            return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(*args[:3])[0]
        return function(*args, **(kwargs or {}))


def _saved_for_backward(meta: Base, batch: int, num_samples: int, gradient_checkpointing: bool) -> int:
    """Bytes, as float32, of all tensors that a step over `batch` images saves for its backward pass."""
    weights = {p.untyped_storage()._cdata for module in meta.trainable_modules.values() for p in module.parameters()}
    saved: dict[int, torch.UntypedStorage] = {}  # keeping the storages keeps their addresses from being reused
    largest_block = 0

    def note(tensor: torch.Tensor, store: dict) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            store[storage._cdata] = storage
        return tensor

    def checkpointed(block: Callable, *args):
        """A checkpointed block: its inputs are saved, its inner tensors only while it is recomputed."""
        nonlocal largest_block
        inner = {}
        for value in args:
            if isinstance(value, torch.Tensor):
                note(value, saved)
        with saved_tensors_hooks(lambda tensor: note(tensor, inner), lambda tensor: tensor):
            result = block(*args)
        largest_block = max(largest_block, sum(storage.nbytes() for storage in inner.values()))
        return result

    if gradient_checkpointing:
        meta.unet.enable_gradient_checkpointing(checkpointed)
    for encoder in meta.encoders:
        encoder.model.get_input_embeddings().weight.requires_grad_(True)  # as the handles' embeddings do
    size = meta.latent_size
    noisy_latents = torch.empty(batch, meta.unet.config.in_channels, size, size, device="meta")
    with (
        AttentionStore(meta.unet, meta.attention_layers, num_samples),
        saved_tensors_hooks(lambda tensor: note(tensor, saved), lambda tensor: tensor),
        _FusedAttention(),
    ):
        conditioning = meta.encode_prompts(["a photo"] * batch)
        meta.unet(noisy_latents, torch.zeros(batch, device="meta"), **conditioning)
    return sum(storage.nbytes() for storage in saved.values()) + largest_block
