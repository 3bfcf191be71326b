"""The calls that need the GPU: extract, generate, upscale, edit, place, evaluate, compare and export.

On a Hugging Face ZeroGPU Space the decorated functions run in another process: they take plain values, find the models
in loaded.py, and yield their results.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from breakascene.data.image_io import read_photo
from breakascene.data.scene import Scene
from breakascene.evaluation import report, verdict
from breakascene.evaluation.judges import load_feature_extractor
from breakascene.evaluation.verdict import Verdict
from breakascene.exporting.export import Exported
from breakascene.exporting.export import export as export_concepts
from breakascene.exporting.importing import load_lora
from breakascene.files import atomic_file
from breakascene.generation.edit import edit as edit_photo
from breakascene.generation.generate import GeneratedImage, read_metadata
from breakascene.generation.generate import generate as generate_images
from breakascene.generation.layout import Layout
from breakascene.generation.place import cutouts_of
from breakascene.generation.place import place as place_objects
from breakascene.generation.upscale import upscale as upscale_image
from breakascene.generation.variations import start_from
from breakascene.models.combined import CombinedConcepts, combine
from breakascene.models.concepts import Concepts
from breakascene.models.grouped import load_run
from breakascene.segmentation.segmenter import Segmenter
from breakascene.studio import estimates, loaded, strings
from breakascene.training.loop import StepEvent
from breakascene.training.loop import extract as train
from breakascene.training.settings import Settings

try:
    import spaces  # only installed on a Space
except ImportError:
    spaces = None

EVALUATION_SECONDS = 120
COMPARISON_SECONDS = 30
EXPORT_SECONDS = 60
UPSCALING_SECONDS = 60
SAVE_EVERY = 100  # steps between two checkpoints of an extraction


def on_gpu(seconds: int | Callable) -> Callable:
    """Decorate a function that needs the GPU for `seconds`, or for as long as seconds(*arguments) says."""
    return spaces.GPU(duration=seconds) if spaces else lambda function: function


@on_gpu(estimates.extraction_lease)
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
        scene, loaded.base(), settings, run, resume=resume, save_every=SAVE_EVERY, stop=stop_file.exists, **previews
    )


def _delete_if_exists(file: Path) -> bool:
    """Delete a file; return whether it existed."""
    exists = file.exists()
    file.unlink(missing_ok=True)
    return exists


@on_gpu(estimates.generation_lease)
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
        options["start"] = start_from(loaded.base(), start[0], options.get("size"), start[1])
    concepts = _load_runs(runs)
    images = generate_images(loaded.base(), concepts, prompts, **options)
    yield from _until_stopped(_upscaled(images, concepts, options) if upscale else images, stop_file)


@on_gpu(UPSCALING_SECONDS)
def upscale(runs: Sequence[Path], file: Path) -> GeneratedImage:
    """Double the width and height of an image file that was generated with these run folders."""
    return upscale_image(loaded.base(), _load_runs(runs), GeneratedImage(read_photo(file), read_metadata(file)))


@on_gpu(estimates.generation_lease)
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
    yield from _until_stopped(edit_photo(loaded.base(), _load_runs(runs), photo, region, prompt, **options), stop_file)


@on_gpu(estimates.placing_lease)
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
    concepts, finder = _load_runs(runs), loaded.segmenter()
    finder.sam.to(loaded.base().device)  # on a ZeroGPU Space only this process has the GPU
    cutouts = cutouts_of(runs, concepts.handles)
    images = place_objects(loaded.base(), concepts, layout, cutouts, prompt, finder, **options)
    yield from _until_stopped(_upscaled(images, concepts, options) if upscale else images, stop_file)


def _upscaled(
    images: Iterator[GeneratedImage], concepts: Concepts | CombinedConcepts, options: dict
) -> Iterator[GeneratedImage]:
    shared = {name: options[name] for name in ("num_inference_steps", "loras") if name in options}
    return (upscale_image(loaded.base(), concepts, image, **shared) for image in images)


def _load_runs(runs: Sequence[Path]) -> Concepts | CombinedConcepts:
    concepts = [load_run(run) for run in runs]
    return combine(concepts) if len(concepts) > 1 else concepts[0]


def _image_options(live_image: Path | None, loras: Sequence[tuple[Path, float]]) -> dict:
    def save_preview(image: Image.Image) -> None:
        with atomic_file(live_image) as draft:
            image.save(draft, "WEBP", quality=80)

    return {
        "on_preview": save_preview if live_image else None,
        "loras": [load_lora(file, loaded.base(), scale) for file, scale in loras],
    }


def _until_stopped(images: Iterator[GeneratedImage], stop_file: Path) -> Iterator[GeneratedImage]:
    for image in images:
        yield image
        if stop_file.exists():
            return


@on_gpu(EVALUATION_SECONDS)
def evaluate(run: Path, title: str, out: Path, stop_file: Path, language: str = "en") -> Iterator[tuple[int, int, str]]:
    """Evaluate a run folder into the folder `out`; nothing is written if `stop_file` exists before the end."""
    toybox = loaded.base().family == "toybox"
    judges = loaded.judges()
    # The figures of the toybox are those of its own segmenter
    finder = Segmenter.load("toybox") if toybox else loaded.segmenter()
    finder.sam.to(loaded.base().device)  # on a ZeroGPU Space only this process has the GPU
    with strings.use_language(language):
        texts = {"texts": strings.REPORT, "language": language}
        judges = replace(judges, notes=tuple(map(strings.translate, judges.notes)))
    for event in report.write([run], loaded.base(), out, judges, finder, titles=[title], **texts):
        yield event
        if stop_file.exists():
            return


@on_gpu(COMPARISON_SECONDS)
def compare(run: Path, scene: Scene) -> list[Verdict]:
    """Compare images of the run's objects with the photo. Only on the toybox are the verdicts calibrated."""
    if not loaded.is_toybox():
        return verdict.compare(loaded.base(), load_run(run), scene, None, loaded.segmenter())
    extractor, finder = load_feature_extractor(device=loaded.base().device), Segmenter.load("toybox")
    return verdict.compare(loaded.base(), load_run(run), scene, extractor, finder, loaded.is_familiar(scene))


@on_gpu(EXPORT_SECONDS)
def export(run: Path, to: str, out: Path) -> Exported:
    """Export a run folder to another program, into the new folder `out`."""
    return export_concepts(load_run(run), loaded.base(), to, out)
