"""The loaded models, and the two pieces of work that need the GPU.

On a Hugging Face ZeroGPU Space the decorated functions run in another process: they take plain values, find the
models here, and give their results back by yielding.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from breakascene import memory, scorecard
from breakascene.base import Base, load_base
from breakascene.concepts import Concepts
from breakascene.evaluate import load_eyes
from breakascene.extract import Settings, StepEvent, extract, preset
from breakascene.generate import Picture, generate
from breakascene.scene import Scene
from breakascene.segment import Segmenter
from breakascene.weights import toybox_folder

try:
    import spaces  # only there on a Space
except ImportError:
    spaces = None

EXTRACT_SECONDS, DRAW_SECONDS, CHECK_SECONDS = 240, 60, 120  # of GPU time that a Space is asked for

_loaded: dict[str, Base | Segmenter] = {}
# (do all weights move?, subsets a step, phase) -> seconds a step, of the last run on this machine
_pace: dict[tuple[bool, int, int], float] = {}


def on_gpu(seconds: int) -> Callable:
    return spaces.GPU(duration=seconds) if spaces else lambda work: work


def open_models(base: str = "auto") -> None:
    _loaded["base"] = load_base(base)
    _loaded["segmenter"] = Segmenter.load()


def base() -> Base:
    return _loaded["base"]


def is_toybox() -> bool:
    """Whether the base is the one that comes with the studio."""
    return base().name == "toybox" or Path(base().name) == toybox_folder()


def segmenter() -> Segmenter:
    return _loaded["segmenter"]


@on_gpu(EXTRACT_SECONDS)
def learn(
    scene: Scene, settings: Settings, run: Path, flag: Path, glance: Path, resume: bool = False
) -> Iterator[StepEvent]:
    """Extract into the folder `run`, or go on there; once the file `flag` exists, stop and keep what is there.

    When the file `glance` exists, the next event has previews and maps, and the file goes.
    """
    often = max(1, sum(settings.steps) // 8)
    looks = {"preview_every": often, "maps_every": max(1, often // 2), "wanted": lambda: _taken(glance)}
    yield from extract(scene, base(), settings, run, resume=resume, stop=flag.exists, **looks)


def _taken(file: Path) -> bool:
    """Whether the file was there; it is gone now."""
    there = file.exists()
    file.unlink(missing_ok=True)
    return there


@on_gpu(DRAW_SECONDS)
def draw(run: Path, prompts: Sequence[str], flag: Path, **options) -> Iterator[Picture]:
    """Generate from a run folder, picture by picture, until done or until the file `flag` exists."""
    for picture in generate(base(), Concepts.load(run), prompts, **options):
        yield picture
        if flag.exists():
            return


@on_gpu(CHECK_SECONDS)
def check(run: Path, out: Path, flag: Path) -> Iterator[tuple[int, int, str]]:
    """Evaluate a run folder into the folder `out`, unless the file `flag` comes to exist before the end."""
    eyes = load_eyes(device=base().device)
    for event in scorecard.write([run], base(), out, eyes, eyes):
        yield event
        if flag.exists():
            return


def note_pace(settings: Settings, event: StepEvent) -> None:
    """Remember how long a step takes here: a running average, so that one hiccup does not count."""
    key = (settings.full and event.phase == 2, settings.batch, event.phase)
    _pace[key] = 0.9 * _pace.get(key, event.seconds) + 0.1 * event.seconds


def expected_seconds(name: str) -> float | None:
    """How long a preset takes on this machine, or None before a run like it has shown."""
    if "base" not in _loaded:
        return None
    settings = preset(name, base())
    # in phase 1 all weights rest, so there other presets have the same pace
    paces = [_pace.get((settings.full and phase == 2, settings.batch, phase)) for phase in (1, 2)]
    if None in paces:
        return None
    return sum(steps * pace for steps, pace in zip(settings.steps, paces, strict=True))


def expected_memory(name: str) -> int | None:
    """Bytes that a preset needs here, the way a run would choose by itself; None before the models are open."""
    return memory.choose("auto", base(), preset(name, base())).needs if "base" in _loaded else None
