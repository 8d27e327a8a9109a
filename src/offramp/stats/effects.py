"""How much of the spread of a number goes with a grouping: a cheap measure of which params matter.

Invariant: between 0 and 1, and about 0 on average for a grouping that has nothing to do with the values, however many
groups there are.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike


def explained_share(groups: Sequence[Hashable], values: ArrayLike) -> float | None:
    """Share of the variance of `values` between groups, corrected for their number (epsilon squared, cut at 0).

    Args:
        groups: n labels.
        values: shape (n,), finite.

    Returns:
        0..1; None where nothing can be said: fewer than two groups, no value more than groups, or values all equal.

    Raises:
        ValueError: lengths differ or a value is not finite.

    Source: Kelley, "An unbiased correlation ratio measure", PNAS 21(9), 1935.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (len(groups),) or not np.isfinite(array).all():
        raise ValueError(f"{len(groups)} groups need as many finite values, got shape {array.shape}")
    codes = {label: code for code, label in enumerate(dict.fromkeys(groups))}
    n, k = len(array), len(codes)
    total = float(((array - array.mean()) ** 2).sum()) if n else 0.0
    if k < 2 or n <= k or total <= 1e-18 * n:
        return None
    index = np.array([codes[label] for label in groups])
    counts = np.bincount(index, minlength=k)
    means = np.bincount(index, weights=array, minlength=k) / counts
    within = float(((array - means[index]) ** 2).sum())
    return max(0.0, 1.0 - (within / (n - k)) / (total / (n - 1)))
