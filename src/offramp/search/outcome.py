"""What a run of a job may use, what it did, and the one word for why it ended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from offramp.calls.failures import FatalCallError, ModelNotFound
from offramp.calls.missing_model import short
from offramp.errors import CapReached, JobError, OfframpError
from offramp.evaluate.evaluator import TooManyFailures
from offramp.evaluate.observe import ObservationFailed
from offramp.job.clock import Interrupted, TimeIsUp
from offramp.job.resolved import ResolvedJob
from offramp.records import Result, ResultState
from offramp.search.proposals._base import ProposalFailed
from offramp.store.budget import BudgetExceeded
from offramp.store.studies import ParkedModel
from offramp.study.shown import ShownStudy, run_words
from offramp.study.study_report import StudyReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a run may use. None: as the space file says, or no cap."""

    trials: int
    seed: int
    concurrency: int
    usd: float | None = None
    calls: int | None = None
    minutes: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class JobResult(ShownStudy):
    """One run of a job: the study as it stands now, and what this run did.

    Attributes:
        calls: physical requests of this run, retries included.
        cached_calls: answers that this run did not pay for: from the ledger, or from stored results of the study.
        spent_usd: physical money of this run, with what it had to book for requests that a killed run had sent.
        error: what ended the job early; None when it ended by itself.
    """

    report: StudyReport
    calls: int
    cached_calls: int
    failed_calls: int
    spent_usd: float
    spent_by_purpose_usd: Mapping[str, float]
    elapsed_s: float
    error: OfframpError | None = None

    @property
    def shown_run(self) -> str:
        """What this run did, in a few words."""
        return run_words(self.calls, self.cached_calls, self.failed_calls, self.spent_usd, self.elapsed_s)

    @property
    def capped(self) -> bool:
        """Whether a cap on money or calls ended it."""
        return self.report.stop_reason in CAPS


class NoModelLeft(JobError):
    """No provider has any of the searched models any more."""


def parked_model(error: ModelNotFound, job: ResolvedJob) -> ParkedModel:
    """The record of a model that no longer answers. Raises `error` where no candidate uses it, or all of them do."""
    used_by = {} if error.model is None else job.used_by(error.model)
    if error.model is None or not used_by:
        raise error
    found = ParkedModel(
        model=error.model, retired=error.retired, said=short(error.said) if job.space.store_text else "",
        successors=error.successors, used_by={} if used_by.keys() == {"model"} else used_by,
    )  # fmt: skip
    return replace(found, incumbent=job.incumbent is not None and found.is_used(job.incumbent.params))


CAPS = {"budget_usd": "budget.usd", "budget_calls": "budget.calls"}
"""The key of the cap that a run ended for, by the word for it."""


def reason_of(error: OfframpError) -> str:
    """The one word for why a job ended before its trials were done."""
    if isinstance(error, BudgetExceeded):
        return f"budget_{error.which}"
    if isinstance(error, TimeIsUp):
        return "minutes"
    if isinstance(error, Interrupted):
        return "interrupted"
    if isinstance(error, TooManyFailures | ObservationFailed | ProposalFailed):
        return "failures"
    return "refused" if isinstance(error, FatalCallError | NoModelLeft) else "error"


def is_cap(error: OfframpError | None) -> bool:
    """Whether the job ended because a cap was reached, which is not a failure."""
    return isinstance(error, CapReached)


def answers_behind(results: Iterable[Result]) -> int:
    """Answers behind results that count; infrastructure errors are run again."""
    return sum(r.calls + r.cached_calls for r in results if r.state is not ResultState.INFRASTRUCTURE_ERROR)
