"""The style of the pilot's pages: report, vote and review. Each is one file, for light and dark and any screen."""

from pathlib import Path

STATIC = Path(__file__).with_name("static")


def static(name: str) -> str:
    """Return the text of a file in static/."""
    return STATIC.joinpath(name).read_text(encoding="utf-8")


def styled(body: str, *styles: str) -> str:
    """Return the body of a page with the common style, and further ones of static/, before it."""
    css = "".join(map(static, ("pages.css", *styles)))
    return f"<style>{css}</style>\n{body}"
