"""Assignments whose candidate was not evaluated yet: for grids, and for when a sampler only repeats itself.

Invariant: what comes next depends on the seed and on the set of candidates that are known, and on nothing else.
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


class Unseen:
    """Looks for what is left of a space."""

    def __init__(self, dims: Sequence[Dimension], candidate: Callable[[Assignment], Candidate], seed: int) -> None:
        self._dims, self._candidate, self._seed = tuple(dims), candidate, seed
        self._finite = cardinality(dims) != math.inf

    def left(self, known: Collection[str]) -> bool:
        """Whether any assignment gives a candidate that is not among `known` ids; a space without end always does."""
        return not self._finite or self._first(assignments(self._dims), known) is not None

    def in_turn(self, known: Collection[str]) -> Assignment | None:
        """The next of all assignments in one seeded order; None when none is left."""
        return self._drawn(known, random.Random(derived_seed(self._seed, "grid")))

    def at_random(self, known: Collection[str]) -> Assignment | None:
        """One at random; None when none is left, or `DRAWS` draws found none."""
        return self._drawn(known, random.Random(derived_seed(self._seed, "unseen", len(known))))

    def _drawn(self, known: Collection[str], rng: random.Random) -> Assignment | None:
        if not self._finite:
            return self._first((choose(self._dims, lambda dim: draw(dim, rng)) for _ in range(DRAWS)), known)
        everything = list(assignments(self._dims))
        rng.shuffle(everything)
        return self._first(everything, known)

    def _first(self, candidates: Iterable[Assignment], known: Collection[str]) -> Assignment | None:
        return next((params for params in candidates if self._candidate(params).id not in known), None)


def draw(dim: Dimension, rng: random.Random) -> Scalar:
    """A value of the dimension, each as likely as the other; on a logarithmic scale where it has one."""
    if dim.size != math.inf:
        return rng.choice(values_in(dim))
    if dim.log:
        value = math.exp(rng.uniform(math.log(dim.low), math.log(dim.high)))
    else:
        value = rng.uniform(dim.low, dim.high)
    return round(min(dim.high, max(dim.low, value))) if dim.whole else rounded(value, dim)
