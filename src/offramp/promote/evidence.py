"""The evidence of a promotion, read from the study's storage: numbers of both splits, and how it did against what ran.

Invariant: nothing is computed from what is not stored; a number that is not known is None.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from offramp.errors import PromotionError, problem
from offramp.ids import content_hash
from offramp.job.loaded import LoadedStudy
from offramp.models.table import price_table_version
from offramp.promote.promotion import BeatenIncumbent, Comparison, Evidence, Gate, LatencyProbe, SplitEvidence
from offramp.promote.promotion_store import Rows, rows_of
from offramp.records import Price, Result, ResultState, Split, Usage, picked, price_of
from offramp.store.aggregates import aggregate_of, priced_by_results
from offramp.store.candidates import CandidateRow, CandidateStore
from offramp.store.engine import Store
from offramp.store.results import ProbeStore, ResultStore
from offramp.study.domain.members import by_group, probe_of
from offramp.study.domain.paired_comparison import Groups, compare_scores, scores_of
from offramp.study.queries.study_rows import current_prices

Results = Mapping[str, Result]
_USAGE = tuple(f.name for f in fields(Usage))


def split_evidence(results: Results, price: Price | None, groups: Groups | None = None) -> SplitEvidence | None:
    """How a candidate did on one split; None where it never ran there."""
    if not results:
        return None
    seen = priced_by_results(aggregate_of(results.values()), price, results.values())
    seen = by_group(seen, scores_of(results), groups or {})
    used = picked(seen.usage, *_USAGE)
    tokens = {name: total / seen.n for name, total in used.items() if seen.n and total}
    counts, quality = ("n", "n_fault", "n_failed", "n_runs"), ("quality", "quality_low", "quality_high")
    return SplitEvidence(
        **picked(seen, *counts, *quality, "cost_usd", "latency_p50_s", "latency_p95_s"),
        tokens=tokens,
        within_sd=None if seen.within_variance is None else math.sqrt(seen.within_variance),
    )


def answer_hash(result: Result) -> str | None:
    """What tells whether another answer is the same; None where there is none or several, or its text was not kept."""
    return None if result.outputs is None or len(result.runs) > 1 else content_hash(dict(result.outputs), length=16)


def result_rows(results: Results, *, judged: bool = False) -> Rows | None:
    """Score, latency and state by example, to compare with later; None where there are none.

    Args:
        judged: whether a judge gave scores: `answer` then tells whether a later answer is the same, so that another
            grade for it is known to be the judge's.
    """
    if not results:
        return None
    rows = []
    for name in sorted(results):
        result = results[name]
        row: dict[str, Any] = {"example": result.example, "score": result.score, "latency_s": result.latency_s}
        if judged and (answer := answer_hash(result)) is not None:
            row["answer"] = answer
        rows.append(row if result.state is ResultState.SCORED else {**row, "state": str(result.state)})
    return rows_of(rows)


def compared(new: Results, old: Results, groups: Groups | None = None) -> Comparison | None:
    """New against old on the examples that both have a score for; None where there are fewer than two."""
    whole = compare_scores(scores_of(new), scores_of(old), groups=groups)
    if whole.n < 2:
        return None
    return Comparison(
        **picked(whole, "wins", "losses", "ties"),
        difference=whole.difference or 0.0,
        low=whole.interval.low,
        high=whole.interval.high,
    )


def latency_probe(store: Store, study: str, candidate: str) -> LatencyProbe | None:
    """Its latency, measured in isolation; None where it was not."""
    runs = ProbeStore(store).all(study).get(candidate)
    return None if runs is None else LatencyProbe(**asdict(probe_of(runs)))


def beaten_incumbent(
    store: Store, study: str, incumbent: str | None, new: Results, prices: Mapping[str, Price | None], groups: Groups
) -> BeatenIncumbent | None:
    """What ran before, on the holdout; None where the study has none."""
    rows = CandidateStore(store).all(study, only=[incumbent]) if incumbent is not None else ()
    if not rows:
        return None
    old = ResultStore(store).get(study, Split.HOLDOUT, rows[0].id)
    return BeatenIncumbent(
        candidate=rows[0].id,
        params=dict(rows[0].params),
        holdout=split_evidence(old, price_of(rows[0].candidate, prices), groups),
        comparison=compared(new, old, groups),
    )


def evidence_of(
    store: Store, opened: LoadedStudy, row: CandidateRow, *, requests_matched: int, root: Path, trials: int
) -> Evidence:
    """The evidence, without what the gate found.

    Args:
        root: the folder that holds the promotions folder; the space file is named relative to it.

    Raises:
        PromotionError: the candidate has no results.
    """
    study, task, results = opened.row, opened.job.task, ResultStore(store)
    prices, groups, incumbent = current_prices(study), task.groups, study.details.incumbent
    price, holdout = price_of(row.candidate, prices), results.get(study.name, Split.HOLDOUT, row.id)
    search = split_evidence(results.get(study.name, Split.SEARCH, row.id), price, groups)
    kept = result_rows(holdout, judged=bool(task.metric.judge_models))
    beaten = None if incumbent == row.id else beaten_incumbent(store, study.name, incumbent, holdout, prices, groups)
    if search is None:
        raise PromotionError(problem(study.name, "the candidate has no results", got=row.id))
    return Evidence(
        study=study.name,
        space=study.space_name,
        space_file=_relative(opened.space_file, root),
        space_hash=study.space_hash,
        task_hash=study.task_hash,
        dataset_hash=task.dataset_hash,
        splits_hash=task.splits_hash,
        metric=task.metric.name,
        seed=study.seed,
        candidate=row.id,
        params=dict(row.params),
        trials=trials,
        price_table=price_table_version(),
        requests_matched=requests_matched,
        search=search,
        holdout=split_evidence(holdout, price, groups),
        holdout_results=None if kept is None else kept.ref,
        incumbent=beaten,
        probe=latency_probe(store, study.name, row.id),
        replicates=opened.job.space.replicates,
        gate=Gate(),
    )


def _relative(space_file: Path, root: Path) -> str | None:
    try:
        return Path(os.path.relpath(space_file.resolve(), root.resolve())).as_posix()
    except ValueError:  # another drive
        return None
