"""The search of one run: the incumbent first, then waves of the race until a limit, with proposals in between.

Invariant: every way out leaves the candidates that have not ended as paused, so that a study shows what it has.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from offramp.calls.failures import ModelNotFound
from offramp.evaluate.replicates import lack_runs
from offramp.job.resolved import ResolvedJob
from offramp.job.session import Session
from offramp.records import Split
from offramp.search.holdout.reserve import HoldoutReserve
from offramp.search.live.endings import as_sent
from offramp.search.live.race import LiveRace
from offramp.search.outcome import Options
from offramp.search.progress import Reporter
from offramp.search.proposals.rounds import Rounds
from offramp.search.racing.waves import run_waves
from offramp.search.sampling.optuna_study import OptunaStudy
from offramp.search.sampling.trial_queue import TrialQueue
from offramp.search.state import StudyState
from offramp.search.warm.start import add_prior
from offramp.store.candidates import texts_of
from offramp.store.ledger import StudyEffort


@dataclass(slots=True, kw_only=True)
class Loop:
    """One run of the search.

    Attributes:
        reserve: what the caps have to leave for the holdout.
        rounds: of proposed instructions; None where the space file wants none.
    """

    options: Options
    session: Session
    state: StudyState
    study: OptunaStudy
    reserve: HoldoutReserve
    reporter: Reporter
    effort: StudyEffort
    rounds: Rounds | None
    _race: LiveRace | None = field(init=False, default=None)
    _prior_added: bool = field(init=False, default=False)

    async def run(self) -> str:
        """Searches to an end; the word for why it ended. A cap or a failure is raised."""
        self.state.recall(self.study)
        with self._parking():
            await self._evaluate_incumbent()
        self._add_prior()
        self.reserve.reserve()
        await self._retry_failed_examples()
        race = self._race = LiveRace(
            options=self.options, session=self.session, state=self.state, study=self.study,
            reserve=self.reserve, reporter=self.reporter, effort=self.effort, before_next=self._propose,
            on_missing=self._park,
        )  # fmt: skip
        try:
            await run_waves(race, race)
        finally:
            race.pause()
        return race.ended_because()

    @contextmanager
    def _parking(self) -> Iterator[None]:
        """A candidate whose model no longer answers ends here, and the search goes on without that model."""
        try:
            yield
        except ModelNotFound as error:
            self._park(error)

    def _park(self, error: ModelNotFound) -> None:
        """The search goes on without a model; raises where it cannot."""
        self.state.park(error)
        self._adopt(self.state.job.with_joined(texts_of(self.state.variants)))

    def _adopt(self, job: ResolvedJob) -> None:
        """The search goes on with other texts or models."""
        self.state.job = job
        self.study.adopt(job.search_params)
        if self._race is not None:
            self._race.adopt()

    async def _propose(self) -> None:
        """A round of proposals where one is due; the search continues with the instructions that joined."""
        self._add_prior()
        while self._race is not None and self.rounds is not None:
            if not self.rounds.due(self.state.job, exhausted=self._race.exhausted):
                return
            self.reporter.begin_proposals()
            with self._parking():
                self._adopt(await self.rounds.run(self.state.job))

    async def _evaluate_incumbent(self) -> None:
        """The incumbent in full, before anything else: scales that refer to it are fixed by it."""
        state, incumbent = self.state, self.state.job.incumbent
        if incumbent is None or incumbent.id in state.finished:
            state.fix_scales(None if incumbent is None else state.finished[incumbent.id])
            return
        examples = state.job.task.splits.search
        state.candidates[incumbent.id] = incumbent
        self.reporter.begin(incumbent, len(examples))
        state.reuse(incumbent, Split.SEARCH)
        evaluator = self.session.evaluator
        evaluation = await evaluator.evaluate(
            incumbent, examples, split=Split.SEARCH, on_result=self.reporter.on_result
        )  # fmt: skip
        state.values(incumbent, evaluation)
        state.fix_scales(evaluation)
        values, attributes, constraints = state.trial_outcome(incumbent, evaluation)
        sent = evaluator.sent(incumbent.id)
        origin = {**TrialQueue(state).origin(incumbent, incumbent=True), **as_sent(sent, evaluation)}
        state.keep(incumbent, evaluation, self.study.next_number, origin=origin)
        self.reporter.publish()
        self.study.add(incumbent.params, attributes, values, constraints)

    def _add_prior(self) -> None:
        """Trials of the study that this one starts from, once the scales are fixed that a utility needs."""
        space, details = self.state.job.space, self.state.study.details
        if details.warm is None or self._prior_added or not details.objectives:
            return
        single = space.search.mode == "utility"
        add_prior(self.study, details.warm, self.state.objectives, space.constraints, single=single)
        self._prior_added = True

    async def _retry_failed_examples(self) -> None:
        """Runs again the examples of finished candidates that an earlier run lacks an answer for.

        Optuna keeps what it has: that is the history that later proposals came from. Reports use the new results.
        """
        examples, replicates = self.state.job.task.splits.search, self.state.job.space.replicates
        failed = {
            name
            for name, evaluation in self.state.finished.items()
            if evaluation.n < len(evaluation.results)
            or lack_runs(examples, self.state.results.of(Split.SEARCH, name), replicates)
        }
        for name in sorted(failed, key=self.state.first_trial):
            self.session.clock.check()
            candidate = self.state.candidates[name]
            if self.state.job.is_parked(candidate.params):
                continue
            with self._parking():
                self.state.finished[name] = await self.session.evaluator.evaluate(
                    candidate, examples, split=Split.SEARCH,
                    on_result=self.reporter.on_result,
                )  # fmt: skip
                self.state.refresh(Split.SEARCH, name)
