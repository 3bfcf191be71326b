"""The pictures of step 3: the gallery, what can be done with the chosen one, side by side, and taking them away."""

from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from breakascene.generation.generate import read_metadata
from breakascene.studio import strings
from breakascene.studio.jobs import FAILED
from breakascene.studio.screens import charts
from breakascene.studio.screens.events import QUIET, at_desk, download_button
from breakascene.studio.state.gallery import Album, details, differences, seed_of, sentence
from breakascene.studio.state.session import Desk, Desks

ALL, FAVOURITES = "all", "favourites"
STAR = "★ "  # the style sheet puts one on each small picture whose caption begins with it


@dataclass(frozen=True)
class Pictures:
    outputs: list
    again: gr.Button  # wants the seed of the chosen picture
    use: gr.Button  # wants all its settings

    def show(self, desk: Desk, follow: bool = False) -> list:
        """All of it; `follow`: while pictures come in, when a large view stays as it is unless its picture moves."""
        album, shown = desk.album, desk.album.shown()
        favourites = {path.name for path in album.favourites()}
        beside = [album.pictures_folder / name for name in album.beside]
        texts = differences([read_metadata(path) for path in beside])
        sheet = has_sheet(desk)
        place = place_of(album)
        large = {} if follow and place is None else {"selected_index": place}
        return [
            gr.Column(visible=sheet),
            str(album.sheet) if sheet else None,
            gr.Radio(value=FAVOURITES if album.only_favourites else ALL, visible=bool(favourites)),
            # Paths, never images: the files go out as they are, with the records inside
            gr.Gallery(
                [(str(path), STAR * (path.name in favourites) + caption(path)) for path in shown],
                **large,
            ),
            *self.panel(album),
            gr.Column(visible=bool(beside)),
            [(str(path), text) for path, text in zip(beside, texts, strict=True)],
            gr.Markdown(visible=len(beside) == 1),
            gr.Button(visible=bool(favourites)),
        ]

    def panel(self, album: Album) -> list:
        """What can be done with the chosen picture."""
        if album.chosen is None:
            return [gr.Column(visible=False), gr.skip(), gr.skip(), gr.skip()]
        favourite = album.chosen in {path.name for path in album.favourites()}
        return [
            gr.Column(visible=True),
            description(read_metadata(album.chosen_picture())),
            gr.Button(strings.UNMARK if favourite else strings.MARK),
            gr.Button(strings.NOT_BESIDE if album.chosen in album.beside else strings.BESIDE),
        ]


def build(desks: Desks, token: gr.State) -> Pictures:
    look = {"show_label": False, "height": "auto", "object_fit": "contain", "interactive": False, "min_width": 200}
    with gr.Column(visible=False) as sheet_part:
        sheet = gr.Image(show_label=False, interactive=False, buttons=["fullscreen"], type="filepath", elem_id="sheet")
        download_button(desks, token, lambda desk: desk.album.sheet, strings.TAKE_SHEET, "take-sheet")
    which = gr.Radio(
        [(strings.ALL_PICTURES, ALL), (STAR + strings.FAVOURITES, FAVOURITES)], value=ALL, show_label=False,
        container=False, visible=False, elem_id="which-pictures",
    )  # fmt: skip
    gallery = gr.Gallery(columns=4, buttons=["fullscreen"], elem_id="pictures", **look)
    with gr.Column(visible=False, elem_id="chosen") as chosen:
        about = gr.HTML()
        with gr.Row(elem_classes="tools"):
            mark = gr.Button(strings.MARK, size="sm", min_width=150, elem_id="mark")
            lay = gr.Button(strings.BESIDE, size="sm", min_width=150, elem_id="lay-beside")
            download_button(
                desks, token, lambda desk: desk.album.chosen_picture(), strings.TAKE_PICTURE, "take-picture"
            )
        with gr.Row(elem_classes="tools"):
            again = gr.Button(strings.AGAIN, size="sm", min_width=150, elem_id="again")
            use = gr.Button(strings.USE_SETTINGS, size="sm", min_width=150, elem_id="use-settings")
    with gr.Column(visible=False) as beside_part:
        gr.Markdown(strings.BESIDE_TITLE, elem_classes="caption")
        beside = gr.Gallery(columns=2, buttons=["fullscreen"], elem_id="beside", **look)
        hint = gr.Markdown(strings.BESIDE_HINT, elem_classes="hint")
        clear = gr.Button(strings.BESIDE_CLEAR, size="sm", elem_id="clear-beside")
    with gr.Row(elem_classes="tools"):
        download_button(
            desks, token, lambda desk: desk.album.zip(desk.album.pictures(), "pictures.zip"), strings.ZIP, "zip"
        )
        zip_favourites = download_button(
            desks, token, lambda desk: desk.album.zip(desk.album.favourites(), "favourites.zip"), strings.ZIP_FAVOURITES,
            "zip-favourites", visible=False,
        )  # fmt: skip

    panel = [chosen, about, mark, lay]
    outputs = [sheet_part, sheet, which, gallery, *panel, beside_part, beside, hint, zip_favourites]
    pictures = Pictures(outputs, again, use)

    def choose(desk: Desk, value: dict | None):
        desk.album.choose(Path(value["image"]["path"]).name if value else None)
        # The large view once more: a new picture may have moved it just now
        return [gr.Gallery(selected_index=place_of(desk.album)), *pictures.panel(desk.album)]

    def filter_by(desk: Desk, value: str):
        desk.album.only_favourites = value == FAVOURITES
        desk.album.choose(None)
        return pictures.show(desk)

    def on(event, change):
        def act(desk: Desk):
            change(desk.album)
            return pictures.show(desk)

        event(at_desk(desks, act), [token], outputs, **QUIET)

    choosing = at_desk(desks, choose)

    def see(where: gr.SelectData, token):
        return choosing(token, where.value)

    gallery.select(see, [token], [gallery, *panel], **QUIET)
    gallery.preview_close(lambda token: choosing(token, None), [token], [gallery, *panel], **QUIET)
    which.input(at_desk(desks, filter_by), [token, which], outputs, **QUIET)
    on(mark.click, Album.mark)
    on(lay.click, Album.lay_beside)
    on(clear.click, lambda album: album.beside.clear())
    return pictures


def has_sheet(desk: Desk) -> bool:
    """Whether the last drawing was a contact sheet, and it is there."""
    job = desk.drawing
    return job is not None and job.over and job.state != FAILED and bool(job.shown.columns and job.events)


def place_of(album: Album) -> int | None:
    """Where the chosen picture stands in the gallery."""
    names = [path.name for path in album.shown()]
    return names.index(album.chosen) if album.chosen in names else None


def caption(picture: Path) -> str:
    metadata = read_metadata(picture)
    return f"{sentence(metadata)} · {strings.SEED.lower()} {seed_of(metadata)}"


def description(metadata: dict) -> str:
    text, rest = charts.escape(sentence(metadata)), charts.escape(" · ".join(details(metadata).values()))
    return f'<p>{text}</p><p class="caption">{rest}</p>'
