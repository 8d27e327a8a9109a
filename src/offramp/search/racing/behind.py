"""Whether a candidate that was run on some examples can still enter a front of complete ones.

The model of cells says what the means over all examples may be, given the cells of everybody so far: candidates that
share params, and examples that are hard for all, count too. A complete rival has no uncertainty left. In so many draws
of the candidate's means, some rival is at least as good in every objective: where that is so in all of them, the
candidate is behind the front, and can win by no weights either.

Source: that none of n draws shows something leaves it a chance of at most 3 / n, with 95 % confidence (Hanley and
Lippman-Hand, "If nothing goes wrong, is everything all right?", JAMA 249(13), 1983).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from offramp.records import Scalar
from offramp.search.racing.features import features_of
from offramp.search.racing.model import Posterior, posterior_of
from offramp.search.racing.settings import RaceObjective
from offramp.search.racing.threads import one_thread
from offramp.stats.pareto import Bools, Floats

FEWEST = 8
"""Values that a candidate has before anything is said of it."""


def ahead(
    cells: Floats, pool: Sequence[Mapping[str, Scalar]], objectives: Sequence[RaceObjective], *, rivals: int,
    confidence: float, margin: float, generator: np.random.Generator,
) -> int | None:  # fmt: skip
    """The rival that stands for the front which the last candidate is behind; None while it may still enter.

    Args:
        cells: shape (n, examples, objectives); the rivals first, the candidate last, NaN where nothing is known.
        pool: their params. rivals: how many of them, at the top, are complete and make up the front.
        confidence: that a candidate which is said to be behind is behind.
        margin: being ahead by less counts for nothing: as a share of what is positive (money, seconds), else as it is.

    Returns:
        index of the rival that is ahead in most draws.
    """
    read = ~np.isnan(cells[-1]).any(axis=-1)
    if not rivals or int(read.sum()) < FEWEST:
        return None
    features, draws = features_of(pool), math.ceil(3.0 / (1.0 - confidence))
    beaten: Bools = np.ones((draws, rivals), dtype=bool)
    with one_thread():
        for m, objective in enumerate(objectives):
            posterior = posterior_of(cells[:, :, m], features, positive=objective.positive, kernel=None, refit=True)
            drawn = _drawn(posterior, draws, generator)
            full = np.nanmean(cells[:rivals, :, m], axis=1)
            beaten &= _at_least_as_good(full, drawn, objective, margin)
    return int(np.argmax(beaten.sum(axis=0))) if beaten.any(axis=1).all() else None


def _drawn(posterior: Posterior, draws: int, generator: np.random.Generator) -> Floats:
    sd = math.sqrt(max(0.0, float(posterior.covariance[-1, -1])))
    return posterior.natural(posterior.mean[-1] + sd * generator.standard_normal(draws))


def _at_least_as_good(full: Floats, drawn: Floats, objective: RaceObjective, margin: float) -> Bools:
    if objective.maximise:
        return np.asarray(full[None, :] >= drawn[:, None] - margin)
    if objective.positive:
        return np.asarray(full[None, :] <= drawn[:, None] * (1.0 + margin))
    return np.asarray(full[None, :] <= drawn[:, None] + margin)
