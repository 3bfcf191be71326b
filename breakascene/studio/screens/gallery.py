"""The images of step 3: the gallery, the actions on the chosen image, the comparison, and the downloads."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from breakascene.errors import UserError
from breakascene.generation import formats
from breakascene.generation.generate import read_metadata
from breakascene.studio import loaded, strings
from breakascene.studio.jobs import FAILED
from breakascene.studio.screens import charts, confirmation, image_selection
from breakascene.studio.screens.confirmation import Confirmation
from breakascene.studio.screens.events import EVENT_OPTIONS, PageContext, Updates, with_session
from breakascene.studio.screens.image_selection import CHECK, ImageSelection
from breakascene.studio.state.gallery import Gallery, details, differences, image_seed, readable_prompt
from breakascene.studio.state.session import Session

ALL, FAVORITES = "all", "favorites"
KEPT_FORMATS = 8  # downloads whose files are kept
STAR = "★ "  # the style sheet marks each small image whose caption begins with it
LAYOUT = {"show_label": False, "height": "auto", "object_fit": "contain", "interactive": False, "min_width": 200}


@dataclass(frozen=True)
class ChosenImage:
    """The actions on the chosen image."""

    panel: gr.Column
    about: gr.HTML
    favorite: gr.Button
    compare: gr.Button
    upscale: gr.Button
    keep_seed: gr.Button
    use_settings: gr.Button
    edit: gr.Button
    delete: gr.Button
    confirmation: Confirmation

    @property
    def outputs(self) -> list:
        return [self.panel, self.about, self.favorite, self.compare]

    def show(self, gallery: Gallery) -> Updates:
        if gallery.chosen is None:
            return {self.panel: gr.Column(visible=False)}
        name = gallery.chosen
        is_favorite = name in {path.name for path in gallery.favorites()}
        return {
            self.panel: gr.Column(visible=True),
            self.about: description(read_metadata(gallery.chosen_image())),
            self.favorite: gr.Button(strings.REMOVE_FAVORITE if is_favorite else strings.ADD_FAVORITE),
            self.compare: gr.Button(strings.COMPARE_REMOVE if name in gallery.compared else strings.COMPARE),
        }


@dataclass(frozen=True)
class Comparison:
    """Images side by side."""

    panel: gr.Column
    images: gr.Gallery
    hint: gr.Markdown
    clear: gr.Button

    @property
    def outputs(self) -> list:
        return [self.panel, self.images, self.hint]

    def show(self, gallery: Gallery) -> Updates:
        paths = [gallery.images_folder / name for name in gallery.compared]
        captions = differences([read_metadata(path) for path in paths])
        return {
            self.panel: gr.Column(visible=bool(paths)),
            self.images: [(str(path), caption) for path, caption in zip(paths, captions, strict=True)],
            self.hint: gr.Markdown(visible=len(paths) == 1),
        }


@dataclass(frozen=True)
class GalleryPanel:
    sheet_panel: gr.Column
    sheet: gr.Image
    filter: gr.Radio
    images: gr.Gallery
    chosen: ChosenImage
    comparison: Comparison
    selection: ImageSelection
    zip_favorites: gr.Button

    @property
    def keep_seed(self) -> gr.Button:
        return self.chosen.keep_seed

    @property
    def use_settings(self) -> gr.Button:
        return self.chosen.use_settings

    @property
    def outputs(self) -> list:
        parts = [*self.chosen.outputs, *self.comparison.outputs, *self.selection.outputs]
        return [self.sheet_panel, self.sheet, self.filter, self.images, *parts, self.zip_favorites]

    def show(self, session: Session, follow: bool = False) -> Updates:
        """Updates of all outputs.

        Args:
            follow: While images come in, leave an enlarged image alone unless its position changes.
        """
        gallery = session.gallery
        favorites = {path.name for path in gallery.favorites()}
        show_sheet = has_sheet(session)
        index = index_of_chosen(gallery)
        enlarged = {} if follow and index is None else {"selected_index": index}
        # Paths, never images: the files are sent as they are, with their metadata inside
        images = [(str(path), mark(gallery, path, favorites) + caption(path)) for path in gallery.visible()]
        return {
            self.sheet_panel: gr.Column(visible=show_sheet),
            self.sheet: str(gallery.sheet) if show_sheet else None,
            self.filter: gr.Radio(value=FAVORITES if gallery.only_favorites else ALL, visible=bool(favorites)),
            self.images: gr.Gallery(images, allow_preview=not gallery.selecting, **enlarged),
            **self.chosen.show(gallery),
            **self.comparison.show(gallery),
            **self.selection.show(gallery),
            self.zip_favorites: gr.Button(visible=bool(favorites)),
        }


def build(page: PageContext, upscale: gr.Button) -> GalleryPanel:
    """Build the gallery; the button that upscales the chosen image starts a job, so it comes from the screen."""
    with gr.Column(visible=False) as sheet_panel:
        sheet = gr.Image(
            show_label=False, interactive=False, buttons=["fullscreen"], type="filepath", elem_id="contact-sheet"
        )
        page.download_button(lambda session: session.gallery.sheet, strings.DOWNLOAD_SHEET, "download-sheet")
    favorites_filter = gr.Radio(
        [(strings.ALL_IMAGES, ALL), (STAR + strings.FAVORITES, FAVORITES)], value=ALL, show_label=False,
        container=False, visible=False, elem_id="gallery-filter",
    )  # fmt: skip
    images = gr.Gallery(columns=4, buttons=["fullscreen"], elem_id="gallery", **LAYOUT)
    selection = image_selection.build(page)
    chosen = build_chosen(page, upscale)
    comparison = build_comparison()
    with gr.Row(elem_classes="tools"):
        page.download_button(zip_all, strings.DOWNLOAD_ALL, "download-all")
        zip_favorites = page.download_button(
            zip_favorite_images, strings.DOWNLOAD_FAVORITES, "download-favorites", False
        )
    panel = GalleryPanel(sheet_panel, sheet, favorites_filter, images, chosen, comparison, selection, zip_favorites)
    connect(page, panel)
    return panel


def build_chosen(page: PageContext, upscale: gr.Button) -> ChosenImage:
    with gr.Column(visible=False, elem_id="chosen-image") as panel:
        about = gr.HTML()
        with gr.Row(elem_classes="tools"):
            favorite = gr.Button(strings.ADD_FAVORITE, size="sm", min_width=150, elem_id="favorite")
            compare = gr.Button(strings.COMPARE, size="sm", min_width=150, elem_id="compare")
            page.download_button(
                lambda session: session.gallery.chosen_image(), strings.DOWNLOAD_IMAGE, "download-image"
            )
        with gr.Row(elem_classes="tools"):
            form = gr.Dropdown(
                [(strings.FORMATS[name], name) for name in formats.NAMES], value=formats.NAMES[0],
                label=strings.FORMAT, info=strings.FORMAT_INFO, min_width=240, elem_id="image-format",
            )  # fmt: skip
            page.download_button(download_format, strings.DOWNLOAD_FORMAT, "download-format", inputs=[form])
            upscale.render()
        with gr.Row(elem_classes="tools"):
            keep_seed = gr.Button(strings.USE_SEED, size="sm", min_width=150, elem_id="use-seed")
            use_settings = gr.Button(strings.USE_SETTINGS, size="sm", min_width=150, elem_id="use-settings")
            edit = gr.Button(strings.EDIT_IMAGE, size="sm", min_width=150, elem_id="edit-image")
            delete = gr.Button(strings.DELETE_IMAGE, size="sm", min_width=150, elem_id="delete-image")
        confirm = confirmation.build("confirm-delete-image")
    return ChosenImage(panel, about, favorite, compare, upscale, keep_seed, use_settings, edit, delete, confirm)


def build_comparison() -> Comparison:
    with gr.Column(visible=False) as panel:
        gr.Markdown(strings.COMPARE_TITLE, elem_classes="caption")
        images = gr.Gallery(columns=2, buttons=["fullscreen"], elem_id="comparison", **LAYOUT)
        hint = gr.Markdown(strings.COMPARE_HINT, elem_classes="hint")
        clear = gr.Button(strings.COMPARE_CLEAR, size="sm", elem_id="clear-comparison")
    return Comparison(panel, images, hint, clear)


def connect(page: PageContext, panel: GalleryPanel) -> None:
    questions = [panel.chosen.confirmation.panel, panel.selection.confirmation.panel]
    no_questions = {question: gr.Column(visible=False) for question in questions}  # about images chosen before

    def choose(session: Session, value: dict | None) -> Updates:
        gallery, name = session.gallery, Path(value["image"]["path"]).name if value else None
        if gallery.selecting:
            gallery.toggle_marked(name)
            return {**panel.show(session), **no_questions}
        gallery.choose(name)
        # Select it again: a new image may have moved it just now
        return {
            panel.images: gr.Gallery(selected_index=index_of_chosen(gallery)),
            **panel.chosen.show(gallery),
            **no_questions,
        }

    def filter_images(session: Session, value: str) -> Updates:
        session.gallery.only_favorites = value == FAVORITES
        session.gallery.choose(None)
        return panel.show(session)

    def on(event, change):
        def act(session: Session) -> Updates:
            change(session.gallery)
            return panel.show(session)

        return page.on(event, act, (), panel.outputs)

    choose_image = with_session(page.sessions, choose)

    def select(selected: gr.SelectData, token):
        return choose_image(token, selected.value)

    def close(session: Session) -> Updates:
        return {} if session.gallery.selecting else choose(session, None)

    def delete(images: Callable[[Session], Sequence[Path]]) -> Callable[[Session], Updates]:
        def act(session: Session) -> Updates:
            if session.generation and not session.generation.ended:
                raise UserError(strings.ALREADY_GENERATING)
            session.gallery.delete(images(session))
            return panel.show(session)

        return act

    panel.images.select(select, [page.token], [*panel.outputs, *questions], **EVENT_OPTIONS)
    page.on(panel.images.preview_close, close, (), [panel.images, *panel.chosen.outputs, *questions])
    page.on(panel.filter.input, filter_images, [panel.filter], panel.outputs)
    on(panel.chosen.favorite.click, Gallery.toggle_favorite)
    on(panel.chosen.compare.click, Gallery.toggle_compared)
    on(panel.comparison.clear.click, lambda gallery: gallery.compared.clear())
    toggled = on(panel.selection.toggle.click, Gallery.toggle_selecting)
    toggled.then(lambda: [gr.Column(visible=False)] * 2, None, questions, **EVENT_OPTIONS)
    confirmation.connect(
        page, panel.chosen.delete, panel.chosen.confirmation, lambda session: strings.CONFIRM_DELETE_IMAGE,
        delete(lambda session: [session.gallery.chosen_image()]), panel.outputs,
    )  # fmt: skip
    confirmation.connect(
        page, panel.selection.delete, panel.selection.confirmation,
        lambda session: strings.CONFIRM_DELETE_IMAGES.format(n=len(session.gallery.marked)),
        delete(lambda session: session.gallery.marked_images()), panel.outputs,
    )  # fmt: skip


def mark(gallery: Gallery, image: Path, favorites: set[str]) -> str:
    """The beginning of an image's caption, by which the style sheet marks it."""
    if gallery.selecting:
        return CHECK if image.name in gallery.marked else ""
    return STAR if image.name in favorites else ""


def download_format(session: Session, name: str) -> Path:
    """The chosen image in a format, see formats.NAMES."""
    folder = new_formats_folder(session)
    (path,) = formats.save_formats(session.gallery.chosen_image(), [name], loaded.segmenter(), folder)
    return path


def new_formats_folder(session: Session) -> Path:
    """A new folder for an image in formats; those of the last few downloads are kept."""
    parent = session.folder / "formats"
    parent.mkdir(exist_ok=True)
    for old in sorted(parent.iterdir(), key=lambda path: path.stat().st_mtime)[: -KEPT_FORMATS + 1]:
        shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(dir=parent))


def zip_all(session: Session) -> Path:
    return session.gallery.zip(session.gallery.images(), "images.zip")


def zip_favorite_images(session: Session) -> Path:
    return session.gallery.zip(session.gallery.favorites(), "favorites.zip")


def has_sheet(session: Session) -> bool:
    """Whether the last generation was a contact sheet that has been written."""
    job = session.generation
    return job is not None and job.ended and job.state != FAILED and bool(job.details.columns and job.events)


def index_of_chosen(gallery: Gallery) -> int | None:
    """Position of the chosen image among the visible ones."""
    names = [path.name for path in gallery.visible()]
    return names.index(gallery.chosen) if gallery.chosen in names else None


def caption(image: Path) -> str:
    metadata = read_metadata(image)
    return f"{readable_prompt(metadata)} · {strings.SEED.lower()} {image_seed(metadata)}"


def description(metadata: dict) -> str:
    """The prompt and the settings of an image, as HTML."""
    prompt, settings = readable_prompt(metadata), " · ".join(details(metadata).values())
    return f'<p>{charts.escape(prompt)}</p><p class="caption">{charts.escape(settings)}</p>'
