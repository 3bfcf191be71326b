"""Thresholds of usable images that agree with people: fitted to the votes of colleagues."""

from dataclasses import dataclass

import numpy as np

from breakascene.errors import UserError
from breakascene.pilot.run import read_results
from breakascene.pilot.store import Store
from breakascene.pilot.task import DONE
from breakascene.pilot.vote import votes_by_image

LEAST = 5  # images that colleagues would use, and others, below which a fit says nothing


@dataclass(frozen=True)
class Fit:
    """Thresholds that agree best with the votes.

    Args:
        identity, prompt: Least similarities of a usable image.
        images: Number of images with votes.
        agree: Of them, those that the thresholds judge as most colleagues do.
        agree_left_out: The same for thresholds that were fitted to the other images.
    """

    identity: float
    prompt: float
    images: int
    agree: int
    agree_left_out: int


def fit_to_votes(store: Store) -> Fit:
    """Fit both thresholds. Raises UserError if there are too few votes of either kind."""
    votes = votes_by_image(store)
    values, labels = [], []
    for result in (one for one in read_results(store) if one["state"] == DONE):
        for row in result["images"]:
            given = votes.get((result["photo"], result["preset"], row["file"]), [])
            if row["identity"] and given and sum(given) * 2 != len(given):  # a tie says nothing
                values.append((min(row["identity"].values()), row["prompt_similarity"]))
                labels.append(sum(given) * 2 > len(given))
    if min(sum(labels), len(labels) - sum(labels)) < LEAST:
        raise UserError(
            f"Colleagues would use {sum(labels)} images and not {len(labels) - sum(labels)} others: at least {LEAST} "
            "of each are needed, so process more photos or collect more votes."
        )
    points, wanted = np.array(values), np.array(labels)
    best = best_thresholds(points, wanted)
    left_out = 0
    for i in range(len(wanted)):
        others = np.arange(len(wanted)) != i
        left_out += bool((points[i] >= best_thresholds(points[others], wanted[others])).all() == wanted[i])
    return Fit(*best, len(wanted), int(((points >= best).all(1) == wanted).sum()), left_out)


def best_thresholds(values: np.ndarray, labels: np.ndarray) -> tuple[float, ...]:
    """Return the thresholds with the highest mean of both shares: of the usable that pass and of the others that fail.

    Args:
        values: Similarities of N images, (N, D).
        labels: Whether each is usable, (N,).
    """
    passing = np.ones((1, len(values)), bool)  # (candidates, N)
    for column in values.T:
        steps = _between(column)
        passing = (passing[:, None] & (column >= steps[:, None])).reshape(-1, len(values))
    rates = (passing[:, labels].mean(1) + (~passing[:, ~labels]).mean(1)) / 2
    best = np.flatnonzero(rates == rates.max())
    chosen = np.unravel_index(best[len(best) // 2], [len(_between(column)) for column in values.T])
    return tuple(round(float(_between(column)[i]), 4) for column, i in zip(values.T, chosen, strict=True))


def _between(column: np.ndarray) -> np.ndarray:
    """Return thresholds below, between and above the values."""
    known = np.unique(column)
    return np.concatenate([known[:1] - 0.01, (known[1:] + known[:-1]) / 2, known[-1:] + 0.01])
