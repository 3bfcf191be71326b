"""A module's forward as a captured CUDA graph: with few images, a UNet is bound by the launches of its kernels."""

import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import nn
from torch.utils import _pytree as pytree

log = logging.getLogger(__name__)

WARM_UP_CALLS = 2  # run eagerly: libraries choose kernels and allocate their workspaces
MIN_CALLS = 8  # with fewer, capturing costs more than it saves
MAX_BATCH = 8  # kernels of larger batches take longer than their launches


class Capture(Protocol):
    """Records calls on fixed inputs."""

    def warm_up(self, function: Callable[[], object]) -> object:
        """Call a function as it will be recorded, and return its outputs."""

    def record(self, function: Callable[[], object]) -> tuple[object, Callable[[], None]]:
        """Return the outputs of a function, and a function that computes them anew from the same inputs."""


@contextmanager
def graphed_forward(module: nn.Module, calls: int, batch_size: int) -> Iterator[None]:
    """Run a frozen module as a CUDA graph for the duration of a block, if it is on CUDA and that saves time.

    Args:
        module: Takes tensors and plain values and has no host synchronization. Its weights must stay in place within
            the block.
        calls: How often the block calls the module with inputs of the same shapes.
        batch_size: Images per call.
    """
    device = next(module.parameters()).device
    hooked = module._forward_hooks or module._forward_pre_hooks  # what they change would not be recorded
    if device.type != "cuda" or calls < MIN_CALLS or batch_size > MAX_BATCH or hooked:
        yield
        return
    module.forward = GraphedForward(module.forward, CudaCapture(device))
    try:
        yield
    finally:
        del module.forward  # the method of its class again


class GraphedForward:
    """Calls `forward`: the first times eagerly, later by replaying its record on copies of the inputs.

    Inputs of other shapes or plain values start anew. Where capture fails, all calls run eagerly.
    """

    def __init__(self, forward: Callable, capture: Capture):
        self.forward, self.capture = forward, capture
        self.form, self.replay, self.warm_up_left, self.capturable = None, None, 0, True

    def __call__(self, *args, **kwargs):
        leaves, structure = pytree.tree_flatten((args, kwargs))
        form = structure, [_form(leaf) for leaf in leaves]
        if form != self.form:
            self.form, self.replay, self.warm_up_left = form, None, WARM_UP_CALLS
        if self.warm_up_left or not self.capturable:
            self.warm_up_left = max(0, self.warm_up_left - 1)
            return self.capture.warm_up(lambda: self.forward(*args, **kwargs))
        if self.replay is None and not self._record(leaves, structure):
            return self.forward(*args, **kwargs)
        for fixed, leaf in zip(self.inputs, leaves, strict=True):
            if isinstance(leaf, torch.Tensor):
                fixed.copy_(leaf, non_blocking=True)
        self.replay()
        return pytree.tree_map_only(torch.Tensor, torch.clone, self.outputs)  # the next replay overwrites them

    def _record(self, leaves: list, structure: pytree.TreeSpec) -> bool:
        """Record a call on copies of the inputs; return whether it succeeded."""
        self.inputs = pytree.tree_map_only(torch.Tensor, torch.clone, leaves)
        args, kwargs = pytree.tree_unflatten(self.inputs, structure)
        try:
            self.outputs, self.replay = self.capture.record(lambda: self.forward(*args, **kwargs))
        except RuntimeError as error:
            self.capturable = False
            log.warning("Images are sampled without a CUDA graph, which is slower: %s", error)
        return self.capturable


class CudaCapture:
    """Capture of CUDA graphs, on one stream for each device."""

    def __init__(self, device: torch.device):
        self.stream = _side_stream(device)

    def warm_up(self, function: Callable[[], object]) -> object:
        current = torch.cuda.current_stream(self.stream.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            outputs = function()
        current.wait_stream(self.stream)
        return outputs

    def record(self, function: Callable[[], object]) -> tuple[object, Callable[[], None]]:
        graph = torch.cuda.CUDAGraph()
        half, dtype = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
        with (
            torch.autocast("cuda", dtype, enabled=half, cache_enabled=False),  # a cached cast would not be recorded
            torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"),  # others may use the GPU
        ):
            outputs = function()
        return outputs, graph.replay


@functools.cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # kept, as cuBLAS keeps a workspace for each stream


def _form(leaf: object) -> object:
    """All that a record depends on besides the values of tensors."""
    return (leaf.shape, leaf.dtype, leaf.device) if isinstance(leaf, torch.Tensor) else leaf
