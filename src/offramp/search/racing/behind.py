"""Whether a candidate that was run on some examples can still enter a front of complete ones.

What its means over all examples may be follows from its own cells: complete candidates tell how hard, dear or slow each
example is, and so what is to be expected of the examples not yet run (a regression estimator). Nothing is borrowed from
candidates with like params: who wins is an exception, and a model that expects the usual would stop it.

A complete rival has no uncertainty left. The candidate is behind the front, and can win by no weights either, where in
all but a few of many draws of its means some rival is at least as good in every objective. How few is the stated chance
of a wrong stop, divided by the looks that there will be (Bonferroni).

Source: Cochran, "Sampling Techniques", 3rd ed., 1977, chapter 7 (regression estimators from a finite population).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from offramp.search.racing.settings import RaceObjective
from offramp.stats.pareto import Bools, Floats

FEWEST = 10
"""Values that a candidate has before anything is said of it."""
DRAWS = 4000
PRIOR = 2.0
"""Values' worth of a rival's spread that a candidate's own is mixed with, so that ten equal values are not certain."""
STEEPEST = 2.0
"""An example that is harder by so much for all may be harder by this many times as much for one."""


def ahead(
    cells: Floats, objectives: Sequence[RaceObjective], *, rivals: int, confidence: float, looks: int, margin: float,
    generator: np.random.Generator,
) -> int | None:  # fmt: skip
    """The rival that stands for the front which the last candidate is behind; None while it may still enter.

    Args:
        cells: shape (n, examples, objectives); the rivals first, the candidate last, NaN where nothing is known.
        rivals: how many, at the top, are the front: run in full, though runs of theirs may have failed.
        confidence: that a member of the front is never said to be behind, over all looks at it.
        looks: how often it will be looked at, at most.
        margin: being ahead by less counts for nothing: as a share of what is positive (money, seconds), else as it is.

    Returns:
        index of the rival that is ahead in most draws.
    """
    if not rivals or np.isfinite(cells[-1]).all(axis=-1).sum() < FEWEST:
        return None
    beaten: Bools = np.ones((DRAWS, rivals), dtype=bool)
    for m, objective in enumerate(objectives):
        means, units = np.nanmean(cells[:rivals, :, m], axis=1), _units(cells[:, :, m], objective)
        scaled = cells[:, :, m] / units[:, None]
        spread = float(np.mean(np.nanvar(scaled[:rivals], axis=1)))
        mean, sd, freedom = full_mean(scaled[-1], _usual(scaled[:-1]), spread)
        drawn = units[-1] * (mean + sd * generator.standard_t(freedom, DRAWS))
        beaten &= _at_least_as_good(means, drawn, objective, margin)
    free = 1.0 - float(beaten.any(axis=1).mean())
    return int(np.argmax(beaten.sum(axis=0))) if free <= (1.0 - confidence) / looks else None


def full_mean(own: Floats, usual: Floats, spread: float) -> tuple[float, float, float]:
    """The mean over all examples that some of them make likely, its standard error, and the degrees of freedom.

    Args:
        own: shape (j,); NaN where not run, two values or more. usual: shape (j,); what complete candidates came to.
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


def _usual(cells: Floats) -> Floats:
    """Shape (j,): the mean of those who were run on everything; 0 for all where nobody was."""
    whole = cells[np.isfinite(cells).all(axis=1)]
    return np.asarray(whole.mean(axis=0)) if len(whole) else np.zeros(cells.shape[1])


def _units(cells: Floats, objective: RaceObjective) -> Floats:
    """Shape (n,): money and seconds spread in proportion to their size, scores do not."""
    if not objective.positive:
        return np.ones(len(cells))
    total, known = np.nansum(cells, axis=1), np.isfinite(cells).sum(axis=1)
    return np.where(total > 0, total / np.maximum(1, known), 1.0)


def _at_least_as_good(means: Floats, drawn: Floats, objective: RaceObjective, margin: float) -> Bools:
    if objective.maximise:
        return np.asarray(means[None, :] >= drawn[:, None] - margin)
    if objective.positive:
        return np.asarray(means[None, :] <= drawn[:, None] * (1.0 + margin))
    return np.asarray(means[None, :] <= drawn[:, None] + margin)
