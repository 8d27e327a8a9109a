"""Paired comparisons: one candidate against another on the same examples, and how sure the difference is.

Invariant: an example that either of them has no score for (an infrastructure error, or it never ran) is in no count.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from offramp.records import SAME_SCORE, Result
from offramp.stats import (
    Interval,
    NonInferiority,
    difference_interval,
    effective_n,
    group_units,
    holm,
    holm_tests,
    non_inferiority,
    share_at_most,
    sign_flip_test,
)

CONFIDENCE = 0.95
MARGIN = 0.02
"""Loss of mean score that counts as none, unless the caller says otherwise."""

Scores = Mapping[str, float]
"""Score by example id."""
Groups = Mapping[str, str]
"""Group by example id, of examples that belong together; one that is not in it stands alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedComparison:
    """A against B on the `n` examples that both have a score for. Numbers are None for n = 0.

    Attributes:
        wins, losses, ties: examples on which A scored more, less, the same.
        quality_a, quality_b: mean scores on these examples.
        difference: mean of A's score minus B's, in -1..1, with its interval, uncorrected.
        p_value: exact, two-sided, that the mean difference is 0.
        p_corrected: the same, corrected for the other candidates that were looked at (the caller says how).
        looked_at: how many candidates that is, this one included.
        corrected: the interval that goes with `p_corrected`: it is without 0 exactly where A is better or worse. Its
            confidence is that of all of them together.
        tests: by how many the level was divided for it.
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
    corrected: Interval
    looked_at: int = 1
    tests: int = 1
    units: tuple[float, ...] = field(default=(), repr=False, compare=False)  # gains by group, and their factor
    factor: float = field(default=1.0, repr=False, compare=False)

    @property
    def better(self) -> bool:
        """Whether A is better, significant after correction, at the interval's confidence."""
        return self.corrected.low > 0

    @property
    def worse(self) -> bool:
        """Whether A is worse, likewise."""
        return self.corrected.high < 0

    def corrected_for(self, *, p_corrected: float, tests: int, looked_at: int) -> PairedComparison:
        """The same after correction: p-value, interval and verdict at the level that is left for one of `tests`."""
        interval = _corrected(self.units, self.factor, self.interval.confidence, tests, p_corrected)
        return replace(self, p_corrected=p_corrected, corrected=interval, tests=tests, looked_at=looked_at)

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {name: value for name, value in asdict(self).items() if name not in ("units", "factor")}


def _corrected(units: Sequence[float], factor: float, confidence: float, tests: int, p_corrected: float) -> Interval:
    """The interval at the level that is left for one of `tests`, and 0 where the exact test does not reject it.

    Both have to say that A is better: the test is exact where A and B could be swapped, and alone would call many small
    gains better that a few large losses outweigh.
    """
    left = (1.0 - confidence) / max(1, tests)
    found = difference_interval(units, confidence=1.0 - left)
    low, high = max(-1.0, factor * found.low), min(1.0, factor * found.high)
    if p_corrected > 1.0 - confidence:
        low, high = min(low, 0.0), max(high, 0.0)
    return Interval(low=low, high=high, confidence=confidence)


def compare_paired(
    a: Sequence[float], b: Sequence[float], *, confidence: float = CONFIDENCE, margin: float = MARGIN, looks: int = 1,
    groups: Sequence[str] | None = None,
) -> PairedComparison:  # fmt: skip
    """Compares scores of A and B on the same examples in the same order.

    Args:
        looks: number of candidates that were looked at; the correction is Holm's first step for it, Bonferroni's.
        groups: of the examples, where some belong together: intervals and tests then take each group as one.
    """
    one, other = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    gains = np.clip(one - other, -1.0, 1.0)
    gains[np.abs(gains) <= SAME_SCORE] = 0.0
    n, losses = len(gains), int((gains < 0).sum())
    units, factor = (gains, 1.0) if groups is None else group_units(gains, groups)
    p_value, tests = sign_flip_test(units, np.random.default_rng(0)), max(1, looks)
    kept, p_corrected = tuple(units.tolist()), min(1.0, p_value * tests)
    interval = difference_interval(units, confidence=confidence)
    inferior = non_inferiority(units, margin / factor, confidence=confidence)
    worth = float(n) if groups is None else effective_n(gains < 0, groups)
    lost = losses if worth == n else math.ceil(losses * worth / n)
    return PairedComparison(
        n=n,
        wins=int((gains > 0).sum()),
        losses=losses,
        ties=int((gains == 0).sum()),
        quality_a=float(one.mean()) if n else None,
        quality_b=float(other.mean()) if n else None,
        difference=float(gains.mean()) if n else None,
        interval=replace(interval, low=max(-1.0, factor * interval.low), high=min(1.0, factor * interval.high)),
        p_value=p_value,
        p_corrected=p_corrected,
        worse_at_most=share_at_most(lost, max(lost, math.floor(worth)), confidence=confidence),
        not_inferior=replace(inferior, margin=margin, lower=max(-1.0, factor * inferior.lower)),
        corrected=_corrected(kept, factor, confidence, tests, p_corrected),
        looked_at=tests,
        tests=tests,
        units=kept,
        factor=factor,
    )


def compare_scores(a: Scores, b: Scores, *, groups: Groups | None = None, **options: Any) -> PairedComparison:
    """A against B on the examples that both have a score for, whatever their order.

    Args:
        groups: of examples that belong together.
        options: as `compare_paired` takes them.
    """
    both = sorted(example for example in a if example in b)
    named = groups_of(both, groups)
    return compare_paired([a[example] for example in both], [b[example] for example in both], groups=named, **options)


def groups_of(examples: Sequence[str], groups: Groups | None) -> list[str] | None:
    """The group of each of these examples, one without a group as its own; None where there are no groups."""
    return [groups.get(example, f"example {example}") for example in examples] if groups else None


def compare_all(
    reference: str, scores: Mapping[str, Scores], groups: Groups | None = None
) -> dict[str, PairedComparison]:
    """Every other candidate against the reference, by id; those without a common example are left out.

    `p_corrected` is Holm's over all of them, so it is the same wherever two of them are compared.
    """
    names = sorted(name for name in scores if name != reference)  # equal p-values are corrected the same way everywhere
    found = holm_corrected([compare_scores(scores[name], scores.get(reference, {}), groups=groups) for name in names])
    return {name: one for name, one in zip(names, found, strict=True) if one.n}


def holm_corrected(comparisons: Sequence[PairedComparison]) -> tuple[PairedComparison, ...]:
    """The comparisons with `p_corrected` and `corrected` by Holm over all of them."""
    values = [one.p_value for one in comparisons]
    confidence = min((one.interval.confidence for one in comparisons), default=CONFIDENCE)
    found = zip(comparisons, holm(values), holm_tests(values, 1 - confidence), strict=True)
    n = len(comparisons)
    return tuple(one.corrected_for(p_corrected=float(p), tests=int(tests), looked_at=n) for one, p, tests in found)


def scores_of(results: Mapping[str, Result]) -> dict[str, float]:
    """Score by example; results without a score are left out."""
    return {example: result.score for example, result in results.items() if result.score is not None}
