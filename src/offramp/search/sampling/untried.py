"""Assignments whose candidate was not tried yet: for grids, and for when a sampler only repeats itself.

Invariant: what comes next depends on the seed and on the candidates that were tried, and on nothing else.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from offramp.ids import derived_seed
from offramp.records import Candidate, Scalar
from offramp.search.sampling.samplers import rounded
from offramp.space.params import SearchParam, assignments, cardinality, choose, values_in

Assignment = Mapping[str, Scalar]
DRAWS = 500


class UntriedCandidates:
    """Finds what is left of a space."""

    def __init__(
        self, search_params: Sequence[SearchParam], candidate: Callable[[Assignment], Candidate], seed: int
    ) -> None:
        self._params, self._candidate, self._seed = tuple(search_params), candidate, seed
        self._finite = cardinality(search_params) != math.inf

    def left(self, tried: Collection[str]) -> bool:
        """Whether any assignment gives a candidate that is not among the `tried` ids; an infinite space always does."""
        return not self._finite or self._first(assignments(self._params), tried) is not None

    def in_turn(self, tried: Collection[str]) -> Assignment | None:
        """The next of all assignments in one seeded order; None when none is left."""
        return self._drawn(tried, random.Random(derived_seed(self._seed, "grid")))

    def at_random(self, tried: Collection[str]) -> Assignment | None:
        """One at random; None when none is left, or `DRAWS` draws found none."""
        return self._drawn(tried, random.Random(derived_seed(self._seed, "unseen", len(tried))))

    def _drawn(self, tried: Collection[str], rng: random.Random) -> Assignment | None:
        if not self._finite:
            return self._first((choose(self._params, lambda param: draw(param, rng)) for _ in range(DRAWS)), tried)
        everything = list(assignments(self._params))
        rng.shuffle(everything)
        return self._first(everything, tried)

    def _first(self, candidates: Iterable[Assignment], tried: Collection[str]) -> Assignment | None:
        return next((params for params in candidates if self._candidate(params).id not in tried), None)


def draw(param: SearchParam, rng: random.Random) -> Scalar:
    """A value of the param, each as likely as the other; on a logarithmic scale where it has one."""
    if param.size != math.inf:
        return rng.choice(values_in(param))
    if param.log:
        value = math.exp(rng.uniform(math.log(param.low), math.log(param.high)))
    else:
        value = rng.uniform(param.low, param.high)
    return round(min(param.high, max(param.low, value))) if param.whole else rounded(value, param)
