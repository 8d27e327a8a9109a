"""Racing in the live search: a candidate runs on growing blocks until it is complete, or surely behind the front.

Rivals are the front's members so far, all of them complete; what else was run in full tells how hard the examples are.
Partial scores are never mixed with full ones. A run without a score (the infrastructure failed) is no evidence.

Invariant: what is decided depends on the seed, the stored results and the front alone, so that a job that was killed
decides the same again.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from offramp.ids import derived_seed
from offramp.records import Candidate, Evaluation, Example, Objective, Result
from offramp.search.racing import COST, LATENCY, QUALITY, RaceObjective
from offramp.search.stopping import FEWEST, ahead
from offramp.space.model import RacePart
from offramp.stats.pareto import Floats

LEAST_BLOCK = 5
BLOCKS = 8
"""As many blocks as a complete evaluation has, where the set is large enough."""
LEAST_S = 1e-6
MOST_OTHERS = 100
"""Complete candidates that are looked at beside the front: the newest."""
OBJECTIVES: Mapping[str, RaceObjective] = {"quality": QUALITY, "cost": COST, "latency": LATENCY}
TYPICAL = replace(LATENCY, positive=False)
"""Latency by its median: the mean of logarithms stands for it, since the mean of seconds is made by the slowest."""


class Racing:
    """The race of one job.

    Args:
        examples: the search split. seed: of the shared order and of the draws.
    """

    def __init__(self, part: RacePart, examples: Sequence[Example], seed: int) -> None:
        self._part, self._examples, self._seed = part, tuple(examples), seed
        self._order = list(self._examples)
        random.Random(derived_seed(seed, "race")).shuffle(self._order)
        self._place = {example.id: i for i, example in enumerate(self._order)}

    def blocks(self) -> Iterator[tuple[Example, ...]]:
        """The examples to have been run on after each block: longer every time, in the end all in the data's order."""
        for end in ends_of(len(self._order), self._part.block):
            yield tuple(self._order[:end])
        yield self._examples

    def stopped_by(
        self, candidate: Candidate, evaluation: Evaluation, objectives: Sequence[Objective], *,
        rivals: Mapping[str, Evaluation], others: Mapping[str, Evaluation],
    ) -> str | None:  # fmt: skip
        """The member of the front that a candidate is behind of, or most often so; None while it may still enter.

        Args:
            rivals: the front. others: whatever was run in full, oldest first.
        """
        complete = {
            name: cells
            for name, e in rivals.items()
            if not np.isnan(cells := self._cells(e, objectives)).all(axis=0).any()
        }
        rest = [name for name in others if name not in rivals][-MOST_OTHERS:]
        stack = [*complete.values(), *(self._cells(others[name], objectives) for name in rest)]
        place = ahead(
            np.stack([*stack, self._cells(evaluation, objectives)]),
            [TYPICAL if _typical(o) else OBJECTIVES[o.name] for o in objectives],
            rivals=len(complete), confidence=self._part.confidence, margin=self._part.margin,
            looks=looks_of(ends_of(len(self._order), self._part.block)),
            generator=np.random.default_rng(derived_seed(self._seed, "race", candidate.id, evaluation.n)),
        )  # fmt: skip
        return None if place is None else list(complete)[place]

    def _cells(self, evaluation: Evaluation, objectives: Sequence[Objective]) -> Floats:
        """Shape (examples, objectives), in the shared order; NaN where there is no score."""
        cells = np.full((len(self._order), len(objectives)), np.nan)
        for result in evaluation.counted:
            cells[self._place[result.example]] = [_value(result, o) for o in objectives]
        return cells


def ends_of(examples: int, block: int | None = None) -> range:
    """How many examples a candidate has run on after each block but the last."""
    size = block or max(LEAST_BLOCK, math.ceil(examples / BLOCKS))
    return range(size, examples, size)


def looks_of(ends: range) -> int:
    """How many of them are looked at."""
    return max(1, sum(end >= FEWEST for end in ends))


def _value(result: Result, objective: Objective) -> float:
    value = {"quality": result.score, "cost": result.cost_usd, "latency": result.latency_s}[objective.name]
    if value is None:
        return math.nan
    return math.log(max(value, LEAST_S)) if _typical(objective) else value


def _typical(objective: Objective) -> bool:
    return objective.name == "latency" and objective.statistic == "p50"
