"""The candidates of a race: who is in the pool, in which order, and who joins next.

A space that is small enough is listed: all its assignments are in the pool from the start, since those that were never
run have predictions too. Of a larger one, Optuna proposes a few candidates at a time from what is expected of those
that were tried. Either way the front of the study that this one starts from, and new instructions, go first.

Invariant: who joins depends on the seed, the job's params and texts, and what the race has observed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace

from offramp.ids import content_hash
from offramp.job.resolved import ResolvedJob
from offramp.program.demos import choose_demos
from offramp.records import Candidate, DemoKind, Scalar
from offramp.search.live.sizes import LISTED
from offramp.search.racing import Race
from offramp.search.sampling.optuna_study import OptunaStudy, Seen
from offramp.search.sampling.trial_queue import TrialQueue
from offramp.search.sampling.untried import UntriedCandidates
from offramp.search.state import StudyState
from offramp.space.params import assignments, cardinality

Assignment = Mapping[str, Scalar]
TRIES = 3
"""So often candidates are proposed for the places that are still free; then they are drawn at random."""


class Pool:
    """The pool of one race.

    Args:
        trials: candidates that may be run, those that were included.
        seen: what is known of the candidates that were tried, in the order of their indices.

    Attributes:
        candidates: by index, as in the race.
        places: index by candidate id.
        lost: indices of those whose model no longer answers: others may take their places.
        duplicates: ids of those that are not in the pool because they send what one that is sends, demos included.
        unwritten: assignments that joined since `written` was called.
    """

    def __init__(
        self, *, state: StudyState, study: OptunaStudy, race: Race, queue: TrialQueue, trials: int, seed: int,
        seen: Callable[[], Sequence[Seen]],
    ) -> None:  # fmt: skip
        self._state, self._study, self._race, self._queue = state, study, race, queue
        self._trials, self._seed, self._seen = trials, seed, seen
        self.candidates: list[Candidate] = []
        self.places: dict[str, int] = {}
        self.lost: set[int] = set()
        self.duplicates: set[str] = set()
        self._sent: set[str] = set()
        self._chosen = ChosenDemos(state.job)
        self.unwritten: list[Assignment] = []
        self.unwritten_first: list[int] = []
        self.adopt(state.job)

    def adopt(self, job: ResolvedJob) -> None:
        """The search goes on with other texts or models."""
        self._job = job
        self._study.adopt(job.search_params)
        self._untried = UntriedCandidates(job.search_params, job.candidate, self._seed)
        size = cardinality(job.search_params, at_most=LISTED)
        self.listed = size != math.inf and size + job.incumbent_outside <= self._trials
        self._grid = job.space.search.sampler == "grid"

    @property
    def exhausted(self) -> bool:
        """Whether no assignment is left that is not in the pool."""
        return not self._untried.left(self._in())

    def add(self, params: Assignment, *, first: bool = False) -> int | None:
        """The index of a new candidate; None where it is in the pool, or sends what one sends that is."""
        candidate = self._job.candidate(params)
        if any(candidate.id in known for known in self._known()):
            return None
        if self._chosen.key(candidate) in self._sent:
            self.duplicates.add(candidate.id)
            return None
        return self.enter(candidate, first=first)

    def enter(self, candidate: Candidate, *, first: bool = False) -> int:
        """The index of a candidate that is new in the pool."""
        self.unwritten.append(dict(candidate.params))
        index = self._race.add(dict(candidate.params), first=first, prompt=prompt_read(candidate, self._job))
        if first:
            self.unwritten_first.append(index)
        self.candidates.append(candidate)
        self.places[candidate.id] = index
        self._sent.add(self._chosen.key(candidate))
        self._state.candidates[candidate.id] = candidate
        return index

    def fill(self) -> None:
        """Adds what goes first; and the whole space, where it is listed."""
        while self.room > 0 and (params := self._queue.next()) is not None:
            self.add(params, first=True)
        if self.listed:
            for params in assignments(self._job.search_params):
                if self.room > 0:
                    self.add(params)

    def join(self, count: int) -> int:
        """Adds at most `count` new candidates, and returns how many it has added."""
        wanted = min(count, self.room)
        if wanted <= 0 or self.listed:
            return 0
        before = len(self.candidates)
        for turn in range(0 if self._grid else TRIES):
            lacking = wanted - (len(self.candidates) - before)
            seen = self._seen() if lacking else ()
            for params in self._study.propose(seen, lacking, TRIES * len(self.candidates) + turn) if lacking else ():
                self.add(params)
        while len(self.candidates) - before < wanted:
            draw = self._untried.in_turn if self._grid else self._untried.at_random
            untried = draw(self._in())
            if untried is None:
                break
            self.add(untried)
        return len(self.candidates) - before

    def written(self) -> None:
        """What joined so far is stored."""
        self.unwritten, self.unwritten_first = [], []

    @property
    def room(self) -> int:
        """How many more candidates may join."""
        return self._trials - (len(self.candidates) - len(self.lost))

    def _in(self) -> set[str]:
        return set().union(*self._known())

    def _known(self) -> tuple[Set[str], ...]:
        """Ids that need not join; not as one set, since every candidate of a listed space is looked up at each wave."""
        return self.places.keys(), self._state.twins.keys(), self.duplicates


class ChosenDemos:
    """Which candidates have the same demos: three `balanced` ones may be the three `random` ones of the same seed."""

    def __init__(self, job: ResolvedJob) -> None:
        self._job = job
        self._rows: dict[tuple[DemoKind, int, int], tuple[str, ...]] = {}

    def key(self, candidate: Candidate) -> str:
        """The same for candidates that differ in nothing but how they came to the same demos."""
        kind, count, seed = candidate.demo_kind, candidate.demo_count, candidate.demo_seed
        if kind not in (DemoKind.RANDOM, DemoKind.BALANCED):
            return candidate.id
        if (kind, count, seed) not in self._rows:
            found = choose_demos(kind, count, seed, self._job.task.splits.train, self._job.balance_by)
            self._rows[kind, count, seed] = tuple(example.content_hash for example in found)
        bare = replace(candidate, demo_kind=DemoKind.NONE, demo_count=0)
        return content_hash([bare.id, *self._rows[kind, count, seed]])


def prompt_read(candidate: Candidate, job: ResolvedJob) -> str | None:
    """The same for candidates that send the same prompts to one model of this machine, which keeps what it has read.

    None where other candidates gain nothing from that: the model runs elsewhere, or there are several.
    """
    if not job.models[candidate.model].local or candidate.models:
        return None
    return replace(candidate, params={}, constrained=False, request_params={}, predictor_params={}).id
