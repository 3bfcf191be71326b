"""What the results of a pilot mean: usable images, photos that work, times, costs, and the answer."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import mean, median

from breakascene.evaluation.judges import TOYBOX
from breakascene.pilot.intervals import Interval, mean_interval, mean_of_shares, needed, share_interval
from breakascene.pilot.plan import Plan, Prices, Thresholds
from breakascene.pilot.reasons import Reason, causes, reasons_of
from breakascene.pilot.task import DONE

YES, NO, UNDECIDED, UNKNOWN = "yes", "no", "undecided", "unknown"
# By the toybox's judge, calibrated in docs/pilot.md. Other models have no defaults: what is usable depends on model and
# motif, see calibration.
DEFAULT_LIMITS = {TOYBOX: {"identity": 0.75, "prompt": 0.75}}


@dataclass(frozen=True)
class Cost:
    """What images cost, in the plan's currency.

    Args:
        machine, person: Of the photo: its time on a worker, and a person's time for it.
        usable: The cost for each usable image with its interval; None without one.
        reshoot: The price of a usable image from a reshoot.
    """

    machine: float
    person: float
    usable: Interval | None
    reshoot: float

    @property
    def photo(self) -> float:
        return self.machine + self.person


@dataclass(frozen=True)
class PhotoSummary:
    """A photo with a preset in the report.

    Args:
        result: As task.process wrote it.
        usable: For each image whether it is usable; empty without thresholds.
        works: Whether enough of them are; None without thresholds.
        reasons: Why images are not usable.
        cost: Of the photo in money; None without prices.
    """

    result: dict
    usable: tuple[bool, ...]
    works: bool | None
    reasons: tuple[Reason, ...]
    cost: float | None

    @property
    def share(self) -> float:
        return mean(self.usable) if self.usable else 0.0

    @property
    def identity(self) -> float | None:
        values = [value for row in self.result.get("images", []) for value in row["identity"].values()]
        return mean(values) if values else None

    @property
    def prompt(self) -> float | None:
        rows = self.result.get("images", [])
        return mean(row["prompt_similarity"] for row in rows) if rows else None


@dataclass(frozen=True)
class Summary:
    """The results of one preset.

    Args:
        preset: Its name.
        limits: The thresholds with the defaults of the judges filled in.
        photos: All photos, in the order of the plan.
        answer: YES, NO or UNDECIDED: whether the share of photos that work reaches the plan's; UNKNOWN without
            thresholds.
        working: Share of photos that work.
        usable: Share of usable images.
        identity, prompt: Mean similarities.
        more_photos: Further photos that would decide an undecided answer at an unchanged share.
        seconds: Median time of a photo on a worker.
        cost: None without prices.
        by_prompt, by_objects: Share of usable images by prompt and by number of objects.
    """

    preset: str
    limits: Thresholds
    photos: tuple[PhotoSummary, ...]
    answer: str
    working: Interval | None
    usable: Interval | None
    identity: Interval | None
    prompt: Interval | None
    more_photos: int | None
    seconds: float | None
    cost: Cost | None
    by_prompt: dict[str, Interval]
    by_objects: dict[str, Interval]

    @property
    def done(self) -> list[PhotoSummary]:
        return [photo for photo in self.photos if photo.result["state"] == DONE]


def summarize(plan: Plan, results: Sequence[dict]) -> list[Summary]:
    """Summarize the results of each preset, the best preset first."""
    presets = [preset for preset in plan.presets if any(result["preset"] == preset for result in results)]
    found = [_summary(plan, preset, [one for one in results if one["preset"] == preset]) for preset in presets]
    return sorted(found, key=lambda one: -(one.working.value if one.working else 0))


def limits_for(thresholds: Thresholds, results: Sequence[dict]) -> Thresholds:
    """Fill in the similarities that the plan does not set, where the judge has defaults."""
    measured_by = next((result["measured_by"] for result in results if result["state"] == DONE), {})
    filled = {
        key: DEFAULT_LIMITS.get(measured_by.get(key), {}).get(key)
        for key in ("identity", "prompt")
        if getattr(thresholds, key) is None
    }
    return replace(thresholds, **filled)


def template(prompt: str) -> str:
    """Return a prompt with words in place of handles, the same for all photos."""
    handles = re.findall(r"<asset\d+>", prompt)
    if len(handles) > 1:
        prompt = re.sub(r"<asset\d+>(,? (and )?<asset\d+>)+", "several objects", prompt)
    return re.sub(r"<asset\d+>", "one object", prompt)


def _summary(plan: Plan, preset: str, results: Sequence[dict]) -> Summary:
    limits = limits_for(plan.thresholds, results)
    known = limits.identity is not None and limits.prompt is not None
    photos = tuple(_photo(result, limits if known else None, plan.prices) for result in results)
    done = [photo for photo in photos if photo.result["state"] == DONE]
    working = share_interval(sum(bool(photo.works) for photo in photos), len(photos)) if known and done else None
    usable = mean_of_shares([photo.share for photo in photos]) if working else None
    seconds = [photo.result["seconds"]["total"] for photo in done]
    answer, more = UNKNOWN, None
    if working:
        answer = YES if working.low >= limits.pilot else NO if working.high < limits.pilot else UNDECIDED
        if answer == UNDECIDED and (enough := needed(working.value, limits.pilot)):
            more = max(1, enough - working.count)
    return Summary(
        preset=preset,
        limits=limits,
        photos=photos,
        answer=answer,
        working=working,
        usable=usable,
        identity=mean_interval([photo.identity for photo in done if photo.identity is not None]),
        prompt=mean_interval([photo.prompt for photo in done]),
        more_photos=more,
        seconds=median(seconds) if seconds else None,
        cost=_cost(photos, usable, plan.prices) if plan.prices and done else None,
        by_prompt=_shares_by(done, lambda photo, row: template(row["prompt"])) if known else {},
        by_objects=_shares_by(done, lambda photo, row: _object_count(photo)) if known else {},
    )


def _photo(result: dict, limits: Thresholds | None, prices: Prices | None) -> PhotoSummary:
    usable: tuple[bool, ...] = ()
    works, reasons = None, ()
    if limits:
        names = [one["name"] for one in result.get("objects", [])]
        usable = tuple(not causes(row, names, limits) for row in result.get("images", []))
        works = bool(usable) and mean(usable) >= limits.photo
    if limits or result["state"] != DONE:
        reasons = tuple(reasons_of(result, limits or Thresholds()))
    cost = sum(_photo_cost(result, prices)) if prices else None
    return PhotoSummary(result, usable, works, reasons, cost)


def _photo_cost(result: dict, prices: Prices) -> tuple[float, float]:
    """Return what a photo costs on the machine, and in a person's time."""
    machine = result["seconds"]["total"] / 3600 * prices.gpu_hour
    minutes = prices.minutes_per_photo + prices.minutes_per_image * len(result.get("images", []))
    return machine, minutes / 60 * prices.person_hour


def _cost(photos: Sequence[PhotoSummary], usable: Interval | None, prices: Prices) -> Cost:
    machine, person = (
        mean(parts) for parts in zip(*(_photo_cost(photo.result, prices) for photo in photos), strict=True)
    )
    found = None
    count = sum(sum(photo.usable) for photo in photos)
    if usable and count:
        # The interval is that of the share of usable images, on which the cost depends
        each = (machine + person) * len(photos) / count
        ends = (each * usable.value / usable.high, each * usable.value / usable.low if usable.low > 0 else float("inf"))
        found = Interval(each, *ends, count)
    return Cost(machine, person, found, prices.reshoot)


def _shares_by(photos: Sequence[PhotoSummary], key: Callable[[PhotoSummary, dict], str]) -> dict[str, Interval]:
    """Return the share of usable images by a key of the images; each photo counts once for each key."""
    groups: dict[str, dict[str, list[bool]]] = {}
    for photo in photos:
        for row, usable in zip(photo.result["images"], photo.usable, strict=True):
            groups.setdefault(key(photo, row), {}).setdefault(photo.result["photo"], []).append(usable)
    return {name: mean_of_shares([mean(own) for own in of.values()]) for name, of in groups.items()}


def _object_count(photo: PhotoSummary) -> str:
    count = sum(one["handle"] != "<background>" for one in photo.result["objects"])
    return f"{count} object{'s' * (count != 1)}"
