"""The work of the command `demo`: extract a scene, generate a gallery, and write a page that shows both."""

import time
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

from PIL import Image

from breakascene.cli.progress import format_duration
from breakascene.data.scene import Scene, save_scene
from breakascene.evaluation.prompts import demo_prompts
from breakascene.files import atomic_folder
from breakascene.generation.generate import GeneratedImage, generate, save_image
from breakascene.models.base import Base
from breakascene.models.concepts import Concepts
from breakascene.provenance.credentials import png_bytes
from breakascene.rendering import html
from breakascene.rendering.curves import loss_curves
from breakascene.rendering.overlay import heat_map, overlay, scene_overlay
from breakascene.rendering.sheets import contact_sheet
from breakascene.training.loop import StepEvent, run_extraction
from breakascene.training.monitor import attention_maps
from breakascene.training.settings import Settings

COLUMNS = 4  # of the gallery sheet


def run_demo(
    scene: Scene,
    base: Base,
    settings: Settings,
    out: Path,
    log: Callable[[str], None],
    on_event: Callable[[StepEvent], None],
) -> None:
    """Extract the concepts of a scene, generate a gallery, and write everything to a folder, whole or not at all.

    Args:
        scene: The photo and its masks.
        base: The base model.
        settings: The settings of the extraction; their seed is also that of the images.
        out: The folder. It receives index.html, photo.png, mask0.png, …, overlay.png, run/ (the Concepts), gallery/
            with its contact sheet gallery.png, losses.png and attention.png.
        log: Called with a line for each stage and image.
        on_event: Called after each training step.
    """
    started = time.monotonic()
    with atomic_folder(out) as draft:
        save_scene(scene, draft / "scene")
        for path in (draft / "scene").glob("mask*.png"):
            path.rename(draft / path.name)
        (draft / "scene" / "img.png").rename(draft / "photo.png")
        (draft / "scene" / "names.txt").unlink()
        (draft / "scene").rmdir()
        scene_overlay(scene).save(draft / "overlay.png")

        objects = " and ".join(f"{name} ({handle})" for handle, name in zip(scene.handles, scene.names, strict=True))
        log(f"Extracting {objects} in {settings.total} steps.")
        concepts = run_extraction(scene, base, settings, draft / "run", on_event, save_every=0)
        loss_curves(concepts.losses, settings.steps[0]).save(draft / "losses.png")
        attention_sheet(scene, base, concepts).save(draft / "attention.png")

        prompts = demo_prompts(scene.handles)
        log(f"Generating {len(prompts)} images.")
        generation_started, images = time.monotonic(), []
        for image in generate(base, concepts, prompts, seed=settings.seed):
            images.append((image, save_image(image, draft / "gallery")))
            left = (time.monotonic() - generation_started) / len(images) * (len(prompts) - len(images))
            log(f"image {len(images)} of {len(prompts)}, {format_duration(left)} left: {image.metadata['prompt']}")
        captions = [image.metadata["prompt"] for image, _ in images]
        sheet = contact_sheet([image.image for image, _ in images], captions, COLUMNS)
        (draft / "gallery.png").write_bytes(png_bytes(sheet, photo=concepts.photo))
        page = _page(scene, settings, base, images, time.monotonic() - started)
        (draft / "index.html").write_text(page, encoding="utf-8")


def attention_sheet(scene: Scene, base: Base, concepts: Concepts) -> Image.Image:
    """Return the photo and the attention map of each handle over it, side by side."""
    square = scene.square_crop(base.image_size)
    latents, _ = base.encode(square.pixels[None])
    with concepts.applied(base):
        maps = attention_maps(base, latents, concepts.handles)
    heat_maps = [heat_map(square.pixels, maps[handle]) for handle in concepts.handles]
    captions = [f"{handle}  {name}" for handle, name in zip(concepts.handles, concepts.names, strict=True)]
    photo = overlay(scene.photo, [])
    return contact_sheet([photo, *heat_maps], ["the photo", *captions], columns=len(heat_maps) + 1)


def _page(
    scene: Scene, settings: Settings, base: Base, images: Sequence[tuple[GeneratedImage, Path]], seconds: float
) -> str:
    gallery = [(f"gallery/{path.name}", image.metadata["prompt"]) for image, path in images]
    objects = ", ".join(
        f"<b>{escape(handle)}</b> {escape(name)}" for handle, name in zip(scene.handles, scene.names, strict=True)
    )
    return html.page(
        "One photo, taken apart",
        f"""<p>Base model: {escape(base.name)}. Preset {escape(settings.preset)},
{settings.steps[0]} + {settings.steps[1]} steps. Extracted and generated in {format_duration(seconds)}.</p>
<h2>The photo and its objects</h2><p>{objects}</p>
<p class="scene"><img src="photo.png" alt="the photo"> <img src="overlay.png" alt="the masks over the photo"></p>
<h2>Generated images</h2>{html.gallery(gallery)}
<h2>Attention of each handle</h2><p><img src="attention.png" alt="attention of each handle over the photo"></p>
<h2>Losses</h2><p><img src="losses.png" alt="loss curves"></p>""",
    )
