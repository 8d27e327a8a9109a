"""A judge that was replaced in the space file: the answers on record are graded again by the new one.

Scores of two judges are never compared. Where nothing but the judge differs from what the evidence is of, its answers,
which the study's storage has, get grades of the judge that also grades the new ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from offramp.calls.failures import InfrastructureError
from offramp.errors import StorageError, UsageError, problem
from offramp.evaluate.scoring import judge_ask
from offramp.evaluate.together import all_of
from offramp.job.judges import judge_key, judges_in, only_judges_differ
from offramp.job.resolved import ResolvedJob
from offramp.job.session import Session
from offramp.program.metric_answers import answer_of
from offramp.promote.check_report import Before, Regraded
from offramp.promote.evidence import answer_hash
from offramp.promote.promotion import Promotion
from offramp.records import Result, ResultState, Split
from offramp.space.load import space_from_json
from offramp.space.model import SpaceFile
from offramp.store.engine import open_store
from offramp.store.long_texts import is_cut
from offramp.store.results import ResultStore
from offramp.store.studies import StudyStore
from offramp.task.fields import task_fields
from offramp.task.metrics.judge import JudgeFailed


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """Answers of the evidence, by example, with the judges that graded them."""

    results: Mapping[str, Result]
    judges: tuple[str, ...]


def another_task(job: ResolvedJob) -> UsageError:
    """Says that the space file is not what the evidence is of."""
    what = "its data, splits or metric are not those that the evidence is of"
    do = "Restore them, name the right file with --space, or optimize and promote again."
    return UsageError(problem(str(job.loaded.path), what, do=do))


def answers_of_another_judge(promotion: Promotion, job: ResolvedJob, url: str) -> Recorded:
    """The answers of the evidence, where only the judge was replaced in the space file.

    Args:
        url: of the storage that may have the study.

    Raises:
        UsageError: something else differs, or the answers are not on record; with what to do.
    """
    evidence, now = promotion.evidence, judges_in(job.space)
    if (job.task.dataset_hash, job.task.splits_hash) != (evidence.dataset_hash, evidence.splits_hash) or not now:
        raise another_task(job)
    space, results = _study(promotion, url)
    if space is None:
        named = tuple(d.model.name for d in promotion.dependencies or () if d.role == "judge")
        if not named or named == now:
            raise another_task(job)
        raise _not_on_record(job, named, f"the study {evidence.study} is not in {url}")
    same_fields = task_fields(space.task, str(job.loaded.path)).hash == job.task.fields.hash
    if not same_fields or not only_judges_differ(space, job.space):
        raise another_task(job)
    if promotion.cascade is not None:
        raise _not_on_record(job, judges_in(space), "those of a cascade are recorded for its members alone")
    scored = [result for result in results.values() if result.state is ResultState.SCORED]
    if any(result.outputs is None for result in scored) or not results:
        raise _not_on_record(job, judges_in(space), "its answers were not stored (`store_text: false`)")
    if any(map(is_cut, scored)):
        raise _not_on_record(job, judges_in(space), "some were cut in the storage (`calls.stored_answer_chars`)")
    return Recorded(results=results, judges=judges_in(space))


def _not_on_record(job: ResolvedJob, before: tuple[str, ...], why: str) -> UsageError:
    (now, *_) = judges_in(job.space)
    where = job.loaded.where(judge_key(job.space, now))
    what = (
        f"the judge is {now}, and {', '.join(before)} graded the evidence. The recorded answers would be graded again "
        f"by the new one, and they are missing: {why}"
    )
    do = "Name the storage of the study with --storage, restore the judge, or optimize and promote again."
    return UsageError(problem(where, what, do=do))


def _study(promotion: Promotion, url: str) -> tuple[SpaceFile | None, Mapping[str, Result]]:
    """The study's space as it ran, and the results on the holdout that have a score; None where it is missing."""
    evidence = promotion.evidence
    try:
        with open_store(url, write_probe=False) as store:
            row = StudyStore(store).get(evidence.study)
            found = ResultStore(store).get(evidence.study, Split.HOLDOUT, evidence.candidate)
        return space_from_json(row.space_json), {name: r for name, r in found.items() if r.score is not None}
    except (StorageError, ValueError):
        return None, {}


async def graded_again(
    recorded: Recorded, job: ResolvedJob, session: Session, *, concurrency: int
) -> tuple[Before, Regraded]:
    """Scores of the recorded answers by today's metric. A program error stays 0; a judge that fails gives no score.

    Raises:
        JudgeNotFound, BudgetExceeded, Interrupted: the check cannot go on.
    """
    examples = {example.id: example for example in job.task.splits.holdout}
    limit = asyncio.Semaphore(concurrency)

    async def one(result: Result) -> float | None:
        if result.state is not ResultState.SCORED:
            return 0.0
        async with limit:
            session.clock.check()
            try:
                ask = judge_ask(session.send)
                answer = answer_of(result.outputs or {})
                return (await job.task.metric.score(examples[result.example], answer, ask)).value
            except (JudgeFailed, InfrastructureError):
                return None

    results = [result for name, result in sorted(recorded.results.items()) if name in examples]
    scores: dict[str, float] = {}
    for result, ended in zip(results, await all_of(map(one, results)), strict=True):
        if ended is not None:
            scores[result.example] = ended
    hashes = {result.example: answer_hash(result) for result in results}
    now = judges_in(job.space)
    return (
        Before(scores=scores, answers={name: found for name, found in hashes.items() if found is not None}),
        Regraded(
            before=recorded.judges,
            now=now,
            where=job.loaded.where(judge_key(job.space, now[0])),
            answers=len(scores),
            failed=len(results) - len(scores),
        ),
    )
