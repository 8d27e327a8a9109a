"""Bootstrap intervals of a mean: for people who want to see the resamples; seeded, like everything.

The percentile bootstrap is too narrow with few values. Here the percentiles are those that give Student's interval its
width where the mean is normal ("expanded percentile"). The intervals of `means.py` still cover better below some twenty
examples, and are what reports show.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from offramp.stats._arrays import check_bounds, sorted_within
from offramp.stats.intervals import Interval, check_confidence, wilson
from offramp.stats.pareto import Floats

_BLOCK = 4_000_000  # resampled values held in memory at a time
_ROUNDING = 1e-9  # a spread below this share of the bounds is rounding, and no evidence of anything


def bootstrap_mean(
    values: ArrayLike,
    generator: np.random.Generator,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Interval:
    """Expanded-percentile bootstrap interval for the mean of values within `bounds`.

    With fewer than two values it is `bounds`. Where resampling shows no spread (all values equal), it is Wilson's
    interval stretched to `bounds`: values that agree are evidence, and not certainty.

    Args:
        values: shape (n,), finite, within `bounds`. For paired differences of scores, `bounds` is (-1, 1).
        generator: the only source of randomness; the values are sorted first, so their order does not matter.

    Raises:
        ValueError: a value is not finite or out of bounds, or an argument is out of range.

    Source: Efron, "Bootstrap methods: another look at the jackknife", Ann. Statist. 7(1), 1979; Hesterberg, "What
    teachers should know about the bootstrap", The American Statistician 69(4), 2015, 4.3 (expanded).
    """
    check_confidence(confidence)
    check_bounds(*bounds)
    return _interval(sorted_within(values, *bounds), generator, confidence, resamples, bounds)


def paired_bootstrap(
    a: ArrayLike, b: ArrayLike, generator: np.random.Generator, *, confidence: float = 0.95, resamples: int = 2000
) -> Interval:
    """Interval for the mean of `a - b`, scores in [0, 1] on the same examples, by resampling examples.

    Args:
        a, b: shape (n,), the same examples in the same order.

    Raises:
        ValueError: shapes differ, a score is not in [0, 1], or an argument is out of range.

    Source: as `bootstrap_mean`.
    """
    check_confidence(confidence)
    one, other = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if one.shape != other.shape:
        raise ValueError(f"values of two candidates have shapes {one.shape} and {other.shape}, expected the same")
    for scores in (one, other):
        sorted_within(scores, 0.0, 1.0)
    differences = sorted_within(one - other, -1.0, 1.0)
    return _interval(differences, generator, confidence, resamples, (-1.0, 1.0))


def _expanded(n: int, tail: float) -> float:
    from scipy.special import stdtrit

    return NormalDist().cdf(float(stdtrit(n - 1, tail)) * (n / (n - 1)) ** 0.5)


def _interval(
    array: Floats, generator: np.random.Generator, confidence: float, resamples: int, bounds: tuple[float, float]
) -> Interval:
    low, high = bounds
    if resamples < 1:
        raise ValueError(f"resamples has to be at least 1, got {resamples!r}")
    if len(array) < 2:
        return Interval(low=low, high=high, confidence=confidence)
    tail = _expanded(len(array), (1 - confidence) / 2)
    ends = np.quantile(_resampled_means(array, generator, resamples), [tail, 1 - tail])
    if ends[1] - ends[0] > _ROUNDING * (high - low):
        return Interval(low=max(low, float(ends[0])), high=min(high, float(ends[1])), confidence=confidence)
    return _stretched_wilson(array, low, high, confidence)


def _resampled_means(array: Floats, generator: np.random.Generator, resamples: int) -> Floats:
    n = len(array)
    rows = max(1, _BLOCK // n)
    blocks = [min(rows, resamples - done) for done in range(0, resamples, rows)]
    return np.concatenate([array[generator.integers(0, n, size=(block, n))].mean(axis=1) for block in blocks])


def _stretched_wilson(array: Floats, low: float, high: float, confidence: float) -> Interval:
    span = high - low
    share = min(1.0, max(0.0, (float(array[0]) - low) / span))
    unit = wilson(share * len(array), len(array), confidence=confidence)
    return Interval(low=low + span * unit.low, high=low + span * unit.high, confidence=confidence)
