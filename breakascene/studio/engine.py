"""The loaded models, and the calls that need the GPU: extract, generate, evaluate and export.

On a Hugging Face ZeroGPU Space the decorated functions run in another process: they take plain values, find the models
in this module, and yield their results.
"""

import ctypes
import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from breakascene.data.image_io import read_photo
from breakascene.data.scene import Scene
from breakascene.evaluation import report, verdict
from breakascene.evaluation.judges import Judges, load_feature_extractor, load_judges
from breakascene.evaluation.verdict import Verdict
from breakascene.exporting.export import TARGETS, Exported, can_open
from breakascene.exporting.export import export as export_concepts
from breakascene.exporting.importing import load_lora
from breakascene.files import atomic_file
from breakascene.generation.edit import edit as edit_photo
from breakascene.generation.generate import GeneratedImage, read_metadata
from breakascene.generation.generate import generate as generate_images
from breakascene.generation.layout import Layout
from breakascene.generation.place import cutouts_of
from breakascene.generation.place import place as place_objects
from breakascene.generation.upscale import pixel_steps_of
from breakascene.generation.upscale import upscale as upscale_image
from breakascene.generation.variations import start_from
from breakascene.models.base import Base
from breakascene.models.combined import CombinedConcepts, combine
from breakascene.models.concepts import Concepts
from breakascene.models.grouped import load_run
from breakascene.models.loading import load_base
from breakascene.paths import TOYBOX
from breakascene.pilot.task import Models
from breakascene.segmentation.segmenter import Segmenter
from breakascene.studio import real_models, strings, timing
from breakascene.studio.timing import RunTimer, Times
from breakascene.toybox.judge import Judge, load_judge
from breakascene.training import memory
from breakascene.training.groups import count_groups
from breakascene.training.loop import StepEvent
from breakascene.training.loop import extract as train
from breakascene.training.modes import PRESET_NAMES
from breakascene.training.prior import prior_latents
from breakascene.training.settings import Settings, preset

try:
    import spaces  # only installed on a Space
except ImportError:
    spaces = None

# A ZeroGPU Space grants its GPU for the requested seconds, and counts them against the visitor's quota.
MAX_SECONDS = 240  # the longest request
EVALUATION_SECONDS = 120
COMPARISON_SECONDS = 30
EXPORT_SECONDS = 60
UPSCALING_SECONDS = 60
TRANSFER_SECONDS = 20  # to move the weights to the GPU
# A training step until one was timed: on an H100, for the step and for each image in it; see docs/deploy.md
DEFAULT_STEP_SECONDS = 0.02
DEFAULT_IMAGE_SECONDS = {"toybox": 0.01, "sd": 0.01, "sdxl": 0.08}
DEFAULT_DENOISING_SECONDS = 0.1  # an inference step of one image
SAVE_EVERY = 100  # steps between two checkpoints of an extraction

_embedder = ThreadPoolExecutor(1, "embedding")
# "base", "segmenter" and "times", once open_models has run; later "judge"
_loaded: dict[str, Base | Segmenter | Times | Judge] = {}


def zero_gpu() -> bool:
    """Whether the studio runs on a ZeroGPU Space, by the variable that the package `spaces` reads."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def extraction_seconds(settings: Settings, objects: int = 2) -> int:
    """How long a run needs the GPU, with a reserve of a third."""
    seconds = expected_seconds(settings, objects) or _default_seconds(settings, objects)
    return round(TRANSFER_SECONDS + 4 / 3 * seconds)


def _default_seconds(settings: Settings, objects: int) -> float:
    image_seconds = DEFAULT_IMAGE_SECONDS[base().family]
    return count_groups(objects) * sum(
        steps * (DEFAULT_STEP_SECONDS + image_seconds * timing.images_per_step(settings, phase))
        for phase, steps in enumerate(settings.steps, 1)
    )


def fits(settings: Settings, objects: int = 2) -> bool:
    """Whether the GPU is available for as long as the run takes; only a ZeroGPU Space has a limit."""
    return not zero_gpu() or extraction_seconds(settings, objects) <= MAX_SECONDS


def _extraction_lease(scene: Scene, settings: Settings, *_) -> int:
    return min(MAX_SECONDS, extraction_seconds(settings, len(scene.concepts)))


def _generation_lease(
    runs: Sequence[Path],
    prompts: Sequence[str],
    *_,
    count: int = 1,
    num_inference_steps: int = 20,
    upscale: bool = False,
    objects: int = 0,
    **__,
) -> int:
    images = len(prompts) * count
    steps = (images + objects * count) * num_inference_steps
    if upscale:
        side = base().image_size
        steps += images * pixel_steps_of((side, side), base(), num_inference_steps) / side**2
    return min(MAX_SECONDS, round(TRANSFER_SECONDS + DEFAULT_DENOISING_SECONDS * steps))


def _placing_lease(runs: Sequence[Path], prompts: Sequence[str], layout: Layout, *_, **options) -> int:
    return _generation_lease(runs, prompts, objects=len(layout.boxes), **options)  # the scene, and each object


def on_gpu(seconds: int | Callable) -> Callable:
    """Decorate a function that needs the GPU for `seconds`, or for as long as seconds(*arguments) says."""
    return spaces.GPU(duration=seconds) if spaces else lambda function: function


def open_models(base: str = "auto") -> None:
    """Load the base and the segmenter, and time forward passes of the sizes that the presets use."""
    loaded = load_base(base)
    times = timing.load(loaded)
    if not zero_gpu():  # a ZeroGPU Space has a GPU only inside the decorated functions
        settings = [preset(name, loaded) for name in PRESET_NAMES]
        sizes = {timing.images_per_step(one, phase) for one in settings for phase in (1, 2)} | {2}
        times.forward.update({size: _time_forward(loaded, size) for size in sizes})
    if loaded.device.type == "cuda":
        torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])  # the first one imports PyTorch's compiler: seconds
    segmenter = real_models.open_segmenter(loaded.family, segmenter_device())
    real_models.check_judges(loaded.family)
    _loaded.update(base=loaded, segmenter=segmenter, times=times)


def switch_base(name: str) -> None:
    """Load another base in place of the one in use, which stays if that fails; no job may run."""
    open_models(name)
    gc.unfreeze()  # the old base, if app.launch has frozen it
    gc.collect()
    gc.freeze()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def generate_prior_images(stop: Callable[[], bool]) -> bool:
    """Generate the prior images of all presets into the cache, on a GPU that no run uses.

    Returns whether there is nothing left to do. A CPU is left to the visitors' clicks.
    """
    if zero_gpu() or base().device.type != "cuda":
        return True
    wanted = [settings_of(name) for name in PRESET_NAMES]
    kinds = dict.fromkeys((settings.num_prior_images, settings.prior_prompts) for settings in wanted)
    return all(prior_latents(base(), count, prompts, stop) is not None for count, prompts in kinds)


@torch.no_grad()
def _time_forward(base: Base, batch_size: int) -> float:
    side, seconds = base.latent_size, []
    noisy_latents = torch.randn(batch_size, base.unet.config.in_channels, side, side, device=base.device)
    timesteps = torch.full((batch_size,), 500, device=base.device)
    for _ in range(2):  # the first is slow
        started = time.perf_counter()
        base.predict(noisy_latents, timesteps, [""] * batch_size).cpu()  # waits for the GPU
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def base() -> Base:
    return _loaded["base"]


def has_gpu() -> bool:
    """Whether the base is on a GPU, or will be (ZeroGPU)."""
    return zero_gpu() or torch.cuda.is_available()


def is_toybox() -> bool:
    """Whether the base is the embedded one."""
    return base().name == "toybox" or Path(base().name) == TOYBOX


def segmenter() -> Segmenter:
    return _loaded["segmenter"]


def segmenter_device() -> str | None:
    """Device of the segmenter: clicks ask for no GPU on a ZeroGPU Space."""
    return "cpu" if zero_gpu() else None


def start_downloads(open_photos: Callable[[], Sequence[Image.Image]]) -> threading.Thread:
    """Download the models for real photos in the background, and use SAM once it is there.

    Args:
        open_photos: Returns the photos that visitors have open; SAM embeds them before it is used.
    """

    def use(sam: Segmenter) -> None:
        for photo in open_photos():
            sam.set_image(photo)
        _loaded["segmenter"] = sam

    return real_models.start_downloads(segmenter_device(), use)


def embed(photo: Image.Image) -> None:
    """Embed a photo in the background, so that its first click is answered at once."""
    model = _loaded.get("segmenter")
    if model and not model.refines:  # the small segmenter takes no time for it
        _embedder.submit(model.set_image, photo)


@on_gpu(_extraction_lease)
def extract(
    scene: Scene, settings: Settings, run: Path, stop_file: Path, preview_file: Path, resume: bool = False
) -> Iterator[StepEvent]:
    """Extract the concepts of a scene into a run folder.

    Args:
        run: The folder that the run is written to.
        stop_file: Once it exists, the extraction stops and keeps what was trained so far.
        preview_file: Once it exists, the next event has previews and attention maps, and the file is deleted.
        resume: Continue from the checkpoint of this run.
    """
    interval = max(1, sum(settings.steps) // 8)
    previews = {
        "preview_every": interval,
        "maps_every": max(1, interval // 2),
        "preview_requested": lambda: _delete_if_exists(preview_file),
    }
    yield from train(
        scene, base(), settings, run, resume=resume, save_every=SAVE_EVERY, stop=stop_file.exists, **previews
    )


def _delete_if_exists(file: Path) -> bool:
    """Delete a file; return whether it existed."""
    exists = file.exists()
    file.unlink(missing_ok=True)
    return exists


@on_gpu(_generation_lease)
def generate(
    runs: Sequence[Path],
    prompts: Sequence[str],
    stop_file: Path,
    live_image: Path | None = None,
    loras: Sequence[tuple[Path, float]] = (),
    start: tuple[Image.Image, float] | None = None,
    upscale: bool = False,
    **options,
) -> Iterator[GeneratedImage]:
    """Generate images from run folders one by one, until all are done or `stop_file` exists.

    Args:
        runs: With several, the handles are those of `combine`.
        live_image: File for previews of the image that is being generated.
        loras: Files of other programs' LoRAs with their strengths.
        start: An image to start from, with the strength.
        upscale: Double the width and height of each image.
    """
    options |= _image_options(live_image, loras)
    if start:
        options["start"] = start_from(base(), start[0], options.get("size"), start[1])
    concepts = _load_runs(runs)
    images = generate_images(base(), concepts, prompts, **options)
    yield from _until_stopped(_upscaled(images, concepts, options) if upscale else images, stop_file)


@on_gpu(UPSCALING_SECONDS)
def upscale(runs: Sequence[Path], file: Path) -> GeneratedImage:
    """Double the width and height of an image file that was generated with these run folders."""
    return upscale_image(base(), _load_runs(runs), GeneratedImage(read_photo(file), read_metadata(file)))


@on_gpu(_generation_lease)
def edit(
    runs: Sequence[Path],
    prompts: Sequence[str],
    photo: Path,
    region: np.ndarray,
    stop_file: Path,
    live_image: Path | None = None,
    loras: Sequence[tuple[Path, float]] = (),
    **options,
) -> Iterator[GeneratedImage]:
    """Repaint a region of a photo by one prompt; see `generate` and generation.edit.edit."""
    (prompt,) = prompts
    options |= _image_options(live_image, loras)
    yield from _until_stopped(edit_photo(base(), _load_runs(runs), photo, region, prompt, **options), stop_file)


@on_gpu(_placing_lease)
def place(
    runs: Sequence[Path],
    prompts: Sequence[str],
    layout: Layout,
    stop_file: Path,
    live_image: Path | None = None,
    loras: Sequence[tuple[Path, float]] = (),
    upscale: bool = False,
    **options,
) -> Iterator[GeneratedImage]:
    """Generate images of one prompt with objects in boxes; see `generate` and generation.place.place."""
    (prompt,) = prompts
    options |= _image_options(live_image, loras)
    concepts, finder = _load_runs(runs), segmenter()
    finder.sam.to(base().device)  # on a ZeroGPU Space only this process has the GPU
    cutouts = cutouts_of(runs, concepts.handles)
    images = place_objects(base(), concepts, layout, cutouts, prompt, finder, **options)
    yield from _until_stopped(_upscaled(images, concepts, options) if upscale else images, stop_file)


def _upscaled(
    images: Iterator[GeneratedImage], concepts: Concepts | CombinedConcepts, options: dict
) -> Iterator[GeneratedImage]:
    shared = {name: options[name] for name in ("num_inference_steps", "loras") if name in options}
    return (upscale_image(base(), concepts, image, **shared) for image in images)


def _load_runs(runs: Sequence[Path]) -> Concepts | CombinedConcepts:
    loaded = [load_run(run) for run in runs]
    return combine(loaded) if len(loaded) > 1 else loaded[0]


def _image_options(live_image: Path | None, loras: Sequence[tuple[Path, float]]) -> dict:
    def save_preview(image: Image.Image) -> None:
        with atomic_file(live_image) as draft:
            image.save(draft, "WEBP", quality=80)

    return {
        "on_preview": save_preview if live_image else None,
        "loras": [load_lora(file, base(), scale) for file, scale in loras],
    }


def _until_stopped(images: Iterator[GeneratedImage], stop_file: Path) -> Iterator[GeneratedImage]:
    for image in images:
        yield image
        if stop_file.exists():
            return


def _judges() -> Judges:
    """The models that measure images, with a note for each that is not here."""
    judges = load_judges(base().family, base().device, download=False)
    missing = real_models.missing().get(real_models.JUDGES)
    if judges.notes and missing and missing.note:  # the download has failed
        return replace(judges, notes=(missing.note,))
    return judges


@on_gpu(EVALUATION_SECONDS)
def evaluate(run: Path, title: str, out: Path, stop_file: Path, language: str = "en") -> Iterator[tuple[int, int, str]]:
    """Evaluate a run folder into the folder `out`; nothing is written if `stop_file` exists before the end."""
    toybox = base().family == "toybox"
    judges = _judges()
    # The figures of the toybox are those of its own segmenter
    finder = Segmenter.load("toybox") if toybox else segmenter()
    finder.sam.to(base().device)  # on a ZeroGPU Space only this process has the GPU
    with strings.use_language(language):
        texts = {"texts": strings.REPORT, "language": language}
        judges = replace(judges, notes=tuple(map(strings.translate, judges.notes)))
    for event in report.write([run], base(), out, judges, finder, titles=[title], **texts):
        yield event
        if stop_file.exists():
            return


def pilot_models() -> Models:
    """The loaded models for a pilot's photos, with those that measure its images."""
    finder = Segmenter.load("toybox") if base().family == "toybox" else segmenter()
    return Models.of(base(), _judges(), finder)


@on_gpu(COMPARISON_SECONDS)
def compare(run: Path, scene: Scene) -> list[Verdict]:
    """Compare images of the run's objects with the photo. Only on the toybox are the verdicts calibrated."""
    if not is_toybox():
        return verdict.compare(base(), load_run(run), scene, None, segmenter())
    extractor, finder = load_feature_extractor(device=base().device), Segmenter.load("toybox")
    return verdict.compare(base(), load_run(run), scene, extractor, finder, is_familiar(scene))


def is_familiar(scene: Scene) -> bool:
    """Whether the base knows photos like this one. Only of the toybox it is known that it may not."""
    if not is_toybox():
        return True
    if "judge" not in _loaded:
        _loaded["judge"] = load_judge("cpu")
    return verdict.familiarity(scene, _loaded["judge"]) >= verdict.MIN_FAMILIARITY


def release_memory() -> None:
    """Return the memory that a job no longer uses to the system; glibc by itself keeps most of it."""
    gc.collect()
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)


def record_run(timer: RunTimer) -> None:
    """Learn from the times of a run that has ended."""
    times = _loaded.setdefault("times", Times())
    times.learn(timer)
    timing.save(times, base())


def record_images(pixel_steps: float, seconds: float) -> None:
    """Learn from the time of generated images; `pixel_steps` counts their pixels times their inference steps."""
    times = _loaded.setdefault("times", Times())
    times.learn_images(pixel_steps, seconds)
    timing.save(times, base())


@on_gpu(EXPORT_SECONDS)
def export(run: Path, to: str, out: Path) -> Exported:
    """Export a run folder to another program, into the new folder `out`."""
    return export_concepts(load_run(run), base(), to, out)


def export_programs() -> list[str]:
    """The programs that can open the base in use."""
    return [to for to in TARGETS if can_open(to, base())]


def settings_of(name: str) -> Settings | None:
    """A preset for the base in use; None before open_models has run."""
    return preset(name, base()) if "base" in _loaded else None


def expected_seconds(settings: Settings, objects: int = 2) -> float | None:
    """How long a run takes on this machine, or None if that is not known."""
    return _loaded.get("times", Times()).expected(settings, objects)


def expected_image_seconds(pixel_steps: float) -> float | None:
    """How long images take on this machine (see record_images), or None before the first one."""
    pixel = _loaded.get("times", Times()).pixel
    return None if pixel is None else pixel * pixel_steps


def expected_memory(settings: Settings) -> int:
    """Bytes that a run needs on this machine in the memory mode chosen automatically."""
    return memory.plan_memory("auto", base(), settings).needs
