"""The regression budget: how many examples got worse than with the incumbent, and how sure that is.

The share of examples on which a candidate scores less is bounded from above (Clopper and Pearson, one-sided), so that
a few examples without a loss do not prove that none gets worse.
"""

from __future__ import annotations

import math

import numpy as np

from offramp.errors import SpaceError, problem
from offramp.records import SAME_SCORE, Split, Splits
from offramp.space.model import RegressionsPart, SpaceFile
from offramp.stats import effective_n, share_at_most
from offramp.store.results import PairedCounts
from offramp.study.domain.paired_comparison import Groups, Scores, groups_of


def paired_counts(candidate: Scores, reference: Scores, groups: Groups | None = None) -> PairedCounts:
    """Wins and losses of a candidate on the examples that both have a score for.

    Args:
        groups: of examples that belong together. The counts are then of as many independent examples as these are
            worth (`stats.effective_n` of the losses): whole groups prove less than as many scattered examples.
    """
    both = [example for example in candidate if example in reference]
    gains = np.array([candidate[example] - reference[example] for example in both])
    n, wins, losses = len(both), int((gains > SAME_SCORE).sum()), int((gains < -SAME_SCORE).sum())
    named = groups_of(both, groups)
    if named is None or not n:
        return PairedCounts(n=n, wins=wins, losses=losses)
    worth = effective_n(gains < -SAME_SCORE, named)
    lost = math.ceil(losses * worth / n - 1e-9)
    return PairedCounts(n=max(lost, math.floor(worth + 1e-9)), wins=math.floor(wins * worth / n), losses=lost)


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
    needed, units = examples_needed(budget), "examples" if space.dataset.group is None else "groups"
    for split in (Split.SEARCH, Split.HOLDOUT):
        n = len({e.id if e.group is None else ("group", e.group) for e in splits.of(split)})
        if n < needed:
            possible = math.ceil((1 - (1 - budget.confidence) ** (1 / max(n, 1))) * 1000) / 1000
            what = f"constraints.regressions can never be kept with the {n} {units} of the {split} split"
            do = f"Set `max` to {possible:g} or more, lower `confidence`, or have {needed} {units} or more."
            raise SpaceError(problem(where, what, do=do))


def examples_needed(budget: RegressionsPart) -> int:
    """Examples (groups of them, where they have groups) without a loss that it takes to keep the budget at all."""
    return math.ceil(math.log(1 - budget.confidence) / math.log(1 - budget.max) - 1e-9)
