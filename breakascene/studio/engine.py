"""The loaded models, and the two pieces of work that need the GPU.

On a Hugging Face ZeroGPU Space the decorated functions run in another process: they take plain values, find the
models here, and give their results back by yielding.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from breakascene.data.scene import Scene
from breakascene.evaluation import report
from breakascene.evaluation.metrics import load_feature_extractor
from breakascene.generation.generate import GeneratedImage, generate
from breakascene.models.base import Base
from breakascene.models.concepts import Concepts
from breakascene.models.loading import load_base
from breakascene.paths import TOYBOX
from breakascene.segmentation.segmenter import Segmenter
from breakascene.training import memory
from breakascene.training.loop import StepEvent, extract
from breakascene.training.settings import PRESET_NAMES, Settings, preset

try:
    import spaces  # only there on a Space
except ImportError:
    spaces = None

# A ZeroGPU Space lends its GPU for as long as is asked for, and takes that from the visitor's quota.
LONGEST, CHECK_SECONDS = 240, 120
STARTS = 20  # seconds: the weights' way to the GPU
GUESS = 0.3, 0.1  # seconds a step of learning, and of one picture, until steps were timed

# A step in forward passes over its pictures: there, back, the maps; and with all weights moving, theirs.
STEP_COST = {False: 3.7, True: 5.0}

_loaded: dict[str, Base | Segmenter] = {}
_forward: dict[int, float] = {}  # pictures -> seconds of a pass over them, timed when the models were opened
# (do all weights move?, subsets a step, phase) -> seconds a step, of the last run on this machine
_pace: dict[tuple[bool, int, int], float] = {}


def zero_gpu() -> bool:
    """Whether the studio runs on a ZeroGPU Space (as the package `spaces` tells)."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def learning_seconds(settings: Settings) -> int:
    """How long a run needs the GPU, with a third in reserve."""
    expected = expected_seconds(settings) or GUESS[0] * sum(settings.steps)
    return round(STARTS + 4 / 3 * expected)


def fits(settings: Settings) -> bool:
    """Whether the GPU can be had for as long as a run takes; one's own always can."""
    return not zero_gpu() or learning_seconds(settings) <= LONGEST


def _lent_to_learn(scene: Scene, settings: Settings, *_) -> int:
    return min(LONGEST, learning_seconds(settings))


def _lent_to_draw(
    run: Path, prompts: Sequence[str], flag: Path, count: int = 1, num_inference_steps: int = 20, **_
) -> int:
    return min(LONGEST, round(STARTS + GUESS[1] * len(prompts) * count * num_inference_steps))


def on_gpu(seconds: int | Callable) -> Callable:
    """A decorator that borrows the GPU for some seconds, or as many as a function of the same arguments says."""
    return spaces.GPU(duration=seconds) if spaces else lambda work: work


def open_models(base: str = "auto") -> None:
    _loaded["base"] = load_base(base)
    _loaded["segmenter"] = Segmenter.load()
    if not zero_gpu():  # a ZeroGPU Space has its GPU only while it is asked for
        sizes = {_pictures(settings_of(name), phase) for name in PRESET_NAMES for phase in (1, 2)}
        _forward.update({size: _time_forward(_loaded["base"], size) for size in sizes})


@torch.no_grad()
def _time_forward(base: Base, pictures: int) -> float:
    side, seconds = base.latent_size, []
    noisy = torch.randn(pictures, base.unet.config.in_channels, side, side, device=base.device)
    for _ in range(3):  # the first is slow
        begun = time.perf_counter()
        base.predict(noisy, torch.full((pictures,), 500, device=base.device), [""] * pictures).cpu()  # waits for a GPU
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


def _pictures(settings: Settings, phase: int) -> int:
    """How many pictures a step looks at: in phase 2 as many of the prior's."""
    return settings.train_batch_size * (2 if phase == 2 and settings.prior_loss_weight else 1)


def base() -> Base:
    return _loaded["base"]


def is_toybox() -> bool:
    """Whether the base is the one that comes with the studio."""
    return base().name == "toybox" or Path(base().name) == TOYBOX


def segmenter() -> Segmenter:
    return _loaded["segmenter"]


@on_gpu(_lent_to_learn)
def learn(
    scene: Scene, settings: Settings, run: Path, flag: Path, glance: Path, resume: bool = False
) -> Iterator[StepEvent]:
    """Extract into the folder `run`, or go on there; once the file `flag` exists, stop and keep what is there.

    When the file `glance` exists, the next event has previews and maps, and the file goes.
    """
    often = max(1, sum(settings.steps) // 8)
    looks = {"preview_every": often, "maps_every": max(1, often // 2), "preview_requested": lambda: _taken(glance)}
    yield from extract(scene, base(), settings, run, resume=resume, stop=flag.exists, **looks)


def _taken(file: Path) -> bool:
    """Whether the file was there; it is gone now."""
    there = file.exists()
    file.unlink(missing_ok=True)
    return there


@on_gpu(_lent_to_draw)
def draw(run: Path, prompts: Sequence[str], flag: Path, **options) -> Iterator[GeneratedImage]:
    """Generate from a run folder, picture by picture, until done or until the file `flag` exists."""
    for picture in generate(base(), Concepts.load(run), prompts, **options):
        yield picture
        if flag.exists():
            return


@on_gpu(CHECK_SECONDS)
def check(run: Path, out: Path, flag: Path) -> Iterator[tuple[int, int, str]]:
    """Evaluate a run folder into the folder `out`, unless the file `flag` comes to exist before the end."""
    eyes = load_feature_extractor(device=base().device)
    for event in report.write([run], base(), out, eyes, eyes):
        yield event
        if flag.exists():
            return


def note_pace(settings: Settings, event: StepEvent) -> None:
    """Remember how long a step takes here: a running average, so that one hiccup does not count."""
    key = _kind(settings, event.phase)
    _pace[key] = 0.9 * _pace.get(key, event.seconds) + 0.1 * event.seconds


def settings_of(name: str) -> Settings | None:
    """A preset for the base in use; None before the models are open."""
    return preset(name, base()) if "base" in _loaded else None


def expected_seconds(settings: Settings) -> float | None:
    """How long a run takes on this machine: as runs have shown, before one by the passes that were timed.

    None where neither is known.
    """
    seconds = 0.0
    for phase, steps in enumerate(settings.steps, 1):
        if (pace := _pace.get(_kind(settings, phase))) is None:
            if (forward := _forward.get(_pictures(settings, phase))) is None:
                return None
            pace = STEP_COST[settings.train_all_weights and phase == 2] * forward
        seconds += steps * pace
    return seconds


def _kind(settings: Settings, phase: int) -> tuple[bool, int, int]:
    """Steps of a kind take the same time; in phase 1 all weights rest, whatever the preset."""
    return settings.train_all_weights and phase == 2, settings.train_batch_size, phase


def expected_memory(settings: Settings) -> int:
    """Bytes that a run needs here, the way it would choose by itself."""
    return memory.plan_memory("auto", base(), settings).needs
