"""Below the banner: which models for real photos are still missing, why, and what to do about it."""

from html import escape

import gradio as gr

from breakascene.studio import real_models, strings
from breakascene.studio.real_models import JUDGES, SEGMENTER, Missing
from breakascene.studio.screens.events import EVENT_OPTIONS

REFRESH_SECONDS = 2.0


def build(demo: gr.Blocks) -> None:
    """Add the notice, which follows the downloads; it is hidden if all models are there."""
    language = strings.language.get()
    notice = gr.HTML(describe(), visible=bool(real_models.missing()), elem_id="models")
    timer = gr.Timer(REFRESH_SECONDS, active=False)

    def refresh():
        with strings.use_language(language):
            active = real_models.downloading()  # first, so that the last text is that of the end
            text = describe()
            return gr.HTML(text, visible=bool(text)), gr.Timer(active=active)

    for event in (demo.load, timer.tick):
        event(refresh, None, [notice, timer], queue=False, **EVENT_OPTIONS)


def describe() -> str:
    """A sentence for each model that is missing, as HTML."""
    return "".join(f"<p>{escape(sentence(kind, model))}</p>" for kind, model in real_models.missing().items())


def sentence(kind: str, model: Missing) -> str:
    if model.note:
        return strings.translate(model.note) + (strings.DOWNLOAD_RETRIED if model.retried else "")
    texts = {SEGMENTER: strings.SEGMENTER_DOWNLOADING, JUDGES: strings.JUDGE_DOWNLOADING}
    return texts[kind].format(name=model.name, share=model.done)
