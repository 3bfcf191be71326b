"""The work on one photo: extraction, images of the prompts, metrics; the result is a folder of files."""

import io
import json
import math
import os
import platform
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
import torch
from PIL import Image

from breakascene.data.consent import Consent
from breakascene.data.handle_names import BACKGROUND
from breakascene.data.scene import Scene, make_scene
from breakascene.errors import UserError, is_out_of_memory, resource_error
from breakascene.evaluation.advice import run_advice, scene_advice
from breakascene.evaluation.judges import TOYBOX, Judges, load_judges
from breakascene.evaluation.metrics import Score, evaluate
from breakascene.evaluation.prompts import default_prompts
from breakascene.evaluation.verdict import MIN_FAMILIARITY, familiarity
from breakascene.generation.generate import check_size, save_image
from breakascene.models.base import Base
from breakascene.models.concepts import Concepts
from breakascene.models.loading import load_base
from breakascene.pilot.automatic import automatic_masks
from breakascene.pilot.store import RESULT
from breakascene.rendering.overlay import overlay
from breakascene.segmentation.segmenter import Segmenter
from breakascene.toybox.judge import Judge, load_judge
from breakascene.training.loop import run_extraction
from breakascene.training.settings import adapted, preset

try:
    import resource
except ImportError:  # Windows
    resource = None

DONE, FAILED = "done", "failed"
PREVIEW_SIDE = 480  # pixels of the photo with its masks


@dataclass(frozen=True)
class Work:
    """What is done with each photo; the part of a plan that decides the images. See Plan."""

    base: str
    steps: tuple[int, int] | None
    memory: str
    prompts: tuple[str, ...]
    count: int
    sizes: tuple[tuple[int, int], ...]
    inference_steps: int
    guidance_scale: float | None
    seed: int
    background: bool


@dataclass(frozen=True, eq=False)
class PhotoTask:
    """A photo to process.

    Args:
        folder: Name of the result folder, "PHOTO/PRESET".
        photo: The photo, or None if it cannot be read.
        masks: Names and masks (H, W) of its objects; None for automatic masks.
        source: "given", "reviewed" or "automatic": where the masks come from.
        preset: Name of the preset.
        key: Hash of everything that decides the result.
        work: The same for all photos.
        consent: What is declared about people and brands in the photo.
        error: Why the photo or its masks cannot be read; "" if they can.
    """

    folder: str
    photo: Image.Image | None
    masks: Sequence[tuple[str, np.ndarray]] | None
    source: str
    preset: str
    key: str
    work: Work
    consent: Consent | None = None
    error: str = ""


@dataclass(frozen=True, eq=False)
class Models:
    """The models that a worker keeps from photo to photo."""

    base: Base
    judges: Judges
    segmenter: Segmenter
    judge: Judge | None

    @classmethod
    def load(cls, name: str) -> "Models":
        """Load a base and the models that measure its images. Raises UserError."""
        base = load_base(name)
        segmenter = Segmenter.load(TOYBOX if base.family == TOYBOX else "auto", base.device, base.family)
        return cls.of(base, load_judges(base.family, base.device), segmenter)

    @classmethod
    def of(cls, base: Base, judges: Judges, segmenter: Segmenter) -> "Models":
        """Complete loaded models with the toybox's judge, for the toybox."""
        return cls(base, judges, segmenter, load_judge(base.device) if base.family == TOYBOX else None)


def process(models: Models, task: PhotoTask, stop: Callable[[], bool] = lambda: False) -> dict[str, bytes] | None:
    """Process a photo.

    Args:
        models: See Models.
        task: The photo.
        stop: Called between steps and images; once it returns True, the work on the photo is given up.

    Returns:
        The files of the result folder, RESULT among them, which for a photo that fails holds the reason; or None if
        the work was stopped.
    """
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="breakascene-pilot-") as folder:
        try:
            if task.error:
                raise UserError(task.error)
            result = _process(models, task, Path(folder), stop)
        except Exception as error:
            # Of the temporary folder: no fault of the photo
            if isinstance(error, OSError) or resource_error(error.__cause__) in ("disk", "rights"):
                raise
            result = failure(task, _reason(error), time.monotonic() - started)
        if result is None:
            return None
        files = {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}
        if result["state"] == FAILED:
            files = {name: data for name, data in files.items() if name == "photo.jpg"}
    result["bytes"] = sum(len(data) for name, data in files.items() if name.startswith("run/"))
    return {**files, RESULT: json.dumps(result, indent=1).encode()}


def failure(task: PhotoTask, reason: str, seconds: float = 0.0) -> dict:
    """Return the result of a photo that failed."""
    photo, preset_name = task.folder.split("/")
    return {
        "photo": photo, "preset": preset_name, "key": task.key, "state": FAILED, "reason": reason,
        "masks": task.source, "seconds": {"total": round(seconds, 2)},
    }  # fmt: skip


def expand_prompts(prompts: Sequence[str], handles: Sequence[str]) -> list[str]:
    """Return the prompts of a photo: {object} is each of its objects in turn, {objects} all of them.

    A prompt with a handle that the photo does not have is left out; without prompts, those of an evaluation are taken.
    """
    objects = [handle for handle in handles if handle != BACKGROUND]
    together = " and ".join(objects)
    expanded = []
    for prompt in prompts:
        turns = objects if "{object}" in prompt else [""]
        expanded += [prompt.replace("{objects}", together).replace("{object}", handle) for handle in turns]
    known = [prompt for prompt in expanded if not _unknown_handles(prompt, handles)]
    return list(dict.fromkeys(known)) if prompts else default_prompts(handles)


def _process(models: Models, task: PhotoTask, folder: Path, stop: Callable[[], bool]) -> dict | None:
    base, work, started, cpu = models.base, task.work, time.monotonic(), time.process_time()
    if base.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(base.device)
    # 1. Scene
    _jpeg(task.photo, folder / "photo.jpg")
    masks = task.masks if task.masks is not None else automatic_masks(task.photo, models.segmenter)
    names, arrays = [name for name, _ in masks], [mask for _, mask in masks]
    scene = make_scene(task.photo, arrays, names, work.background, consent=task.consent)
    _jpeg(overlay(scene.photo, [concept.mask for concept in scene.concepts]), folder / "masks.jpg")
    prompts = expand_prompts(work.prompts, scene.handles)
    if not prompts:
        raise UserError("No prompt of the plan fits this photo: write one with {object} or {objects}.")
    for size in work.sizes:
        check_size(base, *size)

    # 2. Extraction
    settings = adapted(preset(task.preset, base, seed=work.seed), scene)
    settings = replace(settings, steps=work.steps) if work.steps else settings
    concepts = run_extraction(scene, base, settings, folder / "run", memory=work.memory, save_every=0, stop=stop)
    if stop():
        return None
    extracted = time.monotonic()

    # 3. Images and metrics
    rows = []
    for size in work.sizes or (None,):
        for score in _scores(models, concepts, scene, prompts, size, work):
            file = save_image(score.generated, folder / "images")
            rows.append(_row(score, f"images/{file.name}"))
            if stop():
                return None
    photo, preset_name = task.folder.split("/")
    finished = time.monotonic()
    unfamiliar = models.judge is not None and familiarity(scene, models.judge) < MIN_FAMILIARITY
    return {
        "photo": photo,
        "preset": preset_name,
        "key": task.key,
        "state": DONE,
        "masks": task.source,
        "objects": [
            {"handle": handle, "name": name, "share": round(float(mask.mean()), 4)}
            for handle, name, mask in zip(scene.handles, scene.names, scene.masks(), strict=True)
        ],
        "images": rows,
        "seconds": {
            "extraction": round(extracted - started, 2),
            "images": round(finished - extracted, 2),
            "total": round(finished - started, 2),
            "cpu": round(time.process_time() - cpu, 2),
        },
        "steps": concepts.steps,
        "memory_mode": concepts.memory,
        "peak_bytes": peak_memory(base.device),
        "advice": [str(sentence) for sentence in (*scene_advice(scene), *run_advice(concepts))],
        "unfamiliar": unfamiliar,
        "base": base.name,
        "device": base.device.type,
        "measured_by": {"prompt": models.judges.text.name, "identity": models.judges.image.name},
        "notes": [str(note) for note in models.judges.notes],
        "worker": f"{platform.node()}:{os.getpid()}",
    }


def _scores(
    models: Models,
    concepts: Concepts,
    scene: Scene,
    prompts: list[str],
    size: tuple[int, int] | None,
    work: Work,
) -> Iterator[Score]:
    return evaluate(
        models.base,
        concepts,
        scene,
        prompts,
        text_extractor=models.judges.text,
        image_extractor=models.judges.image,
        segmenter=models.segmenter,
        judge=models.judge,
        count=work.count,
        seed=work.seed,
        num_inference_steps=work.inference_steps,
        guidance_scale=work.guidance_scale,
        size=size,
    )


def _row(score: Score, file: str) -> dict:
    metadata = score.generated.metadata
    return {
        "file": file,
        "prompt": score.prompt,
        "seed": metadata["seed"] + metadata["index"],
        "width": metadata["width"],
        "height": metadata["height"],
        "prompt_similarity": round(score.prompt_similarity, 4),
        "identity": {handle: round(value, 4) for handle, value in score.identity_similarity.items()},
        "seen": score.predicted,
        "place": score.place_correct,
    }


def peak_memory(device: torch.device) -> int:
    """Return the most memory in bytes that was in use: of the GPU, else of this process since its start."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if resource is None:
        return psutil.Process().memory_info().peak_wset
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _reason(error: Exception) -> str:
    """Return why a photo failed, as a sentence with a remedy."""
    if isinstance(error, UserError):
        return str(error)
    if is_out_of_memory(error):
        return "Memory ran out: use a smaller photo, memory: lean, or a machine with more memory."
    kind = f"{type(error).__name__}: {error}"
    return f"An unexpected error occurred ({kind[:200]}): process this photo alone with extract to see more."


def _unknown_handles(prompt: str, handles: Sequence[str]) -> bool:
    return any(handle not in handles for handle in re.findall(r"<[^<>]+>", prompt))


def _jpeg(image: Image.Image, file: Path) -> None:
    scale = min(1, PREVIEW_SIDE / max(image.size))
    small = image.resize([math.ceil(side * scale) for side in image.size], Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    small.convert("RGB").save(stream, "jpeg", quality=88)
    file.write_bytes(stream.getvalue())
