"""The command `export`: a run folder to the files of another program."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from breakascene.cli.library import run_folder
from breakascene.cli.options import open_base
from breakascene.files import require_writable


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
    from breakascene.models.grouped import load_run

    concepts = load_run(run_folder(run))
    exported = export_concepts(concepts, open_base(base or concepts.base), to, out)
    for handle, token in exported.tokens.items():
        print(f"{handle} is {token}")
    if exported.left_out:
        print(f"{len(exported.left_out)} weights cannot be exported; README.md lists them.")
    print(f"{out}: open README.md for the next steps.")
