"""How long jobs take on this machine, and how much memory: for the cards, and for a ZeroGPU Space's requests."""

from collections.abc import Sequence
from pathlib import Path

from breakascene.data.scene import Scene
from breakascene.generation.layout import Layout
from breakascene.generation.upscale import pixel_steps_of
from breakascene.studio import loaded, timing
from breakascene.studio.timing import RunTimer
from breakascene.training import memory
from breakascene.training.groups import count_groups
from breakascene.training.settings import Settings

# A ZeroGPU Space grants its GPU for the requested seconds, and counts them against the visitor's quota.
MAX_SECONDS = 240  # the longest request
TRANSFER_SECONDS = 20  # to move the weights to the GPU
# A training step until one was timed: on an H100, for the step and for each image in it; see docs/deploy.md
DEFAULT_STEP_SECONDS = 0.02
DEFAULT_IMAGE_SECONDS = {"toybox": 0.01, "sd": 0.01, "sdxl": 0.08}
DEFAULT_DENOISING_SECONDS = 0.1  # an inference step of one image


def extraction_seconds(settings: Settings, objects: int = 2) -> int:
    """How long a run needs the GPU, with a reserve of a third."""
    seconds = expected_seconds(settings, objects) or _default_seconds(settings, objects)
    return round(TRANSFER_SECONDS + 4 / 3 * seconds)


def _default_seconds(settings: Settings, objects: int) -> float:
    image_seconds = DEFAULT_IMAGE_SECONDS[loaded.base().family]
    return count_groups(objects) * sum(
        steps * (DEFAULT_STEP_SECONDS + image_seconds * timing.images_per_step(settings, phase))
        for phase, steps in enumerate(settings.steps, 1)
    )


def fits(settings: Settings, objects: int = 2) -> bool:
    """Whether the GPU is available for as long as the run takes; only a ZeroGPU Space has a limit."""
    return not loaded.zero_gpu() or extraction_seconds(settings, objects) <= MAX_SECONDS


def extraction_lease(scene: Scene, settings: Settings, *_) -> int:
    """Seconds that a ZeroGPU Space is asked for, with the arguments of engine.extract."""
    return min(MAX_SECONDS, extraction_seconds(settings, len(scene.concepts)))


def generation_lease(
    runs: Sequence[Path],
    prompts: Sequence[str],
    *_,
    count: int = 1,
    num_inference_steps: int = 20,
    upscale: bool = False,
    objects: int = 0,
    **__,
) -> int:
    """Seconds that a ZeroGPU Space is asked for, with the arguments of engine.generate; `objects` count as an image."""
    images = len(prompts) * count
    steps = (images + objects * count) * num_inference_steps
    if upscale:
        side = loaded.base().image_size
        steps += images * pixel_steps_of((side, side), loaded.base(), num_inference_steps) / side**2
    return min(MAX_SECONDS, round(TRANSFER_SECONDS + DEFAULT_DENOISING_SECONDS * steps))


def placing_lease(runs: Sequence[Path], prompts: Sequence[str], layout: Layout, *_, **options) -> int:
    """Seconds that a ZeroGPU Space is asked for, with the arguments of engine.place."""
    return generation_lease(runs, prompts, objects=len(layout.boxes), **options)  # the scene, and each object


def record_run(timer: RunTimer) -> None:
    """Learn from the times of a run that has ended."""
    times = loaded.times()
    times.learn(timer)
    timing.save(times, loaded.base())


def record_images(pixel_steps: float, seconds: float) -> None:
    """Learn from the time of generated images; `pixel_steps` counts their pixels times their inference steps."""
    times = loaded.times()
    times.learn_images(pixel_steps, seconds)
    timing.save(times, loaded.base())


def expected_seconds(settings: Settings, objects: int = 2) -> float | None:
    """How long a run takes on this machine, or None if that is not known."""
    return loaded.times().expected(settings, objects)


def expected_image_seconds(pixel_steps: float) -> float | None:
    """How long images take on this machine (see record_images), or None before the first one."""
    pixel = loaded.times().pixel
    return None if pixel is None else pixel * pixel_steps


def expected_memory(settings: Settings) -> int:
    """Bytes that a run needs on this machine in the memory mode chosen automatically."""
    return memory.plan_memory("auto", loaded.base(), settings).needs
