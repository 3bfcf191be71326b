"""The page of the report: one HTML file from which a manager can decide, with everything that it shows inside."""

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape

from breakascene.generation.generate import readable_prompt
from breakascene.models.loading import short_name
from breakascene.pilot.bars import Bar, bars
from breakascene.pilot.embedding import data_uri
from breakascene.pilot.intervals import Interval
from breakascene.pilot.page_style import styled
from breakascene.pilot.plan import Plan
from breakascene.pilot.reasons import UNPROCESSED
from breakascene.pilot.summary import NO, UNDECIDED, UNKNOWN, YES, PhotoSummary, Summary
from breakascene.pilot.task import DONE
from breakascene.rendering import html
from breakascene.rendering.durations import format_duration

WORST = 10  # photos shown with their images
SHOWN_IMAGES = 4  # of each
BEST = 6  # photos that show what works
Files = Mapping[str, Mapping[str, bytes]]  # by result folder


def shown_photos(summary: Summary) -> list[PhotoSummary]:
    """Return the photos whose images the page shows."""
    return [*_worst(summary), *_best(summary)]


def page(plan: Plan, summaries: Sequence[Summary], files: Files, missing: int, votes: dict[str, Interval]) -> str:
    """Return the page.

    Args:
        plan: The plan.
        summaries: Of each preset, the best first, which the page is about.
        files: Those of the shown photos.
        missing: Photos that are not processed yet.
        votes: Results of the blind comparison, empty before it.
    """
    best = summaries[0]
    sections = [
        _head(plan, best, missing),
        _answer(plan, best),
        _tiles(plan, best),
        _next_steps(plan, best, missing, votes),
        _charts(best),
        _presets(summaries),
        _costs(plan, best),
        _votes(votes),
        _reasons(best),
        _cases("What works: six photos", _best(best), files, worst=False),
        _cases(f"The worst {len(_worst(best))} photos, to look at yourself", _worst(best), files, worst=True),
        _all_photos(plan, best),
        _method(plan, best),
    ]
    return html.page(plan.name, styled("\n".join(filter(None, sections)), "bars.css"))


def percent(interval: Interval | None) -> str:
    """Return "82 % (68–91)"."""
    if interval is None:
        return "–"
    return f"{interval.value:.0%} ({100 * interval.low:.0f}–{100 * interval.high:.0f})".replace("%", " %")


def _head(plan: Plan, best: Summary, missing: int) -> str:
    failed = len(best.photos) - len(best.done)
    parts = [f"{len(best.photos)} photos", f"preset {best.preset}"]
    if best.done:
        one = best.done[0].result
        parts += [f"base {short_name(one['base'])}", {"cuda": "GPU", "cpu": "CPU"}.get(one["device"], one["device"])]
    parts += [f"{failed} could not be processed"] if failed else []
    parts += [f"{missing} not processed yet"] if missing > 0 else []
    return f'<p class="faint">{escape(" · ".join(parts))}. Ranges are 95 % intervals.</p>'


def _answer(plan: Plan, best: Summary) -> str:
    goal = f"{best.limits.pilot:.0%}".replace("%", " %")
    sentence = {
        YES: "Yes. It works for these photos.",
        NO: "No. It does not work well enough for these photos yet.",
        UNDECIDED: "Not decided yet.",
        UNKNOWN: "The plan sets no thresholds for these models.",
    }[best.answer]
    if best.working:
        works = sum(bool(photo.works) for photo in best.photos)
        detail = f"{works} of {len(best.photos)} photos work: {percent(best.working)}; the goal is {goal}."
        detail += f" A photo works if at least {best.limits.photo:.0%} of its images are usable.".replace("%", " %")
    else:
        detail = "Look at the images below, or let colleagues vote; then set thresholds and write the report again."
    if best.answer == UNDECIDED:
        more = best.more_photos
        detail += (
            f" If the share stays the same, {more} more photos will decide it."
            if more
            else " The share is so close to the goal that no number of photos will decide: look at the images."
        )
    return f"""<div class="answer {best.answer}"><p class="faint">Does it work for us?</p>
<p class="verdict">{sentence}</p><p>{detail}</p></div>"""


def _tiles(plan: Plan, best: Summary) -> str:
    tiles = [(percent(best.usable), "of the images are usable")] if best.usable else []
    if best.seconds is not None:
        tiles.append((format_duration(best.seconds), "for a photo on one worker (median)"))
    if best.cost:
        if best.cost.usable:
            tiles.append((money(best.cost.usable.value, plan), "for a usable image, people's time included"))
        if best.cost.reshoot:
            tiles.append((money(best.cost.reshoot, plan), "for an image from a reshoot"))
    if best.identity:
        text = f"{best.identity.value:.2f} ({best.identity.low:.2f}–{best.identity.high:.2f})"
        tiles.append((text, "identity: how much the objects look like those of the photo, at most 1"))
    cells = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(label)}</span></div>' for value, label in tiles
    )
    return f'<div class="tiles">{cells}</div>'


def _next_steps(plan: Plan, best: Summary, missing: int, votes: dict[str, Interval]) -> str:
    steps = []
    if missing > 0:
        steps.append(f"Run pilot run again: {missing} photos are not processed yet.")
    if best.answer == YES:
        steps.append("Go on with more photos of the same kind; look through the images before you use them.")
    if best.answer == UNDECIDED and best.more_photos:
        steps.append(f"Add {best.more_photos} more photos of the same kind to the plan and run it again.")
    unprocessed = [photo for photo in best.photos if photo.result["state"] != DONE]
    if unprocessed:
        steps.append(f"Fix the {_photos(len(unprocessed))} that could not be processed; the reasons are below.")
    remedies = Counter(
        reason.remedy for photo in best.photos if photo.works is False for reason in photo.reasons if reason.remedy
    )
    steps += [f"{remedy} This concerns {_photos(n)}." for remedy, n in remedies.most_common(3)]
    automatic = sum(photo.result["masks"] == "automatic" for photo in best.photos)
    if automatic:
        steps.append(f"Check the automatic masks of {_photos(automatic)} with pilot review.")
    if not votes:
        steps.append("Let colleagues vote on the blind comparison (pilot vote): thresholds do not replace eyes.")
    if not plan.prices:
        steps.append("Enter your prices in the plan and write the report again: it then says what an image costs.")
    items = "".join(f"<li>{escape(step)}</li>" for step in steps)
    return f"<h2>What to do next</h2><ol>{items}</ol>"


def _charts(best: Summary) -> str:
    if not best.usable:
        return ""
    charts = []
    for title, groups in (("by prompt", best.by_prompt), ("by number of objects in the photo", best.by_objects)):
        rows = [Bar(name, one.value, percent(one), one.low, one.high) for name, one in sorted(groups.items())]
        charts.append(f"<h3>Usable images {title}</h3>{bars(rows, 1)}")
    shares = [photo.share for photo in best.photos]
    limit = best.limits.photo
    classes = {  # each photo is in one of them, also for a limit of 0 or 1
        "none usable": sum(share == 0 for share in shares),
        "some, but too few": sum(0 < share < limit for share in shares),
        "enough": sum(limit <= share and 0 < share < 1 for share in shares),
        "all": sum(share == 1 for share in shares),
    }
    counts = [
        Bar(name, count, str(count), other=name in ("none usable", "some, but too few"))
        for name, count in classes.items()
    ]
    chart = f"<h3>Photos by their usable images</h3>{bars(counts, len(shares))}"
    return f"<h2>How good are the images?</h2>{chart}{''.join(charts)}"


def _presets(summaries: Sequence[Summary]) -> str:
    if len(summaries) < 2:
        return ""
    rows = [
        (one.preset, percent(one.working), percent(one.usable), format_duration(one.seconds or 0)) for one in summaries
    ]
    table = html.table(["preset", "photos that work", "usable images", "time for a photo"], rows)
    return f'<h2>Presets compared</h2><div class="scroll">{table}</div>'


def _costs(plan: Plan, best: Summary) -> str:
    if not (best.cost and plan.prices):
        return ""
    cost, prices = best.cost, plan.prices
    seconds = sum(photo.result["seconds"]["total"] for photo in best.photos) / len(best.photos)
    images = sum(len(photo.result.get("images", [])) for photo in best.photos) / len(best.photos)
    usable = sum(sum(photo.usable) for photo in best.photos) / len(best.photos)
    minutes = prices.minutes_per_photo + prices.minutes_per_image * images
    rows = [
        ("Machine", f"{seconds:.0f} s at {money(prices.gpu_hour, plan)} an hour", money(cost.machine, plan)),
        ("People", f"{minutes:.1f} min at {money(prices.person_hour, plan)} an hour", money(cost.person, plan)),
        ("A photo", f"{images:.1f} images, {usable:.1f} of them usable", money(cost.photo, plan)),
    ]
    if cost.usable:
        high = money(cost.usable.high, plan) if cost.usable.high != float("inf") else "no limit"
        rows.append(("A usable image", f"{money(cost.usable.low, plan)} to {high}", money(cost.usable.value, plan)))
    chart = sentence = ""
    if cost.usable and cost.reshoot:
        pair = [
            Bar("generated", cost.usable.value, money(cost.usable.value, plan)),
            Bar("reshoot", cost.reshoot, money(cost.reshoot, plan), other=True),
        ]
        chart = f"<h3>A usable image</h3>{bars(pair, max(cost.usable.value, cost.reshoot))}"
        share = cost.usable.value / cost.reshoot
        sentence = (
            f"<p>A usable image costs {share:.0%} of one from a reshoot.</p>".replace("%", " %")
            if share < 1
            else "<p>A usable image costs more than one from a reshoot.</p>"
        )
    table = html.table(["cost", "made up of", plan.prices.currency or "amount"], rows)
    note = '<p class="faint">The prices are those of the plan; the time is that of the machine that ran the pilot.</p>'
    return f'<h2>What does it cost?</h2>{sentence}{chart}<div class="scroll">{table}</div>{note}'


def _votes(votes: dict[str, Interval]) -> str:
    if not votes:
        return ""
    rows = [Bar(name, one.value, percent(one), one.low, one.high) for name, one in votes.items()]
    count = max(one.count for one in votes.values())
    sentence = f"Votes on images of {_photos(count)}; each photo counts once."
    return f"<h2>What colleagues say</h2><p>{sentence}</p>{bars(rows, 1)}"


def _reasons(best: Summary) -> str:
    failing = [photo for photo in best.photos if photo.works is False or photo.result["state"] != DONE]
    titles = Counter(title for photo in failing for title in {reason.title for reason in photo.reasons})
    if not titles:
        return ""
    rows = []
    for title, n in titles.most_common():
        own = [(photo, reason) for photo in failing for reason in photo.reasons if reason.title == title]
        remedies = Counter(reason.remedy for _, reason in own if reason.remedy)
        remedy = remedies.most_common(1)[0][0] if remedies else "See the sentence at each photo."
        names = ", ".join(dict.fromkeys(photo.result["photo"] for photo, _ in own))
        rows.append((title, n, remedy, names))
    body = "".join(
        f'<tr><th scope="row">{escape(title)}</th><td>{n}</td><td class="text">{escape(remedy)}</td>'
        f'<td class="text">{escape(names)}</td></tr>'
        for title, n, remedy, names in rows
    )
    head = "".join(f'<th scope="col">{text}</th>' for text in ("reason", "photos", "what helps", "which"))
    table = f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'
    count = f"<p>{_photos(len(failing))} of {len(best.photos)}. A photo can have several reasons.</p>"
    return f"<h2>Which photos fail, and why?</h2>{count}{table}"


def _worst(summary: Summary) -> list[PhotoSummary]:
    return sorted(summary.photos, key=lambda one: (one.share, one.identity or 0))[:WORST]


def _best(summary: Summary) -> list[PhotoSummary]:
    worst = _worst(summary)
    best = sorted(summary.done, key=lambda one: (-one.share, -(one.identity or 0)))
    return [photo for photo in best if photo not in worst][:BEST]


def _cases(title: str, photos: Sequence[PhotoSummary], files: Files, worst: bool) -> str:
    if not photos:
        return ""
    title = title.replace("six photos", _photos(len(photos)))
    return f"<h2>{title}</h2>" + "".join(_case(photo, files, worst) for photo in photos)


def _case(photo: PhotoSummary, files: Files, worst: bool) -> str:
    result = photo.result
    own = files.get(f"{result['photo']}/{result['preset']}", {})
    picture = own.get("masks.jpg") or own.get("photo.jpg")
    left = f'<img src="{data_uri(picture, 220)}" alt="the photo with its masks">' if picture else "<span></span>"
    names = {one["handle"]: one["name"] for one in result.get("objects", [])}
    score = f"{sum(photo.usable)} of {len(photo.usable)} images usable" if photo.usable else ""
    reasons = "".join(f"<li>{escape(f'{reason.sentence} {reason.remedy}'.strip())}</li>" for reason in photo.reasons)
    rows = list(zip(result.get("images", []), photo.usable or (None,) * len(result.get("images", [])), strict=True))
    rows.sort(key=lambda row: min(row[0]["identity"].values(), default=0), reverse=not worst)
    figures = []
    for row, usable in rows[:SHOWN_IMAGES]:
        prompt = readable_prompt(row | {"handles": names})
        mark = (
            "" if usable is None else '<b class="good">usable</b> · ' if usable else '<b class="bad">not usable</b> · '
        )
        values = f"identity {min(row['identity'].values(), default=0):.2f}, prompt {row['prompt_similarity']:.2f}"
        figures.append(
            f'<figure><img src="{data_uri(own[row["file"]], 200)}" alt="{escape(prompt)}">'
            f"<figcaption>{mark}{escape(prompt)}<br>{values}</figcaption></figure>"
        )
    heading = f"{result['photo']}: {', '.join(names.values())}" if names else result["photo"]
    listed = f"<ul>{reasons}</ul>" if reasons and worst else ""
    return f"""<div class="case">{left}<div><h3>{escape(heading)}</h3><p class="faint">{score}</p>{listed}
<div class="strip">{"".join(figures)}</div></div></div>"""


def _all_photos(plan: Plan, best: Summary) -> str:
    priced = plan.prices is not None
    head = ["photo", "objects", "images", "usable", "identity", "prompt", "time"]
    head += [f"cost ({plan.prices.currency})" if plan.prices.currency else "cost"] if priced else []
    rows = []
    for photo in best.photos:
        result = photo.result
        if result["state"] != DONE:
            state = UNPROCESSED.lower()
            rows.append((result["photo"], state, *[None] * (4 + priced), format_duration(result["seconds"]["total"])))
            continue
        row = (
            result["photo"],
            ", ".join(one["name"] for one in result["objects"]),
            len(result["images"]),
            sum(photo.usable) if photo.works is not None else None,
            f"{photo.identity:.2f}" if photo.identity is not None else None,
            f"{photo.prompt:.2f}",
            format_duration(result["seconds"]["total"]),
        )
        rows.append((*row, f"{photo.cost:.2f}") if priced else row)
    table = html.table(head, rows)
    note = "<p>The same for a spreadsheet: photos.csv and images.csv, beside this page.</p>"
    return f'<h2>All photos</h2>{note}<div class="scroll">{table}</div>'


def _method(plan: Plan, best: Summary) -> str:
    limits = best.limits
    parts = []
    if limits.identity is not None and limits.prompt is not None:
        parts.append(
            f"An image is usable if each of its objects has an identity similarity of at least {limits.identity:g}, "
            f"and the image a prompt similarity of at least {limits.prompt:g}."
        )
    if best.done:
        one = best.done[0].result
        names = {key: "the toybox's judge" if name == "toybox" else name for key, name in one["measured_by"].items()}
        parts.append(f"Identity is measured by {names['identity']}, prompt similarity by {names['prompt']}.")
        sizes = [photo.result["bytes"] / 1e6 for photo in best.done]
        memory = max(photo.result["peak_bytes"] for photo in best.done) / 1e9
        parts.append(
            f"What was learned from a photo takes {sum(sizes) / len(sizes):.1f} MB on disk; a worker took up to "
            f"{memory:.1f} GB of memory."
        )
        parts += one["notes"]
    parts.append(
        "Intervals count each photo once, because the images of one photo resemble each other: Wilson's for shares, "
        "Student's for means."
    )
    return f"<h2>How this was measured</h2><p>{escape(' '.join(parts))}</p>"


def money(amount: float, plan: Plan) -> str:
    """Return an amount in the plan's currency; small ones with more digits."""
    text = f"{amount:,.2f}" if amount >= 0.1 or amount == 0 else f"{amount:.4f}"
    return f"{text} {plan.prices.currency}".strip()


def _photos(count: int) -> str:
    return f"{count} photo{'s' * (count != 1)}"
