"""What the race of a live job knows: the results of each candidate's cells, as far as their waves were observed.

Results are stored as they arrive; the race knows them wave by wave. Everything that is decided is decided on what the
race knows, so a run that continues a job decides the same although all results are there from the start.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from offramp.evaluate.replicates import may_vary
from offramp.ids import derived_seed
from offramp.records import Candidate, Evaluation, Example, Objective, Result, ResultState, Split
from offramp.search.live.asking_again import AskingAgain
from offramp.search.racing import Block, Race
from offramp.search.state import StudyState
from offramp.stats.pareto import Bools, Floats


@dataclass(slots=True, kw_only=True)
class LiveCells:
    """The cells of one live race, by index of the candidate and position of the example.

    Attributes:
        candidates: by index in the race; the list grows.
        observed: shape (examples,) by index; the positions that the race knows.
        again: which of them are run again.
        where: position by example id.
    """

    state: StudyState
    race: Race
    candidates: Sequence[Candidate]
    observed: defaultdict[int, Bools] = field(init=False)
    again: AskingAgain = field(init=False)
    where: Mapping[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self.where = {example.id: i for i, example in enumerate(self.examples)}
        self.observed = defaultdict(lambda: np.zeros(len(self.examples), dtype=bool))
        self.again = AskingAgain(
            examples=self.examples, replicates=self.state.job.space.replicates,
            observed=lambda index: {result.example: result for result in self.results(index)},
            sampled=lambda index: may_vary(self.candidates[index]),
        )  # fmt: skip

    @property
    def examples(self) -> Sequence[Example]:
        """The search split."""
        return self.state.job.task.splits.search

    def block(self, index: int, ids: Sequence[str]) -> Block:
        """The cells of a candidate on the examples with these ids."""
        return Block(index=index, positions=tuple(self.where[name] for name in ids))

    def stored(self, index: int) -> Mapping[str, Result]:
        """Every result of a candidate that is there, whether the race knows it or not, by example id."""
        return self.state.results.of(Split.SEARCH, self.candidates[index].id)

    def evaluation(self, index: int) -> Evaluation:
        """All that is stored of a candidate."""
        known = self.stored(index)
        return Evaluation(
            candidate=self.candidates[index].id, results=tuple(known[e.id] for e in self.examples if e.id in known)
        )

    def results(self, index: int) -> list[Result]:
        """Results that the race knows."""
        return self.results_at(index, np.flatnonzero(self.observed[index]).tolist())

    def results_at(self, index: int, positions: Sequence[int]) -> list[Result]:
        """Results at these positions; of cells whose later runs the race does not know yet, the first run."""
        known, seen = self.stored(index), self.again.seen[index]
        pairs = [(self.examples[position].id, position) for position in positions]
        return [known[name] if seen[p] else known[name].first_run for name, p in pairs if name in known]

    def values(self, block: Block, *, again: bool = False) -> Floats:
        """Shape (cells, objectives); NaN where there is no result that counts. `again`: means of all runs."""
        known, seen = self.stored(block.index), self.again.seen[block.index]
        rows = [known.get(self.examples[position].id) for position in block.positions]
        if not again:
            pairs = zip(rows, block.positions, strict=True)
            rows = [row if row is None or seen[p] else row.first_run for row, p in pairs]
        return np.array([[_value(row, o) for o in self.state.objectives] for row in rows], dtype=float)

    def waiting(self, index: int) -> bool:
        """Whether some of a candidate's cells are on their way."""
        return bool((self.race.cells.requested[index] & ~self.observed[index]).any())

    def came_back(self, index: int) -> Block:
        """The cells of a candidate that were requested and have a result that the race does not know."""
        known, unknown = self.stored(index), self.race.cells.requested[index] & ~self.observed[index]
        found = (p for p in np.flatnonzero(unknown).tolist() if self.examples[p].id in known)
        return Block(index=index, positions=tuple(found))

    def forget_failed(self, index: int) -> None:
        """Lets the cells be run that came back without a value."""
        self.race.cells.forget(index)
        self.observed[index] &= self.race.cells.requested[index]

    def due(self, index: int) -> tuple[int, ...]:
        """Positions that a candidate is to be run on again; empty where it has ended, or lacks a first run."""
        if self.again.replicates == 1 or index in self.race.closed or not self.race.complete(index):
            return ()
        ended = self.candidates[index].id in self.state.known
        return () if ended or self.waiting(index) else self.again.due(index)


def counts(result: Result) -> bool:
    """Whether a result says something about its candidate."""
    return result.state is not ResultState.INFRASTRUCTURE_ERROR


def shared_order(examples: Sequence[Example], seed: int) -> list[int]:
    """Positions in one seeded order; examples of one group follow each other."""
    order = list(range(len(examples)))
    random.Random(derived_seed(seed, "race")).shuffle(order)
    where: dict[object, int] = {}
    for position in order:
        where.setdefault(group_of(examples[position]), len(where))
    return sorted(order, key=lambda position: where[group_of(examples[position])])


def group_of(example: Example) -> object:
    """What examples that belong together have in common."""
    return example.id if example.group is None else ("", example.group)


def _value(result: Result | None, objective: Objective) -> float:
    if result is None or not counts(result):
        return float("nan")
    value = {"quality": result.score, "cost": result.cost_usd, "latency": result.latency_s}[objective.name]
    return float("nan") if value is None else float(value)
