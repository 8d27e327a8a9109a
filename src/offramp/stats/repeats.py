"""Scores of a grader that does not repeat itself: its own variance, and how far a mean may move by that alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from offramp.stats.intervals import check_confidence


def repeat_variance(scores: Sequence[Sequence[float]]) -> tuple[float, int]:
    """The variance of one score about the mean of its own answer, and its degrees of freedom.

    Args:
        scores: by answer, all that the grader gave it. Answers with one score say nothing.

    Returns:
        The pooled variance and how many repeats it is of; (0.0, 0) without any.

    Source: Bland and Altman, "Measurement error", BMJ 312, 1996 (the within-subject variance of a one-way analysis).
    """
    repeated = [np.asarray(some, dtype=np.float64) for some in scores if len(some) > 1]
    freedom = sum(len(some) - 1 for some in repeated)
    squares = math.fsum(float(((some - some.mean()) ** 2).sum()) for some in repeated)
    return (squares / freedom, freedom) if freedom else (0.0, 0)


def noise_of_mean(variance: float, freedom: int, *, regraded: int, n: int, confidence: float = 0.95) -> float:
    """How far the mean of `n` differences falls, at this one-sided confidence, where the grader's noise alone moves it.

    Args:
        variance, freedom: as `repeat_variance` gives them.
        regraded: of the n differences, how many are of two scores that the grader gave apart from each other; the
            others are 0.
        n: above 0.

    Returns:
        A loss in units of the score, 0 or more. Student's t allows for a variance that is known from few repeats.
    """
    check_confidence(confidence)
    if not 0 <= regraded <= n or n < 1:
        raise ValueError(f"regraded is of n, got {regraded!r} of {n!r}")
    if not freedom:
        return 0.0
    from scipy.special import stdtrit

    return float(stdtrit(freedom, confidence)) * math.sqrt(2 * variance * regraded) / n
