"""Select several images of the gallery, to download or delete them together."""

from dataclasses import dataclass

import gradio as gr

from breakascene.studio import strings
from breakascene.studio.screens import confirmation
from breakascene.studio.screens.confirmation import Confirmation
from breakascene.studio.screens.events import PageContext, Updates
from breakascene.studio.state.gallery import Gallery

CHECK = "✓ "  # the style sheet marks each small image whose caption begins with it


@dataclass(frozen=True)
class ImageSelection:
    toggle: gr.Button
    tools: gr.Row
    download: gr.Button
    delete: gr.Button
    confirmation: Confirmation

    @property
    def outputs(self) -> list:
        return [self.toggle, self.tools, self.download, self.delete]

    def show(self, gallery: Gallery) -> Updates:
        count = len(gallery.marked)
        return {
            self.toggle: gr.Button(
                strings.SELECT_DONE if gallery.selecting else strings.SELECT_IMAGES, visible=bool(gallery.visible())
            ),
            self.tools: gr.Row(visible=gallery.selecting),
            self.download: gr.Button(strings.DOWNLOAD_SELECTED.format(n=count), interactive=count > 0),
            self.delete: gr.Button(strings.DELETE_SELECTED.format(n=count), interactive=count > 0),
        }


def build(page: PageContext) -> ImageSelection:
    toggle = gr.Button(strings.SELECT_IMAGES, size="sm", visible=False, elem_id="select-images")
    with gr.Row(visible=False, elem_classes="tools") as tools:
        download = page.download_button(
            lambda session: session.gallery.zip(session.gallery.marked_images(), "selected.zip"),
            strings.DOWNLOAD_SELECTED.format(n=0), "download-selected",
        )  # fmt: skip
        delete = gr.Button(strings.DELETE_SELECTED.format(n=0), size="sm", min_width=150, elem_id="delete-selected")
    return ImageSelection(toggle, tools, download, delete, confirmation.build("confirm-delete-selected"))
