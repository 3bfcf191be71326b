"""Progress as small pieces of HTML: a bar, the loss curves, and a strip of pictures for each handle.

Drawn by hand as SVG and data URIs: they follow the page's light and dark colours, need nothing from outside, and do
not flicker when they change each second.
"""

import base64
import io
from collections.abc import Iterable, Iterator, Sequence
from html import escape

import numpy as np
from PIL import Image

from breakascene.rendering.overlay import heat_map
from breakascene.studio import strings
from breakascene.training.loop import StepEvent

WIDTH, HEIGHT, POINTS = 600, 150, 120
KEPT_PREVIEWS = 6


def bar(share: float, line: str, note: str = "") -> str:
    percent = round(100 * min(max(share, 0), 1))
    return (
        f'<div class="progress"><div class="progress-line"><span>{escape(line)}</span>'
        f"<span>{escape(note)}</span></div>"
        f'<div class="track" role="progressbar" aria-valuenow="{percent}" aria-valuemin="0" aria-valuemax="100">'
        f'<div class="fill" style="width:{percent}%"></div></div></div>'
    )


def notices(sentences: Iterable[str]) -> str:
    """Sentences of the package's core, in the visitor's language."""
    return "".join(f'<p class="notice">{escape(strings.told(sentence))}</p>' for sentence in sentences)


def curves(events: Sequence[StepEvent]) -> str:
    """The losses over the steps, smoothed, one line each, from zero to its own highest."""
    if len(events) < 2:
        return ""
    names = [name for name in strings.LOSSES if any(event.losses.get(name) for event in events)]
    total = events[-1].total
    lines = {name: _smooth([event.losses[name] for event in events if name in event.losses]) for name in names}
    xs = [event.step / total * WIDTH for event in events]
    paths, legend = [], []
    for i, name in enumerate(names):
        start = len(events) - len(lines[name])  # the prior's line begins with phase 2
        pick = np.unique(np.linspace(0, len(lines[name]) - 1, POINTS).round().astype(int))
        heights = [HEIGHT - value / max(lines[name]) * (HEIGHT - 6) for value in lines[name]]
        points = " ".join(f"{xs[start + j]:.1f},{heights[j]:.1f}" for j in pick)
        paths.append(f'<polyline class="curve curve-{i}" points="{points}"/>')
        value = lines[name][-1]
        legend.append(f'<span class="key key-{i}">{escape(strings.LOSSES[name])} <b>{value:.3f}</b></span>')
    turn = next((x for x, event in zip(xs, events, strict=True) if event.phase == 2), None)
    phase = "" if turn is None else f'<line class="turn" x1="{turn:.1f}" x2="{turn:.1f}" y1="0" y2="{HEIGHT}"/>'
    return (
        f'<div class="curves"><div class="caption">{escape(strings.CURVES)}</div>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img">'
        f'<line class="axis" x1="0" x2="{WIDTH}" y1="{HEIGHT}" y2="{HEIGHT}"/>{phase}{"".join(paths)}</svg>'
        f'<div class="legend">{"".join(legend)}</div></div>'
    )


def strips(names: dict[str, str], square: np.ndarray, events: Sequence[StepEvent]) -> str:
    """For each handle: where it looks, over the photo, and how it is drawn as training goes on.

    names: handle -> plain name; square: (size, size, 3) uint8, what the model learns from.
    """
    maps = next((event.maps for event in reversed(events) if event.maps), None) or {}
    rows = []
    for handle, name in names.items():
        previews = [event.previews[handle] for event in events if event.previews and handle in event.previews]
        heat = heat_map(square, maps[handle]) if handle in maps else None
        pictures = [_picture(heat, strings.LOOKS_AT, "heat")] if heat else []
        pictures += [_picture(preview, strings.DRAWS) for preview in spread(previews, KEPT_PREVIEWS)]
        if pictures:
            rows.append(f'<div class="strip"><div class="caption">{escape(name)}</div>{"".join(pictures)}</div>')
    if not rows:
        return ""
    return f'<div class="strips">{"".join(rows)}<div class="caption">{escape(strings.STRIP)}</div></div>'


def spread(items: Sequence, count: int) -> list:
    """At most `count` of them, the first and the last among them, the rest evenly between."""
    if len(items) <= count:
        return list(items)
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


def thumbs(pictures: Sequence[Image.Image], names: Sequence[str]) -> str:
    """Cut-outs side by side with their names."""
    cells = (
        f"<figure>{_picture(picture, name)}<figcaption>{escape(name)}</figcaption></figure>"
        for picture, name in zip(pictures, names, strict=True)
    )
    return f'<div class="thumbs">{"".join(cells)}</div>'


def _picture(picture: Image.Image, alt: str, kind: str = "") -> str:
    picture = picture.copy()
    picture.thumbnail((160, 160))
    data = io.BytesIO()
    picture.save(data, "WEBP", quality=85)
    source = base64.b64encode(data.getvalue()).decode()
    return f'<img class="{kind}" alt="{escape(alt)}" title="{escape(alt)}" src="data:image/webp;base64,{source}">'


def _smooth(values: Sequence[float], keep: float = 0.9) -> list[float]:
    return list(_averages(values, keep))


def _averages(values: Sequence[float], keep: float) -> Iterator[float]:
    """Running average that weighs all values alike at first: single steps jump too much to read."""
    total = weight = 0.0
    for value in values:
        total, weight = keep * total + value, keep * weight + 1
        yield total / weight
