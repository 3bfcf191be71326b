"""Expected times of jobs: of extractions from timed forward passes at first, then from the jobs of this machine.

What jobs teach is kept in the cache folder, so that a studio started anew knows it.
"""

import json
import time
from dataclasses import asdict, dataclass, field

import torch

from breakascene.files import atomic_file
from breakascene.models.base import Base
from breakascene.paths import cache_folder
from breakascene.training.groups import count_groups
from breakascene.training.loop import StepEvent
from breakascene.training.settings import Settings

# Cost of a training step in forward passes over its images: forward, backward and attention maps. The key is whether
# all weights are trained.
STEP_COST = {False: 3.7, True: 5.0}
# The previews of an object and its comparison with the photo, in forward passes over two images
OBJECT_COST = 120
MIN_STEPS = 5  # of a phase to learn from: the first is slow
WEIGHT = 0.5  # of the newest run in the averages


@dataclass
class Times:
    """Seconds on this machine with one base.

    Args:
        forward: By number of images, of a forward pass.
        step: By `step_kind`, of a training step.
        object: Outside the steps, for each object: encoding, previews and the comparison; None before the first run.
        pixel: Of an image that is generated, for each inference step; None before the first image.
    """

    forward: dict[int, float] = field(default_factory=dict)
    step: dict[str, float] = field(default_factory=dict)
    object: float | None = None
    pixel: float | None = None

    def expected(self, settings: Settings, objects: int) -> float | None:
        """The seconds that a run takes, or None if too little is known."""
        seconds = objects * (self.object or OBJECT_COST * self.forward.get(2, 0))
        for phase, steps in enumerate(settings.steps, 1):
            step_seconds = self.step.get(step_kind(settings, phase))
            if step_seconds is None:
                forward = self.forward.get(images_per_step(settings, phase))
                if forward is None:
                    return None
                step_seconds = STEP_COST[settings.train_all_weights and phase == 2] * forward
            seconds += count_groups(objects) * steps * step_seconds
        return seconds

    def learn(self, run: "RunTimer") -> None:
        """Include a run in the averages."""
        for phase, seconds in run.steps.items():
            if len(seconds) >= MIN_STEPS:
                kind = step_kind(run.settings, phase)
                self.step[kind] = _average(self.step.get(kind), sum(seconds) / len(seconds))
        if run.complete and run.objects:
            self.object = _average(self.object, run.other_seconds / run.objects)

    def learn_images(self, pixel_steps: float, seconds: float) -> None:
        """Include generated images in the averages: their pixels times their inference steps, and what they took."""
        if pixel_steps:
            self.pixel = _average(self.pixel, seconds / pixel_steps)


@dataclass
class RunTimer:
    """Measures one run from its start to the end of its comparison."""

    settings: Settings
    objects: int
    steps: dict[int, list[float]] = field(default_factory=lambda: {1: [], 2: []})
    started: float = field(default_factory=lambda: time.perf_counter())
    last: float = 0.0  # when the last event came
    between_phases: float = 0.0  # the first run of a base generates its prior images there, later ones read them
    other_seconds: float = 0.0

    def add(self, event: StepEvent) -> None:
        now = time.perf_counter()
        if event.phase == 2 and not self.steps[2] and self.steps[1]:
            self.between_phases = max(0.0, now - self.last - event.seconds)
        self.steps[event.phase].append(event.seconds)
        self.last = now

    def finish(self) -> None:
        in_steps = sum(map(sum, self.steps.values()))
        self.other_seconds = max(0.0, time.perf_counter() - self.started - in_steps - self.between_phases)

    @property
    def complete(self) -> bool:
        return sum(map(len, self.steps.values())) == count_groups(self.objects) * self.settings.total


def images_per_step(settings: Settings, phase: int) -> int:
    """The batch size, doubled in phase 2 by as many images of the prior."""
    return settings.train_batch_size * (2 if phase == 2 and settings.prior_loss_weight else 1)


def step_kind(settings: Settings, phase: int) -> str:
    """What the time of a step depends on: the phase, the batch size, and whether all weights are trained."""
    weights = "all" if settings.train_all_weights and phase == 2 else "lora"
    return f"phase {phase}, {settings.train_batch_size} images, {weights}"


def load(base: Base) -> Times:
    """What earlier jobs on this machine taught about a base."""
    try:
        saved = json.loads(_file().read_text(encoding="utf-8"))[_key(base)]
        step = {str(kind): float(seconds) for kind, seconds in saved["step"].items()}
        others = {name: float(saved[name]) for name in ("object", "pixel") if saved.get(name) is not None}
        return Times(step=step, **others)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return Times()


def save(times: Times, base: Base) -> None:
    """Keep the times for the next start; without a writable cache they are only known until then."""
    try:
        known = json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    own = asdict(times)
    own.pop("forward")  # timed anew at each start
    try:
        with atomic_file(_file()) as draft:
            draft.write_text(json.dumps({**known, _key(base): own}, indent=1) + "\n", encoding="utf-8")
    except OSError:
        pass


def _file():
    return cache_folder() / "times.json"


def _key(base: Base) -> str:
    device = torch.cuda.get_device_name(base.device) if base.device.type == "cuda" else base.device.type
    return f"{base.fingerprint} on {device}"


def _average(old: float | None, new: float) -> float:
    return new if old is None else (1 - WEIGHT) * old + WEIGHT * new
