"""Whether a candidate that was run on some examples can still enter a front of complete candidates.

Its own cells say what its means over all examples may be. Complete candidates say how hard, expensive or slow each
example is, and so what to expect of the examples not yet run (a regression estimator). Nothing is borrowed from
candidates with similar params: a winner is an exception, and a model that expects the usual would stop it.

A complete rival has no uncertainty left. The candidate is behind the front, and cannot win under any weights, where in
all but a few of many draws of its means some rival is at least as good in every objective. How few is the stated chance
of a wrong stop, divided by the number of looks (Bonferroni).

Source: Cochran, "Sampling Techniques", 3rd ed., 1977, chapter 7 (regression estimators from a finite population).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from offramp.search.racing import RaceObjective
from offramp.stats.pareto import Bools, Floats

FEWEST = 10
"""Values that a candidate needs before anything is concluded about it."""
DRAWS = 4000
PRIOR = 2.0
"""A rival's spread counts as this many values of the candidate's own, so that ten equal values are not certainty."""
STEEPEST = 2.0
"""An example that is harder for everyone by some amount is harder for one candidate by at most this many times that."""


def ahead(
    cells: Floats, objectives: Sequence[RaceObjective], *, rivals: int, confidence: float, looks: int, margin: float,
    generator: np.random.Generator,
) -> int | None:  # fmt: skip
    """The rival that stands for the front which the last candidate is behind; None while it may still enter.

    Args:
        cells: shape (n, examples, objectives); the rivals first, the candidate last; NaN where nothing is known.
        rivals: how many of the first rows are the front: run in full, though some of their results may be missing.
        confidence: probability that a member of the front is never declared behind, over all looks at it.
        looks: how often it will be looked at, at most.
        margin: being ahead by less does not count: a share of positive values (money, seconds), a difference in others.

    Returns:
        index of the rival that is ahead in most draws.
    """
    if not rivals or np.isfinite(cells[-1]).all(axis=-1).sum() < FEWEST:
        return None
    beaten: Bools = np.ones((DRAWS, rivals), dtype=bool)
    for m, objective in enumerate(objectives):
        means, units = np.nanmean(cells[:rivals, :, m], axis=1), _units(cells[:, :, m], objective)
        scaled = cells[:, :, m] / units[:, None]
        complete = scaled[:-1][np.isfinite(scaled[:-1]).all(axis=1)]
        usual = np.asarray(complete.mean(axis=0)) if len(complete) else np.zeros(scaled.shape[1])
        spread = float(np.mean(np.nanvar(scaled[:rivals], axis=1)))
        mean, sd, freedom = full_mean(scaled[-1], usual, spread)
        drawn = units[-1] * (mean + sd * generator.standard_t(freedom, DRAWS))
        beaten &= _at_least_as_good(means, drawn, objective, margin)
    free = 1.0 - float(beaten.any(axis=1).mean())
    return int(np.argmax(beaten.sum(axis=0))) if free <= (1.0 - confidence) / looks else None


def full_mean(own: Floats, usual: Floats, spread: float) -> tuple[float, float, float]:
    """The mean over all examples that is likely given some of them, its standard error, and the degrees of freedom.

    Args:
        own: shape (j,); NaN where not run, two values or more.
        usual: shape (j,); the mean of complete candidates on each example.
        spread: variance of values about the mean that is expected before any was seen.
    """
    seen = np.isfinite(own)
    y, x, n = own[seen], usual[seen], int(seen.sum())
    dy, dx = y - y.mean(), x - x.mean()
    square = float(dx @ dx)
    gap = float(usual.mean() - x.mean())
    slope = float(np.clip(dx @ dy / square, 0.0, STEEPEST)) if square > 0 else 0.0
    rest = dy - slope * dx
    variance = (float(rest @ rest) + PRIOR * spread) / (n - 2 + PRIOR)
    error = variance * ((1.0 - n / len(own)) / n + (gap**2 / square if square > 0 else 0.0))
    return float(y.mean() + slope * gap), math.sqrt(error), n - 2 + PRIOR


def _units(cells: Floats, objective: RaceObjective) -> Floats:
    """Shape (n,): what values are divided by: money and seconds by the candidate's mean, scores by 1."""
    if not objective.positive:
        return np.ones(len(cells))
    total, known = np.nansum(cells, axis=1), np.isfinite(cells).sum(axis=1)
    return np.where(total > 0, total / np.maximum(1, known), 1.0)


def _at_least_as_good(means: Floats, drawn: Floats, objective: RaceObjective, margin: float) -> Bools:
    """Shape (draws, rivals)."""
    if objective.maximise:
        return np.asarray(means[None, :] >= drawn[:, None] - margin)
    if objective.positive:
        return np.asarray(means[None, :] <= drawn[:, None] * (1.0 + margin))
    return np.asarray(means[None, :] <= drawn[:, None] + margin)
