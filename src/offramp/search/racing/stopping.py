"""When a candidate is not read any further, and how sure that is.

Two rules; either is enough. Both pay for looking more than once and for having many competitors.

- `paired`: on the same examples, complete candidates are better in every objective, by bounds that hold for all looks
  (at a doubling number of cells), all competitors and all objectives together (Bonferroni). From each competitor's
  differences follows how good the candidate can be at best; where a complete one is as good as that in every objective,
  the candidate can neither enter the front nor win on any weights.
- `predicted`: in none of many joint draws of the model of cells is the candidate on the front. The number of draws is
  such that the stated share holds for all candidates of a search together, and not for each.

Invariant: cells that failed are not there; a candidate with few values is not stopped.

Source: Bonferroni's inequality with Student's t for the mean of a finite population without replacement (Cochran,
"Sampling Techniques", 3rd ed., 1977, section 2.15); sequential looks as in Pocock, Biometrika 64(2), 1977.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from offramp.search.racing.draws import Draws
from offramp.stats.pareto import Bools, Floats

FEWEST = 10
"""Values that a candidate has at its first look; every later look needs twice as many as the one before."""
SLACK = 0.01
"""Share of the complete candidates' span by which being better does not count."""


def is_a_look(before: int, now: int) -> bool:
    """Whether a number of values that grew from `before` to `now` passed a look."""
    return any(before < FEWEST * 2**k <= now for k in range(32))


def worse_than_complete(own: Floats, others: Floats, confidence: float) -> bool:
    """The paired rule for one candidate.

    Args:
        own: shape (j, m); losses by example, NaN where not read.
        others: shape (c, j, m); losses of complete candidates.
        confidence: of the whole rule, in (0, 1).
    """
    read = ~np.isnan(own).any(axis=1)
    n, (count, j, m) = int(read.sum()), others.shape
    if not count or n < FEWEST or n == j:
        return False
    looks = 1 + max(0, math.floor(math.log2(j / FEWEST)))
    full = np.nanmean(others, axis=1)
    best_case = _best_case(own[read], others[:, read], full, j, (1.0 - confidence) / (looks * count * m))
    slack = SLACK * np.ptp(full, axis=0)
    return bool((full <= best_case + slack).all(axis=1).any())


def _best_case(own: Floats, others: Floats, full: Floats, j: int, tail: float) -> Floats:
    """Shape (m,): a lower bound of the candidate's losses over all examples; of several bounds the highest."""
    n = len(own)
    differences = own[None] - others
    spread = np.nanstd(differences, axis=1, ddof=1)
    spread = np.where(spread > 0, np.maximum(spread, np.nanmean(np.abs(differences), axis=1) / n), 0.0)
    width = stats.t.ppf(1.0 - tail, n - 1) * spread * math.sqrt((1.0 - n / j) / n)
    return np.asarray(np.nanmax(full + np.nanmean(differences, axis=1) - width, axis=0))


def draws_for(confidence: float) -> int:
    """How many draws the predicted rule looks at: a candidate that is on the front in one of so many is read on."""
    return math.ceil(12.0 / (1.0 - confidence))


def never_on_a_front(draws: Draws) -> Bools:
    """Shape (n,): the predicted rule."""
    never = np.ones(draws.losses.shape[1], dtype=bool)
    for front in draws.fronts():
        never[front] = False
    return never
