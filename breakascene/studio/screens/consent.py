"""What the visitor declares about people and brands in a photo that is extracted (step 2) or edited (step 3)."""

from dataclasses import dataclass

import gradio as gr

from breakascene.data.consent import MAX_LENGTH, Consent, declare_consent
from breakascene.data.scene import Scene
from breakascene.provenance import consent as rule
from breakascene.studio import strings
from breakascene.studio.screens import charts
from breakascene.studio.screens.events import EVENT_OPTIONS, Updates
from breakascene.studio.state.session import Session

UNKNOWN, SHOWN, NOBODY = "", "shown", "nobody"


@dataclass(frozen=True)
class ConsentSection:
    notice: gr.HTML
    shown: gr.Radio
    who: gr.Textbox
    scope: gr.Textbox
    until: gr.Textbox
    details: gr.Column

    @property
    def inputs(self) -> list:
        """The inputs of `declared`."""
        return [self.shown, self.who, self.scope, self.until]

    @property
    def outputs(self) -> list:
        return [self.notice, self.details, *self.inputs]

    def show(self, session: Session, scene: Scene | None) -> Updates:
        """Say whether a face was found; for another photo than before, ask anew."""
        updates, photo = {self.notice: notice(scene)}, session.history.selection.photo
        if session.declared_photo is not photo:
            session.declared_photo = photo
            updates |= self.clear()
        return updates

    def clear(self) -> Updates:
        """Ask anew."""
        updates = {self.shown: None, self.details: gr.Column(visible=False)}
        return updates | dict.fromkeys((self.who, self.scope, self.until), "")


def build(prefix: str = "") -> ConsentSection:
    """The questions; `prefix` is that of their ids."""
    notice = gr.HTML(elem_id=f"{prefix}consent-notice")
    with gr.Accordion(strings.CONSENT_TITLE, open=False, elem_id=f"{prefix}consent"):
        shown = gr.Radio(
            [(strings.CONSENT_SHOWN, SHOWN), (strings.CONSENT_NOBODY, NOBODY)], label=strings.CONSENT_QUESTION,
            elem_id=f"{prefix}consent-shown",
        )  # fmt: skip
        with gr.Column(visible=False) as details:
            who = gr.Textbox(
                label=strings.CONSENT_WHO, max_lines=1, max_length=MAX_LENGTH, elem_id=f"{prefix}consent-who"
            )
            scope = gr.Textbox(
                label=strings.CONSENT_SCOPE, placeholder=strings.CONSENT_SCOPE_HINT, max_lines=1,
                max_length=MAX_LENGTH, elem_id=f"{prefix}consent-scope",
            )  # fmt: skip
            until = gr.Textbox(
                label=strings.CONSENT_UNTIL, placeholder="YYYY-MM-DD", max_lines=1, max_length=10,
                elem_id=f"{prefix}consent-until",
            )  # fmt: skip
        gr.Markdown(strings.CONSENT_INFO, elem_classes="hint")
    shown.input(lambda value: gr.Column(visible=value == SHOWN), shown, details, **EVENT_OPTIONS)
    return ConsentSection(notice, shown, who, scope, until, details)


def declared(shown: str | None, who: str, scope: str, until: str) -> Consent | None:
    """What the visitor has declared; raises UserError if a part is missing."""
    if shown != SHOWN:
        return declare_consent({NOBODY: False}.get(shown or UNKNOWN))
    return declare_consent(True, who, scope, until)


def notice(scene: Scene | None) -> str:
    """That a face was found, and what to do then, as HTML; nothing if there is none or it does not matter."""
    refused, mode = rule.faces_refused(), rule.mode()
    if scene is None or (mode == rule.OFF and not refused) or not rule.has_face(scene):
        return ""
    text = strings.FACE_FOUND
    if mode == rule.REQUIRED:
        text = strings.FACE_FOUND_REQUIRED
    if refused:
        text = strings.FACE_REFUSED
    return f'<p class="notice">{charts.escape(text)}</p>'
