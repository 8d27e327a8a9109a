"""The job: incumbent first, then ask, evaluate, tell until a limit; then the verdict on the holdout.

A job is a function of its space, seed and the models' answers. Everything it learns is stored as it is learnt; a run of
the same job continues the study wherever it stopped, whether that was a cap, an error or kill -9.

Invariant: every way out tells the trial, settles or keeps the purse, releases the lease, and says why the job ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace

from offramp.calls.caller import open_caller
from offramp.errors import JobError, OfframpError
from offramp.evaluate.evaluator import TooManyFailures
from offramp.models.server import LocalServers
from offramp.records import Candidate, Evaluation, Result, Scalar, Split
from offramp.search.kept_back import holdout_s, open_purse
from offramp.search.limits import Clock, Interrupted
from offramp.search.objectives import (
    Objective,
    objectives_from_json,
    objectives_json,
    utility,
    values_of,
    violations,
    with_scales,
)
from offramp.search.optuna_study import Asked, OptunaStudy
from offramp.search.outcome import JobResult, Options, answers_behind, is_cap, reason_of
from offramp.search.parts import make_caller, make_evaluator, open_study, study_row
from offramp.search.policy import Block, BlockPolicy, FullEvaluation
from offramp.search.prepare import Prepared
from offramp.search.progress import Progress
from offramp.search.report import Money, StudyReport, build_report, summary_text
from offramp.search.unseen import Unseen
from offramp.store.engine import Store
from offramp.store.owners import current_owner
from offramp.store.purse import Purse
from offramp.store.results import ResultStore
from offramp.store.studies import Lease, StudyStatus, StudyStore

__all__ = ["DUPLICATES", "Job", "JobResult", "Options"]

DUPLICATES = 3
"""After so many proposals in a row that are known already, an unseen one is drawn at random."""


class Job:
    """One run of a study. `run` does it all."""

    def __init__(
        self, prepared: Prepared, options: Options, store: Store, *, observer: Callable[[Progress], None] | None = None,
        policy: BlockPolicy | None = None, servers: LocalServers | None = None,
    ) -> None:  # fmt: skip
        self._p, self._o, self._store = prepared, options, store
        self._observer, self._policy = observer, policy or FullEvaluation()
        self._servers = servers or LocalServers()
        self.name = prepared.study_name(options.seed)
        self._studies, self._results = StudyStore(store), ResultStore(store, prepared.space.store_text)
        self._objectives: tuple[Objective, ...] = prepared.objectives
        self._finished: dict[str, Evaluation] = {}
        self._first_trial: dict[str, int] = {}
        self._reused_calls = 0
        self._unseen = Unseen(prepared.dims, prepared.candidate, options.seed)
        self._study: OptunaStudy | None = None
        self.clock = Clock(minutes=options.minutes)
        self._progress = Progress(study=self.name, trials_wanted=options.trials, minutes=options.minutes)

    def interrupt(self) -> None:
        """Ask the job to stop after the requests that are in flight."""
        self.clock.interrupted = True

    async def run(self) -> JobResult:
        """Runs the job to its end and returns what it found.

        Raises:
            UsageError: it cannot be run as it is. Errors of the running job are in the result, with what was kept.
        """
        self._studies.create_or_get(study_row(self._p, self._o))
        lease = self._studies.acquire_lease(self.name, current_owner())
        renewal = asyncio.create_task(self._renew(lease))
        try:
            return await self._run()
        except BaseException as error:
            self._leave(error)
            raise
        finally:
            renewal.cancel()
            with suppress(JobError):  # a storage that fails keeps the lease until this process is gone
                self._studies.release(lease)

    async def _run(self) -> JobResult:
        purse = self._purse(search_only=True)
        spent_before = purse.state().spent_usd
        self._caller = make_caller(open_caller, self._p, self._o, store=self._store, purse=purse, servers=self._servers)
        try:
            reason, error = await self._guarded()
            try:
                return self._conclude(reason, error, spent_before)
            except JobError:
                raise error or JobError(f"the study {self.name} could not be written to its end") from None
        finally:
            await self._caller.aclose()
            await self._servers.close()
            if self._study is not None:
                self._study.close()

    def _leave(self, error: BaseException) -> None:
        """Says in the study's record why it ended, where the storage still takes it."""
        stopped = not isinstance(error, Exception) or isinstance(error, Interrupted)
        status = StudyStatus.STOPPED if stopped else StudyStatus.FAILED
        with suppress(OfframpError):
            self._studies.update(self.name, status=status, stop_reason="interrupted" if stopped else "error")

    # ------------------------------------------------------------------------------------------ phases

    async def _guarded(self) -> tuple[str, OfframpError | None]:
        """Runs all phases; every error of the job becomes a reason."""
        reason, error = await self._caught(self._search())
        if error is None or is_cap(error):
            late, late_error = await self._caught(self._verdict())
            if late_error is not None and (error is None or not is_cap(late_error)):
                reason, error = late, late_error
        return reason, None if is_cap(error) else error

    async def _caught(self, phase: Awaitable[str]) -> tuple[str, OfframpError | None]:
        try:
            return await phase, None
        except OfframpError as error:
            return reason_of(error), error

    async def _search(self) -> str:
        self._studies.update(self.name, status=StudyStatus.RUNNING, stop_reason=None)
        self._evaluator = make_evaluator(
            self._p, self._o, send=self._caller.send, results=self._results, on_result=self._on_result,
            check=self.clock.check,
        )  # fmt: skip
        self._study = open_study(self._p, self._o, self._p.objectives, self._store)
        self._study.take_back_unfinished()
        self._recall(self._study)
        await self._incumbent_first(self._study)
        await self._mend(self._study)
        return await self._loop(self._study)

    def _recall(self, study: OptunaStudy) -> None:
        """Takes up what the study knows already."""
        for trial in study.finished():
            if trial.duplicate_of is not None:
                continue
            results = self._results.get(self.name, Split.SEARCH, trial.candidate)
            self._finished[trial.candidate] = Evaluation(candidate=trial.candidate, results=tuple(results.values()))
            self._first_trial[trial.candidate] = trial.number
            self._reused_calls += answers_behind(results.values())
        self._progress = replace(self._progress, trials=len(self._finished))

    async def _incumbent_first(self, study: OptunaStudy) -> None:
        incumbent = self._p.incumbent
        if incumbent is not None and incumbent.id not in self._finished:
            evaluation = await self._evaluate(incumbent)
            self._fix_scales(evaluation)
            values, attributes, missed = self._told(incumbent, evaluation)
            number = study.add_incumbent(incumbent.params, values, attributes, missed)
            self._note(incumbent, evaluation, number)
        else:
            self._fix_scales(None if incumbent is None else self._finished[incumbent.id])

    def _fix_scales(self, incumbent: Evaluation | None) -> None:
        """Fixed once for a study, then kept in its record, so that no later run measures with another ruler."""
        row = self._studies.get(self.name)
        if kept := row.extra.get("objectives"):
            self._objectives = objectives_from_json(kept)
            return
        self._objectives = with_scales(self._p.objectives, incumbent)
        extra = {
            "objectives": objectives_json(self._objectives),
            "incumbent": None if self._p.incumbent is None else self._p.incumbent.id,
        }
        self._studies.update(self.name, extra={**row.extra, **extra})

    async def _mend(self, study: OptunaStudy) -> None:
        """Runs again the examples of finished candidates that an earlier run got no answer for.

        What optuna was told stays: it is the history that later proposals came from. Reports read the results.
        """
        broken = {name for name, evaluation in self._finished.items() if evaluation.n_failed}
        for trial in study.finished() if broken else ():
            if trial.duplicate_of is None and trial.candidate in broken:
                self.clock.check()
                candidate = self._candidate_of(trial.candidate, trial.params)
                examples = self._p.task.splits.search
                self._finished[candidate.id] = await self._evaluator.evaluate(candidate, examples, split=Split.SEARCH)

    async def _loop(self, study: OptunaStudy) -> str:
        while True:
            if len(self._finished) >= self._o.trials:
                return "trials"
            if not self._unseen.left(self._finished):
                return "space_exhausted"
            self.clock.check()
            self._keep_back()
            if not await self._next_trial(study):
                return "space_exhausted"

    async def _next_trial(self, study: OptunaStudy) -> bool:
        """Proposals until one is new; False when none is left. Whose turn it is depends on the stored history alone."""
        while True:
            if not self._queue_unseen(study):
                return False
            asked = study.ask()
            with self._told_on_error(study, asked):
                candidate = self._p.candidate(asked.params)
                if candidate.id not in self._finished:
                    await self._run_trial(study, asked, candidate)
                    return True
                self._tell_duplicate(study, asked, candidate)

    async def _run_trial(self, study: OptunaStudy, asked: Asked, candidate: Candidate) -> None:
        evaluation = await self._evaluate(candidate)
        values, attributes, missed = self._told(candidate, evaluation)
        study.tell(asked.number, values, attributes, missed)
        self._note(candidate, evaluation, asked.number)

    @contextmanager
    def _told_on_error(self, study: OptunaStudy, asked: Asked) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            with suppress(OfframpError):  # a storage that fails; the next run takes the trial back
                study.tell_failed(asked.number, f"{type(error).__name__}: {error}")
            raise

    def _tell_duplicate(self, study: OptunaStudy, asked: Asked, candidate: Candidate) -> None:
        values, attributes, missed = self._told(candidate, self._finished[candidate.id])
        attributes["duplicate_of"] = self._first_trial[candidate.id]
        study.tell(asked.number, values, attributes, missed)

    def _queue_unseen(self, study: OptunaStudy) -> bool:
        """Queues an assignment that is not known yet where the sampler would not find one; False when none is left."""
        if self._p.space.search.sampler == "grid":
            unseen = self._unseen.in_turn(self._finished)
        elif study.duplicates_in_a_row() >= DUPLICATES:
            unseen = self._unseen.at_random(self._finished)
        else:
            return True
        if unseen is not None:
            study.queue(unseen)
        return unseen is not None

    async def _evaluate(self, candidate: Candidate) -> Evaluation:
        """As far as the policy wants it evaluated."""
        self._progress = replace(self._progress, candidate=candidate.params, done=0, of=len(self._p.task.splits.search))
        evaluation = Evaluation(candidate=candidate.id, results=())
        examples = self._p.task.splits.search
        self._reuse(candidate, Split.SEARCH)
        finished = tuple(self._finished.values())
        while isinstance(step := self._policy.next(candidate, evaluation, examples, finished), Block):
            more = await self._evaluator.evaluate(candidate, step.examples, split=Split.SEARCH)
            evaluation = evaluation.extended(more.results)
        return evaluation

    def _reuse(self, candidate: Candidate, split: Split) -> None:
        """Counts the answers behind results that are there already: the evaluator takes them as they are."""
        self._reused_calls += answers_behind(self._results.get(self.name, split, candidate.id).values())

    def _told(
        self, candidate: Candidate, evaluation: Evaluation
    ) -> tuple[list[float], dict[str, object], dict[str, float]]:
        """Values, attributes and constraints for optuna.

        Raises:
            TooManyFailures: no example has a score, so that there is nothing to tell.
        """
        values = values_of(self._objectives, evaluation)
        if values is None:
            raise TooManyFailures(
                f"candidate {candidate.id} ({candidate.model}) has no result to compare: all runs failed"
            )
        score = utility(self._objectives, values)
        attributes: dict[str, object] = {
            "candidate": candidate.id,
            "params": dict(candidate.params),
            "utility": score,
            "n": evaluation.n,
            "n_fault": evaluation.n_fault,
            "n_failed": evaluation.n_failed,
            "latency_p95_s": evaluation.latency_s("p95"),
        }
        told = [score] if self._p.space.search.mode == "utility" else list(values)
        return told, attributes, violations(self._p.space.constraints, evaluation)

    def _note(self, candidate: Candidate, evaluation: Evaluation, number: int) -> None:
        self._finished[candidate.id] = evaluation
        self._first_trial[candidate.id] = number
        report = self._report()
        self._progress = replace(self._progress, trials=len(self._finished), front=report.front)
        self._publish()

    async def _verdict(self) -> str:
        """Scores the incumbent and the recommended candidate on the holdout."""
        report = self._report()
        chosen = [member for member in (report.incumbent, report.recommended) if member is not None]
        self._purse(search_only=False)
        self.clock.keep_back(0.0)
        for member in {member.candidate: member for member in chosen}.values():
            candidate = self._candidate_of(member.candidate, member.params)
            examples = self._p.task.splits.holdout
            self._progress = replace(self._progress, phase="holdout", candidate=member.params, done=0, of=len(examples))
            self._reuse(candidate, Split.HOLDOUT)
            await self._evaluator.evaluate(candidate, examples, split=Split.HOLDOUT)
        return "trials"

    def _candidate_of(self, candidate_id: str, params: Mapping[str, Scalar]) -> Candidate:
        incumbent = self._p.incumbent
        if incumbent is not None and candidate_id == incumbent.id:
            return incumbent
        return self._p.candidate(params)

    def _conclude(self, reason: str, error: OfframpError | None, spent_before: float) -> JobResult:
        failed = error is not None and not isinstance(error, Interrupted)
        done = reason in ("trials", "space_exhausted")
        status = StudyStatus.FAILED if failed else StudyStatus.FINISHED if done else StudyStatus.STOPPED
        self._studies.update(self.name, status=status, stop_reason=reason)
        stats, state = self._caller.stats(), self._purse(search_only=False).state()
        money = Money(
            calls=state.calls, spent_usd=state.spent_usd, assumed_usd=state.assumed_usd, reserved_usd=state.reserved_usd
        )
        report = replace(self._report(), money=money)
        self._studies.update(self.name, summary_json=summary_text(report))
        return JobResult(
            report=report,
            calls=stats.calls,
            cached_calls=stats.cached_calls + self._reused_calls,
            failed_calls=stats.failed_calls,
            spent_usd=max(0.0, state.spent_usd - spent_before),
            spent_by_purpose_usd=stats.by_purpose_usd,
            elapsed_s=self.clock.elapsed_s,
            error=error,
        )

    # ------------------------------------------------------------------------------------------- parts

    def _purse(self, *, search_only: bool) -> Purse:
        """The study's purse; while searching, money and calls for the verdict on the holdout are kept back."""
        finished = self._finished.values() if search_only else None
        return open_purse(self._store, self.name, self._p, self._o, finished)

    def _keep_back(self) -> None:
        """Keeps money and time back for the verdict, from what runs have taken so far."""
        if self._o.usd is not None:
            self._purse(search_only=True)
        if self._o.minutes is not None:
            self.clock.keep_back(holdout_s(self._p, self._o, self._report(), self._finished))

    def _report(self) -> StudyReport:
        """The study as it stands."""
        trials = None if self._study is None else self._study.finished()
        return build_report(self._store, self.name, trials=trials)

    def _on_result(self, result: Result) -> None:
        progress = self._progress
        self._progress = replace(progress, done=progress.done + 1, runs=progress.runs + 1)
        self._publish()

    def _publish(self) -> None:
        if self._observer is not None:
            self._observer(replace(self._progress, stats=self._caller.stats(), elapsed_s=self.clock.elapsed_s))

    async def _renew(self, lease: Lease) -> None:
        with suppress(asyncio.CancelledError):
            while True:
                await asyncio.sleep(20)
                try:
                    self._studies.renew(lease)
                except JobError:
                    self.interrupt()
                    return
