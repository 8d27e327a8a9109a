"""What a study takes over from the one that it starts from: decided and written once, at its beginning.

Results and texts are copied first, and the study's record, which says that everything is there, is written last. A job
that is killed in between copies the same again.

Trials of the old study serve as history for the sampler. They are in Optuna's study alone, marked `prior` and without a
`candidate`, so no report, front, count or recommendation of this study includes them. Samplers that learn from all
finished trials (`tpe`, `gp`) learn from them; `nsga2` breeds from its own population only, and `random` and `grid` do
not learn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from offramp.job.loaded import study_row
from offramp.job.resolved import ResolvedJob
from offramp.records import Candidate, Objective, Price, Replicate, Result, ResultState, Split, price_of
from offramp.search.fitting import fitted, searched_params
from offramp.search.outcome import Options
from offramp.search.proposals.screening import leak_check
from offramp.search.sampling.optuna_study import OptunaStudy
from offramp.search.warm.prices import PriceChanges, price_changes
from offramp.search.warm.source import Source, full_source_name, read_source
from offramp.space.model import ConstraintsPart
from offramp.space.params import instruction_param, proposal_names
from offramp.store.aggregates import AggregateStore, result_usd
from offramp.store.candidates import CandidateState, Variant, VariantStore, texts_of
from offramp.store.engine import Store
from offramp.store.results import ResultStore
from offramp.store.studies import FirstCandidate, PriorTrial, StudyStore, WarmStart
from offramp.study.domain.objectives import utility, values_of, violations

STATISTICS = ("mean", "p50", "p90", "p95")


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What is taken over from a study.

    Attributes:
        job: the job, with the old front's instructions that its space file lacks.
        variants: those instructions.
        results: results that need not be paid for again, by split.
        record: what the study's record will say of it.
    """

    job: ResolvedJob
    variants: tuple[Variant, ...]
    results: dict[Split, list[Result]]
    record: WarmStart


def start_from(job: ResolvedJob, options: Options, store: Store, source: Store, study: str) -> ResolvedJob:
    """The job as one that starts from `study` in the storage `source`; writes its record unless that exists.

    Raises:
        UsageError: this job cannot start from that study; nothing was written.
    """
    named = replace(job, started_from=full_source_name(source, study, job, options.seed))
    name, studies = named.study_name(options.seed), StudyStore(store)
    if studies.find(name) is not None:
        return named.with_joined(texts_of(VariantStore(store).all(name)))
    start = plan_start(named, source)
    for split, results in start.results.items():
        ResultStore(store, job.space.store_text).put(name, split, results)
    VariantStore(store).put(name, *start.variants)
    row = study_row(named, options.seed)
    studies.create_or_get(replace(row, details=replace(row.details, warm=start.record)))
    return start.job


def plan_start(named: ResolvedJob, source_store: Store) -> Start:
    """What would be taken over. Writes nothing; raises as `start_from`."""
    source = read_source(source_store, str(named.started_from), named)
    variants = tuple(_missing_texts(source, named))
    job = named.with_joined(texts_of(variants))
    first, changes = tuple(_first_candidates(source, job)), price_changes(source.row, job)
    results = {split: list(_reused_results(source, job, split, changes)) for split in (Split.SEARCH, Split.HOLDOUT)}
    reused = Counter(result.candidate for result in results[Split.SEARCH])
    record = WarmStart(
        study=source.row.name,
        storage=source_store.url,
        same_task=source.same_task,
        notes=source.notes,
        first=first,
        prior=tuple(_prior_trials(source, job, {one.candidate for one in first}, changes)),
        reused=dict(reused),
        sent=_sent(source, [name for name, n in reused.items() if n == len(job.task.splits.search)]),
    )
    return Start(job=job, variants=variants, results=results, record=record)


def _missing_texts(source: Source, named: ResolvedJob) -> Iterator[Variant]:
    """The old front's instructions that this space file lacks, under their old names where these are free.

    One that was written on other data is dropped if it gives away what is hidden here.
    """
    leaks = None if source.same_task else leak_check(named)
    texts_here = {predictor: dict(texts) for predictor, texts in named.texts.items()}
    number = 0
    for row in source.front():
        for predictor, text in row.candidate.instructions.items():
            texts = texts_here.get(predictor)
            if texts is None or text in texts.values():
                continue
            old_name = str(row.params.get(instruction_param(predictor), "text"))
            name = _free_name(old_name, {*texts, *proposal_names(named.space)})
            texts[name] = text
            reason = None if leaks is None else leaks.reason(text)
            yield Variant(
                number=number, predictor=predictor, kind="study", round=0, name=name if reason is None else None,
                text=text, reason=reason, parents=(row.id,),
            )  # fmt: skip
            number += 1


def _free_name(old: str, taken: set[str]) -> str:
    """The old name, or the first free one of `old-<name>`, `<name>-1`, ..."""
    names = (f"{old}-{i}" if i else old for i in range(len(taken) + 2))
    return next(name for name in (f"old-{n}" if n in taken else n for n in names) if name not in taken)


def _first_candidates(source: Source, job: ResolvedJob) -> Iterator[FirstCandidate]:
    """The old front, best first; then the old front on each model that it never saw.

    Without a new model, members whose model is not searched here are tried on all that are.
    """
    models, front = job.searched_models, source.front()
    new = [name for name in models if name not in source.searched_models]
    plans = [(row, row.candidate.model) for row in front if row.candidate.model in models]
    for row in front:
        plans += [(row, model) for model in new or (() if row.candidate.model in models else models)]
    seen: set[str] = set()
    for row, model in plans:
        params = fitted(row.candidate, job, model=model)
        candidate = job.candidate(params)
        if candidate.id not in seen:
            seen.add(candidate.id)
            same = candidate.id == row.id
            yield FirstCandidate(params=dict(params), candidate=candidate.id, parent=row.id, same=same)


def _reused_results(source: Source, job: ResolvedJob, split: Split, changes: PriceChanges) -> Iterator[Result]:
    """Results that are this job's as well, at today's prices; requests sent there count as cached answers here.

    Those whose cost at today's prices cannot be told are left out.
    """
    results = ResultStore(source.store).all(source.row.name, split)
    ids = {example.id for example in job.task.splits.of(split)}
    for row in source.rows:
        asked = changes.models_of(row.candidate)
        if not _is_of_this_space(row.candidate, job) or not source.has_results_for(row.candidate, job, asked):
            continue
        price = price_of(row.candidate, changes.new)
        for result in results.get(row.id, {}).values():
            known = result.state is not ResultState.INFRASTRUCTURE_ERROR and result.example in ids
            if known and changes.cost_is_known(row.candidate, [result]):
                runs = result.replicates and tuple(replace(run, **_reused(run, price)) for run in result.replicates)
                yield replace(result, **_reused(result, price), replicates=runs)


def _reused(run: Result | Replicate, price: Price | None) -> dict[str, Any]:
    return {"cost_usd": result_usd(run, price), "calls": 0, "cached_calls": run.calls + run.cached_calls}


def _sent(source: Source, candidates: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What the records of these candidates say of their requests, where each ran on the whole search split there."""
    rows = [row for row in source.rows if row.id in candidates and row.state is CandidateState.COMPLETE]
    found = {row.id: {name: row.origin[name] for name in ("requests", "sent") if name in row.origin} for row in rows}
    return {name: sent for name, sent in found.items() if sent}


def _is_of_this_space(candidate: Candidate, job: ResolvedJob) -> bool:
    incumbent = job.incumbent
    return (incumbent is not None and incumbent.id == candidate.id) or (
        job.candidate(fitted(candidate, job)).id == candidate.id
    )


def _prior_trials(source: Source, job: ResolvedJob, first: set[str], changes: PriceChanges) -> Iterator[PriorTrial]:
    """Finished trials of that study that this one does not run itself, as far as their params are searched here.

    One whose cost at today's prices cannot be told has none.
    """
    if not source.same_task:
        return
    old_costs = {member.candidate: member.cost_usd for member in source.report.members}
    results = ResultStore(source.store).all(source.row.name, Split.SEARCH) if changes.changed else {}
    prices = {row.id: price_of(row.candidate, changes.new) for row in source.rows}
    aggregates = AggregateStore(source.store).priced(source.row.name, Split.SEARCH, prices)
    for row in source.rows:
        params = searched_params(row.candidate, job)
        if row.state is not CandidateState.COMPLETE or row.id in first or not params or row.id not in aggregates:
            continue
        priced = aggregates[row.id]
        cost_usd = old_costs.get(row.id) if prices[row.id] is None else priced.cost_usd
        known = changes.cost_is_known(row.candidate, results.get(row.id, {}).values())
        yield PriorTrial(
            candidate=row.id,
            params=params,
            quality=priced.quality,
            cost_usd=cost_usd if known else None,
            latencies_s={name: priced.latency_s(name) for name in STATISTICS},
        )


def add_prior(
    study: OptunaStudy, warm: WarmStart, objectives: Sequence[Objective], constraints: ConstraintsPart, *, single: bool
) -> None:
    """Adds the record's prior trials that Optuna's study lacks, except those without a value for some objective.

    Args:
        single: whether the study has one value, the utility.
    """
    added = study.priors()
    for trial in warm.prior:
        values = values_of(objectives, trial)
        if values is not None and trial.candidate not in added:
            outcome = [utility(objectives, values)] if single else list(values)
            missed = violations(constraints, trial)
            study.add_prior(trial.params, outcome, missed, candidate=trial.candidate, source=warm.study)
