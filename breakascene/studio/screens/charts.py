"""Progress as HTML: a bar, the loss curves, and a strip of images for each handle.

Written as SVG and data URIs: they follow the light and dark theme, load nothing from outside, and do not flicker when
they change every second.
"""

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from breakascene.rendering.overlay import heat_map
from breakascene.studio import strings
from breakascene.training.loop import StepEvent

WIDTH, HEIGHT = 600, 150  # of the curves, in units of the SVG
MAX_POINTS = 120  # of a curve
MAX_PREVIEWS = 6  # in a strip
IMAGE_SIZE = 160  # pixels


def bar(share: float, text: str, note: str = "") -> str:
    """A progress bar at `share` (0 to 1), with a text above it and a note at its right end."""
    percent = round(100 * min(max(share, 0), 1))
    return (
        f'<div class="progress"><div class="progress-line"><span>{escape(text)}</span>'
        f"<span>{escape(note)}</span></div>"
        f'<div class="track" role="progressbar" aria-label="{escape(text)}" aria-valuenow="{percent}" '
        'aria-valuemin="0" aria-valuemax="100">'
        f'<div class="fill" style="width:{percent}%"></div></div></div>'
    )


def skeleton() -> str:
    """Gray bars in place of what is still on its way."""
    return f'<div class="skeleton" role="status" aria-label="{escape(strings.LOADING)}"><i></i><i></i><i></i></div>'


def notices(messages: Iterable[str]) -> str:
    """Messages of other packages, in the visitor's language."""
    return "".join(f'<p class="notice">{escape(strings.translate(message))}</p>' for message in messages)


def curves(events: Sequence[StepEvent]) -> str:
    """The smoothed losses over the steps, each scaled to its own maximum."""
    if len(events) < 2:
        return ""
    names = [name for name in strings.LOSSES if any(event.losses.get(name) for event in events)]
    total = events[-1].total
    lines = {name: _smooth([event.losses[name] for event in events if name in event.losses]) for name in names}
    xs = {name: [event.step / total * WIDTH for event in events if name in event.losses] for name in names}
    paths, legend = [], []
    for i, name in enumerate(names):
        sampled = np.unique(np.linspace(0, len(lines[name]) - 1, MAX_POINTS).round().astype(int))
        heights = [HEIGHT - value / max(lines[name]) * (HEIGHT - 6) for value in lines[name]]
        points = " ".join(f"{xs[name][j]:.1f},{heights[j]:.1f}" for j in sampled)
        paths.append(f'<polyline class="curve curve-{i}" points="{points}"/>')
        value = lines[name][-1]
        legend.append(f'<span class="key key-{i}">{escape(strings.LOSSES[name])} <b>{value:.3f}</b></span>')
    phase_2 = next((event.step / total * WIDTH for event in events if event.phase == 2), None)
    phase = (
        "" if phase_2 is None else f'<line class="phase" x1="{phase_2:.1f}" x2="{phase_2:.1f}" y1="0" y2="{HEIGHT}"/>'
    )
    return (
        f'<div class="curves"><div class="caption">{escape(strings.LOSS_CURVES)}</div>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(strings.LOSS_CURVES)}">'
        f'<line class="axis" x1="0" x2="{WIDTH}" y1="{HEIGHT}" y2="{HEIGHT}"/>{phase}{"".join(paths)}</svg>'
        f'<div class="legend">{"".join(legend)}</div></div>'
    )


def strips(names: dict[str, str], square: np.ndarray, events: Sequence[StepEvent]) -> str:
    """For each handle, its attention map over the photo and its previews in the course of the training.

    Args:
        names: Handle -> name.
        square: (size, size, 3) uint8, the crop that the model is trained on.
    """
    maps = {}  # the latest of each handle; those of a group show its own only
    for event in events:
        maps |= event.maps or {}
    rows = []
    for handle, name in names.items():
        previews = [event.previews[handle] for event in events if event.previews and handle in event.previews]
        heat = heat_map(square, maps[handle]) if handle in maps else None
        images = [inline_image(heat, strings.ATTENTION_MAP, "heat")] if heat else []
        images += [inline_image(preview, strings.PREVIEW) for preview in evenly_spaced(previews, MAX_PREVIEWS)]
        if images:
            rows.append(f'<div class="strip"><div class="caption">{escape(name)}</div>{"".join(images)}</div>')
    if not rows:
        return ""
    return f'<div class="strips">{"".join(rows)}<div class="caption">{escape(strings.PREVIEW_STRIP)}</div></div>'


def evenly_spaced(items: Sequence, count: int) -> list:
    """At most `count` of the items, the first and the last among them."""
    if len(items) <= count:
        return list(items)
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


def live_image(path: Path) -> str:
    """The preview of the image that is being generated; an empty frame until there is one."""
    try:
        source = base64.b64encode(path.read_bytes()).decode()
    except FileNotFoundError:
        return '<div class="live-image"></div>'
    image = f'<img alt="{escape(strings.PREVIEW)}" src="data:image/webp;base64,{source}">'
    return f'<div class="live-image">{image}</div>'


def thumbnails(images: Sequence[Image.Image], names: Sequence[str]) -> str:
    """Images side by side with their names."""
    cells = (
        f"<figure>{inline_image(image, name)}<figcaption>{escape(name)}</figcaption></figure>"
        for image, name in zip(images, names, strict=True)
    )
    return f'<div class="thumbs">{"".join(cells)}</div>'


def display_size(image: Image.Image) -> Image.Image:
    """A copy of an image at the size in which the page shows it."""
    image = image.copy()
    image.thumbnail((IMAGE_SIZE, IMAGE_SIZE))
    return image


def inline_image(image: Image.Image, alt: str, css_class: str = "") -> str:
    data = io.BytesIO()
    display_size(image).save(data, "WEBP", quality=85)
    source = base64.b64encode(data.getvalue()).decode()
    return f'<img class="{css_class}" alt="{escape(alt)}" title="{escape(alt)}" src="data:image/webp;base64,{source}">'


def _smooth(values: Sequence[float], decay: float = 0.9) -> list[float]:
    """Exponential moving average without a bias towards the first value: single steps vary too much to read."""
    averages, total, weight = [], 0.0, 0.0
    for value in values:
        total, weight = decay * total + value, decay * weight + 1
        averages.append(total / weight)
    return averages
