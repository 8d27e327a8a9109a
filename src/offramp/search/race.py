"""Racing in the live search: a candidate runs on growing blocks until it is complete, or a rival is surely ahead of it.

Rivals are the front's members so far, all of them complete: partial scores are compared on the same examples only and
never with full ones. A run without a score (the infrastructure failed) is no pair, and so no evidence.

Invariant: what is decided depends on the seed, the stored results and the front alone, so that a job that was killed
decides the same again.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence

from offramp.ids import derived_seed
from offramp.records import Evaluation, Example, Result
from offramp.search.stopping import no_better_score, no_lower
from offramp.space.model import RacePart
from offramp.study.objectives import Objective

LEAST_BLOCK = 5
BLOCKS = 8
"""As many blocks as a complete evaluation has, where the set is large enough."""


class Racing:
    """The race of one job.

    Args:
        examples: the search split. seed: of the shared order.
    """

    def __init__(self, part: RacePart, examples: Sequence[Example], seed: int) -> None:
        self._part, self._examples = part, tuple(examples)
        self._order = list(self._examples)
        random.Random(derived_seed(seed, "race")).shuffle(self._order)
        self._place = {example.id: i for i, example in enumerate(self._order)}

    def blocks(self) -> Iterator[tuple[Example, ...]]:
        """The examples to have been run on after each block: longer every time, in the end all in the data's order."""
        size = self._part.block or max(LEAST_BLOCK, math.ceil(len(self._order) / BLOCKS))
        for end in range(size, len(self._order), size):
            yield tuple(self._order[:end])
        yield self._examples

    def stopped_by(
        self, evaluation: Evaluation, rivals: Mapping[str, Evaluation], objectives: Sequence[Objective]
    ) -> str | None:
        """The rival that is surely ahead of a candidate in every objective; None while there is none."""
        alpha = (1.0 - self._part.confidence) / max(1, len(rivals))
        return next(
            (name for name, rival in rivals.items() if self._behind(evaluation, rival, objectives, alpha)), None
        )

    def _behind(self, evaluation: Evaluation, rival: Evaluation, objectives: Sequence[Objective], alpha: float) -> bool:
        theirs = {result.example: result for result in rival.counted}
        ours = sorted(evaluation.counted, key=lambda result: self._place[result.example])
        pairs = [(mine, theirs[mine.example]) for mine in ours if mine.example in theirs]
        return bool(pairs) and all(self._no_better(objective, pairs, alpha) for objective in objectives)

    def _no_better(self, objective: Objective, pairs: Sequence[tuple[Result, Result]], alpha: float) -> bool:
        read = {"quality": _score, "cost": _cost, "latency": _latency}[objective.name]
        values = [(read(mine), read(other)) for mine, other in pairs]
        ours, theirs = zip(*values, strict=True)
        if None in ours or None in theirs:
            return False
        test = no_better_score if objective.maximise else no_lower
        return test(ours, theirs, examples=len(self._order), alpha=alpha, margin=self._part.margin)


def _score(result: Result) -> float | None:
    return result.score


def _cost(result: Result) -> float | None:
    return result.cost_usd


def _latency(result: Result) -> float | None:
    return result.latency_s
