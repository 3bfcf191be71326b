"""The command `extract`: a photo and masks to a run folder."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from breakascene.cli.options import (
    AgreedByOption,
    AgreedToOption,
    AgreedUntilOption,
    BaseOption,
    PersonOption,
    SeedOption,
    open_base,
    parse_mask,
    parse_numbers,
)
from breakascene.cli.progress import step_progress, stop_on_interrupt
from breakascene.errors import UserError
from breakascene.files import locked, require_writable
from breakascene.training.modes import DEFAULT_PRESET, MEMORY_MODE_NAMES, PRESET_NAMES


def extract(
    photo: Annotated[Path, typer.Argument(help="The photo.")],
    out: Annotated[Path, typer.Option(help="Folder for the run.")],
    mask: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE[#CLASS][:NAME]",
            help="A mask and the name of its object; repeat for each object. Or a folder of masks or cut-outs, whose "
            "file names are the names, or COCO JSON.",
        ),
    ] = None,
    background: Annotated[
        bool, typer.Option("--background", help="Also extract the rest of the photo as <background>.")
    ] = False,
    innermost: Annotated[
        bool,
        typer.Option("--innermost-on-top", help="Where masks overlap, the part belongs to the smallest object alone."),
    ] = False,
    also: Annotated[
        list[Path] | None,
        typer.Option(
            help="Scene folder with another photo of objects of the same names: img.png, mask0.png, …, names.txt."
        ),
    ] = None,
    preset: Annotated[
        Literal[PRESET_NAMES], typer.Option(help="quick: fewer steps; light: LoRA; paper: all weights.")
    ] = DEFAULT_PRESET,
    steps: Annotated[str | None, typer.Option(metavar="N1,N2", help="Steps of phase 1 and phase 2.")] = None,
    base: BaseOption = "auto",
    memory: Annotated[
        Literal[MEMORY_MODE_NAMES],
        typer.Option(
            help="auto: the fastest that fits; lean: recompute activations; least: also keep Adam's state in 8 bits."
        ),
    ] = "auto",
    seed: SeedOption = 0,
    person: PersonOption = None,
    agreed_by: AgreedByOption = "",
    agreed_to: AgreedToOption = "",
    agreed_until: AgreedUntilOption = "",
    resume: Annotated[bool, typer.Option("--resume", help="Continue a run that was stopped.")] = False,
):
    """Extract the objects of a photo: each gets a handle (<asset0>, …) for prompts. Ctrl-C keeps the progress."""
    changes = {}
    if steps is not None:
        first, second = (int(number) for number in parse_numbers(steps, 2, "--steps", "N1,N2", whole=True))
        if first < 0 or second < 0 or first + second == 0:
            raise UserError("--steps needs two numbers of at least 0 that are not both 0, such as 400,400.")
        changes["steps"] = (first, second)
    from breakascene.data.consent import declare_consent

    consent = declare_consent(person, agreed_by, agreed_to, agreed_until)
    require_writable(out, "folder")
    if (out / "manifest.json").is_file() and not resume:
        raise UserError(f"{out} already contains a run: choose another --out, or continue it with --resume.")
    from breakascene.training import checkpoint

    if not resume:
        for stopped in filter(Path.exists, (checkpoint.path_for(out), checkpoint.groups_folder(out))):
            with locked(out):  # or else it is no stopped run, but one at work
                raise UserError(f"A stopped run lies at {stopped}: continue it with --resume, or delete it.")
    from breakascene.data.image_io import read_photo
    from breakascene.data.mask_files import read_named_mask
    from breakascene.data.scene import innermost_on_top, load_scene, make_scene
    from breakascene.evaluation.advice import run_advice, scene_advice
    from breakascene.provenance.consent import check_scene

    other_photos = [load_scene(folder) for folder in also or []]
    image = read_photo(photo)
    named = [pair for text in mask or [] for pair in read_named_mask(*parse_mask(text), image, photo.name)]
    names, masks = [name for name, _ in named], [array for _, array in named]
    scene = make_scene(image, masks, names, background, other_photos, consent)
    if innermost:
        scene = innermost_on_top(scene)
    for sentence in (*check_scene(scene), *scene_advice(scene)):
        print(sentence)
    from breakascene.models.concepts import check_run_folder
    from breakascene.training.groups import count_groups, groups_of
    from breakascene.training.loop import run_extraction
    from breakascene.training.settings import adapted
    from breakascene.training.settings import preset as preset_settings

    check_run_folder(out)
    if (groups := count_groups(len(scene.concepts))) > 1:
        groups_of(scene)  # raises UserError before the base loads
    model = open_base(base)
    settings = replace(adapted(preset_settings(preset, model, seed=seed), scene), **changes)
    first, second = settings.steps
    each = f" in each of {groups} groups" if groups > 1 else ""
    print(f"Extracting {', '.join(scene.handles)} on {model.name}: {first} + {second} steps{each}.", flush=True)
    with stop_on_interrupt() as stopped, step_progress() as report:
        concepts = run_extraction(scene, model, settings, out, report, memory=memory, resume=resume, stop=stopped)
    if concepts.steps < (total := groups * settings.total):
        print(f"Stopped after {concepts.steps} of {total} steps. The run is usable; --resume continues it.")
    for sentence in run_advice(concepts):
        print(sentence)
    print(f"{out}: " + ", ".join(f"{h} ({n})" for h, n in zip(concepts.handles, concepts.names, strict=True)))
