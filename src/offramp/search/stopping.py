"""When a candidate may be stopped before it has run on every example: paired evidence that pays for every look.

A candidate is stopped when one rival, run in full, is at least as good in every objective, up to a margin, with the
stated confidence; what a rival is ahead of in everything can neither enter the front nor win by any weights. Examples
come in one seeded order, and the two are compared on the same ones.

A score is bounded, so the test for it is a betting one, exact at any number of looks; money and seconds are not, and
get a confidence sequence that is asymptotic and starts after a floor. All objectives have to agree before a candidate
is stopped; one that is truly ahead somewhere is ahead there at every look, so that the error of the whole is at most
that of one test. It is divided by the number of rivals.

Source: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", JRSS B 86(1), 2024 (sections
4 and 5, without replacement); Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and
asymptotic confidence sequences", Ann. Statist. 52(6), 2024; Berger, "Multiparameter hypothesis testing and acceptance
sampling", Technometrics 24(4), 1982 (no price for objectives that all have to agree).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from offramp.stats.pareto import Floats

FLOOR = 8
"""Fewest pairs before anything is said."""
BOLD = 0.75
"""Largest bet, as a share of what would ruin."""


def no_better_score(
    candidate: ArrayLike, rival: ArrayLike, *, examples: int, alpha: float, margin: float = 0.01
) -> bool:
    """Whether the candidate's mean score over all examples is not above the rival's by more than `margin`.

    Args:
        candidate, rival: shape (n,), scores in 0..1 on the same examples, in the shared order.
        examples: of the whole set, n or more.
        alpha: chance of a wrong yes, over all looks together.
    """
    ahead = (1.0 + np.asarray(rival, dtype=float) - np.asarray(candidate, dtype=float)) / 2.0
    return wealth(ahead, mean=(1.0 - margin) / 2.0, total=examples, alpha=alpha) >= 1.0 / alpha


def wealth(values: Floats, *, mean: float, total: int, alpha: float) -> float:
    """The most that betting on "the mean of all is above `mean`" has ever been worth, beginning with 1.

    Values are in 0..1 and drawn without replacement from `total` of them. If their mean is at most `mean`, the result
    reaches 1 / alpha with a chance of at most alpha (Ville).
    """
    held, best, total_seen, spread = 1.0, 1.0, 0.0, 0.25
    deviation = 0.25
    for i, value in enumerate(values.tolist()):
        left = (total * mean - total_seen) / (total - i)
        if left < 0.0:
            return math.inf
        bet = math.sqrt(2.0 * math.log(1.0 / alpha) / (total * spread))
        held *= 1.0 + min(bet, BOLD / max(left, 1e-9)) * (value - left)
        best = max(best, held)
        total_seen += value
        deviation += (value - (0.5 + total_seen) / (i + 2)) ** 2
        spread = deviation / (i + 2)
    return best


def no_lower(candidate: ArrayLike, rival: ArrayLike, *, examples: int, alpha: float, margin: float = 0.01) -> bool:
    """Whether the candidate's mean (money, seconds) is not below the rival's by more than the share `margin`.

    Args:
        candidate, rival: shape (n,), 0 or more, on the same examples; examples: of the whole set.
    """
    ours, theirs = np.asarray(candidate, dtype=float), np.asarray(rival, dtype=float)
    n = len(ours)
    if n < min(FLOOR, examples):
        return False
    unit = float(theirs.mean()) or 1.0
    over = (ours - theirs) / unit
    return float(over.mean()) - _half_width(float(over.std(ddof=1)) if n > 1 else 0.0, n, examples, alpha) > -margin


def _half_width(deviation: float, n: int, examples: int, alpha: float) -> float:
    """Of a one-sided asymptotic confidence sequence, narrowed as the set is used up; tightest at a third of it."""
    aim = max(FLOOR, examples / 3)
    rho2 = (2.0 * math.log(1.0 / alpha) + math.log(1.0 + 2.0 * math.log(1.0 / alpha))) / aim
    width = math.sqrt(
        2.0 * (n * rho2 + 1.0) / (n * n * rho2) * math.log(1.0 + math.sqrt(n * rho2 + 1.0) / (2.0 * alpha))
    )
    rest = (examples - n) / max(1, examples - 1)
    return deviation * width * math.sqrt(rest)
