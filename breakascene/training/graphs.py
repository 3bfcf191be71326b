"""A training step as one captured CUDA graph: an eager step is bound by the launches of its thousands of kernels."""

import logging
from collections.abc import Callable
from dataclasses import fields, replace

import torch

from breakascene.errors import is_out_of_memory
from breakascene.training.state import TrainState
from breakascene.training.step import Batch, StepLosses

log = logging.getLogger(__name__)

WARM_UP_STEPS = 2  # real steps, run eagerly: libraries choose kernels and the optimizer allocates its state


class GraphedStep:
    """Runs `run_step(batch)`: the first steps eagerly on a side stream, later ones by replaying a captured graph.

    Requires batches of one shape and a step without host synchronization. Where capture fails, all steps run eagerly.
    """

    def __init__(self, run_step: Callable[[Batch], StepLosses], state: TrainState):
        self.run_step, self.state = run_step, state
        self.stream = torch.cuda.Stream()
        self.graph: torch.cuda.CUDAGraph | None = None
        self.warm_up_left = WARM_UP_STEPS
        self.capturable = True

    def __call__(self, batch: Batch) -> StepLosses:
        if self.graph is None and self.capturable and self.warm_up_left == 0:
            self._capture(batch)
        if self.graph is not None:
            _copy_into(self.batch, batch)
            self.graph.replay()
            return self.losses
        self.warm_up_left = max(0, self.warm_up_left - 1)
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            losses = self.run_step(batch)
        torch.cuda.current_stream().wait_stream(self.stream)
        return losses

    def _capture(self, batch: Batch) -> None:
        self.batch = _map_tensors(batch, torch.clone)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
                self.losses = self.run_step(self.batch)
        except RuntimeError as error:
            self.state.consistent = True  # nothing ran: capturing only records
            self.state.optimizer.zero_grad()
            if is_out_of_memory(error):
                raise
            self.capturable = False
            log.warning("Steps run without a CUDA graph, which is slower: %s", error)
            return
        self.graph = graph


def can_capture(state: TrainState, device: torch.device, eight_bit: bool) -> bool:
    """Whether a step can be captured: on CUDA, with an optimizer and a gradient scaler that do not synchronize."""
    return device.type == "cuda" and not eight_bit and not state.scaler.is_enabled()


def _map_tensors(batch: Batch, function: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
    values = {field.name: getattr(batch, field.name) for field in fields(batch) if field.name != "subsets"}
    mapped = {
        name: tuple(map(function, value)) if isinstance(value, tuple) else function(value)
        for name, value in values.items()
    }
    return replace(batch, **mapped)


def _copy_into(target: Batch, source: Batch) -> None:
    for field in fields(source):
        if field.name == "subsets":
            continue
        to, value = getattr(target, field.name), getattr(source, field.name)
        for one, other in zip(to, value, strict=True) if isinstance(to, tuple) else [(to, value)]:
            one.copy_(other, non_blocking=True)
