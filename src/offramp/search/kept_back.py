"""What a search leaves of its caps, so that the verdict on the holdout can still be paid and waited for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from offramp.records import Evaluation
from offramp.search.limits import Clock, search_share
from offramp.search.outcome import Options
from offramp.search.prepare import Prepared
from offramp.store.engine import Store
from offramp.store.purse import Purse
from offramp.study.report import Member, StudyReport

SAFETY = 1.2


def open_purse(
    store: Store, study: str, prepared: Prepared, options: Options, finished: Iterable[Evaluation] | None
) -> Purse:
    """The study's purse, with the caps of a search that has evaluated `finished`; the whole caps for None."""
    if finished is None:
        return Purse(store, study, options.usd, options.calls)
    a_run = prepared.predictors + len(prepared.task.metric.judge_models)
    calls = search_share(options.calls, 2 * len(prepared.task.splits.holdout) * a_run)
    usd = search_share(options.usd, _holdout_usd(prepared, finished))
    return Purse(store, study, usd, None if calls is None else int(calls))


def _holdout_usd(prepared: Prepared, finished: Iterable[Evaluation]) -> float:
    """Rough cost of the verdict: two candidates, each as dear as the dearest so far."""
    known = [evaluation.cost_usd for evaluation in finished]
    return 2 * len(prepared.task.splits.holdout) * max((cost for cost in known if cost is not None), default=0.0)


def holdout_s(prepared: Prepared, options: Options, report: StudyReport, finished: Mapping[str, Evaluation]) -> float:
    """Seconds that the verdict takes: the incumbent's and the leader's own runs, with a fifth more for safety."""
    chosen = {member.candidate: member for member in (report.incumbent, report.recommended) if member is not None}
    seconds = sum(_seconds_per_run(prepared, options, member, finished) for member in chosen.values())
    return SAFETY * len(prepared.task.splits.holdout) * seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What is left of a job's caps; None for no cap of that kind."""

    usd: float | None
    calls: int | None
    seconds: float | None


def left_of(purse: Purse, clock: Clock) -> Left:
    """What is left now."""
    state = purse.state()
    usd = None if state.cap_usd is None else state.cap_usd - state.spent_usd - state.reserved_usd
    calls = None if state.cap_calls is None else state.cap_calls - state.calls - state.reserved_calls
    return Left(usd=usd, calls=calls, seconds=clock.left_s)


def affords(
    left: Left, runs: int, prepared: Prepared, options: Options, member: Member, finished: Mapping[str, Evaluation]
) -> bool:
    """Whether so many more runs of a member can be expected to end within the caps, with a fifth more for safety."""
    a_run = prepared.predictors + len(prepared.task.metric.judge_models)
    seconds = SAFETY * runs * _seconds_per_run(prepared, options, member, finished)
    usd = None if member.cost_usd is None else SAFETY * runs * member.cost_usd
    return (
        (left.calls is None or runs * a_run <= left.calls)
        and (left.seconds is None or seconds < left.seconds)
        and (left.usd is None or (usd is not None and usd < left.usd))
    )


def _seconds_per_run(prepared: Prepared, options: Options, member: Member, finished: Mapping[str, Evaluation]) -> float:
    """Wall clock per example at the job's concurrency; the embedded models work one request at a time."""
    side_by_side = 1 if prepared.models[str(member.params["model"])].local else options.concurrency
    return (finished[member.candidate].latency_s("mean") or 0.0) / side_by_side
