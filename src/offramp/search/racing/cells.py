"""The cells of a race: which were asked for, and what came back.

Invariant: what was asked for and has no value (the infrastructure failed) is NaN: missing, and held against nobody. A
later value for the same cell replaces it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from offramp.stats.pareto import Bools, Floats, Ints


class Cells:
    """A table that grows by candidates.

    Args:
        examples: number of examples, j. objectives: number of objectives, m.
    """

    def __init__(self, examples: int, objectives: int) -> None:
        self._values = np.full((16, examples, objectives), np.nan)
        self._asked = np.zeros((16, examples), dtype=bool)
        self.candidates = 0

    @property
    def values(self) -> Floats:
        """Shape (n, j, m), NaN where nothing is known."""
        return self._values[: self.candidates]

    @property
    def asked(self) -> Bools:
        """Shape (n, j)."""
        return self._asked[: self.candidates]

    @property
    def read(self) -> Ints:
        """Shape (n,); cells asked for, failed ones included."""
        return np.asarray(self.asked.sum(axis=1))

    @property
    def complete(self) -> Bools:
        """Shape (n,); whether every cell was asked for."""
        return np.asarray(self.asked.all(axis=1))

    @property
    def known(self) -> Bools:
        """Shape (n,); whether any value is there."""
        return np.asarray(~np.isnan(self.values).all(axis=(1, 2)))

    def add(self) -> int:
        """Room for one more candidate; its index."""
        if self.candidates == len(self._values):
            self._values = np.concatenate([self._values, np.full_like(self._values, np.nan)])
            self._asked = np.concatenate([self._asked, np.zeros_like(self._asked)])
        self.candidates += 1
        return self.candidates - 1

    def put(self, index: int, positions: ArrayLike, values: ArrayLike) -> None:
        """Values of shape (len(positions), m), one row a position; NaN where an objective is not known.

        Raises:
            ValueError: shapes do not fit.
        """
        where, rows = np.asarray(positions, dtype=np.int64), np.asarray(values, dtype=np.float64)
        if rows.shape != (len(where), self._values.shape[2]):
            raise ValueError(f"values have shape {rows.shape}, expected {(len(where), self._values.shape[2])}")
        self._values[index, where] = np.where(np.isfinite(rows), rows, np.nan)
        self._asked[index, where] = True
