"""Which examples a candidate reads next.

All candidates share one seeded order. Where params tell nothing, each reads it from its start, so that any two have met
the same examples. Where they do, candidates that are alike also take to the same examples alike: reading the same few
with all of them would tell the same thing again and again. So they start at different places, and each goes on with
the examples that its likes have read least. Measured on a table of nine models and five prompts, that halves the error
of the means at five cells a candidate (docs/search.md); comparisons with complete candidates stay paired either way.
"""

from __future__ import annotations

import numpy as np

from offramp.search.racing.features import Features
from offramp.search.racing.kernel import Kernel
from offramp.stats.pareto import Bools, Ints

GOLDEN = 0.6180339887498949
"""Multiples of it, less their whole parts, fill 0..1 evenly however many there are."""


def start_of(index: int, examples: int, features: Features) -> int:
    """Where in the shared order a candidate starts."""
    return int(index * GOLDEN % 1.0 * examples) if features.n_dims else 0


def next_positions(
    index: int, order: Ints, asked: Bools, features: Features, kernel: Kernel | None, size: int
) -> tuple[int, ...]:
    """Positions of the next block.

    Args:
        order: the shared order, turned to where the candidate starts.
        asked: shape (n, j). kernel: of the first objective; None before any fit.
    """
    free = order[~asked[index, order]]
    if features.n_dims and kernel is not None and kernel.mixed > 0:
        likes = kernel.alike(features, np.array([index]), np.arange(len(asked)))[0]
        likes[index] = 0.0
        free = free[np.argsort((likes @ asked)[free], kind="stable")]
    return tuple(int(position) for position in free[:size])
