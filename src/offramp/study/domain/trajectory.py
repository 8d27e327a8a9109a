"""How a study went: the front's hypervolume and the money, candidate by candidate, over the calls that were made.

The hypervolume is taken where each objective is on its fixed scale (0 worst, 1 best), so it is a share of the box
between the worst and the best corner: comparable within a study, whatever its units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from offramp.records import Aggregate, Objective
from offramp.stats import hypervolume, non_dominated
from offramp.store.candidates import CandidateRow, CandidateState
from offramp.store.results import CallCounts
from offramp.study.domain.objectives import values_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Where a study stood when a candidate's trial ended.

    Attributes:
        calls: physical requests of programs on the search split so far (those of judges and proposers not among them).
        spent_usd: what these cost at today's prices; None from the first candidate on whose price is not known.
        hypervolume: 0..1; None until scales are fixed.
        best: highest quality of a complete candidate so far; None before the first.
        found: whether this candidate raised it.
    """

    number: int
    calls: int
    spent_usd: float | None
    hypervolume: float | None
    candidate: str = ""
    best: float | None = None
    found: bool = False


def trajectory(
    rows: Sequence[CandidateRow], seen: Mapping[str, Aggregate], counts: Mapping[str, CallCounts],
    objectives: Sequence[Objective],
) -> tuple[Step, ...]:  # fmt: skip
    """One step per candidate, in the order of trials.

    Args:
        seen: on the search split, by candidate, priced.
        counts: physical calls and answers from the ledger by candidate.
    """
    steps: list[Step] = []
    calls, cover = 0, _Cover(len(objectives))
    spent: float | None = 0.0
    best: float | None = None
    for row in rows:
        count, found = counts.get(row.id, CallCounts(calls=0, cached_calls=0)), seen.get(row.id)
        calls += count.calls
        paid = _paid(found, count)
        spent = None if spent is None or paid is None else spent + paid
        raised = False
        if row.state is CandidateState.COMPLETE:
            cover.add(_scaled(found, objectives))
            quality = None if found is None else found.quality
            raised = quality is not None and (best is None or quality > best)
            best = quality if raised else best
        steps.append(
            Step(
                number=row.number, calls=calls, spent_usd=spent, hypervolume=cover.value, candidate=row.id, best=best,
                found=raised,
            )
        )  # fmt: skip
    return tuple(steps)


def thinned(steps: Sequence[Step], most: int = 400) -> tuple[Step, ...]:
    """At most about `most` of the steps, evenly chosen, the first and the last among them."""
    if len(steps) <= most:
        return tuple(steps)
    stride = -(-len(steps) // most)
    kept = [step for index, step in enumerate(steps) if index % stride == 0 or index == len(steps) - 1]
    return tuple(kept)


def _paid(seen: Aggregate | None, count: CallCounts) -> float | None:
    """The part of a candidate's cost that went over the wire; the rest came from the ledger."""
    if not count.calls or seen is None:
        return 0.0
    return None if seen.cost_usd is None else seen.cost_usd * seen.n * count.calls / (count.calls + count.cached_calls)


def _scaled(seen: Aggregate | None, objectives: Sequence[Objective]) -> list[float] | None:
    values = None if seen is None else values_of(objectives, seen)
    if values is None or any(objective.scale is None for objective in objectives):
        return None
    return [o.scaled(v) for o, v in zip(objectives, values, strict=True)]


class _Cover:
    """The hypervolume of a growing front; recomputed only when the front changes."""

    def __init__(self, objectives: int) -> None:
        self._directions = [True] * objectives
        self._front = np.empty((0, objectives))
        self.value: float | None = None

    def add(self, point: Sequence[float] | None) -> None:
        """One more point, each coordinate in 0..1 and best at 1; None for a point that is not known."""
        if point is None or (len(self._front) and (self._front >= np.asarray(point)).all(axis=1).any()):
            return
        points = np.vstack([self._front, [point]])
        self._front = points[non_dominated(points, maximise=self._directions)]
        self.value = hypervolume(self._front, [0.0] * len(self._directions), maximise=self._directions)
