"""The loop: incumbent first, then ask, evaluate, tell until a limit. Candidates are raced: see `live_racing.py`.

Invariant: after every ask, exactly one tell follows on every way out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from offramp.calls.failures import ModelNotFound
from offramp.errors import OfframpError
from offramp.job.resolved import ResolvedJob
from offramp.job.session import Session
from offramp.records import Candidate, Evaluation, Example, Result, Split
from offramp.search.holdout_reserve import HoldoutReserve
from offramp.search.live_racing import LiveRacing
from offramp.search.optuna_study import Asked, OptunaStudy
from offramp.search.outcome import Options
from offramp.search.progress import Reporter
from offramp.search.proposals.rounds import Rounds
from offramp.search.state import StudyState
from offramp.search.trial_queue import TrialQueue
from offramp.search.untried import UntriedCandidates
from offramp.search.warm.start import add_prior
from offramp.store.candidates import CandidateState, texts_of

DUPLICATES = 3
"""After so many proposals in a row that were tried already, an untried one is drawn at random."""


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
    rounds: Rounds | None
    _queue: TrialQueue = field(init=False)
    _untried: UntriedCandidates = field(init=False)
    _race: LiveRacing | None = field(init=False)
    _prior_added: bool = field(init=False, default=False)
    _evaluate: Callable[[Candidate, Sequence[Example]], Awaitable[Evaluation]] = field(init=False)

    def __post_init__(self) -> None:
        job = self.state.job
        part, examples = job.space.search.race, job.task.splits.search
        self._race = None if part is None else LiveRacing(part, examples, self.options.seed)
        self._queue = TrialQueue(self.state)
        self._evaluate = partial(self.session.evaluator.evaluate, split=Split.SEARCH, on_result=self._on_result)
        self._untried = UntriedCandidates(job.search_params, job.candidate, self.options.seed)

    async def run(self) -> str:
        """Searches to an end; the word for why it ended. A cap or a failure is raised."""
        self.state.recall(self.study)
        with self._parking():
            await self._evaluate_incumbent()
        self._add_prior()
        self.reserve.reserve()
        await self._retry_failed_examples()
        while True:
            if self.state.trials >= self.options.trials:
                return "trials"
            exhausted = not self._untried.left(self.state.known)
            due = self.rounds is not None and self.rounds.due(self.state.job, exhausted=exhausted)
            if exhausted and not due:
                return "space_exhausted"
            self.session.clock.check()
            self.reserve.reserve()
            if due:
                with self._parking():
                    await self._propose()
                continue
            trial = self._next_trial()
            if trial is None:
                return "space_exhausted"
            with self._parking():
                await self._run_trial(*trial)
            self._add_prior()

    @contextmanager
    def _parking(self) -> Iterator[None]:
        """A candidate whose model no longer answers ends here, and the search goes on without that model."""
        try:
            yield
        except ModelNotFound as error:
            self.state.park(error)
            self._adopt(self.state.job.with_joined(texts_of(self.state.variants)))

    def _adopt(self, job: ResolvedJob) -> None:
        """The search goes on with other texts or models."""
        self.state.job = job
        self.study.adopt(job.search_params)
        self._untried = UntriedCandidates(job.search_params, job.candidate, self.options.seed)

    async def _propose(self) -> None:
        """A round of proposals; the search continues with the instructions that joined."""
        if self.rounds is None:
            return
        self.reporter.begin_proposals()
        self._adopt(await self.rounds.run(self.state.job))

    async def _evaluate_incumbent(self) -> None:
        """The incumbent in full, before anything else: scales that refer to it are fixed by it."""
        state, incumbent = self.state, self.state.job.incumbent
        if incumbent is None or incumbent.id in state.finished:
            state.fix_scales(None if incumbent is None else state.finished[incumbent.id])
            return
        self._begin(incumbent)
        evaluation = await self._evaluate(incumbent, state.job.task.splits.search)
        state.values(incumbent, evaluation)
        state.fix_scales(evaluation)
        outcome = state.trial_outcome(incumbent, evaluation)
        origin = {**self._queue.origin(incumbent, incumbent=True), **self._as_sent(evaluation)}
        state.keep(incumbent, evaluation, self.study.next_number(), origin=origin)
        self.reporter.publish()
        self.study.add_incumbent(incumbent.params, *outcome)

    def _add_prior(self) -> None:
        """Trials of the study that this one starts from, once the scales are fixed that a utility needs."""
        space, details = self.state.job.space, self.state.study.details
        if details.warm is None or self._prior_added or not details.objectives:
            return
        single = space.search.mode == "utility"
        add_prior(self.study, details.warm, self.state.objectives, space.constraints, single=single)
        self._prior_added = True

    async def _retry_failed_examples(self) -> None:
        """Runs again the examples of finished candidates that an earlier run got no answer for.

        Optuna keeps what it has: that is the history that later proposals came from. Reports use the new results.
        """
        failed = {name for name, evaluation in self.state.finished.items() if evaluation.n < len(evaluation.results)}
        for trial in self.study.finished() if failed else ():
            if trial.duplicate_of is None and trial.candidate in failed:
                self.session.clock.check()
                candidate = self.state.candidates[trial.candidate]
                if self.state.job.is_parked(candidate.params):
                    continue
                with self._parking():
                    examples = self.state.job.task.splits.search
                    self.state.finished[candidate.id] = await self._evaluate(candidate, examples)
                    self.state.refresh(Split.SEARCH, candidate.id)

    def _next_trial(self) -> tuple[Asked, Candidate] | None:
        """Proposals until one is new; None when none is left. Whose turn it is depends on the stored history alone."""
        while True:
            self.session.clock.check()
            if not self._queue_untried():
                return None
            asked = self.study.ask()
            with self._told_on_error(asked):
                candidate = self.state.job.candidate(asked.params)
                if candidate.id not in self.state.known:
                    return asked, candidate
                self._tell_duplicate(asked, candidate, self.state.twins.get(candidate.id, candidate.id))

    async def _run_trial(self, asked: Asked, candidate: Candidate) -> None:
        """Evaluates a candidate as far as it is worth it, keeps it, and tells Optuna."""
        state, origin = self.state, self._queue.origin(candidate)
        with self._told_on_error(asked):
            self._begin(candidate)
            evaluation, stopped_by = Evaluation(candidate=candidate.id, results=()), None
            examples = state.job.task.splits.search
            rivals = state.rivals() if self._race is not None else {}
            for block in (examples,) if self._race is None else self._race.blocks():
                evaluation = await self._evaluate(candidate, block)
                if self._race is not None and len(block) < len(examples):
                    stopped_by = self._race.stopped_by(
                        candidate, evaluation, state.objectives, rivals=rivals, others=state.finished
                    )
                    if stopped_by is not None:
                        break
            sent = self._as_sent(evaluation)
            ended = CandidateState.COMPLETE if stopped_by is None else CandidateState.STOPPED
            if (twin := state.twin_of(sent.get("requests"), ended)) is not None:
                state.twins[candidate.id] = twin
                self.reporter.publish()
                self._tell_duplicate(asked, candidate, twin)
                return
            origin |= sent
            if stopped_by is not None:
                reason = f"{stopped_by} is ahead of it in every objective"
                state.keep(candidate, evaluation, asked.number, origin=origin, stopped_because=reason)
                self.reporter.publish()
                self.study.tell_stopped(asked.number, stopped_attributes(candidate, evaluation, reason))
                return
            state.values(candidate, evaluation)
            state.fix_scales(evaluation)  # where the incumbent could not: its model no longer answers
            outcome = state.trial_outcome(candidate, evaluation)
            state.keep(candidate, evaluation, asked.number, origin=origin)
            self.reporter.publish()
            self.study.tell(asked.number, *outcome)

    def _as_sent(self, evaluation: Evaluation) -> dict[str, Any]:
        """What a candidate's record keeps of its requests; `requests` where equal ones make it the same candidate."""
        sent = self.session.evaluator.sent(evaluation.candidate)
        if sent is None:
            return {}
        fingerprint = sent.fingerprint([result.example for result in evaluation.results])
        found = {"requests": fingerprint, "sent": sent.other_than_stated()}
        return {name: value for name, value in found.items() if value}

    def _begin(self, candidate: Candidate) -> None:
        """A candidate runs from here on; results that it has already are not run again."""
        self.state.candidates[candidate.id] = candidate
        self.reporter.begin(candidate, len(self.state.job.task.splits.search))
        self.state.reuse(candidate, Split.SEARCH)

    def _on_result(self, result: Result) -> None:
        self.reporter.on_result(result)
        self.reserve.on_result(result)

    @contextmanager
    def _told_on_error(self, asked: Asked) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            with suppress(OfframpError):  # a storage that fails; the next run takes the trial back
                self.study.tell_failed(asked.number, f"{type(error).__name__}: {error}")
            raise

    def _tell_duplicate(self, asked: Asked, candidate: Candidate, same: str) -> None:
        """Ends the trial of a candidate that was tried before, as `same`, with what that came to then."""
        first = self.state.first_trial(same)
        if same in self.state.stopped:
            attributes = stopped_attributes(candidate, self.state.stopped[same], f"as trial {first}")
            self.study.tell_stopped(asked.number, {**attributes, "duplicate_of": first})
            return
        values, attributes, missed = self.state.trial_outcome(candidate, self.state.finished[same])
        self.study.tell(asked.number, values, {**attributes, "duplicate_of": first}, missed)

    def _queue_untried(self) -> bool:
        """Queues what goes before the sampler, or what it would not find; False when nothing is left."""
        params = self._queue.next()
        if params is None and self.state.job.space.search.sampler == "grid":
            params = self._untried.in_turn(self.state.known)
        elif params is None and self.study.duplicates_in_a_row() >= DUPLICATES:
            params = self._untried.at_random(self.state.known)
        elif params is None:
            return True
        if params is not None:
            self.study.queue(params)
        return params is not None


def stopped_attributes(candidate: Candidate, evaluation: Evaluation, reason: str) -> dict[str, object]:
    """What Optuna keeps of a raced-out trial: no values, since some examples do not give values of the study."""
    return {
        "candidate": candidate.id,
        "params": dict(candidate.params),
        "n": evaluation.n,
        "n_failed": len(evaluation.results) - evaluation.n,
        "stopped_because": reason,
    }
