"""The evidence of a promotion, read from the study's storage: numbers of both splits, and how it did against what ran.

Invariant: nothing is computed from what is not stored; a number that is not known is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from offramp.promote.promotion import BeatenIncumbent, Comparison, LatencyProbe, SplitEvidence
from offramp.promote.store import Rows, rows_of
from offramp.records import Price, Result, ResultState, Split, Usage
from offramp.stats import mean_interval
from offramp.store.candidates import CandidateStore
from offramp.store.engine import Store
from offramp.store.probes import ProbeStore
from offramp.store.results import ResultStore
from offramp.store.summaries import summary_of
from offramp.study.probe import probe_of
from offramp.study.tally import tally

Results = Mapping[str, Result]
_USAGE = tuple(f.name for f in fields(Usage))


def split_evidence(results: Results, price: Price | None) -> SplitEvidence | None:
    """How a candidate did on one split; None where it never ran there."""
    if not results:
        return None
    summary = summary_of("", results.values())
    scores = [result.score for result in results.values() if result.score is not None]
    interval = mean_interval(scores) if scores else None
    used = {name: getattr(summary.usage, name) for name in _USAGE}
    tokens = {name: total / summary.n for name, total in used.items() if summary.n and total}
    return SplitEvidence(
        n=summary.n,
        n_fault=summary.n_fault,
        n_failed=summary.n_failed,
        quality=summary.quality,
        quality_low=None if interval is None else interval.low,
        quality_high=None if interval is None else interval.high,
        cost_usd=summary.cost_usd(price),
        latency_p50_s=summary.latency_p50_s,
        latency_p95_s=summary.latency_p95_s,
        tokens=tokens,
    )


def result_rows(results: Results) -> Rows | None:
    """Score, latency and state by example, to compare with later; None where there are none."""
    if not results:
        return None
    return rows_of([_row(results[name]) for name in sorted(results)])


def _row(result: Result) -> dict[str, Any]:
    row = {"example": result.example, "score": result.score, "latency_s": result.latency_s}
    return row if result.state is ResultState.SCORED else {**row, "state": str(result.state)}


def compared(new: Results, old: Results) -> Comparison | None:
    """New against old on the examples that both have a score for; None where there are fewer than two."""
    both = sorted(name for name in new if name in old and new[name].score is not None and old[name].score is not None)
    if len(both) < 2:
        return None
    whole = tally(*([side[name].score or 0.0 for name in both] for side in (new, old)))
    return Comparison(
        wins=whole.wins,
        losses=whole.losses,
        ties=whole.ties,
        difference=whole.difference or 0.0,
        low=whole.interval.low,
        high=whole.interval.high,
    )


def latency_probe(store: Store, study: str, candidate: str) -> LatencyProbe | None:
    """Its latency, measured apart; None where it was not."""
    runs = ProbeStore(store).all(study).get(candidate)
    return None if runs is None else LatencyProbe(**asdict(probe_of(runs)))


def beaten_incumbent(
    store: Store, study: str, incumbent: str | None, new: Results, prices: Mapping[str, Price | None]
) -> BeatenIncumbent | None:
    """What ran before, on the holdout; None where the study has none."""
    rows = CandidateStore(store).all(study, only=[incumbent]) if incumbent is not None else ()
    if not rows:
        return None
    old = ResultStore(store).get(study, Split.HOLDOUT, rows[0].id)
    return BeatenIncumbent(
        candidate=rows[0].id,
        params=dict(rows[0].params),
        holdout=split_evidence(old, prices.get(rows[0].candidate.model)),
        comparison=compared(new, old),
    )
