"""One candidate against what runs today, paired by example of the holdout.

The proposed candidate was chosen on the search split, so it is the only one that the holdout judges: no correction.

Invariant: only examples with a score for both are compared, and their number is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from offramp.records import SAME_SCORE, Result
from offramp.study.domain.paired_comparison import PairedComparison, compare_scores, scores_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One example whose score changed: before and after."""

    example: str
    before: Result
    after: Result

    @property
    def change(self) -> float:
        """After minus before."""
        return (self.after.score or 0.0) - (self.before.score or 0.0)


def compare_results(new: Mapping[str, Result], old: Mapping[str, Result]) -> PairedComparison | None:
    """New against old; None where fewer than two examples can be compared."""
    whole = compare_scores(scores_of(new), scores_of(old))
    return whole if whole.n > 1 else None


def turns(new: Mapping[str, Result], old: Mapping[str, Result]) -> tuple[tuple[Turn, ...], tuple[Turn, ...]]:
    """Wins and losses, the largest change first."""
    pairs = _pairs(new, old)
    wins = sorted((t for t in pairs if t.change > SAME_SCORE), key=lambda t: (-t.change, t.example))
    losses = sorted((t for t in pairs if t.change < -SAME_SCORE), key=lambda t: (t.change, t.example))
    return tuple(wins), tuple(losses)


def _pairs(new: Mapping[str, Result], old: Mapping[str, Result]) -> Sequence[Turn]:
    both = sorted(name for name in new if name in old)
    made = [Turn(example=name, before=old[name], after=new[name]) for name in both]
    return [turn for turn in made if turn.before.score is not None and turn.after.score is not None]
