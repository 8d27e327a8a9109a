"""How much of objective space a set of points covers, up to a reference point.

The hypervolume is the size of the region in which every place is dominated by some point and dominates the reference.
It is exact up to floating-point rounding. Invariant: adding a point never makes it smaller, and a point that is
dominated, a duplicate, not known (NaN) or not better than the reference in every objective changes nothing.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from offramp.stats.pareto import Floats, as_losses, insert_step, non_dominated


def hypervolume(points: ArrayLike, reference: ArrayLike, *, maximise: Sequence[bool]) -> float:
    """Hypervolume of `points` with respect to `reference`, in the product of the objectives' units.

    Time is O(n log n) for up to three objectives; each objective above multiplies it by n.

    Args:
        points: shape (n, k), k >= 1; n = 0 gives 0.
        reference: shape (k,), finite; the worst values that still count for nothing.
        maximise: k directions; False means that smaller is better.

    Returns:
        A number >= 0; infinite when a point that counts is infinitely good in an objective.

    Raises:
        ValueError: shapes do not fit, or the reference is not finite.

    Source: Zitzler and Thiele, PPSN V, 1998 (measure); Fonseca, Paquete and Lopez-Ibanez, CEC 2006 (sweep in three
    objectives); While, Hingston, Barone and Huband, IEEE Trans. Evol. Comp. 10(1), 2006 (slicing above).
    """
    losses = as_losses(points, maximise)
    worst = as_losses(np.atleast_2d(np.asarray(reference, dtype=np.float64)), maximise)
    if len(worst) != 1 or not np.isfinite(worst).all():
        raise ValueError(f"reference has to be {len(maximise)} finite numbers, got {reference!r}")
    gains = worst[0] - losses[(losses < worst[0]).all(axis=1)]  # NaN is not smaller than anything
    if np.isinf(gains).any():
        return float("inf")
    return _volume(-gains)


def _volume(losses: Floats) -> float:
    """Volume between negative losses and the origin."""
    if not len(losses):
        return 0.0
    k = losses.shape[1]
    front = losses[non_dominated(losses, maximise=[False] * k)]
    if k == 1:
        return float(-front[0, 0])
    ordered = front[np.lexsort(front.T[::-1])]
    return {2: _area, 3: _sweep}.get(k, _slices)(ordered)


def _area(front: Floats) -> float:
    """Rectangles between neighbours; the second value falls while the first rises."""
    widths = np.diff(np.append(front[:, 0], 0.0))
    return float(-(widths * front[:, 1]).sum())


def _sweep(front: Floats) -> float:
    """Area under a growing staircase, times the way to the next point in the first objective."""
    seconds: list[float] = []
    thirds: list[float] = []
    area = volume = 0.0
    depths = np.diff(np.append(front[:, 0], 0.0)).tolist()
    for (_, y, z), depth in zip(front.tolist(), depths, strict=True):
        below = bisect_right(seconds, y) - 1
        if below < 0 or thirds[below] > z:
            area += _added(seconds, thirds, y, z)
            insert_step(seconds, thirds, y, z)
        volume += area * depth
    return volume


def _added(seconds: list[float], thirds: list[float], y: float, z: float) -> float:
    """Area that a new step (y, z) adds to the staircase below the origin."""
    at = bisect_left(seconds, y)
    height = thirds[at - 1] if at else 0.0
    left, added = y, 0.0
    while at < len(seconds) and thirds[at] >= z:
        added += (seconds[at] - left) * (height - z)
        left, height = seconds[at], thirds[at]
        at += 1
    right = seconds[at] if at < len(seconds) else 0.0
    return added + (right - left) * (height - z)


def _slices(front: Floats) -> float:
    """Volume of the other objectives up to each point, times the way to the next point in the first one."""
    depths = np.diff(np.append(front[:, 0], 0.0))
    return sum(float(d) * _volume(front[: i + 1, 1:]) for i, d in enumerate(depths) if d > 0)
