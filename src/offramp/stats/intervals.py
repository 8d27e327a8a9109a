"""Intervals that say how sure a number is.

Invariant: too few values make a wide interval, never a narrow one. With fewer than two values an interval is as wide
as the bounds, and no interval of scores has zero width: ten perfect answers are not proof of perfection.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from offramp.stats.pareto import Floats

_BLOCK = 4_000_000  # resampled values held in memory at a time
_ROUNDING = 1e-9  # a spread below this share of the bounds is rounding, and no evidence of anything


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A two-sided interval, ends included.

    Attributes:
        confidence: how often such intervals cover the true value, in (0, 1).
    """

    low: float
    high: float
    confidence: float

    @property
    def width(self) -> float:
        """High minus low."""
        return self.high - self.low


def wilson(successes: float, n: int, *, confidence: float = 0.95) -> Interval:
    """Interval for a share. Never of zero width; (0, 1) for n = 0.

    Args:
        successes: in [0, n]; may be a fraction, such as a sum of scores in [0, 1], for which it errs on the wide side.
        n: number of trials.

    Raises:
        ValueError: `successes` is not in [0, n], or `confidence` not in (0, 1).

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22, 1927.
    """
    _check_confidence(confidence)
    if not 0 <= successes <= n:
        raise ValueError(f"successes have to be in [0, {n}], got {successes!r}")
    if n == 0:
        return Interval(low=0.0, high=1.0, confidence=confidence)
    z2 = NormalDist().inv_cdf((1 + confidence) / 2) ** 2
    share = successes / n
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return Interval(low=low, high=high, confidence=confidence)


def bootstrap_mean(
    values: ArrayLike,
    generator: np.random.Generator,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Interval:
    """Percentile-bootstrap interval for the mean of values within `bounds`.

    With fewer than two values it is `bounds`. Where resampling shows no spread (all values equal), it is Wilson's
    interval stretched to `bounds`: values that agree are evidence, and not certainty.

    Args:
        values: shape (n,), finite, within `bounds`. For paired differences of scores, `bounds` is (-1, 1).
        generator: the only source of randomness; the values are sorted first, so their order does not matter.

    Raises:
        ValueError: a value is not finite or out of bounds, or an argument is out of range.

    Source: Efron, "Bootstrap methods: another look at the jackknife", Ann. Statist. 7(1), 1979; Efron and Tibshirani,
    "An Introduction to the Bootstrap", 1993, chapter 13.
    """
    _check_confidence(confidence)
    array = np.sort(np.asarray(values, dtype=np.float64))
    low, high = bounds
    _check_bounded(array, low, high)
    if resamples < 1:
        raise ValueError(f"resamples has to be at least 1, got {resamples!r}")
    if len(array) < 2:
        return Interval(low=low, high=high, confidence=confidence)
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    ends = np.quantile(_resampled_means(array, generator, resamples), tails)
    if ends[1] - ends[0] > _ROUNDING * (high - low):
        return Interval(low=max(low, float(ends[0])), high=min(high, float(ends[1])), confidence=confidence)
    return _stretched_wilson(array, low, high, confidence)


def quantile(
    values: ArrayLike, q: float, *, confidence: float = 0.95, bounds: tuple[float, float] = (0.0, math.inf)
) -> Interval:
    """Interval for the q-quantile, such as p95 of latency, whatever the distribution: two of the values themselves.

    Where n is too small for an end to be a value (p95 with fewer than 72 values at 95 %), that end is the bound.
    Coverage is at least `confidence`.

    Args:
        values: shape (n,), not NaN, within `bounds`.
        q: in (0, 1).
        bounds: what is possible at all.

    Raises:
        ValueError: a value is NaN or out of bounds, or an argument is out of range.

    Source: David and Nagaraja, "Order Statistics", 3rd ed., 2003, section 7.1.
    """
    _check_confidence(confidence)
    if not 0 < q < 1:
        raise ValueError(f"q has to be in (0, 1), got {q!r}")
    array = np.sort(np.asarray(values, dtype=np.float64))
    _check_within(array, *bounds)
    tail = (1 - confidence) / 2
    below = _binomial_cdf(len(array), q)  # below[r]: chance that at most r values are under the quantile
    rank_low = int(np.searchsorted(below, tail, side="right"))
    rank_high = int(np.searchsorted(below, 1 - tail, side="left"))
    low = float(array[rank_low - 1]) if rank_low >= 1 else bounds[0]
    high = float(array[rank_high]) if rank_high < len(array) else bounds[1]
    return Interval(low=low, high=high, confidence=confidence)


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


def _binomial_cdf(n: int, q: float) -> Floats:
    """P(X <= r) for r = 0..n, X binomial(n, q); in logarithms, so that no n overflows."""
    factorials: Sequence[float] = [math.lgamma(i + 1) for i in range(n + 1)]
    log_f = np.asarray(factorials)
    r = np.arange(n + 1)
    log_p = log_f[n] - log_f - log_f[::-1] + r * math.log(q) + (n - r) * math.log1p(-q)
    return np.cumsum(np.exp(log_p))


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence has to be in (0, 1), got {confidence!r}")


def _check_bounded(array: Floats, low: float, high: float) -> None:
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"bounds have to be finite and in order, got {(low, high)!r}")
    _check_within(array, low, high)


def _check_within(array: Floats, low: float, high: float) -> None:
    if array.ndim != 1:
        raise ValueError(f"values have shape {array.shape}, expected (n,)")
    if not ((array >= low) & (array <= high)).all():
        raise ValueError(f"values have to be numbers in [{low}, {high}]")
