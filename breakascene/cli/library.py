"""The commands of `library`: runs with names and tags in one folder."""

import os
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Keep runs with names and tags in one folder that can be shared and moved.", no_args_is_help=True
)
LibraryOption = Annotated[
    Path | None,
    typer.Option(help="The library's folder; default: BREAKASCENE_LIBRARY, or one in the user's data folder."),
]
TagOption = Annotated[list[str] | None, typer.Option("--tag", help="A tag; repeatable.")]


@app.command("list")
def list_runs(
    search: Annotated[str, typer.Argument(help="Words that the name, objects or tags must have.")] = "",
    library: LibraryOption = None,
):
    """List the runs, newest first: id, name, handles and tags, separated by tabs."""
    from breakascene.data.handle_names import name_handles
    from breakascene.generation.library import Library

    for entry in Library(library).entries(search):
        handles = " ".join(name_handles(entry.handles, entry.concept_names))
        print(entry.id, entry.name, handles, ", ".join(entry.details.tags), sep="\t")


@app.command()
def add(
    run: Annotated[Path, typer.Argument(help="A run folder, as written by extract.")],
    name: Annotated[str, typer.Option(help="The name; default: those of the objects.")] = "",
    tag: TagOption = None,
    library: LibraryOption = None,
):
    """Copy a run into the library; prints its id."""
    from breakascene.generation.library import Library, clean_details

    print(Library(library).add(run, clean_details(name, tag or [])).id)


@app.command()
def edit(
    run: Annotated[str, typer.Argument(help="The id or name of a run in the library.")],
    name: Annotated[str | None, typer.Option(help='The new name; "" for the names of the objects.')] = None,
    tag: TagOption = None,
    untag: Annotated[list[str] | None, typer.Option(help="A tag to remove; repeatable.")] = None,
    library: LibraryOption = None,
):
    """Rename a run, and add and remove tags."""
    from breakascene.generation.library import Library, clean_details, write_details

    entry = Library(library).find(run)
    tags = [one for one in (*entry.details.tags, *(tag or [])) if one not in (untag or [])]
    write_details(entry.folder, clean_details(entry.details.name if name is None else name, tags))


@app.command()
def remove(
    run: Annotated[str, typer.Argument(help="The id or name of a run in the library.")], library: LibraryOption = None
):
    """Delete a run from the library."""
    from breakascene.generation.library import Library

    found = Library(library)
    found.remove(found.find(run))


def run_folder(text: str) -> Path:
    """Return the folder of a run that is given by its path, or by its id or name in the library."""
    from breakascene.generation.library import Library

    if os.path.exists(text) or os.sep in text:
        return Path(text)
    return Library().find(text).folder
