"""The beginning of a study that starts from another: what is taken over, written once.

Order matters: cells and texts are copied first, and the study's record, which says that all is there, is written last.
A job that is killed in between copies the same again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from offramp.job.resolve import ResolvedJob
from offramp.records import Candidate, Result, ResultState, Split
from offramp.search.outcome import Options
from offramp.search.parts import study_row
from offramp.search.proposals.build import leak_check
from offramp.search.warm.fit import fitted, held
from offramp.search.warm.source import Source, full_source_name, read_source
from offramp.space.dimensions import Texts, proposal_names
from offramp.store.aggregates import AggregateStore
from offramp.store.candidates import CandidateRow, CandidateState
from offramp.store.engine import Store
from offramp.store.results import ResultStore
from offramp.store.studies import StudyStore
from offramp.store.variants import Variant, VariantStore, texts_of

STATISTICS = ("mean", "p50", "p90", "p95")


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What is taken over from a study.

    Attributes:
        job: the job, with the texts of the old front that its file lacks.
        variants: those texts.
        cells: results that need not be paid for, by split.
        record: what the study's record says: `study`, `first` (assignments), `prior` (trials), `cells`, `notes`.
    """

    job: ResolvedJob
    variants: tuple[Variant, ...]
    cells: dict[Split, list[Result]]
    record: dict[str, Any]


def start_from(job: ResolvedJob, options: Options, store: Store, source: Store, study: str) -> ResolvedJob:
    """The job as one that starts from `study`; its record is written where it is not there yet.

    Raises:
        UsageError: that study cannot be used for this job; nothing was written.
    """
    named = replace(job, started_from=full_source_name(source, study, job, options.seed))
    name, studies = named.study_name(options.seed), StudyStore(store)
    if studies.find(name) is not None:
        return named.with_joined(texts_of(VariantStore(store).all(name)))
    start = plan_start(named, source)
    results = ResultStore(store, job.space.store_text)
    for split, cells in start.cells.items():
        results.put(name, split, cells)
    VariantStore(store).put(name, *start.variants)
    row = study_row(named, options)
    studies.create_or_get(replace(row, extra={**row.extra, "warm": start.record}))
    return start.job


def plan_start(named: ResolvedJob, source_store: Store) -> Start:
    """What would be taken over. Writes nothing; raises as `start_from`."""
    source = read_source(source_store, str(named.started_from), named)
    variants = tuple(_missing_texts(source, named))
    job = named.with_joined(texts_of(variants))
    first = list(_first(source, job))
    cells = {split: list(_cells(source, job, split)) for split in (Split.SEARCH, Split.HOLDOUT)}
    counts: dict[str, int] = {}
    for result in cells[Split.SEARCH]:
        counts[result.candidate] = counts.get(result.candidate, 0) + 1
    record = {
        "study": source.row.name,
        "storage": source_store.url,
        "same_task": source.same_task,
        "notes": list(source.notes),
        "first": first,
        "prior": list(_prior(source, job, {lead["candidate"] for lead in first})),
        "cells": counts,
    }
    return Start(job=job, variants=variants, cells=cells, record=record)


def _missing_texts(source: Source, named: ResolvedJob) -> Iterator[Variant]:
    """Instructions of the old front that this file does not have, under their old names where these are free.

    One that was written on other data is dropped where it gives away what is hidden here.
    """
    leaks = None if source.same_task else leak_check(named)
    taken: dict[str, dict[str, str]] = {p: dict(texts) for p, texts in named.texts.items()}
    number = 0
    for row in source.front():
        for predictor, text in row.candidate.instructions.items():
            texts = taken.get(predictor)
            if texts is None or text in texts.values():
                continue
            name = _free_name(_old_name(row, predictor), named, texts)
            texts[name] = text
            reason = None if leaks is None else leaks.reason(text)
            yield Variant(
                number=number, predictor=predictor, kind="study", round=0, name=name if reason is None else None,
                text=text, reason=reason, parents=(row.id,),
            )  # fmt: skip
            number += 1


def _old_name(row: CandidateRow, predictor: str) -> str:
    param = "instruction" if predictor == "main" else f"instruction.{predictor}"
    return str(row.params.get(param, "text"))


def _free_name(old: str, named: ResolvedJob, texts: Texts | dict[str, str]) -> str:
    taken = {*texts, *proposal_names(named.space)}
    names = (f"{old}-{i}" if i else old for i in range(len(taken) + 2))
    return next(name for name in (f"old-{n}" if n in taken else n for n in names) if name not in taken)


def _first(source: Source, job: ResolvedJob) -> Iterator[dict[str, Any]]:
    """The old front, best first; then, for models that it never saw, the old front on each of them."""
    models = job.searched_models
    new = [name for name in models if name not in source.searched_models]
    seen: set[str] = set()
    plans = [(row, row.candidate.model) for row in source.front() if row.candidate.model in models]
    plans += [(row, model) for row in source.front() for model in (new or _others(row, models))]
    for row, model in plans:
        params = fitted(row.candidate, job, model=model)
        candidate = job.candidate(params)
        if candidate.id not in seen:
            seen.add(candidate.id)
            yield {
                "params": dict(params), "candidate": candidate.id, "parent": row.id, "same": candidate.id == row.id
            }  # fmt: skip


def _others(row: CandidateRow, models: tuple[str, ...]) -> tuple[str, ...]:
    """A candidate whose model is not searched here goes on all that are."""
    return () if row.candidate.model in models else models


def _cells(source: Source, job: ResolvedJob, split: Split) -> Iterator[Result]:
    """Results that are this job's as well, at today's prices; a request there is an answer for nothing here."""
    results = ResultStore(source.store).all(source.row.name, split)
    ids = {example.id for example in job.task.splits.of(split)}
    for row in source.rows:
        if not _is_ours(row.candidate, job) or not source.answers_for(row.candidate, job):
            continue
        price = job.models[row.candidate.model].price
        for result in results.get(row.id, {}).values():
            if result.state is not ResultState.INFRASTRUCTURE_ERROR and result.example in ids:
                cost = None if price is None else price.cost_usd(result.usage)
                yield replace(
                    result, cost_usd=cost, calls=0, cached_calls=result.calls + result.cached_calls
                )  # fmt: skip


def _is_ours(candidate: Candidate, job: ResolvedJob) -> bool:
    incumbent = job.incumbent
    if incumbent is not None and incumbent.id == candidate.id:
        return True
    return job.candidate(fitted(candidate, job)).id == candidate.id


def _prior(source: Source, job: ResolvedJob, first: set[str]) -> Iterator[dict[str, Any]]:
    """Finished trials of that study that this one does not run itself, as far as their params are searched here."""
    if not source.same_task:
        return
    summaries = AggregateStore(source.store).all(source.row.name, Split.SEARCH)
    for row in source.rows:
        params = held(row.candidate, job)
        if row.state is not CandidateState.COMPLETE or row.id in first or not params or row.id not in summaries:
            continue
        price = job.models[row.candidate.model].price if row.candidate.model in job.models else None
        seen = summaries[row.id].priced(price)
        cost = seen.cost_usd if price is not None else _old_cost(source, row.id)
        yield {
            "candidate": row.id, "params": params, "quality": seen.quality, "cost_usd": cost,
            "latency_s": {name: seen.latency_s(name) for name in STATISTICS},
        }  # fmt: skip


def _old_cost(source: Source, candidate: str) -> float | None:
    return next((m.cost_usd for m in source.report.members if m.candidate == candidate), None)
