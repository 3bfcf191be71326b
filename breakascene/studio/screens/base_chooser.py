"""The banner that names the base model, and the chooser below it."""

from dataclasses import dataclass
from html import escape

import gradio as gr

from breakascene.models.loading import short_name
from breakascene.studio import bases, loaded, strings
from breakascene.studio.bases import DOWNLOADING, FAILED, SWITCHING, Choice
from breakascene.studio.screens import charts
from breakascene.studio.screens.events import EVENT_OPTIONS, PageContext, Updates
from breakascene.studio.state.session import Session

REFRESH_SECONDS = 2.0  # while a base is downloaded or loaded


@dataclass(frozen=True)
class BaseChooser:
    banner: gr.HTML
    info: gr.HTML
    choice: gr.Radio
    hub_id: gr.Textbox
    use: gr.Button
    status: gr.HTML
    timer: gr.Timer

    @property
    def live(self) -> list:
        """The components that change during a change of the base."""
        return [self.use, self.status, self.timer]

    @property
    def outputs(self) -> list:
        return [self.banner, self.info, self.choice, self.hub_id, *self.live]

    def show(self, session: Session | None = None) -> Updates:
        can_change, choices = bases.can_change(), bases.choices()
        in_use = next(str(i) for i, choice in enumerate(choices) if choice.in_use)
        return {
            self.banner: banner(),
            self.info: f"<p>{strings.BASE_INFO if can_change else strings.BASE_FIXED}</p>",
            self.choice: gr.Radio([(card(choice), str(i)) for i, choice in enumerate(choices)], value=in_use),
            self.hub_id: gr.Textbox(visible=bases.accepts_hub_ids()),
            **self.progress(),
        }

    def progress(self) -> Updates:
        changing = bases.is_changing()
        return {
            self.use: gr.Button(visible=bases.can_change(), interactive=not changing),
            self.status: status(),
            self.timer: gr.Timer(REFRESH_SECONDS, active=changing),
        }


def build(page: PageContext) -> BaseChooser:
    head = gr.HTML(banner(), elem_id="banner")
    with gr.Accordion(strings.SWITCH_TITLE, open=False, elem_id="base-chooser"):
        info = gr.HTML(elem_classes="hint")
        choice = gr.Radio([], show_label=False, label=strings.SWITCH_TITLE, elem_classes="cards", elem_id="base-choice")
        hub_id = gr.Textbox(
            label=strings.BASE_HUB_ID, info=strings.BASE_HUB_ID_INFO, max_lines=1, max_length=200, visible=False,
            elem_id="base-hub-id",
        )  # fmt: skip
        use = gr.Button(strings.BASE_USE, size="sm", visible=False, elem_id="use-base")
        progress = gr.HTML(elem_id="base-status")
    chooser = BaseChooser(head, info, choice, hub_id, use, progress, gr.Timer(REFRESH_SECONDS, active=False))

    def change(session: Session, chosen: str | None, other: str | None) -> Updates:
        listed = bases.choices()[int(chosen or 0)].name  # a number, as folders are nobody else's business
        bases.start_change((other or "").strip() or listed, page.queue, start_downloads)
        return chooser.progress()

    def start_downloads() -> None:
        loaded.start_downloads(page.sessions.open_photos)  # of SAM, for example, which the base before may not need

    language = strings.language.get()

    def refresh() -> Updates:
        with strings.use_language(language):
            return chooser.progress()

    page.on(use.click, change, [choice, hub_id], chooser.live)
    chooser.timer.tick(refresh, None, chooser.live, **{**EVENT_OPTIONS, "queue": False})
    return chooser


def banner() -> str:
    """The base in use, as HTML."""
    base = loaded.base()
    if loaded.is_toybox():
        return f"<p>{strings.TOYBOX_BANNER}</p>"
    name = escape(short_name(base.name))
    return f"<p>{strings.BASE_BANNER.format(name=name, size=base.image_size, device=base.device.type)}</p>"


def card(choice: Choice) -> str:
    """Name, needs, size and license of a base; the style sheet sets the first line apart."""
    facts, needs, about = choice.facts, [], []
    if choice.name == "toybox":
        needs.append(strings.BASE_NEEDS_CPU)
    elif facts.memory:
        needs.append(strings.BASE_NEEDS_GPU.format(gigabytes=facts.memory))
        if not loaded.has_gpu():
            needs.append(strings.BASE_NO_GPU)
    if facts.size:
        size = strings.BASE_SIZE if choice.is_here else strings.BASE_DOWNLOAD
        about.append(size.format(gigabytes=facts.size / 1e9))
    elif not choice.is_here:
        about.append(strings.BASE_DOWNLOAD_UNKNOWN)
    if facts.license:
        about.append(strings.BASE_LICENSE.format(license=facts.license))
    title = short_name(choice.name)
    title = strings.BASE_CURRENT.format(name=title) if choice.in_use else title
    return "\n".join(filter(None, [title, strings.SENTENCE_SEPARATOR.join(needs), " · ".join(about)]))


def status() -> str:
    """How far the change is, or why it failed, as HTML."""
    change = bases.change()
    if change is None:
        return ""
    name = short_name(change.name)
    if change.state == DOWNLOADING:
        return charts.bar(change.done, strings.BASE_DOWNLOADING.format(name=name, share=change.done))
    if change.state == SWITCHING:
        return charts.bar(1, strings.BASE_SWITCHING.format(name=name))
    if change.state == FAILED:
        text = strings.BASE_FAILED.format(name=name, error=strings.message_for(change.error))
        return f'<p class="notice bad">{escape(text)}</p>'
    return ""
