"""A/B results: rates of the variants of a campaign with intervals, and the winner or what is missing to decide."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import ceil
from pathlib import Path

from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import samplesize_proportions_2indep_onetail
from statsmodels.stats.proportion import test_proportions_2indep as difference_test

from breakascene.data.validation import read_text
from breakascene.errors import UserError
from breakascene.pilot.intervals import ALPHA, Interval, share_interval

POWER = 0.8  # chance to find a difference as large as the observed one
MOST = 10**12
MOST_VARIANTS = 50
COLUMNS = ("variant", "impressions", "clicks", "conversions")
RATES = {"clicks": "impressions", "conversions": "clicks"}  # numerator: denominator


@dataclass(frozen=True)
class Variant:
    """The counts of a variant, summed over its lines; conversions are None if the file has no such column."""

    name: str
    impressions: int
    clicks: int
    conversions: int | None


@dataclass(frozen=True)
class Comparison:
    """The variants by one rate.

    Args:
        rate: "clicks" (of impressions) or "conversions" (of clicks).
        rates: Of each variant, the highest first.
        p_value: Of the difference between the first and the second, corrected for all pairs; None without data.
        winner: The first, if it differs from every other one at 5 %; "" if that is not decided.
        needed: If it is not decided, further observations (impressions or clicks) for each of the first two with which
            a difference of this size would be found four times in five; None if they do not differ.
    """

    rate: str
    rates: dict[str, Interval]
    p_value: float | None
    winner: str
    needed: int | None


def read_results_csv(file: Path | str) -> list[Variant]:
    """Read a CSV with the columns variant, impressions, clicks and, optionally, conversions.

    Several lines of a variant, such as one for each day, are added up.

    Raises:
        UserError: For a mistake in the file; it names the line.
    """
    file = Path(file)
    try:
        text = read_text(file).removeprefix("\ufeff")
    except FileNotFoundError as error:
        raise UserError(f"There is no file {file}: check the path.") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{file} is not a small CSV file in UTF-8: export it as CSV.") from error
    first = (text.splitlines() or [""])[0]
    separator = next((mark for mark in ("\t", ";") if mark in first), ",")
    lines = "\n".join(text.splitlines())  # some programs end them with a carriage return alone
    reader = csv.DictReader(io.StringIO(lines), delimiter=separator)
    reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or []]
    if twice := next((name for name in COLUMNS if reader.fieldnames.count(name) > 1), None):
        raise UserError(f"{file.name}, line 1: the column {twice} stands there twice: remove one of the two.")
    if missing := [name for name in COLUMNS[:3] if name not in reader.fieldnames]:
        raise UserError(
            f"{file.name}, line 1: the column {missing[0]} is missing: name the columns {', '.join(COLUMNS)}."
        )
    counts: dict[str, list[int]] = {}
    with_conversions = "conversions" in reader.fieldnames
    for row in reader:
        place = f"{file.name}, line {reader.line_num}"
        name = (row["variant"] or "").strip()
        if not name:
            raise UserError(f"{place}: the variant has no name: enter it.")
        numbers = [_count(row[column], column, place) for column in COLUMNS[1 : 3 + with_conversions]]
        for more, less in zip(COLUMNS[1:], COLUMNS[2 : 3 + with_conversions], strict=False):
            a, b = numbers[COLUMNS.index(more) - 1], numbers[COLUMNS.index(less) - 1]
            if b > a:
                raise UserError(f"{place}: {b} {less} are more than {a} {more}: check the columns.")
        counts[name] = [a + b for a, b in zip(counts.get(name, [0] * len(numbers)), numbers, strict=True)]
    if not 2 <= len(counts) <= MOST_VARIANTS:
        raise UserError(f"{file.name} has {len(counts)} variants: a comparison takes 2 to {MOST_VARIANTS}.")
    return [Variant(name, *numbers[:2], numbers[2] if with_conversions else None) for name, numbers in counts.items()]


def compare(variants: Sequence[Variant]) -> list[Comparison]:
    """Compare the variants by their click rates and, if they are counted, by their conversion rates."""
    rates = [rate for rate in RATES if rate == "clicks" or variants[0].conversions is not None]
    return [_compare(variants, rate) for rate in rates]


def describe(comparison: Comparison) -> str:
    """Return the outcome as a sentence."""
    first = next(iter(comparison.rates), "")
    what = f"{comparison.rate} of {RATES[comparison.rate]}"
    if comparison.winner:
        return f"{what}: {first} wins (p = {comparison.p_value:.2g})."
    if comparison.p_value is None:
        return f"{what}: not decided, there are no {RATES[comparison.rate]} of two variants yet."
    if comparison.needed is None:
        return f"{what}: not decided, the first two do not differ: choose by other reasons."
    unit = RATES[comparison.rate]
    return f"{what}: not decided, about {comparison.needed:,} more {unit} for each of the first two are needed."


def _compare(variants: Sequence[Variant], rate: str) -> Comparison:
    seen = [(getattr(one, rate), getattr(one, RATES[rate]), one.name) for one in variants]
    seen = sorted((one for one in seen if one[1]), key=lambda one: (-one[0] / one[1], one[2]))
    rates = {name: share_interval(count, total) for count, total, name in seen}
    if len(seen) < 2:
        return Comparison(rate, rates, None, "", None)
    pairs = list(combinations(range(len(seen)), 2))
    corrected = multipletests([_p_value(seen[i], seen[j]) for i, j in pairs], ALPHA, "holm")[1]
    of_first = [float(p) for p, (i, _) in zip(corrected, pairs, strict=True) if i == 0]
    won = max(of_first) < ALPHA
    return Comparison(
        rate, rates, of_first[0], seen[0][2] if won else "", None if won else _needed(seen[0], seen[1], len(pairs))
    )


def _p_value(one: tuple, other: tuple) -> float:
    if one[0] == other[0] == 0 or (one[0] == one[1] and other[0] == other[1]):
        return 1.0  # the test has no variance to work with
    return float(difference_test(one[0], one[1], other[0], other[1], compare="diff", method="score").pvalue)


def _needed(one: tuple, other: tuple, pairs: int) -> int | None:
    difference, rate = one[0] / one[1] - other[0] / other[1], other[0] / other[1]
    if difference <= 0:
        return None
    alpha = ALPHA / 2 / pairs  # two-sided, for all pairs
    each = samplesize_proportions_2indep_onetail(difference, rate, POWER, alpha=alpha, alternative="larger")
    return max(1, ceil(each) - min(one[1], other[1]))


def _count(text: str | None, column: str, place: str) -> int:
    cleaned = (text or "").strip()
    if not cleaned.isascii() or not cleaned.isdigit() or int(cleaned[:20]) > MOST:
        raise UserError(f'{place}: {column} is "{cleaned[:40]}": write a whole number without separators.')
    return int(cleaned)
