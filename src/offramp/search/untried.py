"""Assignments whose candidate was not tried yet: for grids, and for when a sampler only repeats itself.

Invariant: what comes next depends on the seed and on the candidates that were tried, and on nothing else.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from offramp.ids import derived_seed
from offramp.records import Candidate, Scalar
from offramp.search.samplers import rounded
from offramp.space.dimensions import Dimension, assignments, cardinality, choose, values_in

Assignment = Mapping[str, Scalar]
DRAWS = 500


class UntriedCandidates:
    """Finds what is left of a space."""

    def __init__(self, dims: Sequence[Dimension], candidate: Callable[[Assignment], Candidate], seed: int) -> None:
        self._dims, self._candidate, self._seed = tuple(dims), candidate, seed
        self._finite = cardinality(dims) != math.inf

    def left(self, tried: Collection[str]) -> bool:
        """Whether any assignment gives a candidate that is not among the `tried` ids; an infinite space always does."""
        return not self._finite or self._first(assignments(self._dims), tried) is not None

    def in_turn(self, tried: Collection[str]) -> Assignment | None:
        """The next of all assignments in one seeded order; None when none is left."""
        return self._drawn(tried, random.Random(derived_seed(self._seed, "grid")))

    def at_random(self, tried: Collection[str]) -> Assignment | None:
        """One at random; None when none is left, or `DRAWS` draws found none."""
        return self._drawn(tried, random.Random(derived_seed(self._seed, "unseen", len(tried))))

    def _drawn(self, tried: Collection[str], rng: random.Random) -> Assignment | None:
        if not self._finite:
            return self._first((choose(self._dims, lambda dim: draw(dim, rng)) for _ in range(DRAWS)), tried)
        everything = list(assignments(self._dims))
        rng.shuffle(everything)
        return self._first(everything, tried)

    def _first(self, candidates: Iterable[Assignment], tried: Collection[str]) -> Assignment | None:
        return next((params for params in candidates if self._candidate(params).id not in tried), None)


def draw(dim: Dimension, rng: random.Random) -> Scalar:
    """A value of the dimension, each as likely as the other; on a logarithmic scale where it has one."""
    if dim.size != math.inf:
        return rng.choice(values_in(dim))
    if dim.log:
        value = math.exp(rng.uniform(math.log(dim.low), math.log(dim.high)))
    else:
        value = rng.uniform(dim.low, dim.high)
    return round(min(dim.high, max(dim.low, value))) if dim.whole else rounded(value, dim)
