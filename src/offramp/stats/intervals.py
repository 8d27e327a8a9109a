"""Intervals of shares, and what every interval has in common.

Invariant: too few trials make a wide interval, never a narrow one, and no interval of a share has zero width: ten
perfect answers are not proof of perfection.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist


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
    check_counts(successes, n, confidence)
    if n == 0:
        return Interval(low=0.0, high=1.0, confidence=confidence)
    return score_interval(successes / n, n, NormalDist().inv_cdf((1 + confidence) / 2), confidence)


def score_interval(share: float, n: float, z: float, confidence: float) -> Interval:
    """Where a score test with critical value `z` does not reject, for a share of `n` trials; `n` may be a fraction."""
    z2 = z * z
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    low = 0.0 if share <= 0.0 else max(0.0, centre - half)
    high = 1.0 if share >= 1.0 else min(1.0, centre + half)
    return Interval(low=low, high=high, confidence=confidence)


def clopper_pearson(successes: int, n: int, *, confidence: float = 0.95) -> Interval:
    """Interval for a share that covers at least as often as it says, whatever the share; wider than Wilson's.

    Raises:
        ValueError: `successes` is not in [0, n], or `confidence` not in (0, 1).

    Source: Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial",
    Biometrika 26, 1934.
    """
    check_counts(successes, n, confidence)
    one_sided = (1 + confidence) / 2
    high = share_at_most(successes, n, confidence=one_sided)
    low = 1.0 - share_at_most(n - successes, n, confidence=one_sided)
    return Interval(low=low, high=high, confidence=confidence)


def share_at_most(successes: int, n: int, *, confidence: float = 0.95) -> float:
    """Upper bound of a share: with this confidence the true share is not above it. 1 for n = 0, never 0.

    For a regression budget, `successes` are the examples that got worse. Coverage is at least `confidence`.

    Source: as `clopper_pearson`, one-sided.
    """
    check_counts(successes, n, confidence)
    if successes == n:
        return 1.0
    from scipy.special import betaincinv

    return float(betaincinv(successes + 1, n - successes, confidence))


def check_confidence(confidence: float) -> None:
    """Raises ValueError for a confidence outside of (0, 1)."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence has to be in (0, 1), got {confidence!r}")


def check_counts(successes: float, n: int, confidence: float) -> None:
    """Raises ValueError for counts that cannot be."""
    check_confidence(confidence)
    if not 0 <= successes <= n:
        raise ValueError(f"successes have to be in [0, {n}], got {successes!r}")
