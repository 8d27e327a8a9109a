"""Without labels: the recorded answers of what runs today as the reference, and agreement with them as the metric.

That measures whether users would notice a change, not whether answers are right: what runs today agrees with itself
completely, and a better model loses points where it corrects a mistake. The proposal says so.

Invariant: only recorded answers are used; the retiring model is not called.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from offramp.errors import StorageError, UsageError, problem
from offramp.ids import canonical_json, content_hash
from offramp.job.resolve import resolve_job
from offramp.job.resolved import ResolvedJob
from offramp.lifecycle.migration import spaces
from offramp.lifecycle.migration.origin import Origin, Recorded
from offramp.lifecycle.migration.record import Baseline, Basis
from offramp.records import Example, Result, ResultState, Split
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
from offramp.store.aggregates import aggregate_of

ID, SPLIT = "reference_id", "reference_split"
LEAST = 2
"""Recorded answers of a split, at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Referenced:
    """The migration's origin with other gold: its space is judged by agreement."""

    origin: Origin
    baseline: Baseline


def by_answers(origin: Origin, results: Path) -> Referenced:
    """The origin, judged by its own recorded answers; writes them as a dataset below the results folder.

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
    return Referenced(origin=replace(origin, space=_space(origin, job, path)), baseline=_baseline(origin.recorded))


def _rows(job: ResolvedJob, recorded: Recorded) -> Iterator[dict[str, Any]]:
    answers = {Split.SEARCH: recorded.search, Split.HOLDOUT: recorded.holdout}
    outputs = list(job.task.fields.outputs)
    for split in Split:
        for example in job.task.splits.of(split):
            told = _told(example, outputs) if split is Split.TRAIN else _answered(answers[split].get(example.id))
            if told is not None:
                yield {**example.values, **told, ID: example.id, SPLIT: split.value}


def _told(example: Example, outputs: list[str]) -> Mapping[str, Any] | None:
    """Labels of a train example, for demos; None where it has none."""
    return {} if all(example.values.get(name) is not None for name in outputs) else None


def _answered(result: Result | None) -> Mapping[str, Any] | None:
    return None if result is None or result.state is not ResultState.SCORED else result.outputs


def _written(rows: list[dict[str, Any]], folder: Path) -> Path:
    content = "".join(json.dumps(row, ensure_ascii=False, sort_keys=True, default=str) + "\n" for row in rows)
    path = folder / f"{content_hash(canonical_json(rows), length=16)}.jsonl"
    scratch = path.with_suffix(".tmp")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        scratch.write_text(content, encoding="utf-8")
        scratch.replace(path)
    except OSError as error:
        raise StorageError(problem(str(path), f"cannot be written ({error.strerror})")) from error
    return path.absolute()


def _space(origin: Origin, job: ResolvedJob, path: Path) -> Any:
    splits = job.task.splits
    labelled = any(_told(example, list(job.task.fields.outputs)) is not None for example in splits.train)
    changes: dict[str, Any] = {
        "dataset": DatasetPart(path=str(path), id=ID),
        "splits": SplitsPart(column=SPLIT, train=["train"], search=["search"], holdout=["holdout"]),
        "metric": agreement(job),
    }
    if not labelled:
        changes["demos"] = DemosPart(kind="none", count=0)
    return origin.space.changed(**changes)


def agreement(job: ResolvedJob) -> Metric:
    """How far an answer is the same, field by field: words of free text, items of lists and objects, else equality."""
    parts: list[Metric] = [_same(name, field.type) for name, field in job.task.fields.outputs.items()]
    return parts[0] if len(parts) == 1 else MixMetric(kind="mix", parts=parts)


def _same(name: str, kind: str) -> Metric:
    if kind == "str":
        return TokenF1Metric(kind="token_f1", field=name)
    if kind.startswith(("list", "object")):
        return JsonFieldsMetric(kind="json_fields", fields=[name])
    return ExactMetric(kind="exact", field=name)


def _baseline(recorded: Recorded) -> Baseline:
    """Its own answers agree with themselves."""
    search, holdout = (
        {name: replace(result, score=1.0) for name, result in results.items() if _answered(result) is not None}
        for results in (recorded.search, recorded.holdout)
    )
    return Baseline(
        basis=Basis.RECORDED,
        search=aggregate_of(search.values()),
        holdout=aggregate_of(holdout.values()),
        results=holdout,
    )
