"""Intervals of shares, of mean scores, and of the mean difference of two candidates on the same examples.

Scores are bounded and often pile up at a bound, where Student's interval and the percentile bootstrap are too narrow
with few examples and of zero width with equal ones. Here the variance is taken to be a share `phi` of the binomial
variance m(1 - m) at the same mean, and Wilson's score test is inverted with n / phi for n. Two things depend on phi:

- Degrees of freedom. With 0/1 scores (phi = 1) the mean determines the variance, and the test is the normal one; where
  scores lie close together (phi near 0) it is estimated, and the test is Student's. Between them 1 - phi of it is.
- Values that were not seen yet. phi is shrunk towards 1 by `UNSEEN` examples times the largest share of values that can
  lie at the nearer bound: by Cantelli 1 / (1 + d^2), d standard deviations away. Scores in the middle need none.

scipy's Wilson interval takes whole counts alone, hence `_score_interval`. benchmarks/coverage.py measures the coverage.
Invariant: fewer values make a wider interval, and none has zero width: ten perfect answers do not prove perfection.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from offramp.stats.pareto import Floats

UNSEEN = 2.0  # examples that would speak for phi = 1 if every value could lie at the nearer bound
BEHIND_TIES = 0.5  # differences as large as those seen that are assumed among ties, were all of them ties
_ROUNDING = 1e-12  # a variance below this is rounding, and no evidence of anything


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


def share_at_most(successes: int, n: int, *, confidence: float = 0.95) -> float:
    """Upper bound of a share: with this confidence the true share is not above it. 1 for n = 0, never 0.

    For a regression budget, `successes` are the examples that got worse. Coverage is at least `confidence`.

    Raises:
        ValueError: `successes` is not in [0, n], or `confidence` not in (0, 1).

    Source: Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial",
    Biometrika 26, 1934; one-sided.
    """
    check_confidence(confidence)
    if not 0 <= successes <= n:
        raise ValueError(f"successes have to be in [0, {n}], got {successes!r}")
    if successes == n:
        return 1.0
    from scipy.special import betaincinv

    return float(betaincinv(successes + 1, n - successes, confidence))


def mean_interval(scores: ArrayLike, *, confidence: float = 0.95) -> Interval:
    """Interval for the mean of scores in [0, 1]: Wilson's where all are 0 or 1 or equal, else as the module says.

    Raises:
        ValueError: a score is not in [0, 1], or `confidence` not in (0, 1).

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22, 1927; McCullagh
    and Nelder, "Generalized Linear Models", 2nd ed., 1989, section 4.5 (dispersion); Student, Biometrika 6, 1908;
    Cantelli, "Sui confini della probabilita", 1928. The combination is ours; so is `UNSEEN`, chosen for coverage over
    the families of the benchmark.
    """
    array = sorted_within(scores, 0.0, 1.0)
    if not len(array):
        return mean_interval_of(n=0, mean=0.0, mean_square=0.0, confidence=confidence)
    return mean_interval_of(
        n=len(array), mean=float(array.mean()), mean_square=float((array * array).mean()), confidence=confidence
    )


def mean_interval_of(*, n: float, mean: float, mean_square: float, confidence: float = 0.95) -> Interval:
    """As `mean_interval`, from the number of scores, their mean and the mean of their squares: what a database sums.

    Examples that belong together count by their effective number (`groups.effective_n`), which need not be whole.
    """
    check_confidence(confidence)
    if n == 0:
        return Interval(low=0.0, high=1.0, confidence=confidence)
    mean = min(1.0, max(0.0, mean))
    variance, binomial = mean_square - mean * mean, mean * (1 - mean)
    if n <= 1 or variance <= _ROUNDING or variance >= binomial * (1 - 1e-9):  # all equal, or all at the bounds
        return _score_interval(mean, n, NormalDist().inv_cdf((1 + confidence) / 2), confidence)
    from scipy.special import stdtrit

    variance *= n / (n - 1)
    phi = min(1.0, variance / binomial)
    unseen = UNSEEN / (1 + min(mean, 1 - mean) ** 2 / variance)
    shrunk = phi ** ((n - 1) / (n - 1 + unseen))
    critical = float(stdtrit((n - 1) / max(1 - phi, 1e-6), (1 + confidence) / 2))
    return _score_interval(mean, n / shrunk, critical, confidence)


def difference_interval(differences: ArrayLike, *, confidence: float = 0.95) -> Interval:
    """Interval for the mean of paired differences of scores, each in [-1, 1]. With fewer than two it is (-1, 1).

    Differences of 0/1 scores get Agresti and Min's interval, which adds half a win and half a loss. Others
    get the one of `mean_interval` on (1 + d) / 2, with `BEHIND_TIES` of a difference as large as those seen for what
    ties may hide.

    Raises:
        ValueError: a difference is not in [-1, 1], or `confidence` not in (0, 1).

    Source: Agresti and Min, "Simple improved confidence intervals for comparing matched proportions", Statistics in
    Medicine 24, 2005; otherwise as `mean_interval`.
    """
    check_confidence(confidence)
    array = sorted_within(differences, -1.0, 1.0)
    n = len(array)
    if n < 2:
        return Interval(low=-1.0, high=1.0, confidence=confidence)
    if np.isin(array, (-1.0, 0.0, 1.0)).all():
        return _agresti_min(int((array > 0).sum()), int((array < 0).sum()), n, confidence)
    half, ties = (1 + array) / 2, float((array == 0.0).mean())
    hidden = BEHIND_TIES * ties / n * float((array * array).mean()) / 4 / (1 - ties) if ties < 1 else 0.0
    square = float((half * half).mean()) + hidden
    unit = mean_interval_of(n=n, mean=float(half.mean()), mean_square=square, confidence=confidence)
    return Interval(low=2 * unit.low - 1, high=2 * unit.high - 1, confidence=confidence)


def sorted_within(values: ArrayLike, low: float, high: float) -> Floats:
    """The values in order, so that nothing depends on the order of rows.

    Raises:
        ValueError: not of shape (n,), or a value is NaN or out of bounds.
    """
    array = np.sort(np.asarray(values, dtype=np.float64))
    if array.ndim != 1:
        raise ValueError(f"values have shape {array.shape}, expected (n,)")
    if not ((array >= low) & (array <= high)).all():
        raise ValueError(f"values have to be numbers in [{low}, {high}]")
    return array


def check_confidence(confidence: float) -> None:
    """Raises ValueError for a confidence outside of (0, 1)."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence has to be in (0, 1), got {confidence!r}")


def _score_interval(share: float, n: float, z: float, confidence: float) -> Interval:
    """Where a score test with critical value `z` does not reject, for a share of `n` trials; `n` may be a fraction."""
    z2 = z * z
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    low = 0.0 if share <= 0.0 else max(0.0, centre - half)
    high = 1.0 if share >= 1.0 else min(1.0, centre + half)
    return Interval(low=low, high=high, confidence=confidence)


def _agresti_min(wins: int, losses: int, n: int, confidence: float) -> Interval:
    """Half an example is added to each of the four cells of the two-by-two table."""
    more = n + 2
    difference = (wins - losses) / more
    variance = ((wins + losses + 1) / more - difference * difference) / more
    half = NormalDist().inv_cdf((1 + confidence) / 2) * math.sqrt(variance)
    return Interval(low=max(-1.0, difference - half), high=min(1.0, difference + half), confidence=confidence)
