"""What candidates came to on each split, kept so that a front of thousands is read in one query.

Tokens are kept as sums by price class: prices are linear in tokens, so that a mean cost can be priced when it is read.

Invariant: a stored aggregate is `aggregate_of` of the stored results; whoever changes the results writes it again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from typing import Any

import sqlalchemy as sa

from offramp.records import Aggregate, Evaluation, Result, ResultState, Split, Usage, percentile
from offramp.stats import mean_interval_of
from offramp.store.engine import Store
from offramp.store.tables import summaries

_USAGE = tuple(f.name for f in fields(Usage))
_NUMBERS = (
    "n", "n_fault", "n_failed", "quality", "quality_square",
    "latency_mean_s", "latency_p50_s", "latency_p90_s", "latency_p95_s",
)  # fmt: skip


def aggregate_of(results: Iterable[Result]) -> Aggregate:
    """What these results of one candidate come to; `cost_usd` is the mean of what they cost when they were made."""
    found = Evaluation(candidate="", results=tuple(results))
    counted = found.counted
    scores = [r.score for r in counted if r.score is not None]
    seconds = [r.latency_s for r in counted if r.latency_s is not None]
    percentiles = {f"latency_p{p}_s": percentile(seconds, p) for p in (50, 90, 95)} if seconds else {}
    return _with_interval(
        Aggregate(
            n=len(counted),
            n_fault=sum(r.state is ResultState.PROGRAM_ERROR for r in counted),
            n_failed=len(found.results) - len(counted),
            quality=_mean([r.score for r in counted]),
            quality_square=_mean([score * score for score in scores]),
            usage=_usage_of(counted),
            cost_usd=_mean([r.cost_usd for r in counted]),
            latency_mean_s=_mean(seconds),
            **percentiles,
        )
    )


def _with_interval(found: Aggregate) -> Aggregate:
    if found.quality is None or found.quality_square is None:
        return found
    interval = mean_interval_of(n=found.n, mean=found.quality, mean_square=found.quality_square)
    return replace(found, quality_low=interval.low, quality_high=interval.high)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(values) else None


def _usage_of(counted: Sequence[Result]) -> Usage:
    """Sums by class. A run that made no call took no computing; one whose seconds are missing hides the sum."""
    total = sum((r.usage for r in counted), Usage())
    unknown = any(r.usage.compute_s is None and r.calls + r.cached_calls for r in counted)
    return replace(total, compute_s=None if unknown else total.compute_s or 0.0)


class AggregateStore:
    """Aggregates of every study of a storage. They are read without a cost; `Aggregate.priced` gives it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def put(self, study: str, split: Split | str, candidate: str, found: Aggregate) -> None:
        """Keeps an aggregate, in place of an earlier one."""
        usage = found.usage or Usage()
        row = {"study": study, "split": str(split), "candidate": candidate}
        row |= {name: getattr(found, name) for name in _NUMBERS} | {name: getattr(usage, name) for name in _USAGE}
        with self._store.transaction() as conn:
            conn.execute(self._store.upsert(summaries), [row])

    def all(self, study: str, split: Split | str) -> dict[str, Aggregate]:
        """The aggregates of one split by candidate id."""
        c = summaries.c
        with self._store.reading() as conn:
            rows = conn.execute(sa.select(summaries).where(c.study == study, c.split == str(split)))
            return {row.candidate: _aggregate(row) for row in rows}


def _aggregate(row: Any) -> Aggregate:
    usage = Usage(**{name: getattr(row, name) for name in _USAGE})
    return _with_interval(Aggregate(**{name: getattr(row, name) for name in _NUMBERS}, usage=usage))
