"""Aggregates of a candidate's results on one split, kept so that a front of thousands is read in one query.

Tokens are kept as sums by price class: prices are linear in tokens, so that a mean cost can be priced when it is read.

Invariant: a summary says what `Evaluation` says of the same results; `refresh` is called after every change of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from offramp.records import Evaluation, Price, Result, Split, Usage
from offramp.store.engine import Store
from offramp.store.results import ResultStore
from offramp.store.tables import summaries

_KEY = ("study", "split", "candidate")
_USAGE = tuple(f.name for f in fields(Usage))
_STATISTICS = ("mean", "p50", "p90", "p95")


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Aggregates of one candidate on one split; those of results without a score are in `n_failed` alone.

    Attributes:
        n: examples with a score, `n_fault` of them zero by the program's own fault.
        quality: mean score in 0..1; None when n is 0. quality_square: mean of the squares, for intervals.
        usage: sums over the n runs; `compute_s` is None where it is not known for all of them.
        latency_mean_s, latency_p50_s, latency_p90_s, latency_p95_s: seconds of a run; None where not known.
    """

    candidate: str
    n: int
    n_fault: int
    n_failed: int
    quality: float | None
    quality_square: float | None
    usage: Usage
    latency_mean_s: float | None
    latency_p50_s: float | None
    latency_p90_s: float | None
    latency_p95_s: float | None

    def cost_usd(self, price: Price | None) -> float | None:
        """Mean USD of one run at this price; None where it cannot be known."""
        total = None if price is None or not self.n else price.cost_usd(self.usage)
        return None if total is None else total / self.n

    def latency_s(self, statistic: str = "p50") -> float | None:
        """Seconds of one run: `mean`, `p50`, `p90` or `p95`."""
        return getattr(self, f"latency_{statistic}_s")  # type: ignore[no-any-return]


class SummaryStore:
    """Summaries of every study of a storage."""

    def __init__(self, store: Store) -> None:
        self._store, self._results = store, ResultStore(store)

    def refresh(self, study: str, split: Split | str, candidate: str) -> Summary:
        """Works a summary out anew from the stored results and keeps it."""
        found = summary_of(candidate, self._results.get(study, split, candidate).values())
        usage = {name: getattr(found.usage, name) for name in _USAGE}
        plain = {f.name: getattr(found, f.name) for f in fields(found) if f.name != "usage"}
        insert = postgresql.insert(summaries) if self._store.dialect == "postgresql" else sqlite.insert(summaries)
        changed = {c.name: insert.excluded[c.name] for c in summaries.c if c.name not in _KEY}
        statement = insert.on_conflict_do_update(index_elements=list(_KEY), set_=changed)
        with self._store.transaction() as conn:
            conn.execute(statement, [{"study": study, "split": str(split), **plain, **usage}])
        return found

    def all(self, study: str, split: Split | str) -> dict[str, Summary]:
        """The summaries of one split by candidate id."""
        c = summaries.c
        with self._store.reading() as conn:
            rows = conn.execute(sa.select(summaries).where(c.study == study, c.split == str(split)))
            return {row.candidate: _summary(row) for row in rows}

    def usage_by(self, study: str, groups: Mapping[str, str]) -> dict[str, tuple[int, Usage]]:
        """Runs and their tokens over both splits, summed by the group of the candidate; others are left out.

        Seconds of computing are None for a group where they are not known for all.
        """
        c = summaries.c
        select = sa.select(c.candidate, c.n, *(c[name] for name in _USAGE)).where(c.study == study, c.n > 0)
        sums: dict[str, list[Any]] = {}
        with self._store.reading() as conn:
            for candidate, *numbers in conn.execute(select):
                if candidate in groups:
                    before = sums.get(groups[candidate], [0] * len(numbers))
                    sums[groups[candidate]] = [_plus(a, b) for a, b in zip(before, numbers, strict=True)]
        return {name: (n, Usage(**dict(zip(_USAGE, rest, strict=True)))) for name, (n, *rest) in sums.items()}

    def count(self, study: str, split: Split | str, *, without: str) -> int:
        """How many candidates have a summary of one split, one of them left out."""
        c = summaries.c
        where = (c.study == study, c.split == str(split), c.candidate != without)
        with self._store.reading() as conn:
            return conn.scalar(sa.select(sa.func.count()).select_from(summaries).where(*where)) or 0


def _plus(a: Any, b: Any) -> Any:
    return None if a is None or b is None else a + b


def summary_of(candidate: str, results: Iterable[Result]) -> Summary:
    """The summary of these results."""
    evaluation = Evaluation(candidate=candidate, results=tuple(results))
    return Summary(
        candidate=candidate,
        n=evaluation.n,
        n_fault=evaluation.n_fault,
        n_failed=evaluation.n_failed,
        quality=evaluation.quality,
        quality_square=_mean_square([r.score for r in evaluation.counted if r.score is not None]),
        usage=_usage_of(evaluation),
        **{f"latency_{name}_s": evaluation.latency_s(name) for name in _STATISTICS},
    )


def _mean_square(scores: Sequence[float]) -> float | None:
    return math.fsum(score * score for score in scores) / len(scores) if scores else None


def _usage_of(evaluation: Evaluation) -> Usage:
    """Sums by class. A run that made no call took no computing; one whose seconds are missing hides the sum."""
    total = sum((r.usage for r in evaluation.counted), Usage())
    unknown = any(r.usage.compute_s is None and r.calls + r.cached_calls for r in evaluation.counted)
    seconds = None if unknown else total.compute_s or 0.0
    return Usage(**{name: getattr(total, name) for name in _USAGE if name != "compute_s"}, compute_s=seconds)


def _summary(row: Any) -> Summary:
    plain = {f.name: getattr(row, f.name) for f in fields(Summary) if f.name != "usage"}
    return Summary(**plain, usage=Usage(**{name: getattr(row, name) for name in _USAGE}))
