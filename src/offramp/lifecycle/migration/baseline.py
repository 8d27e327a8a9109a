"""Today's config in numbers: recorded, measured now, or as the promotion stored it; or as the reference itself.

As a rule the recorded results of its study are complete, since nothing is promoted that was not evaluated on the
holdout; then the retiring model is not asked at all. Without them it runs once more if it still answers. If it does
not, the scores stored with the promotion serve: enough to count wins and losses, not to show answers.

Without labels (`by_answers`), the recorded answers are the reference, and agreement with them is the metric. That
measures whether users would notice a change, not whether answers are right: today's config agrees with itself fully,
and a better model loses points where it corrects a mistake. The proposal says so. Only recorded answers serve; the
retiring model is not asked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from offramp.errors import JobError, UsageError, problem
from offramp.files import write_file
from offramp.ids import canonical_json, content_hash
from offramp.job.judges import JudgeNotFound, judges_in, only_judges_differ
from offramp.job.resolve import resolve_job
from offramp.job.resolved import ResolvedJob
from offramp.lifecycle.migration import spaces
from offramp.lifecycle.migration.origin import Origin, Recorded, counted
from offramp.lifecycle.migration.record import Baseline, Basis
from offramp.lifecycle.migration.runs import Runs
from offramp.promote.folder import FeatureFolder
from offramp.promote.promotion import SplitEvidence
from offramp.records import Aggregate, Example, Result, ResultState, Split, picked
from offramp.space.load import space_from_json
from offramp.space.model import (
    DatasetPart,
    DemosPart,
    ExactMetric,
    JsonFieldsMetric,
    Metric,
    MixMetric,
    SplitsPart,
    TokenF1Metric,
)
from offramp.store.aggregates import aggregate_of, priced_by_results
from offramp.store.long_texts import is_cut
from offramp.study.wording import ended_words

ID, SPLIT, GROUP = "reference_id", "reference_split", "reference_group"
LEAST = 2
"""Recorded answers that a split must have."""


def read_baseline(origin: Origin, runs: Runs, *, folder: FeatureFolder, alive: bool,
                  say: Callable[[str], None]) -> Baseline:  # fmt: skip
    """Today's config in numbers, judged by the data's labels.

    Args:
        folder: of the promotions of the feature.
        alive: whether its model can still be asked.

    Raises:
        UsageError: nothing is recorded of it, and it cannot be asked.
    """
    recorded = origin.recorded
    if recorded.search and recorded.holdout:
        return Baseline(
            basis=Basis.RECORDED,
            search=_seen(origin, recorded.search),
            holdout=_seen(origin, recorded.holdout),
            results=recorded.holdout,
        )
    measured = _measured(origin, runs, say) if alive else None
    if measured is None and alive and not _same_task(origin):
        raise _other_task(origin)
    return measured or _kept(origin, folder)


def of_this_task(origin: Origin, *, alive: bool, say: Callable[[str], None]) -> tuple[Origin, bool]:
    """The origin, without recorded scores where its space is another task than theirs; and whether it can run again.

    Scores of two tasks are never compared. Answers on record are graded again without a call.

    Raises:
        UsageError: it is another task, its model no longer answers, and no answers are on record.
    """
    if _same_task(origin):
        return origin, alive
    if not alive and origin.row is None:
        raise _other_task(origin)
    say("the space file is another task than the recorded one: its data, splits, metric or fields differ")
    return replace(origin, recorded=Recorded(search={}, holdout={})), True


def _same_task(origin: Origin) -> bool:
    job = resolve_job(spaces.alone(origin, origin.candidate, spaces.leaving_part(origin, searched=True)))
    return job.task.is_of(origin.promotion.evidence.task_hash)


def _other_task(origin: Origin) -> UsageError:
    if (replaced := new_judges(origin)) is not None:
        what = f"{replaced}. Not all of these answers are stored, and {origin.candidate.model} no longer answers"
        do = "Restore the storage of its study, or run `offramp optimize` on a space without an incumbent."
        return UsageError(problem(str(origin.space.path), what, do=do))
    what = (
        f"its data, splits, metric or fields are not those that {origin.candidate.model} was measured on, and that "
        "model no longer answers"
    )
    return UsageError(problem(str(origin.space.path), what, do="Restore them, or leave --space out."))


def new_judges(origin: Origin) -> str | None:
    """Which judges replaced those of the study, in words; None where it has the same ones, or is not in the storage."""
    if origin.row is None:
        return None
    ran = space_from_json(origin.row.space_json)
    if not only_judges_differ(ran, origin.space.space):
        return None
    before, now = ", ".join(judges_in(ran)), ", ".join(judges_in(origin.space.space))
    return (
        f"the judge was {before} and is {now} now: the recorded answers are graded again, so that one judge grades "
        "both sides"
    )


def _measured(origin: Origin, runs: Runs, say: Callable[[str], None]) -> Baseline | None:
    """What it comes to now; None where its provider no longer has the model."""
    say(f"today's config on {origin.candidate.model}, because there are no stored results of it on this task")
    result = runs.run(spaces.alone(origin, origin.candidate, spaces.leaving_part(origin, searched=True)))
    if result.report.parked_models:
        say(ended_words(result.report.parked_models[0]))
        return None
    if isinstance(result.error, JudgeNotFound):
        raise result.error
    if not result.report.members:
        raise result.error or JobError(f"{origin.candidate.model} gave no result: {result.report.stop_reason}")
    name = result.report.members[0].candidate
    seen = {split: counted(runs.results(result.report.study, name, split)) for split in Split}
    return Baseline(
        basis=Basis.MEASURED,
        search=_seen(origin, seen[Split.SEARCH]),
        holdout=_seen(origin, seen[Split.HOLDOUT]),
        results=seen[Split.HOLDOUT],
    )


def _kept(origin: Origin, folder: FeatureFolder) -> Baseline:
    evidence = origin.promotion.evidence
    if evidence.holdout is None or evidence.holdout_results is None:
        what = f"{origin.candidate.model} no longer answers, and none of its results are stored"
        do = "Restore the storage of its study, or run `offramp optimize` on a space without an incumbent."
        raise UsageError(problem(origin.promotion.feature, what, do=do))
    results = {
        str(row["example"]): Result(
            candidate=origin.candidate.id, example=str(row["example"]), state=ResultState(row.get("state", "scored")),
            score=row["score"], cost_usd=None, latency_s=row.get("latency_s"),
        )
        for row in folder.rows(evidence.holdout_results)
    }  # fmt: skip
    return Baseline(
        basis=Basis.PROMOTION,
        search=_aggregate(evidence.search),
        holdout=_aggregate(evidence.holdout),
        results=counted(results),
    )


def _aggregate(seen: SplitEvidence) -> Aggregate:
    """As the promotion stored it, cost included: what it came to by model, which another price needs, is not kept."""
    counts, quality = ("n", "n_fault", "n_failed"), ("quality", "quality_low", "quality_high")
    return Aggregate(**picked(seen, *counts, *quality, "cost_usd", "latency_p50_s", "latency_p95_s"))


def _seen(origin: Origin, results: Mapping[str, Result]) -> Aggregate:
    """Results of today's config at today's price."""
    return priced_by_results(
        aggregate_of(results.values()), spaces.price_today(origin, origin.candidate), results.values()
    )


# -------------------------------------------------------------------------------------- recorded answers as reference


def by_answers(origin: Origin, results: Path) -> tuple[Origin, Baseline]:
    """Judged by recorded answers; writes them as a dataset below the results folder.

    Returns:
        The origin with a space that is judged by agreement, and the baseline.

    Raises:
        UsageError: no answers were recorded. StorageError: the dataset cannot be written.
    """
    job = resolve_job(spaces.alone(origin, origin.candidate, spaces.leaving_part(origin, searched=True)))
    rows = list(_rows(job, origin.recorded))
    for split in (Split.SEARCH, Split.HOLDOUT):
        if sum(row[SPLIT] == split.value for row in rows) < LEAST:
            what = f"no recorded answers on the {split} split to compare with"
            do = "Name the storage of its study with --storage, or use labels as the reference."
            raise UsageError(problem(origin.promotion.feature, what, do=do))
    path = _written(rows, results / "references")
    return replace(origin, space=_space(origin, job, path)), _agreeing(origin, job)


def _rows(job: ResolvedJob, recorded: Recorded) -> Iterator[dict[str, Any]]:
    answers = {Split.SEARCH: recorded.search, Split.HOLDOUT: recorded.holdout}
    outputs = list(job.task.fields.outputs)
    for split in Split:
        for example in job.task.splits.of(split):
            gold = _labels(example, outputs) if split is Split.TRAIN else _answered(answers[split].get(example.id))
            if gold is not None:
                group = {} if example.group is None else {GROUP: example.group}
                yield {**example.values, **gold, ID: example.id, SPLIT: split.value, **group}


def _labels(example: Example, outputs: list[str]) -> Mapping[str, Any] | None:
    """Labels of a train example, for demos; None where it has none."""
    return {} if all(example.values.get(name) is not None for name in outputs) else None


def _answered(result: Result | None) -> Mapping[str, Any] | None:
    return None if result is None or result.state is not ResultState.SCORED or is_cut(result) else result.outputs


def _written(rows: list[dict[str, Any]], folder: Path) -> Path:
    content = "".join(json.dumps(row, ensure_ascii=False, sort_keys=True, default=str) + "\n" for row in rows)
    path = folder / f"{content_hash(canonical_json(rows), length=16)}.jsonl"
    write_file(path, content)
    return path.absolute()


def _space(origin: Origin, job: ResolvedJob, path: Path) -> Any:
    splits = job.task.splits
    labelled = any(_labels(example, list(job.task.fields.outputs)) is not None for example in splits.train)
    changes: dict[str, Any] = {
        "dataset": DatasetPart(path=str(path), id=ID, group=None if job.space.dataset.group is None else GROUP),
        "splits": SplitsPart(column=SPLIT, train=["train"], search=["search"], holdout=["holdout"]),
        "metric": agreement(job),
    }
    if not labelled:
        changes["demos"] = DemosPart(kind="none", count=0)
    return origin.space.changed(**changes)


def agreement(job: ResolvedJob) -> Metric:
    """How similar two answers are, field by field: words of free text, items of lists and objects, else equality."""
    parts: list[Metric] = [_same(name, field.type) for name, field in job.task.fields.outputs.items()]
    return parts[0] if len(parts) == 1 else MixMetric(kind="mix", parts=parts)


def _same(name: str, kind: str) -> Metric:
    if kind == "str":
        return TokenF1Metric(kind="token_f1", field=name)
    if kind.startswith(("list", "object")):
        return JsonFieldsMetric(kind="json_fields", fields=[name])
    return ExactMetric(kind="exact", field=name)


def _agreeing(origin: Origin, job: ResolvedJob) -> Baseline:
    """Its own answers agree with themselves."""
    search, holdout = (
        {name: replace(result, score=1.0) for name, result in results.items() if _answered(result) is not None}
        for results in (origin.recorded.search, origin.recorded.holdout)
    )
    return Baseline(
        basis=Basis.RECORDED,
        search=_seen(origin, search),
        holdout=_seen(origin, holdout),
        results=holdout,
        unanswered=tuple(example.id for example in job.task.splits.holdout if example.id not in holdout),
    )
