"""Events of a run: losses of each step, and previews and attention maps at intervals."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from breakascene.models.base import Base
from breakascene.training.augment import TrainingData
from breakascene.training.memory import MemoryPlan
from breakascene.training.monitor import TimeEstimator, attention_maps, draw_previews
from breakascene.training.settings import Settings
from breakascene.training.state import TrainState
from breakascene.training.step import Batch, StepLosses

GPU_READ_EVERY = 8  # steps; reading the losses waits for the GPU


@dataclass(frozen=True, eq=False)
class StepEvent:
    """The outcome of one step.

    Maps are (s, s) float32 with peak 1 and cover `scene.square_crop(base.image_size).pixels`.
    """

    phase: int  # 1 or 2
    step: int  # from 1, over both phases
    total: int  # steps of both phases
    losses: dict[str, float]  # "total", "reconstruction", "attention", and in phase 2 with prior images "prior"
    leak: dict[str, float]  # by handle of the batch: share of its attention outside its mask, 0..1
    seconds: float  # duration of the step
    seconds_left: float
    handles: tuple[str, ...]  # of the batch
    previews: dict[str, Image.Image] | None = None  # by handle
    maps: dict[str, np.ndarray] | None = None  # by handle
    memory: MemoryPlan | None = None


@dataclass(frozen=True)
class ReportOptions:
    """When a run stops and which of its events have images; the arguments of `extract` with these names."""

    stop: Callable[[], bool]
    preview_requested: Callable[[], bool]
    preview_every: int
    maps_every: int


class Reporter:
    """Collects the outcomes of steps and turns them into events, in one read from the device for several steps."""

    def __init__(
        self, base: Base, data: TrainingData, handles: tuple[str, ...], settings: Settings, plan: MemoryPlan,
        options: ReportOptions,
    ):  # fmt: skip
        self.base, self.data, self.handles, self.settings = base, data, handles, settings
        self.plan, self.options = plan, options
        self.read_every = GPU_READ_EVERY if base.device.type == "cuda" else 1
        self.time_estimator = TimeEstimator(settings)
        self.pending: list[tuple[Batch, torch.Tensor]] = []
        self.preview_due = self.maps_due = False
        self.since = time.perf_counter()

    def start_phase(self) -> None:
        """Start timing; what happened between the phases is not part of a step."""
        self.since = time.perf_counter()

    def add(self, step: int, batch: Batch, losses: StepLosses) -> None:
        """Note the outcome of a step, which the state has counted."""
        self.pending.append((batch, losses.leak.clone()))
        requested = self.options.preview_requested()
        self.preview_due = requested or _due(step, self.options.preview_every)
        self.maps_due = requested or _due(step, self.options.maps_every)

    @property
    def ready(self) -> bool:
        """Whether events should be read now."""
        return self.preview_due or self.maps_due or len(self.pending) >= self.read_every

    def events(self, state: TrainState) -> Iterator[StepEvent]:
        """The events of the steps since the last call; the last of them has the images that are due."""
        count = len(self.pending)
        if not count:
            return
        losses = state.losses[-count:]
        leaks = torch.stack([leak for _, leak in self.pending]).tolist()  # (count, B, K)
        seconds = (time.perf_counter() - self.since) / count
        photo = self.data.latent_mean[:1]
        for i, (batch, _) in enumerate(self.pending):
            last, step = i == count - 1, state.step - count + i + 1
            seconds_left = self.time_estimator.step(state.phase, step, seconds)
            yield StepEvent(
                phase=state.phase,
                step=step,
                total=self.settings.total,
                losses=losses[i],
                leak={self.handles[k]: leaks[i][b][k] for b, subset in enumerate(batch.subsets) for k in subset},
                seconds=seconds,
                seconds_left=seconds_left,
                handles=tuple(self.handles[k] for k in sorted(set().union(*batch.subsets))),
                previews=draw_previews(self.base, self.handles, self.settings) if last and self.preview_due else None,
                maps=attention_maps(self.base, photo, self.handles) if last and self.maps_due else None,
                memory=self.plan,
            )
        self.pending.clear()
        self.preview_due = self.maps_due = False
        self.since = time.perf_counter()


def _due(step: int, every: int) -> bool:
    return bool(every) and step % every == 0
