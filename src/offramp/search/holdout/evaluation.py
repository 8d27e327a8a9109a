"""The evaluation on the holdout, after the search: the incumbent and the recommended candidate, then the rest.

Calls, money and time for those two were reserved. The rest of the front follows, the better utility first, and then
timed runs where the space file wants them, with what remains of the caps.

Invariant: nothing here changes what is on the front or what is recommended; the holdout is read for the record alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from offramp.calls.failures import ModelNotFound
from offramp.errors import CapReached
from offramp.evaluate.together import all_of
from offramp.job.session import Session
from offramp.records import Candidate, Split
from offramp.search.holdout.probe import WARM_UP, probe
from offramp.search.holdout.reserve import HoldoutReserve
from offramp.search.progress import Reporter
from offramp.search.state import StudyState
from offramp.study.domain.members import Member


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldoutEvaluation:
    """The holdout evaluation of one job."""

    session: Session
    state: StudyState
    reserve: HoldoutReserve
    reporter: Reporter

    async def run(self) -> None:
        """Evaluates everyone that a decision is about, as far as the caps allow.

        Raises:
            CapReached: it did not even allow for the incumbent and the recommended candidate.
        """
        done: set[str] = set()
        while left := [member for member in self.state.report().decisive if member.candidate not in done]:
            member = left[0]
            done.add(member.candidate)
            try:
                self._begin([member])
                await self._evaluate(member)
            finally:
                self.state.refresh(Split.HOLDOUT, member.candidate)
        with suppress(CapReached):  # what follows uses what remains of the caps
            await self._evaluate_rest()

    async def _evaluate_rest(self) -> None:
        report, examples = self.state.report(), self.state.job.task.splits.holdout
        first = report.decisive
        rest = report.standing[len(first) :] if self.state.job.space.verify.front else ()
        chosen = list[tuple[Member, int]]()
        for member in rest:
            known = self.state.results.of(Split.HOLDOUT, member.candidate)
            if report.is_parked(member):
                continue
            if member.holdout is not None and member.holdout.n == len(examples):
                self.state.reuse(self.state.candidates[member.candidate], Split.HOLDOUT)
            elif self.reserve.fit([*chosen, (member, runs := self.reserve.runs_lacking(member, known))]):
                chosen.append((member, runs))
        if chosen:
            await self._evaluate_together([member for member, _ in chosen])
        report = self.state.report()
        await self._time([member for member in (*first, *rest) if not report.is_parked(member)])

    async def _evaluate_together(self, members: Sequence[Member]) -> None:
        """Side by side, so that a few examples leave no place in flight empty; those of embedded models in turn.

        So are modules of the user's own, which may not be run more often at a time than the space file says.
        """
        in_turn = [member for member in members if self._runs_alone(member)]
        lanes = [[member] for member in members if member not in in_turn] + [in_turn]
        self._begin(members)
        await all_of(map(self._evaluate_in_turn, lanes))

    def _runs_alone(self, member: Member) -> bool:
        job = self.state.job
        return job.factory is not None or job.models[self.state.candidates[member.candidate].model].local

    async def _evaluate_in_turn(self, members: Sequence[Member]) -> None:
        for member in members:
            if not self.state.report().is_parked(member):
                await self._evaluate(member)
                self.state.refresh(Split.HOLDOUT, member.candidate)  # not before: a part is compared with nothing

    def _begin(self, members: Sequence[Member]) -> None:
        examples = len(self.state.job.task.splits.holdout)
        self.reporter.begin(self.state.candidates[members[0].candidate], len(members) * examples, phase="holdout")

    async def _evaluate(self, member: Member) -> None:
        examples, candidate = self.state.job.task.splits.holdout, self.state.candidates[member.candidate]
        self.state.reuse(candidate, Split.HOLDOUT)
        with self._parking(candidate):
            await self.session.evaluator.evaluate(
                candidate, examples, split=Split.HOLDOUT, on_result=self.reporter.on_result
            )  # fmt: skip

    @contextmanager
    def _parking(self, candidate: Candidate | None = None) -> Iterator[None]:
        """A member whose model no longer answers is recommended no more; another takes its place."""
        try:
            yield
        except ModelNotFound as error:
            if candidate is None or not self.state.job.is_parked(candidate.params):  # of another one side by side
                self.state.park(error)

    async def _time(self, members: Sequence[Member]) -> None:
        """Times all of them in isolation, unless they were timed already or the caps do not allow for all."""
        part, state = self.state.job.space.verify, self.state
        runs = len(members) * (part.probe + WARM_UP)
        if not part.probe or state.probes.keys() >= {member.candidate for member in members}:
            return
        if not all(self.reserve.fit([(member, runs)], judged=False) for member in members):
            return
        candidates = [state.candidates[member.candidate] for member in members]
        self.reporter.begin(candidates[0], runs, phase="probe")
        with self._parking():
            timed = await probe(
                self.session.evaluator, candidates, state.job.task.splits.holdout, runs=part.probe,
                concurrency=part.concurrency, check=self.session.clock.check,
            )  # fmt: skip
            state.keep_probe(timed, concurrency=part.concurrency)
