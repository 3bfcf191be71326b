"""At the foot of the page: where images come from (a check of any file), and the visitor's data, to be deleted."""

from importlib.util import find_spec

import gradio as gr

from breakascene.errors import UserError
from breakascene.provenance import audit
from breakascene.provenance.credentials import credentials_folder, open_identity, verify
from breakascene.studio import strings
from breakascene.studio.screens import charts, confirmation
from breakascene.studio.screens.events import PageContext, Updates
from breakascene.studio.state.session import Session

DAY_SECONDS = 24 * 3600
LEAVE_JS = "(deleted) => { if (deleted) location.href = location.pathname; }"  # a page with a new session


def build(page: PageContext) -> None:
    with gr.Accordion(strings.PROVENANCE_TITLE, open=False, elem_id="provenance"):
        gr.Markdown(f"## {strings.ORIGIN_TITLE}")
        gr.HTML(f'<p class="hint">{charts.escape(signing_sentence())}</p>')
        if find_spec("c2pa"):
            build_check(page)
        gr.Markdown(f"## {strings.DATA_TITLE}")
        gr.HTML(f'<p class="hint">{charts.escape(data_sentences(page))}</p>')
        build_deletion(page)


def build_check(page: PageContext) -> None:
    """A field for an image, and what it says about its origin."""
    file = gr.File(label=strings.VERIFY_FILE, file_types=["image"], height=150, elem_id="verify-file")
    result = gr.HTML(elem_id="verify-result")

    def check(session: Session, path: str | None) -> Updates:
        return {result: f'<p class="notice">{charts.escape(describe(path))}</p>' if path else ""}

    page.on(file.change, check, [file], [result])


def describe(path: str) -> str:
    """What an image says about its origin, in one or two sentences."""
    try:
        found = verify(path)
    except UserError as error:  # names the file on the server
        raise UserError(strings.VERIFY_NO_IMAGE) from error
    sentence = strings.VERIFICATION[found.state].format(signer=found.signer or strings.UNNAMED_SIGNER)
    source = strings.SOURCES.get(found.source) if found.state not in ("changed", "unknown") else None
    return strings.SENTENCE_SEPARATOR.join(filter(None, [source, sentence]))


def build_deletion(page: PageContext) -> None:
    """A button that deletes everything of the visitor, once it was confirmed."""
    ask = gr.Button(strings.DELETE_DATA, size="sm", elem_id="delete-data")
    parts = confirmation.build("confirm-delete-data")
    deleted = gr.Textbox(elem_classes="data-field", show_label=False)

    def delete(session: Session) -> Updates:
        page.sessions.delete(session)
        return {deleted: "deleted"}

    done = confirmation.connect(page, ask, parts, lambda session: strings.DELETE_DATA_QUESTION, delete, [deleted])
    done.then(None, [deleted], None, js=LEAVE_JS, api_visibility="private")


def signing_sentence() -> str:
    """Whether the images of this studio are signed, and by whom."""
    if (folder := credentials_folder()) is None:
        return strings.NOT_SIGNED
    try:
        return strings.SIGNED.format(organization=open_identity(folder).organization or strings.UNNAMED_SIGNER)
    except UserError as error:
        return strings.message_for(error)


def data_sentences(page: PageContext) -> str:
    """How long data are kept, and whether actions are logged."""
    days = page.sessions.keep_data_seconds and page.sessions.keep_data_seconds / DAY_SECONDS
    hours = page.sessions.keep_seconds and page.sessions.keep_seconds / 3600
    sentences = [
        strings.DATA_KEPT_DAYS.format(n=f"{days:g}") if days else "",
        strings.DATA_KEPT_HOURS.format(n=f"{hours:g}") if hours else "",
        "" if days or hours else strings.DATA_KEPT,
        strings.ACTIONS_LOGGED if audit.folder_from_settings() else "",
    ]
    return strings.SENTENCE_SEPARATOR.join(filter(None, sentences))
