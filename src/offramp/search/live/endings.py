"""How each candidate of a live race ends: complete, surely behind the front, as another's twin, or paused.

A candidate ends where all its examples were run, or where its own cells say that it is surely behind the front
(`behind.py`). Where a run of the job ends before, it is paused, and the next run goes on with it.

Invariant: a candidate is in the storage before Optuna learns of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from offramp.calls.failures import ModelNotFound
from offramp.errors import OfframpError
from offramp.program.sent import Sent
from offramp.records import Candidate, Evaluation, Objective
from offramp.search.live.behind import OBJECTIVES, StoppingRule, block_ends
from offramp.search.live.cells import LiveCells
from offramp.search.racing import DeclaredFront, Race
from offramp.search.sampling.optuna_study import OptunaStudy
from offramp.search.sampling.trial_queue import TrialQueue
from offramp.search.state import StudyState
from offramp.store.aggregates import aggregate_of
from offramp.store.candidates import CandidateState
from offramp.store.studies import ParkedModel
from offramp.study.domain.likely import estimate_json


@dataclass(slots=True, kw_only=True)
class Endings:
    """The ends of the candidates of one live race.

    Attributes:
        behind: who is surely behind the front; None where every candidate runs on everything.
        missed: by how much a candidate misses each constraint, by its cells so far.
        sent: what a candidate sent.
        park: takes a model out of the job that no longer answers; raises where the job needs it.
        in_waves: candidates with cells in the waves of earlier runs.
        parked: candidates whose model no longer answers; the pool's own set.
    """

    state: StudyState
    race: Race
    cells: LiveCells
    study: OptunaStudy
    queue: TrialQueue
    behind: StoppingRule | None
    missed: Callable[[int], Mapping[str, float]]
    sent: Callable[[str], Sent | None]
    park: Callable[[ModelNotFound], None]
    in_waves: frozenset[int]
    parked: set[int]
    _looked: dict[int, int] = field(init=False, default_factory=dict)
    _rivals: dict[int, str] = field(init=False, default_factory=dict)
    _complete: set[str] = field(init=False, default_factory=set)

    def look(self, index: int) -> None:
        """Ends a candidate that is complete, or surely behind the front."""
        candidate, again = self.cells.candidates[index], self.cells.again
        complete = self.race.complete(index)
        if candidate.id in self.state.known:
            if candidate.id not in self.state.finished:
                self.race.closed.add(index)
            elif index not in self.in_waves or (complete and not self.cells.waiting(index) and again.settled(index)):
                self._complete.add(candidate.id)
            return
        if index in self.parked:
            return
        if index not in self._rivals and not complete and (rival := self._ahead(index)) is not None:
            self._rivals[index] = rival
            self.race.closed.add(index)
        if self.cells.waiting(index):
            return
        if index in self._rivals:
            self._end(index, self.cells.evaluation(index), f"{self._rivals[index]} is ahead of it in every objective")
        elif complete and again.settled(index):
            self._end(index, self.cells.evaluation(index), None)

    def pause(self) -> None:
        """Keeps what is known of candidates that have not ended, so that a study shows them and a later run goes on."""
        estimates, known = self._estimates(), self.race.cells.known
        means = self.race.expected() if known.any() and len(self.race.open) else None
        for index, candidate in enumerate(self.cells.candidates):
            name = candidate.id
            if name in self.state.known or name not in self.state.begun or index in self.race.closed:
                continue
            evaluation = self.cells.evaluation(index)
            if evaluation.results:
                more: dict[str, Any] = {"open": True}
                if means is not None and known[index]:
                    more["expected"] = self._expected(index, means[index].tolist())
                if index in estimates:
                    more["estimate"] = estimates[index]
                once = ", not all as often as wanted" if self.cells.due(index) else ""
                reason = f"{evaluation.n} of {len(self.cells.examples)} examples run{once}"
                with suppress(OfframpError):
                    self._end(index, evaluation, reason, paused=more)

    # ------------------------------------------------------------------------------------------- parked models

    def missing(self, error: ModelNotFound) -> Collection[str]:
        """A model no longer answers: its candidates are closed; returns their ids."""
        if any(error.model == one.model for one in self.state.job.parked):  # it was asked by more at the same time
            return {self.cells.candidates[index].id for index in self.parked}
        self.park(error)
        closed = self.close(self.state.job.parked)
        if closed:
            reason = f"{type(error).__name__}: {error}"
            self.study.add_failed(self.cells.candidates[closed[0]].params, reason)
        return {self.cells.candidates[index].id for index in closed}

    def close(self, parked: Sequence[ParkedModel]) -> list[int]:
        """Closes the candidates that need one of these models and have not ended; they do not count as run."""
        for index, candidate in enumerate(self.cells.candidates):
            if candidate.id not in self.state.known and any(one.is_used(candidate.params) for one in parked):
                self.race.closed.add(index)
                self.parked.add(index)
                self.state.begun.discard(candidate.id)
        return sorted(self.parked)

    def reopen(self) -> None:
        """Goes on with candidates whose models answer again."""
        parked = self.state.study.details.parked
        for index in sorted(self.parked):
            if not any(one.is_used(self.cells.candidates[index].params) for one in parked):
                self.parked.discard(index)
                self.race.closed.discard(index)
                self.cells.forget_failed(index)

    # ---------------------------------------------------------------------------------------------- estimates

    def _estimates(self) -> dict[int, dict[str, Any]]:
        """What is expected of those members of the declared front that have not ended, by index."""
        if not len(self.race.open) and not any(self.cells.due(i) for i in range(len(self.cells.candidates))):
            return {}
        declared = self.race.declare()
        return {
            i: self._estimate(i, declared)
            for i in declared.front
            if self.cells.candidates[i].id not in self.state.known
            and not any(missed > 0 for missed in self.missed(i).values())
        }

    def _expected(self, index: int, means: Sequence[float]) -> dict[str, float]:
        """What a candidate is expected to come to over all examples, by objective, as its record keeps it."""
        return {o.name: self._factor(index, o) * mean for o, mean in zip(self.state.objectives, means, strict=True)}

    def _estimate(self, index: int, declared: DeclaredFront) -> dict[str, Any]:
        """As a candidate's record keeps it."""
        mean, sd = dict[str, float](), dict[str, float]()
        for objective in self.state.objectives:
            found = declared.estimates[index][OBJECTIVES[objective.name].name]
            factor = self._factor(index, objective)
            mean[objective.name], sd[objective.name] = factor * found.mean, factor * found.sd
        return estimate_json(
            n=self.cells.evaluation(index).n, of=len(self.cells.examples), trust=declared.trust[index], mean=mean, sd=sd
        )  # fmt: skip

    def _factor(self, index: int, objective: Objective) -> float:
        """Another statistic of seconds than the mean is to it as in the candidate's own cells."""
        if objective.name != "latency":
            return 1.0
        own = aggregate_of(self.cells.results(index))
        found, mean = own.latency_s(objective.statistic), own.latency_mean_s
        return found / mean if found and mean else 1.0

    # ------------------------------------------------------------------------------------------------- endings

    def _ahead(self, index: int) -> str | None:
        """The member of the front that a candidate is surely behind; looked at once in every block.

        Of the complete candidates those count that the race knows to be complete: while a run goes through the waves of
        an earlier one, candidates are finished that were not when these waves were decided.
        """
        if self.behind is None:
            return None
        part = self.state.job.space.search.race
        n = int(self.cells.observed[index].sum())
        rung = sum(end <= n for end in block_ends(len(self.cells.examples), None if part is None else part.block))
        if rung <= self._looked.get(index, 0):
            return None
        self._looked[index] = rung
        candidate = self.cells.candidates[index]
        evaluation = Evaluation(candidate=candidate.id, results=tuple(self.cells.results(index)))
        others = {name: found for name, found in self.state.finished.items() if name in self._complete}
        return self.behind.stopped_by(
            candidate, evaluation, self.state.objectives, rivals=self.state.rivals(self._complete), others=others
        )

    def _end(
        self, index: int, evaluation: Evaluation, stopped: str | None, *, paused: Mapping[str, Any] | None = None
    ) -> None:
        """Keeps a candidate as it ended, and tells Optuna; `paused`: what its record says if a later run goes on."""
        state, candidate = self.state, self.cells.candidates[index]
        origin = {**self.queue.origin(candidate), **as_sent(self.sent(candidate.id), evaluation)}
        ended = CandidateState.COMPLETE if stopped is None else CandidateState.STOPPED
        twin = None if paused else state.twin_of(origin.get("requests"), ended)
        if twin is not None:
            self._twin(index, twin)
            return
        before = state.paused.get(candidate.id)
        origin |= paused or {}
        number = self.study.next_number if before is None or stopped is None else before.number
        if stopped is not None:
            state.keep(candidate, evaluation, number, origin=origin, stopped_because=stopped)
            if before is None:
                self.study.add(candidate.params, stopped_attributes(candidate, evaluation, stopped), None)
            return
        state.values(candidate, evaluation)
        state.fix_scales(evaluation)  # where the incumbent could not: its model no longer answers
        values, attributes, constraints = state.trial_outcome(candidate, evaluation)
        more = {} if before is None else {"continues": before.number}
        state.keep(candidate, evaluation, number, origin=origin)
        self._complete.add(candidate.id)
        self.study.add(candidate.params, {**attributes, **more}, values, constraints)

    def _twin(self, index: int, twin: str) -> None:
        """A candidate that turned out to send what another sends: it is the same candidate."""
        state, candidate = self.state, self.cells.candidates[index]
        state.twins[candidate.id] = twin
        self.race.closed.add(index)
        first = state.first_trial(twin)
        if twin in state.stopped:
            attributes = stopped_attributes(candidate, state.stopped[twin], f"as trial {first}")
            self.study.add(candidate.params, {**attributes, "duplicate_of": first}, None)
            return
        values, attributes, missed = state.trial_outcome(candidate, state.finished[twin])
        self.study.add(candidate.params, {**attributes, "duplicate_of": first}, values, missed)


def as_sent(sent: Sent | None, evaluation: Evaluation) -> dict[str, Any]:
    """What a candidate's record keeps of its requests; `requests` where equal ones make it the same candidate."""
    if sent is None:
        return {}
    fingerprint = sent.fingerprint([result.example for result in evaluation.results])
    found = {"requests": fingerprint, "sent": sent.other_than_stated()}
    return {name: value for name, value in found.items() if value}


def stopped_attributes(candidate: Candidate, evaluation: Evaluation, reason: str) -> dict[str, object]:
    """What Optuna keeps of a trial without values."""
    return {
        "candidate": candidate.id,
        "params": dict(candidate.params),
        "n": evaluation.n,
        "n_failed": len(evaluation.results) - evaluation.n,
        "stopped_because": reason,
    }
