"""The command `demo`: a sample scene through the whole chain."""

from pathlib import Path
from typing import Annotated

import typer

from breakascene.cli.options import open_base
from breakascene.cli.progress import step_progress
from breakascene.errors import UserError
from breakascene.files import require_empty, require_writable
from breakascene.paths import SAMPLES

SAMPLE = SAMPLES / "teapot-and-owl"


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the result; an earlier demo in it is replaced.")] = Path("demo"),
):
    """Take a sample scene through the whole chain: OUT receives the images and a page that shows them."""
    require_writable(out, "folder")
    if not ((out / "index.html").is_file() and (out / "run" / "manifest.json").is_file()):
        require_empty(out)
    from breakascene.cli.demo_run import run_demo
    from breakascene.training.settings import preset

    scene = sample_scene()
    print("Loading the toybox.", flush=True)
    base = open_base("toybox")
    with step_progress() as report:
        run_demo(scene, base, preset("light", base), out, lambda line: print(line, flush=True), report)
    print(f"Done: open {out / 'index.html'} in a browser.")


def sample_scene():
    """Load the sample scene of the demo. Raises UserError if it is missing."""
    from breakascene.data.scene import load_scene

    if not SAMPLE.is_dir():
        raise UserError(f"The sample scene is missing from {SAMPLE}: restore it from the repository.")
    return load_scene(SAMPLE)
