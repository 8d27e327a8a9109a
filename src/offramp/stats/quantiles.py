"""Intervals of a quantile, such as p50 or p95 of latency, whatever the distribution.

Ends lie between neighbouring order statistics. Where the values are too few for an end (p95 has no upper end below 72
values at 95 %), that end is the bound of what is possible, and the other end takes the whole error. Where both are just
out of reach (the median of five), the interval is from the smallest value to the largest.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from offramp.stats.intervals import Interval, check_confidence, sorted_within
from offramp.stats.pareto import Floats

_BETWEEN = 10  # values from which an end that takes the whole error may lie between two of them
_NEARLY = 0.015  # coverage that may be missing where the interval would else be everything


def quantile(
    values: ArrayLike, q: float, *, confidence: float = 0.95, bounds: tuple[float, float] = (0.0, math.inf)
) -> Interval:
    """Interval for the q-quantile. Where neither end is within reach of so few values it is `bounds`.

    Args:
        values: shape (n,), not NaN, within `bounds`; ties are welcome.
        q: in (0, 1).
        bounds: what is possible at all.

    Raises:
        ValueError: a value is NaN or out of bounds, or an argument is out of range.

    Source: David and Nagaraja, "Order Statistics", 3rd ed., 2003, section 7.1; between order statistics by Nyblom,
    "Note on interpolated order statistics", Statistics & Probability Letters 14, 1992.
    """
    check_confidence(confidence)
    if not 0 < q < 1:
        raise ValueError(f"q has to be in (0, 1), got {q!r}")
    array = sorted_within(values, *bounds)
    tail = (1 - confidence) / 2
    low, high = _lower_end(array, q, tail), _lower_end(-array[::-1], 1 - q, tail)
    between = len(array) >= _BETWEEN
    if high is None and low is not None:
        low = _lower_end(array, q, 2 * tail, between=between)
    elif low is None and high is not None:
        high = _lower_end(-array[::-1], 1 - q, 2 * tail, between=between)
    elif low is None and 1 - q ** len(array) - (1 - q) ** len(array) >= confidence - _NEARLY:
        low, high = float(array[0]), float(-array[-1])
    return Interval(
        low=bounds[0] if low is None else low, high=bounds[1] if high is None else -high, confidence=confidence
    )


def _lower_end(array: Floats, q: float, tail: float, *, between: bool = True) -> float | None:
    """The end below which the quantile lies with chance `tail`; None where the smallest value is not low enough.

    Args:
        between: whether it may lie between two values; far from the middle of few values that would be too bold.
    """
    n = len(array)
    if n == 0 or (1 - q) ** n > tail:
        return None
    from scipy.special import bdtr

    below = bdtr(np.arange(n + 1), n, q)  # below[r - 1]: chance that the quantile is under the r-th smallest value
    rank = int(np.searchsorted(below, tail, side="right"))
    if rank == n or not between:
        return float(array[rank - 1])
    lower, upper = float(below[rank - 1]), float(below[rank])
    odds = rank * (1 - q) * (upper - tail) / ((n - rank) * q * max(tail - lower, 1e-300))
    way = 1 / (1 + odds)
    return float(array[rank - 1] + way * (array[rank] - array[rank - 1]))
