"""95 % intervals of shares and means, and the observations that a decision needs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import DescrStatsW

ALPHA = 0.05
MOST = 100_000  # observations, beyond which a decision counts as out of reach


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval and the number of observations.

    Attributes:
        value, low, high: The estimate and the ends of its interval.
        count: Observations.
    """

    value: float
    low: float
    high: float
    count: int


def share_interval(passed: float, count: int) -> Interval | None:
    """Return a share with Wilson's interval, or None without observations; `passed` may be a sum of shares."""
    if not count:
        return None
    low, high = proportion_confint(passed, count, ALPHA, "wilson")
    return Interval(passed / count, float(low), float(high), count)


def mean_interval(values: Sequence[float]) -> Interval | None:
    """Return a mean with Student's interval, or None for fewer than two values."""
    if len(values) < 2:
        return None
    mean, (low, high) = float(np.mean(values)), DescrStatsW(values).tconfint_mean(ALPHA)
    return Interval(mean, float(low), float(high), len(values))


def mean_of_shares(shares: Sequence[float]) -> Interval | None:
    """Return a share of images from the shares of the photos, each of which counts as one observation.

    The images of a photo resemble each other, so that counting each would make the interval too narrow.
    """
    return share_interval(float(sum(shares)), len(shares))


def needed(share: float, target: float) -> int | None:
    """Return the observations with which an unchanged share differs from the target; None if out of reach."""
    low, high = 1, 2
    while not _decided(share, high, target):
        low, high = high, 2 * high
        if high > MOST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _decided(share, middle, target) else (middle, high)
    return high


def _decided(share: float, count: int, target: float) -> bool:
    found = share_interval(share * count, count)
    return found.low >= target or found.high < target
