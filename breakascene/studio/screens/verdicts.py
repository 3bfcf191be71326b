"""The verdict on an extraction: each object's cut-out beside its images, in words, and what helps."""

from html import escape

from breakascene.evaluation.verdict import PARTLY, RIGHT, UNRECOGNIZABLE, Verdict
from breakascene.studio import strings
from breakascene.studio.screens import charts
from breakascene.studio.screens.extraction_job import ExtractionDetails

SYMBOLS = {RIGHT: "✓", PARTLY: "~", UNRECOGNIZABLE: "✕"}  # not by color alone


def sentence(details: ExtractionDetails) -> str:
    """Which objects look right, which partly, and which cannot be recognized."""
    named = {level: [v.name for v in details.verdicts if v.level == level] for level in (*SYMBOLS, None)}
    parts = [strings.VERDICTS[level].format(names=strings.join_names(names)) for level, names in named.items() if names]
    return strings.SENTENCE_SEPARATOR.join(parts)


def panel(details: ExtractionDetails) -> str:
    """Each object's cut-out beside its images and, if one does not look right, what helps, as HTML."""
    if not details.verdicts:
        return ""
    rows = "".join(_row(verdict) for verdict in details.verdicts)
    levels = {verdict.level for verdict in details.verdicts}
    advice = _advice(details) if levels & {PARTLY, UNRECOGNIZABLE} else ""
    return f'<div class="verdicts"><div class="caption">{escape(strings.VERDICT_CAPTION)}</div>{rows}{advice}</div>'


def _row(verdict: Verdict) -> str:
    badge = ""
    if verdict.level:
        label = f"{SYMBOLS[verdict.level]} {strings.VERDICT_LEVELS[verdict.level]}"
        badge = f'<span class="badge {verdict.level}">{escape(label)}</span>'
    images = charts.inline_image(verdict.cutout, strings.CUTOUT, "cutout")
    images += "".join(charts.inline_image(image, strings.PREVIEW) for image in verdict.images)
    return (
        f'<div class="verdict"><div><b>{escape(verdict.name)}</b> {badge}</div><div class="pair">{images}</div></div>'
    )


def _advice(details: ExtractionDetails) -> str:
    ways = [strings.HELP_MASK]
    if details.settings.preset != "light":
        ways.append(strings.HELP_LIGHT)
    if not details.familiar:
        ways.insert(0, strings.HELP_BASE)
    items = "".join(f"<li>{way}</li>" for way in ways)
    return f'<div class="notice"><p>{escape(strings.HELP_TITLE)}</p><ul>{items}</ul></div>'
