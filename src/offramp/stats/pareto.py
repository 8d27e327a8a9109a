"""Which points no other point dominates, and which of them is the knee.

A point dominates another when it is at least as good in every objective and better in one. So equal points do not
dominate each other: ties and duplicates all stay on the front. A row with NaN is not known: it is never a member and
never dominates. Infinities are ordinary values.

Invariant: the front depends on comparisons alone; nothing is added, scaled or rounded.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

_DIGITS = 12  # equal up to here are equal bulges


def non_dominated(points: ArrayLike, *, maximise: Sequence[bool]) -> Bools:
    """Mask of the rows that no other row dominates.

    Time is O(n log n) for up to three objectives and O(n x size of the front) above.

    Args:
        points: shape (n, k), k >= 1; n = 0 is allowed.
        maximise: k directions; False means that smaller is better.

    Returns:
        Booleans of shape (n,), in the order of the rows.

    Raises:
        ValueError: shapes do not fit.

    Source: Kung, Luccio and Preparata, "On finding the maxima of a set of vectors", J. ACM 22(4), 1975.
    """
    losses = as_losses(points, maximise)
    mask = np.zeros(len(losses), dtype=bool)
    known = np.flatnonzero(~np.isnan(losses).any(axis=1))
    if len(known):
        mask[known] = _minimal(losses[known])
    return mask


def knee(points: ArrayLike) -> int:
    """Index of the knee, where a little more of one objective starts to cost a lot of another.

    It is the front's point that bulges farthest beyond the plane through its extremes: a hint for people who have not
    stated weights, and no part of a search. Neither row order nor the unit of an objective changes which point it is.

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


def as_losses(points: ArrayLike, maximise: Sequence[bool]) -> Floats:
    """A new array of shape (n, k) in which smaller is better everywhere. Raises ValueError when shapes do not fit."""
    array = np.array(points, dtype=np.float64)
    k = len(maximise)
    if array.size == 0 and array.ndim <= 2 and k:
        array = array.reshape(0, k)
    if array.ndim != 2 or k == 0 or array.shape[1] != k:
        raise ValueError(f"points have shape {array.shape}, expected (n, {k}) with one direction for each objective")
    array[:, np.asarray(maximise, dtype=bool)] *= -1.0
    return array


def _minimal(losses: Floats) -> Bools:
    """Mask of minimal rows; no NaN, n >= 1. Rows are visited so that no row is dominated by a later one."""
    order = np.lexsort(losses.T[::-1])
    ordered = losses[order]
    sweep = {1: _sweep_1, 2: _sweep_2, 3: _sweep_3}.get(losses.shape[1], _sweep_many)
    mask = np.empty(len(losses), dtype=bool)
    mask[order] = sweep(ordered)
    return mask


def _sweep_1(rows: Floats) -> Bools:
    return np.asarray(rows[:, 0] == rows[0, 0])


def _sweep_2(rows: Floats) -> Bools:
    """A row stays when it has the best second value at its first value, and beats all that come with a better first."""
    first, second = rows[:, 0], rows[:, 1]
    starts = np.flatnonzero(np.concatenate(([True], first[1:] != first[:-1])))
    best = second[starts]  # each group of equal first values is sorted by the second
    before = np.minimum.accumulate(best)
    leads = np.concatenate(([True], best[1:] < before[:-1]))
    group = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(rows))))
    return np.asarray(leads[group] & (second == best[group]))


def _sweep_3(rows: Floats) -> Bools:
    """Keep a staircase of the (second, third) values seen: seconds rise, thirds fall, so one look decides a row."""
    mask = np.empty(len(rows), dtype=bool)
    seconds: list[float] = []
    thirds: list[float] = []
    last: list[float] | None = None
    for i, row in enumerate(rows.tolist()):
        if row == last:
            mask[i] = mask[i - 1]
            continue
        last = row
        _, y, z = row
        below = bisect_right(seconds, y) - 1
        mask[i] = stays = below < 0 or thirds[below] > z
        if stays:
            insert_step(seconds, thirds, y, z)
    return mask


def insert_step(seconds: list[float], thirds: list[float], y: float, z: float) -> None:
    """Put a step that no other step dominates into a staircase, and take out those that it dominates. In place."""
    start = stop = bisect_left(seconds, y)
    while stop < len(seconds) and thirds[stop] >= z:
        stop += 1
    seconds[start:stop] = [y]
    thirds[start:stop] = [z]


def _sweep_many(rows: Floats) -> Bools:
    mask = np.empty(len(rows), dtype=bool)
    front: NDArray[Any] = np.empty_like(rows)
    size = 0
    for i, row in enumerate(rows):
        if i and (row == rows[i - 1]).all():
            mask[i] = mask[i - 1]
            continue
        mask[i] = not (front[:size] <= row).all(axis=1).any()
        if mask[i]:
            front[size] = row
            size += 1
    return mask
