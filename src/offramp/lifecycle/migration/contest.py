"""One candidate against what runs today, paired by example of the holdout.

Invariant: only examples that both have a score for are compared, and their number is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from offramp.ids import derived_seed
from offramp.records import Result
from offramp.stats.means import difference_interval
from offramp.stats.paired import non_inferiority, sign_flip_test

MARGIN = 0.02
"""Loss of mean score at which a drop-in still counts as enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """A candidate against what runs today.

    Attributes:
        n: examples compared. wins, losses, ties: on which it scores higher, lower, the same.
        difference: mean of the differences in score; `low` and `high` its 95% interval.
        p_value: two-sided, exact, for this one comparison.
        not_worse: whether it is, with 95% confidence, worse by no more than `MARGIN`.
    """

    n: int
    wins: int
    losses: int
    ties: int
    difference: float
    low: float
    high: float
    p_value: float
    not_worse: bool

    @property
    def better(self) -> bool:
        """Whether the whole interval is above 0 and the exact test agrees."""
        return self.low > 0 and self.p_value <= 0.05

    @property
    def worse(self) -> bool:
        """Whether the whole interval is below 0 and the exact test agrees."""
        return self.high < 0 and self.p_value <= 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One example that came out another way: score before and after."""

    example: str
    before: Result
    after: Result

    @property
    def change(self) -> float:
        """After minus before."""
        return (self.after.score or 0.0) - (self.before.score or 0.0)


def contest(new: Mapping[str, Result], old: Mapping[str, Result]) -> Contest | None:
    """New against old; None where fewer than two examples can be compared."""
    gaps = [turn.change for turn in _pairs(new, old)]
    if len(gaps) < 2:
        return None
    interval = difference_interval(gaps)
    return Contest(
        n=len(gaps),
        wins=sum(gap > 0 for gap in gaps),
        losses=sum(gap < 0 for gap in gaps),
        ties=sum(gap == 0 for gap in gaps),
        difference=float(np.mean(gaps)),
        low=interval.low,
        high=interval.high,
        p_value=sign_flip_test(gaps, np.random.default_rng(derived_seed(0, "contest"))),
        not_worse=non_inferiority(gaps, MARGIN).holds,
    )


def turns(new: Mapping[str, Result], old: Mapping[str, Result]) -> tuple[tuple[Turn, ...], tuple[Turn, ...]]:
    """Wins and losses, the largest change first."""
    pairs = _pairs(new, old)
    wins = sorted((t for t in pairs if t.change > 0), key=lambda t: (-t.change, t.example))
    losses = sorted((t for t in pairs if t.change < 0), key=lambda t: (t.change, t.example))
    return tuple(wins), tuple(losses)


def _pairs(new: Mapping[str, Result], old: Mapping[str, Result]) -> Sequence[Turn]:
    both = sorted(name for name in new if name in old)
    made = [Turn(example=name, before=old[name], after=new[name]) for name in both]
    return [turn for turn in made if turn.before.score is not None and turn.after.score is not None]
