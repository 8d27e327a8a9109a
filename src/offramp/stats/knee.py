"""The point of a front at which a little more of one objective begins to cost a lot of another.

A knee is a hint for people who have not stated weights; it never enters a search. Invariant: it is on the front, and
neither the order of the rows nor the unit of an objective changes which point it is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from offramp.stats.pareto import non_dominated

_DIGITS = 12


def knee(points: ArrayLike) -> int:
    """Index of the knee: the front's point that bulges farthest beyond the plane through its extremes.

    Each objective is stretched so that the front's worst value is 0 and its best is 1; then the plane through the
    extremes is "sum = 1", and the distance to it grows with the sum. Of equal bulges the most even point is taken (the
    largest smallest value), then the lexicographically largest, then the first.

    Args:
        points: shape (n, k), scaled so that 1 is best and 0 worst. Rows with NaN or infinities are passed over.

    Raises:
        ValueError: no row is finite, or the shape is not (n, k).

    Source: Das, "On characterizing the 'knee' of the Pareto curve based on Normal-Boundary Intersection", Structural
    Optimization 18, 1999; with the axes' end points for the individual minima, so that k > 2 cannot degenerate.
    """
    array = np.asarray(points, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] == 0:
        raise ValueError(f"points have shape {array.shape}, expected (n, k)")
    finite = np.flatnonzero(np.isfinite(array).all(axis=1))
    if not len(finite):
        raise ValueError("no row of points is finite: there is no knee")
    members = finite[non_dominated(array[finite], maximise=[True] * array.shape[1])]
    front = array[members]
    low, span = front.min(axis=0), np.ptp(front, axis=0)
    stretched = np.round((front - low) / np.where(span > 0, span, 1.0), _DIGITS)
    bulge = np.round(stretched.sum(axis=1), _DIGITS)
    keys = (-members, *stretched.T[::-1], stretched.min(axis=1), bulge)  # lexsort: the last key counts first
    return int(members[np.lexsort(keys)[-1]])
