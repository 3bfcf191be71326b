"""The demo: a sample scene through the whole chain into one folder, with a page that shows it all."""

import time
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

from breakascene.data.scene import Scene, load_scene, save_scene
from breakascene.errors import UserError
from breakascene.evaluation.prompts import demo_prompts
from breakascene.files import atomic_folder
from breakascene.generation.generate import GeneratedImage, generate, save_image
from breakascene.models.base import Base
from breakascene.models.concepts import Concepts
from breakascene.paths import SAMPLES
from breakascene.rendering import html
from breakascene.rendering.curves import loss_curves
from breakascene.rendering.overlay import heat_map, overlay, scene_overlay
from breakascene.rendering.sheets import contact_sheet
from breakascene.training.loop import StepEvent, run_extraction
from breakascene.training.monitor import attention_maps
from breakascene.training.settings import Settings

SAMPLE = SAMPLES / "teapot-and-owl"
COLUMNS = 4


def sample_scene() -> Scene:
    """The sample scene of the demo. Raises UserError if it is missing."""
    if not SAMPLE.is_dir():
        raise UserError(f"The sample scene is missing from {SAMPLE}: restore it from the repository.")
    return load_scene(SAMPLE)


def run(
    scene: Scene,
    base: Base,
    settings: Settings,
    out: Path,
    say: Callable[[str], None],
    on_event: Callable[[StepEvent], None],
) -> None:
    """Extract the scene's concepts, draw with them, and write everything to the folder `out`, whole or not at all.

    out/: index.html, photo.png, mask0.png …, overlay.png, run/ (the Concepts), gallery/ with its sheet gallery.png,
    losses.png, attention.png. `say` gets a line for each stage, `on_event` each training step.
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

        things = " and ".join(f"{name} ({handle})" for handle, name in zip(scene.handles, scene.names, strict=True))
        say(f"Learning {things} in {settings.total} steps.")
        concepts = run_extraction(scene, base, settings, draft / "run", on_event, save_every=0)
        loss_curves(concepts.losses, settings.steps[0]).save(draft / "losses.png")
        attention_sheet(scene, base, concepts).save(draft / "attention.png")

        wanted = demo_prompts(scene.handles)
        say(f"Drawing {len(wanted)} pictures.")
        drawing, pictures = time.monotonic(), []
        for picture in generate(base, concepts, wanted, seed=settings.seed):
            pictures.append((picture, save_image(picture, draft / "gallery")))
            left = (time.monotonic() - drawing) / len(pictures) * (len(wanted) - len(pictures))
            say(f"picture {len(pictures)} of {len(wanted)}, {clock(left)} left: {picture.metadata['prompt']}")
        contact_sheet([p.image for p, _ in pictures], [p.metadata["prompt"] for p, _ in pictures], COLUMNS).save(
            draft / "gallery.png"
        )
        page = _page(scene, settings, base, pictures, time.monotonic() - started)
        (draft / "index.html").write_text(page, encoding="utf-8")


def attention_sheet(scene: Scene, base: Base, concepts: Concepts):
    """Where each handle looks in the photo, side by side, with the photo first."""
    square = scene.square_crop(base.image_size)
    with concepts.applied(base):
        maps = attention_maps(base, scene, concepts.handles)
    heats = [heat_map(square.pixels, maps[handle]) for handle in concepts.handles]
    captions = [f"{handle}  {name}" for handle, name in zip(concepts.handles, concepts.names, strict=True)]
    return contact_sheet(
        [overlay(scene.photo, []), *heats], ["the photo", *captions], columns=len(heats) + 1
    )


def clock(seconds: float) -> str:
    """Seconds in words: "8 s", "2 min 05 s", "1 h 10 min"."""
    minutes, seconds = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"


def _page(
    scene: Scene, settings: Settings, base: Base, pictures: Sequence[tuple[GeneratedImage, Path]], seconds: float
) -> str:
    shown = [(f"gallery/{path.name}", picture.metadata["prompt"]) for picture, path in pictures]
    things = ", ".join(
        f"<b>{escape(handle)}</b> {escape(name)}" for handle, name in zip(scene.handles, scene.names, strict=True)
    )
    return html.page(
        "One photo, taken apart",
        f"""<p>Base model: {escape(base.name)}. Preset {escape(settings.preset)},
{settings.steps[0]} + {settings.steps[1]} steps. Learned and drawn in {clock(seconds)}.</p>
<h2>The photo and its things</h2><p>{things}</p>
<p class="scene"><img src="photo.png" alt="the photo"> <img src="overlay.png" alt="the masks over the photo"></p>
<h2>Drawn anew</h2>{html.gallery(shown)}
<h2>Where each word looks</h2><p><img src="attention.png" alt="attention of each handle over the photo"></p>
<h2>How the learning went</h2><p><img src="losses.png" alt="loss curves"></p>""",
    )
