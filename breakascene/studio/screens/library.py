"""In step 3: the library of this machine, from which object sets are opened, and to which they are added."""

import math
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
from PIL import Image

from breakascene.errors import UserError
from breakascene.files import atomic_file
from breakascene.generation.library import THUMBNAIL_SIZE, Entry, Library
from breakascene.studio import loaded, strings
from breakascene.studio.screens.events import EVENT_OPTIONS, PageContext, Updates, show_notice, with_session
from breakascene.studio.screens.generate import GenerateScreen
from breakascene.studio.state import deletion
from breakascene.studio.state.session import Session

MAX_SHOWN = 60  # runs; more are found by searching
UNREADABLE = (OSError, Image.DecompressionBombError)  # errors of damaged thumbnails and of folders without permissions


@dataclass(frozen=True)
class LibraryScreen:
    library: Library
    search: gr.Textbox
    runs: gr.Gallery
    note: gr.Markdown

    @property
    def outputs(self) -> list:
        return [self.runs, self.note]

    def show(self, session: Session, search: str = "") -> Updates:
        entries = self.library.entries(search or "")
        images = []
        for entry in entries[:MAX_SHOWN]:
            with suppress(UserError, *UNREADABLE):  # a run whose photo is damaged, or which was removed meanwhile
                images.append((str(self._image(session, entry)), caption(entry)))
        text = strings.LIBRARY_NOTHING if search else strings.LIBRARY_EMPTY
        return {
            self.runs: gr.Gallery(images, visible=bool(images), selected_index=None),
            self.note: gr.Markdown(text, visible=not images),
        }

    def _image(self, session: Session, entry: Entry) -> Path:
        """An image of the run's objects in the folder of the session, whose files the page may load."""
        path = session.folder / "library" / f"{entry.id}.png"
        if not path.exists():
            with atomic_file(path) as draft:
                collage(entry.thumbnails()).save(draft)
        return path


def build(page: PageContext, generate: GenerateScreen) -> LibraryScreen | None:
    """Build the section; None if this studio offers no library."""
    if (library := page.sessions.library) is None:
        return None
    with gr.Accordion(strings.LIBRARY, open=False, elem_id="library") as section:
        gr.Markdown(strings.LIBRARY_INFO, elem_classes="hint")
        search = gr.Textbox(label=strings.LIBRARY_SEARCH, max_lines=1, elem_id="library-search")
        note = gr.Markdown(visible=False, elem_classes="hint", elem_id="library-note")
        runs = gr.Gallery(
            columns=4, show_label=False, height="auto", object_fit="contain", interactive=False,
            allow_preview=False, buttons=[], elem_id="library-runs",
        )  # fmt: skip
        add = gr.Button(strings.LIBRARY_ADD, size="sm", elem_id="library-add")
    screen = LibraryScreen(library, search, runs, note)

    def add_run(session: Session, text: str) -> Updates:
        run = session.runs.require_current()
        entry = library.add(run.folder, run.details)
        deletion.note_shared(session.folder, entry.id)
        show_notice(strings.LIBRARY_ADDED.format(name=entry.name))
        return screen.show(session, text)

    def open_run(session: Session, run_id: str) -> Updates:
        page.check_disk(session)
        session.runs.open_entry(library.find(run_id), loaded.base())
        return generate.show(session)

    open_in_session = with_session(page.sessions, open_run)

    def select(selected: gr.SelectData, token):
        return open_in_session(token, Path(selected.value["image"]["path"]).stem)

    page.on(section.expand, screen.show, [search], screen.outputs)
    page.on(search.change, screen.show, [search], screen.outputs, trigger_mode="always_last")
    page.on(add.click, add_run, [search], screen.outputs)
    generate.run_changes.append(runs.select(select, [page.token], generate.outputs, **EVENT_OPTIONS))
    return screen


def caption(entry: Entry) -> str:
    return " · ".join([entry.name, *entry.details.tags])


def collage(files: list[Path]) -> Image.Image:
    """The cut-outs of a run in a grid."""
    columns = math.ceil(math.sqrt(len(files)))
    image = Image.new("RGBA", (columns * THUMBNAIL_SIZE, -(-len(files) // columns) * THUMBNAIL_SIZE))
    for i, file in enumerate(files):
        with Image.open(file) as cutout:
            image.paste(cutout, (i % columns * THUMBNAIL_SIZE, i // columns * THUMBNAIL_SIZE))
    return image
