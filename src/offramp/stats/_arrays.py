"""What the statistics take: sorted one-dimensional arrays within bounds."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from offramp.stats.pareto import Floats


def sorted_within(values: ArrayLike, low: float, high: float) -> Floats:
    """The values in order, so that nothing depends on the order of rows.

    Raises:
        ValueError: not of shape (n,), or a value is NaN or out of bounds.
    """
    array = np.sort(np.asarray(values, dtype=np.float64))
    if array.ndim != 1:
        raise ValueError(f"values have shape {array.shape}, expected (n,)")
    if not ((array >= low) & (array <= high)).all():
        raise ValueError(f"values have to be numbers in [{low}, {high}]")
    return array


def check_bounds(low: float, high: float) -> None:
    """Raises ValueError for bounds that are not finite or not in order."""
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"bounds have to be finite and in order, got {(low, high)!r}")
