"""The job and its phases: search, then the verdict on the holdout, then the record.

A job is a function of its space, seed and the models' answers. Everything it learns is stored as it is learnt; a run of
the same job continues the study wherever it stopped, whether that was a cap, an error or kill -9.

Invariant: every way out says in the study's record why the job ended.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

from offramp.calls.transports import Transport
from offramp.errors import JobError, OfframpError
from offramp.ids import derived_seed
from offramp.job.clock import Clock, Interrupted, TimeIsUp, Timing
from offramp.job.resolve import ResolvedJob
from offramp.job.session import Caps, Session, open_session
from offramp.records import Result
from offramp.search.kept_back import KeptBack
from offramp.search.known import Known
from offramp.search.leads import Leads
from offramp.search.loop import Loop, Parts
from offramp.search.optuna_study import OptunaStudy
from offramp.search.outcome import JobResult, Options, is_cap, reason_of
from offramp.search.parts import open_study, study_row
from offramp.search.progress import Progress
from offramp.search.proposals.rounds import make_rounds
from offramp.search.verdict import score_on_holdout, score_rest
from offramp.store.budget import BudgetExceeded
from offramp.store.engine import Store
from offramp.store.studies import StudyStatus, StudyStore
from offramp.store.variants import VariantStore, texts_of
from offramp.study.study_report import Money, summary_text

__all__ = ["Job", "JobResult", "Options"]


class Job:
    """One run of a study. `run` does it all."""

    def __init__(
        self, job: ResolvedJob, options: Options, store: Store, *,
        observer: Callable[[Progress], None] | None = None, transport: Transport | None = None,
        timing: Timing | None = None,
    ) -> None:  # fmt: skip
        self._p, self._o, self._store = job, options, store
        self._observer, self._transport = observer, transport
        self._studies = StudyStore(store)
        self._known = Known(job, options, store)
        self._known.publish = self._publish
        self._study: OptunaStudy | None = None
        self._session: Session
        self.name = self._known.name
        self.clock = Clock(minutes=options.minutes, timing=timing or Timing())
        self._kept = KeptBack(job, options, store, self._known, self.clock)

    async def run(self) -> JobResult:
        """Runs the job to its end and returns what it found.

        Raises:
            UsageError: it cannot be run as it is. Errors of the running job are in the result, with what was kept.
        """
        self._record = self._studies.create_or_get(study_row(self._p, self._o))
        async with open_session(
            self._p, store=self._store, study=self.name, clock=self.clock,
            caps=Caps(budget=self.name, usd=self._o.usd, calls=self._o.calls), concurrency=self._o.concurrency,
            seed=derived_seed(self._o.seed, "retries"), on_result=self._on_result, transport=self._transport,
        ) as self._session:  # fmt: skip
            try:
                reason, error = await self._guarded()
                return self._conclude(reason, error)
            except BaseException as error:
                self._leave(error)
                raise
            finally:
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
        variants = VariantStore(self._store).all(self.name)
        self._p = self._p.with_joined(texts_of(variants))
        self._known.adopt(self._p)
        self._study = open_study(self._p, self._o, self._p.objectives, self._store)
        parts = Parts(
            job=self._p, options=self._o, known=self._known, study=self._study, evaluator=self._session.evaluator,
            clock=self.clock, keep_back=self._kept.keep, leads=Leads(self._record.extra.get("warm"), variants),
            rounds=make_rounds(
                self._p, self._o, send=self._session.caller.send, evaluator=self._session.evaluator, known=self._known,
                store=self._store, variants=variants,
            ),
        )  # fmt: skip
        return await Loop(parts).run()

    async def _verdict(self) -> str:
        self._kept.release()
        await score_on_holdout(self._p, self._known, self._session.evaluator)
        with suppress(BudgetExceeded, TimeIsUp):  # what comes now takes what is left of the caps, and no more
            await score_rest(
                self._p, self._known, self._session.evaluator, self._store, self._kept.fits, self.clock.check
            )
        return "trials"

    def _conclude(self, reason: str, error: OfframpError | None) -> JobResult:
        """Writes the study's record, and says what this run did."""
        try:
            return self._concluded(reason, error)
        except JobError:
            raise error or JobError(f"the study {self.name} could not be written to its end") from None

    def _concluded(self, reason: str, error: OfframpError | None) -> JobResult:
        failed = error is not None and not isinstance(error, Interrupted)
        done = reason in ("trials", "space_exhausted")
        status = StudyStatus.FAILED if failed else StudyStatus.FINISHED if done else StudyStatus.STOPPED
        self._studies.update(self.name, status=status, stop_reason=reason)
        stats, state = self._session.stats(), self._kept.budget().state()
        money = Money(
            calls=state.calls, spent_usd=state.spent_usd, assumed_usd=state.assumed_usd, reserved_usd=state.reserved_usd
        )
        report = replace(self._known.report(), money=money)
        self._studies.update(self.name, summary_json=summary_text(report))
        return JobResult(
            report=report,
            calls=stats.calls,
            cached_calls=stats.cached_calls + self._known.reused_calls,
            failed_calls=stats.failed_calls,
            spent_usd=self._session.spent_usd(state),
            spent_by_purpose_usd=stats.by_purpose_usd,
            elapsed_s=self.clock.elapsed_s,
            error=error,
        )

    # ------------------------------------------------------------------------------------------- parts

    def _on_result(self, result: Result) -> None:
        self._known.on_result(result)
        self._kept.on_result(result)

    def _publish(self) -> None:
        if self._observer is not None:
            progress = replace(self._known.progress, stats=self._session.stats(), elapsed_s=self.clock.elapsed_s)
            self._observer(progress)
