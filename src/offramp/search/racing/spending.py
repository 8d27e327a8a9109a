"""What the cells of one decision are paid from, in units of the budget: cells, USD or seconds.

A model of this machine reads a prompt once and then keeps it, so the first cell of a prompt takes more than the others:
what reading it takes, whichever candidate asks first.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np

from offramp.stats.pareto import Floats, Ints

LEAST_PRICE = 1e-12
"""Units that a cell takes at least, so that a free candidate is worth most and not infinitely much."""


class Spending:
    """Units, and what cells take of them.

    Args:
        units: there are at first.
        cell: shape (n,); what a cell of each candidate takes.
        reading: shape (n,); what the first cell takes beyond that, because the prompt has to be read; 0 where it was.
        prompts: of each candidate; None for one that shares its prompt with nobody.
    """

    def __init__(self, units: float, cell: Floats, reading: Floats, prompts: Sequence[Hashable]) -> None:
        self.units = units
        self._cell: Floats = np.maximum(np.asarray(cell, dtype=np.float64), LEAST_PRICE)
        self._reading: Floats = np.array(reading, dtype=np.float64)
        self._prompts = prompts

    def affordable(self) -> Ints:
        """Shape (n,): how many cells of each candidate can be paid."""
        cells = (self.units - self._reading) / self._cell
        return np.asarray(np.clip(cells + 1e-6, 0.0, 1e9), dtype=np.int64)

    def price(self, size: int) -> Floats:
        """Shape (n,): what one of so many cells takes, reading included."""
        return np.asarray(self._cell + self._reading / size)

    def takes(self, index: int, cells: int) -> float:
        """What so many cells of a candidate take."""
        return cells * float(self._cell[index]) + (float(self._reading[index]) if cells else 0.0)

    def pay(self, index: int, cells: int) -> None:
        """Pays for so many cells; the candidate's prompt has been read from here on."""
        self.units -= self.takes(index, cells)
        if not cells:
            return
        self._reading[index] = 0.0
        if (same := self._prompts[index]) is not None:
            self._reading[[prompt == same for prompt in self._prompts]] = 0.0


def unlimited(candidates: int) -> Spending:
    """Units without an end, of which every cell takes 1."""
    return Spending(math.inf, np.ones(candidates), np.zeros(candidates), [None] * candidates)
