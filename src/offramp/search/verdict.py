"""The verdict: after the search, who stands at its end is scored on the holdout, and timed apart where that is wanted.

The incumbent and the recommended candidate go first: calls, money and time were kept back for them. The rest of the
front follows, the better utility first, and then the probe, with what is left of the caps.

Invariant: nothing here changes what is on the front or what is recommended; the holdout is read for the record alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from offramp.evaluate.evaluator import Evaluator
from offramp.job.resolve import ResolvedJob
from offramp.records import Split
from offramp.search.known import Known
from offramp.search.probe import WARM_UP, probe
from offramp.store.engine import Store
from offramp.store.results import ProbeStore
from offramp.study.domain.members import Member
from offramp.study.study_report import StudyReport


class Fits(Protocol):
    """Whether so many runs of a member can be expected to end within the caps, graded or only timed."""

    def __call__(self, member: Member, runs: int, *, judged: bool = True) -> bool: ...


async def score_on_holdout(job: ResolvedJob, known: Known, evaluator: Evaluator) -> None:
    """Scores the incumbent and the recommended candidate."""
    for member in decisive(known.report()):
        try:
            await _score(member, job, known, evaluator)
        finally:
            known.refresh(Split.HOLDOUT, member.candidate)


async def score_rest(
    job: ResolvedJob, known: Known, evaluator: Evaluator, store: Store, fits: Fits,
    check: Callable[[], None],
) -> None:  # fmt: skip
    """Scores the rest of the front and times all of them, as far as the space file wants it and the caps go.

    Args:
        fits: what does not is not begun.
        check: raises when the job has to stop.

    Raises:
        BudgetExceeded, TimeIsUp: they did not; what is complete is kept.
    """
    report, part, examples = known.report(), job.space.verify, job.task.splits.holdout
    first = decisive(report)
    rest = standing(report)[len(first) :] if part.front else ()
    for member in rest:
        there = known.results.get(known.name, Split.HOLDOUT, member.candidate)
        if member.holdout is not None and member.holdout.n == len(examples):
            known.reuse(known.candidate(member.candidate, member.params), Split.HOLDOUT)
        elif fits(member, sum(example.id not in there for example in examples)):
            await _score(member, job, known, evaluator)
            known.refresh(Split.HOLDOUT, member.candidate)  # not before it is complete: a part is compared with nothing
    await _time((*first, *rest), job, known, evaluator, store, fits, check)


async def _time(
    members: Sequence[Member], job: ResolvedJob, known: Known, evaluator: Evaluator, store: Store,
    fits: Fits, check: Callable[[], None],
) -> None:  # fmt: skip
    part, probes = job.space.verify, ProbeStore(store)
    if not part.probe or probes.all(known.name).keys() >= {member.candidate for member in members}:
        return
    runs = len(members) * (part.probe + WARM_UP)
    if not all(fits(member, runs, judged=False) for member in members):
        return
    candidates = [known.candidate(member.candidate, member.params) for member in members]
    known.begin(candidates[0], range(runs), phase="probe")
    timed = await probe(
        evaluator, candidates, job.task.splits.holdout, runs=part.probe, concurrency=part.concurrency, check=check
    )
    probes.put(known.name, timed, concurrency=part.concurrency)


def decisive(report: StudyReport) -> tuple[Member, ...]:
    """The incumbent and the recommended member."""
    chosen = [member for member in (report.incumbent, report.recommended) if member is not None]
    return tuple({member.candidate: member for member in chosen}.values())


def standing(report: StudyReport) -> tuple[Member, ...]:
    """Who a decision is about: the incumbent, the recommended member, and the rest of the front by utility."""
    rest = sorted(report.front, key=lambda m: (-(m.utility or 0.0), m.candidate))
    return tuple({member.candidate: member for member in (*decisive(report), *rest)}.values())


async def _score(member: Member, job: ResolvedJob, known: Known, evaluator: Evaluator) -> None:
    examples = job.task.splits.holdout
    candidate = known.candidate(member.candidate, member.params)
    known.begin(candidate, examples, phase="holdout")
    known.reuse(candidate, Split.HOLDOUT)
    await evaluator.evaluate(candidate, examples, split=Split.HOLDOUT)
