"""What a cell takes of a cap on time, where models run on this machine.

Such a model keeps the prompts that it has read: a run whose prompt is new to it takes several times as long as the next
one of the same candidate. A search that counted both as one cell would look at one candidate after another, once each.

Invariant: numbers are seconds of the wall clock; runs that share the machine are weighed by how long each one took.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from offramp.records import Candidate, Replicate, Result
from offramp.search.holdout.reserve import FEWEST, Warm
from offramp.stats.pareto import Floats


@dataclass(slots=True)
class _Taken(Warm):
    """Sums over runs that found most of the prompt in the model's cache, and over those that did not."""

    cold: int = 0
    cold_s: float = 0.0

    def add(self, run: Result | Replicate) -> None:
        before = self.n
        super(_Taken, self).add(run)
        if self.n == before:
            self.cold += 1
            self.cold_s += run.latency_s or 0.0

    @property
    def each_s(self) -> float:
        """Of all runs."""
        return (self.seconds + self.cold_s) / max(1, self.n + self.cold)

    @property
    def warm_s(self) -> float:
        """Of those with the prompt in the cache; of all where there are none."""
        return self.seconds / self.n if self.n else self.each_s

    @property
    def reading_s(self) -> float:
        """What reading a prompt takes beyond that."""
        return max(0.0, self.cold_s / self.cold - self.warm_s) if self.n and self.cold else 0.0


class Seconds:
    """What was measured of the runs so far.

    Args:
        local: names of the models that run on this machine; reading counts for them alone.
    """

    def __init__(self, local: Collection[str]) -> None:
        self._local = frozenset(local)
        self._all = _Taken()
        self._of: defaultdict[str, _Taken] = defaultdict(_Taken)

    @property
    def known(self) -> bool:
        """Whether models of this machine have answered."""
        return self._all.each_s > 0 and any(self._of[name].each_s > 0 for name in self._local)

    def add(self, candidate: Candidate, run: Result | Replicate) -> None:
        """One more run."""
        for taken in (self._all, self._of[candidate.model], self._of[candidate.id]):
            taken.add(run)

    def each(self, candidates: Sequence[Candidate], run_s: float) -> tuple[Floats, Floats]:
        """Shapes (n,): seconds of a cell of each candidate, and what reading its prompt takes beyond that.

        Args:
            run_s: seconds from one run to the next so far.
        """
        scale = run_s / self._all.each_s
        found = [self._usual(candidate) for candidate in candidates]
        return np.array([cell for cell, _ in found]) * scale, np.array([reading for _, reading in found]) * scale

    def _usual(self, candidate: Candidate) -> tuple[float, float]:
        own, model = self._of[candidate.id], self._of[candidate.model]
        usual = model if model.each_s > 0 else self._all
        local = candidate.model in self._local
        if own.n + own.cold >= FEWEST:
            return (own.warm_s if local else own.each_s), (usual.reading_s if local else 0.0)
        return (usual.warm_s if local else usual.each_s), (usual.reading_s if local else 0.0)
