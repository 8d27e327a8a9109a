"""Which cells of a live race are run again, where a space file wants several runs of an example.

The race looks at candidates with one run of each cell: another example says more about a candidate than another run of
the same one. A candidate that has come to its end is run again before it counts as complete, so that one that was lucky
is not declared for it: first the pilot (`evaluate/replicates.py`), and the rest where the runs of the pilot differ.

Invariant: what is run again depends on the results that the race has observed.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from offramp.evaluate.replicates import lack_runs, pilot_of, rest_of
from offramp.records import Example, Result
from offramp.search.racing import Allowance, Block, Wave
from offramp.stats.pareto import Bools

AGAIN = "again"
"""Purpose of a wave whose cells are run again."""
_STAGES = (pilot_of, rest_of)


@dataclass(slots=True, kw_only=True)
class AskingAgain:
    """What is run again of each candidate, by its index.

    Args:
        replicates: runs of an example.
        observed: results of a candidate that the race knows, by example id.
        sampled: whether the answers of a candidate that was not run yet may differ.

    Attributes:
        seen: cells of a candidate whose later runs the race knows.
    """

    examples: Sequence[Example]
    replicates: int
    observed: Callable[[int], Mapping[str, Result]]
    sampled: Callable[[int], bool]
    seen: defaultdict[int, Bools] = field(init=False)
    _where: Mapping[str, int] = field(init=False)
    _done: Counter[int] = field(init=False, default_factory=Counter)
    _under_way: Counter[int] = field(init=False, default_factory=Counter)

    def __post_init__(self) -> None:
        self.seen = defaultdict(lambda: np.zeros(len(self.examples), dtype=bool))
        self._where = {example.id: i for i, example in enumerate(self.examples)}

    def due(self, index: int) -> tuple[int, ...]:
        """Positions that a candidate with all its first runs is run on again next; empty where they are on their way,
        or there are none.
        """
        if self.replicates == 1 or self._under_way[index]:
            return ()
        known = self.observed(index)
        while self._done[index] < len(_STAGES):
            found = _STAGES[self._done[index]](self.examples, known)
            if found:
                return tuple(self._where[example.id] for example in found)
            self._done[index] += 1
        return ()

    def settled(self, index: int) -> bool:
        """Whether a candidate with all its first runs need not be run again."""
        return self.replicates == 1 or (not self._under_way[index] and not self.due(index))

    def at_most(self, index: int) -> int:
        """Runs that a candidate takes at most beyond the first of each cell, before it is complete."""
        more = self.replicates - 1
        if not more or self._done[index] >= len(_STAGES):
            return 0
        known = self.observed(index)
        if not (any(r.replicates is not None for r in known.values()) if known else self.sampled(index)):
            return 0
        return more * int((~self.seen[index]).sum())

    def begin(self, index: int) -> None:
        """Cells that were due are on their way; of two stages at a time in stored waves."""
        self._under_way[index] += 1

    def end(self, index: int, positions: Sequence[int], *, ran: bool) -> None:
        """The race knows these cells as they are now; `ran` where its model was asked."""
        self._under_way[index] -= 1
        if ran:
            self.seen[index][list(positions)] = True
            self._done[index] += 1

    def is_settled(self, results: Mapping[str, Result]) -> bool:
        """Whether these results are all that a candidate needs, by what is stored."""
        found = [results.get(example.id) for example in self.examples]
        if any(result is None or result.score is None for result in found):
            return False
        return not lack_runs(self.examples, results, self.replicates)

    def settle(self, index: int) -> None:
        """A candidate whose results were there before the race is run no more."""
        self.seen[index][:] = True
        self._done[index] = len(_STAGES)


def wave_again(
    take_number: Callable[[], int], due: Mapping[int, Sequence[int]], front: Sequence[int], allowance: Allowance,
    replicates: int, *, everyone: bool,
) -> Wave | None:  # fmt: skip
    """The cells that are run again next, as far as the allowance goes; None without any.

    Args:
        take_number: the number of a wave that is begun.
        due: positions by index of the candidate.
        front: those of them on the declared front, which go first; `everyone`: the others follow.
    """
    left, blocks = math.inf if allowance.left is None else allowance.left + 1e-9, list[Block]()
    for index in dict.fromkeys([*front, *(due if everyone else ())]):
        takes = allowance.units(index, len(due[index]) * (replicates - 1))
        if takes <= left:
            blocks.append(Block(index=index, positions=tuple(due[index])))
            left -= takes
    return Wave(number=take_number(), purpose=AGAIN, blocks=tuple(blocks)) if blocks else None
