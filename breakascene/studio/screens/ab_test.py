"""A/B tests of the pilot: variants to generate for ad platforms, and the results of a campaign."""

from html import escape
from pathlib import Path

import gradio as gr

from breakascene.errors import UserError
from breakascene.pilot.ab import Comparison, compare, read_results_csv
from breakascene.rendering import html
from breakascene.studio import strings
from breakascene.studio.screens.events import PageContext, Updates
from breakascene.studio.screens.pilot_job import folder_of
from breakascene.studio.screens.pilot_pages import zipped
from breakascene.studio.state.session import Session

VARIANTS = """variants:
- {name: beach, place: at the beach}
- {name: snow, place: in the snow, style: a painting, crop: "4:5"}
"""


def build(page: PageContext) -> tuple[gr.Textbox, gr.Button, gr.Button]:
    """Build the section; return the field of the variants and the buttons that generate and download them."""
    gr.Markdown(strings.PILOT_AB_INFO, elem_classes="hint")
    variants = gr.Textbox(VARIANTS, label=strings.PILOT_VARIANTS, lines=4, max_lines=12, elem_id="pilot-variants")
    with gr.Row(elem_classes="tools"):
        generate = gr.Button(strings.PILOT_VARIANTS_START, size="sm", elem_id="pilot-variants-start")
        download = page.download_button(
            variants_zip, strings.PILOT_VARIANTS_DOWNLOAD, "pilot-variants-download", visible=False
        )
    file = gr.File(label=strings.PILOT_AB_FILE, file_types=[".csv", ".tsv"], height=110, elem_id="pilot-ab-file")
    results = gr.HTML(elem_id="pilot-ab-results")

    def show(session: Session, path: str | None) -> Updates:
        return {results: "".join(map(comparison_html, compare(read_results_csv(path)))) if path else ""}

    page.on(file.change, show, [file], [results])
    return variants, generate, download


def variants_zip(session: Session) -> Path:
    folder = folder_of(session).ads
    if not folder.is_dir():
        raise UserError(strings.PILOT_NO_VARIANTS)
    return zipped(folder, session.folder / "pilot-variants.zip")


def comparison_html(found: Comparison) -> str:
    """The outcome in words, and the rates with their intervals."""
    rows = [
        (name, f"{rate.value:.3%}", f"{rate.low:.3%} – {rate.high:.3%}", f"{rate.count:,}")
        for name, rate in found.rates.items()
    ]
    table = html.table(strings.PILOT_AB_COLUMNS[found.rate], rows)
    return f'<p class="notice">{escape(outcome(found))}</p><div class="figures records">{table}</div>'


def outcome(found: Comparison) -> str:
    """As ab.describe, in the visitor's language."""
    _, rate, _, unit = strings.PILOT_AB_COLUMNS[found.rate]
    if found.winner:
        kind = "winner"
    elif found.p_value is None:
        kind = "empty"
    else:
        kind = "equal" if found.needed is None else "needed"
    p = None if found.p_value is None else f"{found.p_value:.2g}"
    return strings.PILOT_AB_OUTCOMES[kind].format(
        rate=rate, unit=unit, first=found.winner, p=p, n=f"{found.needed or 0:,}"
    )
