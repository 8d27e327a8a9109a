"""Wins, losses and ties of one candidate against another on the same examples, and how sure the difference is.

Invariant: an example that either of them has no score for (the infrastructure failed, or it never ran) is in no count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from offramp.stats import Interval, difference_interval, share_at_most
from offramp.stats.paired import NonInferiority, holm, non_inferiority, sign_flip_test

SAME = 1e-9
"""Scores closer than this are equal: sums of weights differ in their last digits."""
CONFIDENCE = 0.95
MARGIN = 0.02
"""Loss of mean score that counts as none, where nobody says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """A against B on `n` examples that both have a score for. Numbers are None for n = 0.

    Attributes:
        wins, losses, ties: examples on which A scored more, less, the same.
        quality_a, quality_b: mean scores on these examples.
        difference: mean of A's score minus B's, in -1..1, with its interval.
        p_value: exact, two-sided, that the mean difference is 0.
        p_corrected: the same, corrected for having looked at others too (see who made the tally).
        worse_at_most: upper bound, at the interval's confidence, of the share of examples that got worse.
        not_inferior: whether A is worse by no more than a margin.
    """

    n: int
    wins: int
    losses: int
    ties: int
    quality_a: float | None
    quality_b: float | None
    difference: float | None
    interval: Interval
    p_value: float
    p_corrected: float
    worse_at_most: float
    not_inferior: NonInferiority

    @property
    def better(self) -> bool:
        """Whether A is better, at the interval's confidence and paid for having looked at others.

        Both have to say so, test and interval: the test is exact where A and B could be swapped, and alone would call
        many small gains better that rare large losses outweigh.
        """
        return self.interval.low > 0 and self.p_corrected <= 1 - self.interval.confidence

    @property
    def worse(self) -> bool:
        """Whether A is worse, likewise."""
        return self.interval.high < 0 and self.p_corrected <= 1 - self.interval.confidence


def tally(
    a: Sequence[float], b: Sequence[float], *, confidence: float = CONFIDENCE, margin: float = MARGIN, looks: int = 1
) -> Tally:
    """Compares scores of A and B on the same examples in the same order.

    Args:
        looks: number of candidates that were looked at; p_corrected is Bonferroni's for it.
    """
    one, other = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    gains = np.clip(one - other, -1.0, 1.0)
    gains[np.abs(gains) <= SAME] = 0.0
    n, losses = len(gains), int((gains < 0).sum())
    p_value = sign_flip_test(gains, np.random.default_rng(0))
    return Tally(
        n=n,
        wins=int((gains > 0).sum()),
        losses=losses,
        ties=int((gains == 0).sum()),
        quality_a=float(one.mean()) if n else None,
        quality_b=float(other.mean()) if n else None,
        difference=float(gains.mean()) if n else None,
        interval=difference_interval(gains, confidence=confidence),
        p_value=p_value,
        p_corrected=min(1.0, p_value * max(1, looks)),
        worse_at_most=share_at_most(losses, n, confidence=confidence),
        not_inferior=non_inferiority(gains, margin, confidence=confidence),
    )


def holm_corrected(tallies: Sequence[Tally]) -> tuple[Tally, ...]:
    """The tallies with `p_corrected` by Holm over all of them."""
    corrected = holm([one.p_value for one in tallies])
    return tuple(replace(one, p_corrected=float(p)) for one, p in zip(tallies, corrected, strict=True))
