"""The job and its phases: search, then the evaluation on the holdout, then the record.

A job is a function of its space, seed and the models' answers. Everything it learns is stored as it is learnt; a run of
the same job continues the study wherever it stopped, whether that was a cap, an error or kill -9.

Invariant: every way out says in the study's record why the job ended.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial

from offramp.calls.transports import Transport
from offramp.errors import JobError, OfframpError, in_a_run
from offramp.ids import derived_seed
from offramp.job.batching import runs_at_once
from offramp.job.clock import Clock, Interrupted, Timing
from offramp.job.loaded import study_row
from offramp.job.resolved import ResolvedJob
from offramp.job.session import Caps, Session, open_session
from offramp.search.holdout.evaluation import HoldoutEvaluation
from offramp.search.holdout.reserve import HoldoutReserve
from offramp.search.loop import Loop
from offramp.search.outcome import CAPS, JobResult, Options, is_cap, reason_of
from offramp.search.progress import Progress, Reporter
from offramp.search.proposals.rounds import make_rounds
from offramp.search.sampling.optuna_study import OptunaStudy, open_study
from offramp.search.slow_calls import SlowCalls
from offramp.search.state import StudyState
from offramp.store.candidates import texts_of
from offramp.store.engine import Store
from offramp.store.ledger import CallAttempt, StudyEffort, typical_calls
from offramp.store.studies import StudyStatus, StudyStore
from offramp.study.study_report import Money, summary_text

__all__ = ["Job", "JobResult", "Options"]


class Job:
    """One run of a study. `run` does it all."""

    def __init__(
        self, job: ResolvedJob, options: Options, store: Store, *,
        observer: Callable[[Progress], None] | None = None, transport: Transport | None = None,
        timing: Timing | None = None,
    ) -> None:  # fmt: skip
        self._job, self._options, self._store = job, options, store
        self._observer, self._transport = observer, transport
        self.name = job.study_name(options.seed)
        self._studies = StudyStore(store)
        self.clock = Clock(minutes=options.minutes, timing=timing or Timing())

    async def run(self) -> JobResult:
        """Runs the job to its end and returns what it found.

        Raises:
            UsageError: it cannot be run as it is. Errors of the running job are in the result, with what was kept.
        """
        options, effort = self._options, StudyEffort()
        slow = SlowCalls(self._job.models, partial(typical_calls, self._store))

        def on_attempt(attempt: CallAttempt) -> None:
            effort.add(attempt)
            slow.add(attempt)

        record = self._studies.create_or_get(study_row(self._job, options.seed))
        async with open_session(
            self._job, store=self._store, study=self.name, clock=self.clock,
            caps=Caps(budget=self.name, usd=options.usd, calls=options.calls), in_flight=options.concurrency,
            concurrency=runs_at_once(self._job, options.concurrency), batch=self._job.space.calls.batch,
            seed=derived_seed(options.seed, "retries"), on_attempt=on_attempt, transport=self._transport,
        ) as session:  # fmt: skip
            try:
                effort.read(self._store, self.name)
                state = StudyState(self._job, record, self._store, session.results)
                reporter = Reporter(self._observer, options, state, session)
                reserve = HoldoutReserve(options, state, session, effort)
                error: OfframpError | None = None
                try:
                    details = replace(state.study.details, run=reporter.run)
                    state.update(status=StudyStatus.RUNNING, stop_reason=None, details=details)
                    state.job = state.job.with_joined(texts_of(state.variants))
                    with (
                        in_a_run(session.has_asked),
                        closing(open_study(state.job, options.seed, self._store)) as study,
                    ):
                        reason = await self._loop(session, state, study, reserve, reporter, effort).run()
                except OfframpError as raised:
                    reason, error = reason_of(raised), raised
                if error is None or is_cap(error):
                    try:
                        reserve.release()
                        session.caller.ask_directly()
                        holdout = HoldoutEvaluation(session=session, state=state, reserve=reserve, reporter=reporter)
                        with in_a_run(session.has_asked):
                            await holdout.run()
                    except OfframpError as late:
                        if error is None or not is_cap(late):
                            reason, error = reason_of(late), late
                return self._conclude(session, state, reason, None if is_cap(error) else error)
            except BaseException as ended:
                self._leave(ended)
                raise

    def _loop(
        self, session: Session, state: StudyState, study: OptunaStudy, reserve: HoldoutReserve, reporter: Reporter,
        effort: StudyEffort,
    ) -> Loop:  # fmt: skip
        """The search of this run."""
        rounds = make_rounds(
            state.job, self._options, send=session.caller.send, evaluator=session.evaluator, state=state
        )  # fmt: skip
        return Loop(
            options=self._options, session=session, state=state, study=study, reserve=reserve, reporter=reporter,
            effort=effort, rounds=rounds,
        )  # fmt: skip

    def _conclude(self, session: Session, state: StudyState, reason: str, error: OfframpError | None) -> JobResult:
        """Writes why the study ended and its summary, and says what this run did."""
        failed = error is not None and not isinstance(error, Interrupted)
        done = reason in ("trials", "space_exhausted")
        status = StudyStatus.FAILED if failed else StudyStatus.FINISHED if done else StudyStatus.STOPPED
        try:
            state.update(status=status, stop_reason=reason, details=replace(state.study.details, run=None))
            stats, budget = session.stats(), session.budget.state()
            money = Money(
                calls=budget.calls,
                spent_usd=budget.spent_usd,
                assumed_usd=budget.assumed_usd,
                reserved_usd=budget.reserved_usd,
            )
            report = replace(state.report(), money=money)
            state.update(summary_json=summary_text(report))
        except JobError:
            raise error or JobError(f"the study {self.name} could not be written to its end") from None
        if error is None and reason in CAPS and not (money.calls or stats.calls or stats.cached_calls or state.tried):
            what = f"{self.name}: the job ended before its first call: {CAPS[reason]} has no room for it"
            error = JobError(f"{what}. Raise it, or set max_tokens, and run the same command again.")
        return JobResult(
            report=report,
            calls=stats.calls,
            cached_calls=stats.cached_calls + state.reused_calls,
            failed_calls=stats.failed_calls,
            spent_usd=session.spent_usd(),
            spent_by_purpose_usd=stats.by_purpose_usd,
            elapsed_s=self.clock.elapsed_s,
            error=error,
        )

    def _leave(self, error: BaseException) -> None:
        """Says in the study's record why it ended, where the storage still takes it."""
        stopped = not isinstance(error, Exception) or isinstance(error, Interrupted)
        status = StudyStatus.STOPPED if stopped else StudyStatus.FAILED
        with suppress(OfframpError):
            self._studies.update(self.name, status=status, stop_reason="interrupted" if stopped else "error")
