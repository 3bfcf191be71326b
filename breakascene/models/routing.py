"""Routing of weight deltas: each is added to the outputs of a base's layers for some tokens and in some places only."""

import copy
import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from breakascene.models import lora
from breakascene.models.attention import AttentionStore
from breakascene.models.base import Base

NO_RUN = -1  # the owner of a token that is no handle
SOFTNESS = 0.1  # of the borders between regions, in units of the attention's maximum


@dataclass(frozen=True)
class _Tokens:
    """The tokens of a batch of prompts.

    Attributes:
        ids, owners: Of each token, its id and the run whose handle it is, (B, T).
        present: Whether a run takes part in the image of a prompt, (R, B).
    """

    ids: torch.Tensor
    owners: torch.Tensor
    present: torch.Tensor


class Routing:
    """A context manager that adds the deltas of the runs to the outputs of a base's layers, weighted by place.

    The text encoders tell it which tokens are whose handles; the UNet's calls follow them. In a call with
    classifier-free guidance the first half of the batch are the negative prompts, which diffusers encodes last.
    """

    def __init__(self, base: Base, deltas: Sequence[lora.WeightDelta], handles: Sequence[str], owners: Sequence[int]):
        self.base, self.deltas, self.handles, self.handle_owners = base, deltas, handles, owners
        self.store = AttentionStore(base.unet, base.attention_layers)
        self.encoded: list[_Tokens] = []  # of the last two encodings

    def __enter__(self) -> None:
        self.handle_ids = self.base.tokenizer.convert_tokens_to_ids(list(self.handles))
        with ExitStack() as stack:
            stack.enter_context(self.store)
            add = stack.callback
            add(self.base.text_encoder.register_forward_pre_hook(self._before_encoder, with_kwargs=True).remove)
            add(self.base.unet.register_forward_pre_hook(self._before_unet, with_kwargs=True).remove)
            add(self.base.unet.register_forward_hook(self._after_unet).remove)
            for name in self._layers():
                component, _, path = name.partition(".")
                layer = self.base.trainable_modules[component].get_submodule(path)
                changes = [layer_change(delta, name, layer) for delta in self.deltas]
                add(layer.register_forward_hook(self._layer_hook(component, path, changes)).remove)
            self._stack = stack.pop_all()

    def __exit__(self, *_) -> None:
        self._stack.close()

    def _layers(self) -> list[str]:
        """Names of the layers that any run changes."""
        weights = (key.rpartition(".")[0] for delta in self.deltas for key in delta)
        return list(dict.fromkeys(weight.rpartition(".")[0] for weight in weights))

    def _before_encoder(self, _, args, kwargs) -> None:
        ids = args[0] if args else kwargs["input_ids"]  # (B, T)
        owners = torch.full_like(ids, NO_RUN)
        for handle_id, owner in zip(self.handle_ids, self.handle_owners, strict=True):
            owners[ids == handle_id] = owner
        present = self._present(owners)
        if self.encoded and self.encoded[-1].present.shape == present.shape:  # negative prompts come after the prompts
            present = torch.where(present.any(0), present, self.encoded[-1].present)
        self.encoded = [*self.encoded[-1:], _Tokens(ids, owners, present)]
        self._use(self.encoded[-1])
        self.attention = None  # another image begins

    def _present(self, owners: torch.Tensor) -> torch.Tensor:
        """Return whether a prompt has a handle of a run, (R, B), from the owners of its tokens (B, T)."""
        return torch.stack([(owners == run).any(1) for run in range(len(self.deltas))])

    def _use(self, tokens: "_Tokens") -> None:
        self.tokens, self.active = tokens, tokens.present.any(1).tolist()

    def _before_unet(self, _, args, kwargs) -> None:
        latents = args[0] if args else kwargs["sample"]  # (B, C, h, w)
        parts = self.encoded[::-1]
        if sum(len(part.ids) for part in parts) != len(latents):  # without guidance, or without a negative prompt
            parts = parts[:1]
        ids, owners = (torch.cat([getattr(part, kind) for part in parts]) for kind in ("ids", "owners"))
        present, count = torch.cat([part.present for part in parts], 1), len(parts[-1].ids)
        if missing := len(latents) - len(ids):  # SDXL without a negative prompt
            ids, owners = F.pad(ids, (0, 0, missing, 0), value=-1), F.pad(owners, (0, 0, missing, 0), value=NO_RUN)
            present = torch.cat([present[:, :missing], present], 1)
        rows = torch.arange(len(ids), device=ids.device)
        follows = ((owners == NO_RUN).all(1)) & (rows < len(ids) - count)
        device = latents.device
        self.source = torch.where(follows, rows + count, rows).to(device)  # the row whose regions each row has
        self._use(_Tokens(ids.to(device), owners.to(device), present.to(device)))
        self.latent_shape, self.regions = tuple(latents.shape[2:]), {}

    def _after_unet(self, *_) -> None:
        """Add the attention of this step to the regions."""
        maps = self.store.mean()  # (B, Q, T)
        self.map_shape = self._shape_of(maps.shape[1])
        maps = torch.stack([self._attention_of(maps, run) for run in range(len(self.deltas))], 1)  # (B, R, Q)
        maps = maps[self.source]
        self.attention = maps if self.attention is None else self.attention + maps

    def _attention_of(self, maps: torch.Tensor, run: int) -> torch.Tensor:
        """Return the attention (B, Q) of the run's handle that has most of it at each place, each up to 1."""
        found = maps.new_zeros(maps.shape[:2])
        for handle_id, owner in zip(self.handle_ids, self.handle_owners, strict=True):
            if owner == run:
                own = (maps * (self.tokens.ids == handle_id)[:, None]).sum(2)
                found = found.maximum(own / own.amax(1, keepdim=True).clamp(min=1e-8))
        return found

    def _layer_hook(self, component: str, path: str, changes: Sequence[Callable | None]) -> Callable:
        by_token = component != "unet" or path.endswith(("attn2.to_k", "attn2.to_v"))

        def hook(_, args, output: torch.Tensor) -> torch.Tensor:
            weights = None
            for run, change in enumerate(changes):
                if change is not None and self.active[run]:
                    weights = self._weights(output, by_token) if weights is None else weights  # (R, B, …)
                    output = output + weights[run].to(output) * change(args[0]).to(output)
            return output

        return hook

    def _weights(self, output: torch.Tensor, by_token: bool) -> torch.Tensor:
        """Return how much each run's delta counts at each place of a layer's output, (R, B, …)."""
        present = self.tokens.present.float()
        share = present / present.sum(0).clamp(min=1)  # (R, B)
        if by_token and output.ndim == 3:  # (B, T, d)
            runs = torch.arange(len(self.deltas), device=share.device)[:, None, None]
            own, free = self.tokens.owners == runs, self.tokens.owners == NO_RUN  # (R, B, T), (B, T)
            alone = (share == 1)[..., None]  # nothing can mix, so the run acts at all words, as it was trained
            return torch.where(free, alone, own)[..., None]
        if output.ndim == 2:  # time embeddings and pooled prompts have no places
            return share[..., None]
        size = self._shape_of(output.shape[1]) if output.ndim == 3 else tuple(output.shape[2:])
        regions = self._regions(share, size)  # (R, B, h, w)
        return regions[:, :, None] if output.ndim == 4 else regions.flatten(2)[..., None]

    def _shape_of(self, places: int) -> tuple[int, int]:
        """Return height and width of a level of the UNet by its number of places."""
        height, width = self.latent_shape
        while height * width > places:
            height, width = (height + 1) // 2, (width + 1) // 2  # a convolution of stride 2 rounds up
        return height, width

    def _regions(self, share: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """Return the regions of the runs at a size, (R, B, h, w): they add up to 1 where an image has handles."""
        if self.attention is None:
            return share[..., None, None].expand(-1, -1, *size)
        if size not in self.regions:
            maps = self.attention.unflatten(2, self.map_shape)
            maps = F.interpolate(maps, size, mode="bilinear").transpose(0, 1)  # (R, B, h, w)
            maps = (maps / SOFTNESS).masked_fill(share[..., None, None] == 0, -math.inf)
            self.regions[size] = maps.softmax(0).nan_to_num(0)
        return self.regions[size]


def layer_change(delta: lora.WeightDelta, name: str, layer: nn.Module) -> Callable | None:
    """Return the change of a layer's output by a delta, as a function of its input; None if it does not change it.

    The layers that a delta changes are linear in their parameters, so the change is the output of the same layer with
    the delta in their place. For low-rank factors alone, two small layers do.
    """
    parts = {kind: f"{name}.{kind}" for kind in ("weight", "bias") if hasattr(layer, kind)}
    changed = {kind: key for kind, key in parts.items() if f"{key}.A" in delta or f"{key}.diff" in delta}
    if not changed:
        return None
    weight = layer.weight
    if list(changed) == ["weight"] and f"{name}.weight.A" in delta and isinstance(layer, nn.Linear | nn.Conv2d):
        a, b = (delta[f"{name}.weight.{factor}"].to(weight) for factor in "AB")  # (r, in), (out, r)
        if isinstance(layer, nn.Linear):
            return lambda x: F.linear(F.linear(x, a), b)
        a = a.unflatten(1, weight.shape[1:])
        return lambda x: F.conv2d(F.conv2d(x, a, None, layer.stride, layer.padding), b[..., None, None])
    copied = copy.deepcopy(layer)  # without the hook that calls it
    for kind, key in parts.items():
        if (parameter := getattr(copied, kind)) is not None:
            parameter.data = lora.dense_delta(delta, key, parameter) if kind in changed else torch.zeros_like(parameter)
    return copied
