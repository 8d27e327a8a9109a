"""Examples that belong together (paraphrases of one question, turns of one conversation) count as one.

Treating them as independent makes every interval too narrow and every test too sure. Here a group is the unit: the
effective number of examples says how much information the scores hold, and paired tests flip the sign of whole groups.

Invariant: with one example a group, nothing changes; point estimates never change.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offramp.stats.pareto import Floats


def effective_n(scores: ArrayLike, groups: Sequence[Hashable]) -> float:
    """How many independent examples these scores are worth, for the mean over examples.

    The number of examples over the design effect: the variance of the mean between groups over the variance that
    independent examples would have. Scores that are all equal show no variance and count one for each group.

    Args:
        scores: shape (n,).
        groups: of each example; equal means together.

    Returns:
        A number in [1, n]; 0 for no scores.

    Source: Korn and Graubard, "Confidence intervals for proportions with small expected number of positive counts
    estimated from survey data", Survey Methodology 24, 1998.
    """
    values = np.asarray(scores, dtype=np.float64)
    n, index, m = _indexed(values, groups)
    if m in (0, n):
        return float(n)
    rest = values - values.mean()
    alone = float((rest**2).sum()) / (n - 1) / n
    if m == 1 or alone <= 1e-15:
        return float(m)
    totals = np.bincount(index, weights=rest, minlength=m)
    together = m / (m - 1) * float((totals**2).sum()) / n**2
    return float(np.clip(n * alone / together if together > 0 else n, 1.0, n))


def group_units(differences: ArrayLike, groups: Sequence[Hashable]) -> tuple[Floats, float]:
    """One number a group, whose mean is the mean over all examples, to be tested and given an interval by group.

    Args:
        differences: shape (n,), in [-1, 1].
        groups: of each example; equal means together.

    Returns:
        The units, each in [-1, 1], and the factor by which their mean has to be multiplied to be that of the examples.
    """
    values = np.asarray(differences, dtype=np.float64)
    n, index, m = _indexed(values, groups)
    if m == n:
        return values, 1.0
    sizes = np.bincount(index, minlength=m)
    factor = float(sizes.max()) * m / n
    return np.bincount(index, weights=values, minlength=m) / float(sizes.max()), factor


def _indexed(values: Floats, groups: Sequence[Hashable]) -> tuple[int, NDArray[np.intp], int]:
    if values.shape != (len(groups),):
        raise ValueError(f"one group for each value is needed, got {values.shape} values and {len(groups)} groups")
    places: dict[Hashable, int] = {}
    index = np.array([places.setdefault(group, len(places)) for group in groups], dtype=np.intp)
    return len(values), index, len(places)
