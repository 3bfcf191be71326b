"""The models that the studio has loaded: the base, the segmenter and the judges."""

import ctypes
import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image

from breakascene.data.scene import Scene
from breakascene.evaluation import verdict
from breakascene.evaluation.judges import Judges, load_judges
from breakascene.exporting.export import TARGETS, can_open
from breakascene.models.base import Base
from breakascene.models.loading import load_base
from breakascene.paths import TOYBOX
from breakascene.pilot.task import Models
from breakascene.segmentation.segmenter import Segmenter
from breakascene.studio import real_models, timing
from breakascene.studio.timing import Times
from breakascene.toybox.judge import Judge, load_judge
from breakascene.training.modes import PRESET_NAMES
from breakascene.training.prior import prior_latents
from breakascene.training.settings import Settings, preset

_embedder = ThreadPoolExecutor(1, "embedding")
# "base", "segmenter" and "times", once open_models has run; later "judge"
_loaded: dict[str, Base | Segmenter | Times | Judge] = {}


def zero_gpu() -> bool:
    """Whether the studio runs on a ZeroGPU Space, by the variable that the package `spaces` reads."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


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


def judges() -> Judges:
    """The models that measure images, with a note for each that is not here."""
    judges = load_judges(base().family, base().device, download=False)
    missing = real_models.missing().get(real_models.JUDGES)
    if judges.notes and missing and missing.note:  # the download has failed
        return replace(judges, notes=(missing.note,))
    return judges


def pilot_models() -> Models:
    """The loaded models for a pilot's photos, with those that measure its images."""
    finder = Segmenter.load("toybox") if base().family == "toybox" else segmenter()
    return Models.of(base(), judges(), finder)


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


def export_programs() -> list[str]:
    """The programs that can open the base in use."""
    return [to for to in TARGETS if can_open(to, base())]


def settings_of(name: str) -> Settings | None:
    """A preset for the base in use; None before open_models has run."""
    return preset(name, base()) if "base" in _loaded else None


def times() -> Times:
    """The times measured on this machine."""
    return _loaded.setdefault("times", Times())
