"""Horizontal bars with intervals as HTML, for pages that are read on any screen, light or dark."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Bar:
    """A bar.

    Args:
        name: Its label.
        value: Its length.
        text: The value as text.
        low, high: The ends of its interval, or None for a bar without one.
        other: Whether it has the second color.
    """

    name: str
    value: float
    text: str
    low: float | None = None
    high: float | None = None
    other: bool = False


def bars(rows: Sequence[Bar], maximum: float, goal: float | None = None) -> str:
    """Draw bars from 0 to `maximum`, with a dashed line at `goal`, as HTML for the style of the pilot's bars.css."""

    def percent(value: float) -> str:
        return f"{100 * min(max(value / maximum, 0), 1) if maximum else 0:.2f}%"

    cells = []
    for row in rows:
        interval = ""
        if row.low is not None and row.high is not None:
            right = f"calc(100% - {percent(row.high)})"
            interval = f'<span class="range" style="left:{percent(row.low)};right:{right}"></span>'
        line = f'<span class="goal" style="left:{percent(goal)}"></span>' if goal is not None else ""
        kind = "fill other" if row.other else "fill"
        cells.append(
            f'<span class="name">{escape(row.name)}</span><span class="track">'
            f'<span class="{kind}" style="width:{percent(row.value)}"></span>{interval}{line}</span>'
            f'<span class="value">{escape(row.text)}</span>'
        )
    return f'<div class="bars">{"".join(cells)}</div>'
