"""Concepts of several runs in one image: the weight delta of a run acts only for its own handles and in their region.

The sum of the deltas mixes the objects, since each was trained as if it were alone. Here a delta acts

- token-wise in the text encoders and in the keys and values of the UNet's cross-attention, as in TARA (arXiv
  2508.08812): never at the handles of other runs. Unlike there it acts at the other words of the prompt, among which
  it was trained;
- region-wise in the rest of the UNet: where the handles of its run have more attention than those of the other runs, as
  in FreeFuse (arXiv 2510.23515). The regions come from the attention maps of the steps so far; until there are any, the
  deltas share the whole image.
"""

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from breakascene.data.handle_names import name_handles
from breakascene.errors import UserError
from breakascene.models import handles, lora
from breakascene.models.attention import AttentionStore
from breakascene.models.base import Base
from breakascene.models.concepts import Concepts

NO_RUN = -1  # the owner of a token that is no handle
SOFTNESS = 0.1  # of the borders between regions, in units of the attention's maximum


@dataclass(frozen=True, eq=False)
class CombinedConcepts:
    """The concepts of several runs on one base, with handles made of their names; takes the place of Concepts.

    Made by `combine`.
    """

    runs: tuple[Concepts, ...]
    handles: tuple[str, ...]  # of all runs, in their order
    names: tuple[str, ...]

    @property
    def base(self) -> str:
        return self.runs[0].base

    @property
    def fingerprint(self) -> str:
        return self.runs[0].fingerprint

    @property
    def id(self) -> str:
        return "+".join(run.id for run in self.runs)

    @property
    def photo(self) -> str:
        """The hashes of the photos, joined by "+"."""
        return "+".join(run.photo for run in self.runs if run.photo)

    @property
    def owners(self) -> list[int]:
        """The index of the run that each handle belongs to."""
        return [index for index, run in enumerate(self.runs) for _ in run.handles]

    @contextmanager
    def applied(self, base: Base, others: Mapping[str, torch.Tensor] | None = None) -> Iterator[Base]:
        """Add the handles and the routed deltas to a base for the duration of a block; see Concepts.applied."""
        for run in self.runs:
            run.check(base)
        others = others or {}
        embeddings = torch.cat([*(run.embeddings for run in self.runs), *(value[None] for value in others.values())])
        with (
            base.lock.held(),
            handles.with_handles(base, (*self.handles, *others), embeddings),
            _Routing(base, self),
        ):
            yield base


def combine(runs: Sequence[Concepts]) -> CombinedConcepts:
    """Combine the concepts of several runs, whose handles become their names: "<teapot>", "<owl>", "<owl-2>".

    Raises:
        UserError: If the runs were made on different bases, or one of them is given twice.
    """
    for run in runs[1:]:
        if run.fingerprint != runs[0].fingerprint:
            raise UserError(
                "These runs cannot be combined, they were learned on {one} and on {other}: choose runs of one base.",
                one=runs[0].base, other=run.base,
            )  # fmt: skip
    if len({run.id for run in runs}) < len(runs):
        raise UserError("The same run is given twice: name each run once.")
    names = tuple(name for run in runs for name in run.names)
    known = tuple(handle for run in runs for handle in run.handles)
    return CombinedConcepts(tuple(runs), name_handles(known, names), names)


class _Routing:
    """A context manager that adds the deltas of the runs to the outputs of a base's layers, weighted by place.

    The text encoders tell it which tokens are whose handles; the UNet's calls follow them. In a call with
    classifier-free guidance the first half of the batch are the negative prompts, which diffusers encodes last.
    """

    def __init__(self, base: Base, concepts: CombinedConcepts):
        self.base, self.concepts = base, concepts
        self.count = len(concepts.runs)
        self.store = AttentionStore(base.unet, base.attention_layers)
        self.encoded: list[tuple[torch.Tensor, torch.Tensor]] = []  # ids and owners (B, T) of the last two encodings

    def __enter__(self) -> None:
        self.handle_ids = self.base.tokenizer.convert_tokens_to_ids(list(self.concepts.handles))
        with ExitStack() as stack:
            stack.enter_context(self.store)
            add = stack.callback
            add(self.base.text_encoder.register_forward_pre_hook(self._before_encoder, with_kwargs=True).remove)
            add(self.base.unet.register_forward_pre_hook(self._before_unet, with_kwargs=True).remove)
            add(self.base.unet.register_forward_hook(self._after_unet).remove)
            for name in self._layers():
                component, _, path = name.partition(".")
                layer = self.base.trainable_modules[component].get_submodule(path)
                changes = [_change(run.delta, name, layer) for run in self.concepts.runs]
                add(layer.register_forward_hook(self._layer_hook(component, path, changes)).remove)
            self._stack = stack.pop_all()

    def __exit__(self, *_) -> None:
        self._stack.close()

    def _layers(self) -> list[str]:
        """Names of the layers that any run changes."""
        weights = (key.rpartition(".")[0] for run in self.concepts.runs for key in run.delta)
        return list(dict.fromkeys(weight.rpartition(".")[0] for weight in weights))

    def _before_encoder(self, _, args, kwargs) -> None:
        ids = args[0] if args else kwargs["input_ids"]  # (B, T)
        owners = torch.full_like(ids, NO_RUN)
        for handle_id, owner in zip(self.handle_ids, self.concepts.owners, strict=True):
            owners[ids == handle_id] = owner
        self.encoded = [*self.encoded[-1:], (ids, owners)]
        self.owners = owners
        self.attention = None  # another image begins

    def _before_unet(self, _, args, kwargs) -> None:
        latents = args[0] if args else kwargs["sample"]  # (B, C, h, w)
        ids, owners = zip(*self.encoded[::-1], strict=True)
        if sum(map(len, ids)) != len(latents):  # without guidance, or SDXL without a negative prompt
            ids, owners = ids[:1], owners[:1]
        ids, owners = torch.cat(ids), torch.cat(owners)
        missing = len(latents) - len(ids)
        self.ids = F.pad(ids, (0, 0, missing, 0), value=-1).to(latents.device)
        self.owners = F.pad(owners, (0, 0, missing, 0), value=NO_RUN).to(latents.device)
        self.latent_shape, self.regions = tuple(latents.shape[2:]), {}

    def _after_unet(self, *_) -> None:
        """Add the attention of this step to the regions."""
        maps = self.store.mean()  # (B, Q, T)
        self.map_shape = self._shape_of(maps.shape[1])
        maps = torch.stack([self._attention_of(maps, run) for run in range(self.count)], 1)  # (B, R, Q)
        self.attention = maps if self.attention is None else self.attention + maps

    def _attention_of(self, maps: torch.Tensor, run: int) -> torch.Tensor:
        """Return the attention (B, Q) of the run's handle that has most of it at each place, each up to 1."""
        found = maps.new_zeros(maps.shape[:2])
        for handle_id, owner in zip(self.handle_ids, self.concepts.owners, strict=True):
            if owner == run:
                own = (maps * (self.ids == handle_id)[:, None]).sum(2)
                found = found.maximum(own / own.amax(1, keepdim=True).clamp(min=1e-8))
        return found

    def _layer_hook(self, component: str, path: str, changes: Sequence[Callable | None]) -> Callable:
        by_token = component != "unet" or path.endswith(("attn2.to_k", "attn2.to_v"))

        def hook(_, args, output: torch.Tensor) -> torch.Tensor:
            weights = self._weights(output, by_token)  # (R, B, …)
            for weight, change in zip(weights, changes, strict=True):
                if change is not None:
                    output = output + weight.to(output) * change(args[0]).to(output)
            return output

        return hook

    def _weights(self, output: torch.Tensor, by_token: bool) -> torch.Tensor:
        """Return how much each run's delta counts at each place of a layer's output, (R, B, …)."""
        runs = torch.arange(self.count, device=self.owners.device)[:, None, None]
        own = self.owners == runs  # (R, B, T)
        if by_token and output.ndim == 3:
            others = (self.owners == NO_RUN) & own.any(2, keepdim=True)  # words of a prompt that has the run's handles
            return (own | others)[..., None]  # output (B, T, d)
        share = own.any(2).float()
        share = share / share.sum(0).clamp(min=1)  # (R, B)
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


def _change(delta: lora.WeightDelta, name: str, layer: nn.Module) -> Callable | None:
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
