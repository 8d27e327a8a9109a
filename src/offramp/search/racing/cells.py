"""The cells of a race: which were requested, and what came back.

Invariant: a cell that was requested and has no value (an infrastructure error) is NaN. It counts as missing, never as a
bad result, and a later value for the same cell replaces it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from offramp.stats.pareto import Bools, Floats, Ints


class Cells:
    """A table of cells to which candidates can be added.

    Args:
        examples: number of examples, j.
        objectives: number of objectives, m.
    """

    def __init__(self, examples: int, objectives: int) -> None:
        self._values = np.full((16, examples, objectives), np.nan)
        self._requested = np.zeros((16, examples), dtype=bool)
        self.candidates = 0

    @property
    def values(self) -> Floats:
        """Shape (n, j, m); NaN where no value is known."""
        return self._values[: self.candidates]

    @property
    def requested(self) -> Bools:
        """Shape (n, j)."""
        return self._requested[: self.candidates]

    @property
    def count(self) -> Ints:
        """Shape (n,): cells requested for each candidate, those without a value included."""
        return np.asarray(self.requested.sum(axis=1))

    @property
    def complete(self) -> Bools:
        """Shape (n,): whether every cell was requested."""
        return np.asarray(self.requested.all(axis=1))

    @property
    def known(self) -> Bools:
        """Shape (n,): whether the candidate has any value."""
        return np.asarray(~np.isnan(self.values).all(axis=(1, 2)))

    def add(self) -> int:
        """Makes room for one more candidate and returns its index."""
        if self.candidates == len(self._values):
            self._values = np.concatenate([self._values, np.full_like(self._values, np.nan)])
            self._requested = np.concatenate([self._requested, np.zeros_like(self._requested)])
        self.candidates += 1
        return self.candidates - 1

    def request(self, index: int, positions: ArrayLike) -> None:
        """Marks cells whose values are on the way."""
        self._requested[index, np.asarray(positions, dtype=np.int64)] = True

    def forget(self, index: int) -> None:
        """Cells without a value count as not requested again."""
        self._requested[index] &= ~np.isnan(self._values[index]).all(axis=1)

    def put(self, index: int, positions: ArrayLike, values: ArrayLike) -> None:
        """Stores values of shape (len(positions), m); NaN where an objective is not known.

        Raises:
            ValueError: the shapes do not fit.
        """
        where, rows = np.asarray(positions, dtype=np.int64), np.asarray(values, dtype=np.float64)
        if rows.shape != (len(where), self._values.shape[2]):
            raise ValueError(f"values have shape {rows.shape}, expected {(len(where), self._values.shape[2])}")
        self._values[index, where] = np.where(np.isfinite(rows), rows, np.nan)
        self._requested[index, where] = True
