"""The regression budget: how many examples got worse than with the incumbent, and how sure that is.

The share of examples on which a candidate scores less is bounded from above (Clopper and Pearson, one-sided), so that
a few examples without a loss do not prove that none gets worse.
"""

from __future__ import annotations

import math

from offramp.errors import SpaceError, problem
from offramp.records import SAME_SCORE, Split, Splits
from offramp.space.model import RegressionsPart, SpaceFile
from offramp.stats import share_at_most
from offramp.store.results import PairedCounts
from offramp.study.domain.paired_comparison import Scores


def paired_counts(candidate: Scores, reference: Scores) -> PairedCounts:
    """Wins and losses of a candidate on the examples that both have a score for."""
    gains = [score - reference[example] for example, score in candidate.items() if example in reference]
    return PairedCounts(
        n=len(gains), wins=sum(g > SAME_SCORE for g in gains), losses=sum(g < -SAME_SCORE for g in gains)
    )


def regressed_at_most(counts: PairedCounts | None, confidence: float) -> float:
    """Upper bound of the share of examples on which a candidate scores less; 1 where nothing can be compared."""
    return 1.0 if counts is None else share_at_most(counts.losses, counts.n, confidence=confidence)


def check_budget(space: SpaceFile, splits: Splits, incumbent: object | None, where: str) -> None:
    """Refuses a budget that no candidate can keep.

    Raises:
        SpaceError: there is no incumbent to compare with, or a split has fewer examples than the budget needs.
    """
    budget = space.constraints.regressions
    if budget is None:
        return
    if incumbent is None:
        what = "constraints.regressions counts what got worse than with the incumbent, and there is none"
        raise SpaceError(problem(where, what, do="Name an incumbent, or remove it."))
    needed = examples_needed(budget)
    for split in (Split.SEARCH, Split.HOLDOUT):
        n = len(splits.of(split))
        if n < needed:
            possible = math.ceil((1 - (1 - budget.confidence) ** (1 / max(n, 1))) * 1000) / 1000
            what = f"constraints.regressions can never be kept with the {n} examples of the {split} split"
            do = f"Set `max` to {possible:g} or more, lower `confidence`, or have {needed} examples or more."
            raise SpaceError(problem(where, what, do=do))


def examples_needed(budget: RegressionsPart) -> int:
    """Examples without a single loss that it takes to keep the budget at all."""
    return math.ceil(math.log(1 - budget.confidence) / math.log(1 - budget.max) - 1e-9)
