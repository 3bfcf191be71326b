"""Plain HTML pages with results. Titles, captions and cells are escaped."""

from collections.abc import Sequence
from html import escape
from urllib.parse import quote

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto; padding: 0 1rem; color: #222; }
img { max-width: 100%; } .scene img { width: 320px; max-width: 100%; vertical-align: top; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(200px, 1fr)); gap: 1rem; }
.gallery img { width: 100%; } figure { margin: 0; } figcaption { font-size: .9rem; white-space: pre-line; }
table { border-collapse: collapse; margin: 1rem 0; } td, th { padding: .2rem .8rem; border: 1px solid #ccc; }
td { text-align: right; } th { text-align: left; font-weight: 600; }
"""


def page(title: str, body: str, language: str = "en") -> str:
    """Return a complete page around the HTML `body`; `language` is the code of its language."""
    return f"""<!doctype html>
<html lang="{language}"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{escape(title)}</title><style>{STYLE}</style></head><body>
<h1>{escape(title)}</h1>
{body}
</body></html>
"""


def gallery(images: Sequence[tuple[str, str]]) -> str:
    """Return a grid of images.

    images: (path relative to the page, caption) pairs; a caption may have several lines.
    """
    figures = "\n".join(
        f'<figure><img src="{quote(path)}" alt="{escape(caption)}"><figcaption>{escape(caption)}</figcaption></figure>'
        for path, caption in images
    )
    return f'<div class="gallery">\n{figures}\n</div>'


def table(head: Sequence[str], rows: Sequence[Sequence]) -> str:
    """Return a table whose first column names its rows; floats get three digits, None becomes a dash."""
    lines = ["<tr>" + "".join(f"<th>{escape(str(cell))}</th>" for cell in head) + "</tr>"]
    for first, *cells in rows:
        lines.append(f"<tr><th>{escape(str(first))}</th>" + "".join(f"<td>{_cell(c)}</td>" for c in cells) + "</tr>")
    return "<table>" + "\n".join(lines) + "</table>"


def _cell(value) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else escape(str(value))
