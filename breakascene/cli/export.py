"""The export command, and the --lora option of commands that generate images."""

import math
from pathlib import Path
from typing import Annotated, Literal

import typer

from breakascene.cli.library import run_folder
from breakascene.cli.options import open_base
from breakascene.errors import UserError
from breakascene.files import require_writable

LoraFiles = Annotated[
    list[str] | None,
    typer.Option(
        "--lora",
        metavar="FILE[:SCALE]",
        help="A LoRA of another program for this base (.safetensors, kohya or diffusers), or a folder that export "
        "wrote, with its strength; repeatable.",
    ),
]


def export(
    run: Annotated[str, typer.Argument(help="A run folder that extract wrote, or a run of the library.")],
    to: Annotated[
        Literal["kohya", "diffusers", "comfyui", "a1111"],
        typer.Option(help="The program: kohya for InvokeAI, SD.Next and others, a1111 also for Forge."),
    ],
    out: Annotated[Path, typer.Option(help="A new folder for the LoRA, the embeddings and a README.")],
    base: Annotated[str | None, typer.Option(help="Base model, if it moved since the extraction.")] = None,
):
    """Export a run to another program: a LoRA file, embeddings, and a README with prompts to paste."""
    require_writable(out, "folder")
    from breakascene.exporting.export import export as export_concepts
    from breakascene.models.concepts import Concepts

    concepts = Concepts.load(run_folder(run))
    exported = export_concepts(concepts, open_base(base or concepts.base), to, out)
    for handle, token in exported.tokens.items():
        print(f"{handle} is {token}")
    if exported.left_out:
        print(f"{len(exported.left_out)} weights cannot be exported; README.md lists them.")
    print(f"{out}: open README.md for the next steps.")


def read_loras(texts: list[str] | None, base) -> list:
    """Read the LoRAs of --lora options."""
    from breakascene.exporting.importing import load_lora

    return [load_lora(file, base, scale) for file, scale in map(parse_lora, texts or [])]


def parse_lora(text: str) -> tuple[Path, float]:
    """Parse "FILE" or "FILE:SCALE"; a file whose name contains a colon is taken as it is."""
    file, colon, scale = text.rpartition(":")
    if not colon or Path(text).exists():
        return Path(text), 1.0
    try:
        value = float(scale)
    except ValueError:
        return Path(text), 1.0  # a path with a colon; reported as missing
    if not math.isfinite(value) or abs(value) > 10:
        raise UserError(f'--lora "{text}" has no usable strength: write FILE:SCALE with a scale from -10 to 10.')
    return Path(file), value
