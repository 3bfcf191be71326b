"""The command line. It turns words into calls; heavy modules are imported by the commands that need them."""

import logging
import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from breakascene.cli.terminal import (
    Plain,
    mask_picture,
    open_base,
    parse_mask,
    parse_numbers,
    parse_point,
    parse_size,
    progress,
    read_lines,
    require_empty,
    require_free,
    stop_on_interrupt,
    write_all,
)
from breakascene.errors import UserError
from breakascene.files import atomic_file, require_writable

app = typer.Typer(
    cls=Plain,
    help="Break-A-Scene: take the things out of one photo and draw them again anywhere.",
    add_completion=False,
    no_args_is_help=False,
    pretty_exceptions_enable=False,
)

Base = Annotated[
    str, typer.Option(help="Base model: toybox, a folder in the diffusers layout, a .safetensors file, or a hub id.")
]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="The same seed gives the same result.")]


@app.callback(invoke_without_command=True)
def start(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())
        return
    # The libraries' notices to programmers would bury the one line that matters.
    warnings.simplefilter("ignore")
    for library in ("TRANSFORMERS", "DIFFUSERS", "HF_HUB"):
        os.environ.setdefault(f"{library}_VERBOSITY", "error")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # on a CPU it misses kernels that are not used here


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the result; an earlier demo in it is replaced.")] = Path("demo"),
):
    """Take a sample scene through the whole chain: pictures and a page that shows them in OUT."""
    require_writable(out, "folder")
    if not ((out / "index.html").is_file() and (out / "run" / "manifest.json").is_file()):
        require_empty(out)
    from breakascene.cli import demo as chain
    from breakascene.training.settings import preset

    scene = chain.sample_scene()
    print("Loading the toybox.", flush=True)
    base = open_base("toybox")
    with progress() as tell:
        chain.run(scene, base, preset("light", base), out, lambda line: print(line, flush=True), tell)
    print(f"Done: open {out / 'index.html'} in a browser.")


@app.command()
def segment(
    photo: Annotated[Path, typer.Argument(help="The photo.")],
    out: Annotated[Path, typer.Option(help="A PNG for the mask; with --auto a new folder.")],
    point: Annotated[list[str] | None, typer.Option(help="X,Y in the thing, or X,Y,- outside it; repeatable.")] = None,
    box: Annotated[str | None, typer.Option(help="X0,Y0,X1,Y1 around the thing.")] = None,
    auto: Annotated[bool, typer.Option("--auto", help="Find all things by itself.")] = False,
    sam: Annotated[str, typer.Option(help="toybox, vit_b, vit_l, vit_h, or a SAM checkpoint (.pth).")] = "auto",
):
    """Mark a thing in a photo by points or a box, and write its mask; X and Y are pixels of the upright photo."""
    marks = [parse_point(text) for text in point or []]
    corners = parse_numbers(box, 4, "--box", "X0,Y0,X1,Y1") if box else None
    if auto == bool(marks or corners):
        raise UserError("Say where the thing is with --point X,Y or --box X0,Y0,X1,Y1, or give --auto alone.")
    require_writable(out, "folder" if auto else "file")
    if auto:
        require_empty(out)
    elif out.suffix.lower() != ".png":
        raise UserError(f"The mask is written as a PNG: name it {out.stem}.png.")
    from breakascene.data.image_io import read_photo

    image = read_photo(photo)
    from breakascene.segmentation.segmenter import Segmenter, validate_clicks

    points, labels = [(x, y) for x, y, _ in marks], [label for _, _, label in marks]
    if not auto:
        validate_clicks(image.size, points, labels, corners)
    segmenter = Segmenter.load(sam)
    if auto:
        write_all(segmenter.auto(image), image, out)
        return
    found = segmenter.predict(points, labels, corners, photo=image)
    mask = found.mask()  # (H, W)
    if not mask.any():
        raise UserError("Nothing was found there: try another point, or a box around the thing.")
    with atomic_file(out) as draft:
        mask_picture(mask).save(draft)
    print(f"{out}: {mask.mean():.1%} of the photo, score {found.scores[0]:.2f}")


@app.command()
def extract(
    photo: Annotated[Path, typer.Argument(help="The photo.")],
    out: Annotated[Path, typer.Option(help="Folder for the run.")],
    mask: Annotated[
        list[str] | None, typer.Option(metavar="FILE[:NAME]", help="A mask and what it shows; one for each thing.")
    ] = None,
    background: Annotated[bool, typer.Option("--background", help="Learn the rest as <background>.")] = False,
    also: Annotated[
        list[Path] | None,
        typer.Option(help="A folder with another photo of things with the same names: img.png, mask0.png, names.txt."),
    ] = None,
    preset: Annotated[
        Literal["quick", "light", "paper"], typer.Option(help="quick: fewer steps; light: LoRA; paper: all weights.")
    ] = "light",
    steps: Annotated[str | None, typer.Option(metavar="N1,N2", help="Steps of the two phases.")] = None,
    base: Base = "auto",
    memory: Annotated[
        Literal["auto", "fast", "lean", "least"],
        typer.Option(help="auto: the quickest way that fits; lean keeps less and takes longer, least rounds as well."),
    ] = "auto",
    seed: Seed = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")] = False,
):
    """Learn the things in a photo: each gets a word (<asset0>, …) for prompts. Ctrl-C keeps what is learned so far."""
    changes = {}
    if steps is not None:
        first, second = (int(n) for n in parse_numbers(steps, 2, "--steps", "N1,N2", whole=True))
        if first < 0 or second < 0 or first + second == 0:
            raise UserError("--steps needs two numbers from 0 up that are not both 0, such as 400,400.")
        changes["steps"] = (first, second)
    require_writable(out, "folder")
    if (out / "manifest.json").is_file() and not resume:
        raise UserError(f"There is a run in {out} already: choose another --out, or go on with it by --resume.")
    from breakascene.data.scene import load_scene, read_scene
    from breakascene.evaluation.advice import run_advice, scene_advice

    others = [load_scene(folder) for folder in also or []]
    scene = read_scene(photo, [parse_mask(text) for text in mask or []], background, others)
    for line in scene_advice(scene):
        print(line)
    from breakascene.models.concepts import check_run_folder
    from breakascene.training.loop import run_extraction
    from breakascene.training.settings import adapted
    from breakascene.training.settings import preset as settings_of

    check_run_folder(out)
    model = open_base(base)
    settings = replace(adapted(settings_of(preset, model, seed=seed), scene), **changes)
    first, second = settings.steps
    print(f"Learning {', '.join(scene.handles)} on {model.name}: {first} + {second} steps.", flush=True)
    with stop_on_interrupt() as stopped, progress() as tell:
        concepts = run_extraction(scene, model, settings, out, tell, memory=memory, resume=resume, stop=stopped)
    if concepts.steps < settings.total:
        print(f"Stopped after {concepts.steps} of {settings.total} steps; usable as it is, and --resume goes on.")
    for line in run_advice(concepts):
        print(line)
    print(f"{out}: " + ", ".join(f"{h} ({n})" for h, n in zip(concepts.handles, concepts.names, strict=True)))


@app.command()
def generate(
    run: Annotated[Path, typer.Argument(help="The folder that extract wrote.")],
    prompt: Annotated[str, typer.Argument(help='What to draw: "a photo of <asset0> at the beach".')],
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")],
    count: Annotated[int, typer.Option(min=1, help="Number of pictures.")] = 1,
    seed: Seed = 0,
    steps: Annotated[int, typer.Option(min=1, max=1000, help="Steps for each picture.")] = 20,
    guidance: Annotated[float | None, typer.Option(help="How closely to follow the prompt.")] = None,
    negative: Annotated[str, typer.Option(help="What not to draw.")] = "",
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT; if left out, the base's own square.")] = None,
    base: Annotated[str | None, typer.Option(help="Base model, if it moved since the extraction.")] = None,
):
    """Draw a prompt with the words of a run; prints the path of each PNG, which has its record inside."""
    require_writable(out, "folder")
    from breakascene.models.concepts import Concepts
    from breakascene.models.handles import check_prompt

    concepts = Concepts.load(run)
    sides = parse_size(size)
    for text in (prompt, negative):
        check_prompt(text, concepts.handles)
    from breakascene.generation.generate import generate as draw
    from breakascene.generation.generate import save_image

    pictures = draw(
        open_base(base or concepts.base),
        concepts,
        [prompt],
        count=count,
        seed=seed,
        num_inference_steps=steps,
        guidance_scale=guidance,
        negative_prompt=negative,
        size=sides,
    )
    for picture in pictures:
        print(save_image(picture, out), flush=True)


@app.command()
def evaluate(
    runs: Annotated[list[Path], typer.Argument(help="Folders that extract wrote.")],
    out: Annotated[Path, typer.Option(help="A new folder for the report: index.html, scores.json, pictures.")],
    prompts: Annotated[Path | None, typer.Option(help="A text file with a prompt a line, handles in them.")] = None,
    count: Annotated[int, typer.Option(min=1, help="Pictures of each prompt.")] = 1,
    seed: Seed = 0,
    guidance: Annotated[float | None, typer.Option(help="How closely to follow the prompt.")] = None,
    clip: Annotated[str, typer.Option(help="Compares with prompts: toybox, or a CLIP folder or hub id.")] = "toybox",
    dino: Annotated[str, typer.Option(help="Compares things: toybox, or a DINO or CLIP folder or hub id.")] = "toybox",
    base: Annotated[str | None, typer.Option(help="Base model, if it moved since the extraction.")] = None,
):
    """Measure runs: prompt and identity similarity, what each thing came out as, on a page with all pictures."""
    require_writable(out, "folder")
    require_empty(out)
    from breakascene.evaluation import report
    from breakascene.evaluation.metrics import load_feature_extractor
    from breakascene.models.concepts import Concepts
    from breakascene.training.loop import exhaust

    lines = read_lines(prompts) if prompts else []
    model = open_base(base or Concepts.load(runs[0]).base)
    eyes = [load_feature_extractor(name, model.device) for name in (clip, dino)]
    work = report.write(runs, model, out, *eyes, lines, count, seed=seed, guidance_scale=guidance)
    found = exhaust(work, lambda event: print(f"{event[2]} ({event[0]} of {event[1]})", flush=True))
    for name, figures in found.items():
        known = [(words, figures[key]) for key, words in report.METRICS.items() if figures[key] is not None]
        print(f"{name}: " + ", ".join(f"{words} {value:.3f}" for words, value in known))
    print(f"Done: open {out / 'index.html'} in a browser.")


@app.command()
def studio(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets others in.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port; if left out, a free one from 7860.")] = None,
    base: Base = "auto",
    login: Annotated[
        str,
        typer.Option(envvar="BREAKASCENE_LOGIN", help="NAME:PASSWORD that visitors have to give.", show_default=False),
    ] = "",
    mcp: Annotated[bool, typer.Option("--mcp", help="Offer the chain as MCP tools as well.")] = False,
):
    """Open the studio in the browser."""
    if port is not None:
        require_free(host, port)
    from breakascene.studio.app import launch

    launch(host, port, base, login=login, mcp=mcp)


if __name__ == "__main__":
    app(prog_name="python -m breakascene")
