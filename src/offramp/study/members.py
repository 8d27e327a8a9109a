"""The candidates of a study with their aggregates, ready to be ranked and shown.

Everything is read from the storage, in a few queries whatever the number of results; tokens are priced when they are
read, so that a price change re-prices an old study.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from offramp.records import Price, Scalar, Split
from offramp.space.model import ConstraintsPart
from offramp.store.candidates import CandidateRow, CandidateState
from offramp.store.engine import Store
from offramp.store.summaries import Summary, SummaryStore
from offramp.study.objectives import Objective, utility, values_of, violations


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldoutScore:
    """The same aggregates on the holdout, which the search never saw."""

    quality: float | None
    cost_usd: float | None
    latency_s: float | None
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One candidate with its aggregates on the search split.

    Attributes:
        candidate: id.
        params: full assignment.
        quality: mean score in 0..1. cost_usd: mean virtual USD of a run. latency_s: seconds of a run, by the
            objective's statistic, as run. latency_p95_s: 95th percentile.
        n: examples with a score, n_fault of them zero by the program's own fault; n_failed have no score.
        utility: weighted, 0..1; None when an objective is not known.
        feasible: whether it keeps all constraints.
        incumbent: whether it is what runs today.
        holdout: None where it was not scored on the holdout.
    """

    candidate: str
    params: Mapping[str, Scalar]
    quality: float | None
    cost_usd: float | None
    latency_s: float | None
    latency_p95_s: float | None
    n: int
    n_fault: int
    n_failed: int
    utility: float | None
    feasible: bool
    incumbent: bool = False
    holdout: HoldoutScore | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """A summary with a price: what objectives are read from."""

    summary: Summary
    price: Price | None

    @property
    def quality(self) -> float | None:
        """Mean score in 0..1."""
        return self.summary.quality

    @property
    def cost_usd(self) -> float | None:
        """Mean virtual USD of one run; None where it cannot be known."""
        return self.summary.cost_usd(self.price)

    def latency_s(self, statistic: str = "p50") -> float | None:
        """Seconds of one run."""
        return self.summary.latency_s(statistic)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruler:
    """What members of one study are measured with."""

    objectives: tuple[Objective, ...]
    constraints: ConstraintsPart
    prices: Mapping[str, Price | None]
    incumbent: str | None


def read_members(store: Store, study: str, ruler: Ruler, rows: Sequence[CandidateRow]) -> tuple[Member, ...]:
    """Those of the candidates that have a complete evaluation, in the order of their trials."""
    search, holdout = (SummaryStore(store).all(study, split) for split in (Split.SEARCH, Split.HOLDOUT))
    complete = (row for row in rows if row.state is CandidateState.COMPLETE and row.id in search)
    return tuple(_member(row, search[row.id], holdout.get(row.id), ruler) for row in complete)


def _member(row: CandidateRow, search: Summary, holdout: Summary | None, ruler: Ruler) -> Member:
    seen = Priced(summary=search, price=ruler.prices.get(row.candidate.model))
    values = values_of(ruler.objectives, seen)
    fixed = all(objective.scale is not None for objective in ruler.objectives)
    return Member(
        candidate=row.id,
        params=row.params,
        quality=seen.quality,
        cost_usd=seen.cost_usd,
        latency_s=seen.latency_s(_statistic(ruler.objectives)),
        latency_p95_s=seen.latency_s("p95"),
        n=search.n,
        n_fault=search.n_fault,
        n_failed=search.n_failed,
        utility=utility(ruler.objectives, values) if values is not None and fixed else None,
        feasible=all(missed <= 0 for missed in violations(ruler.constraints, seen).values()),
        incumbent=row.id == ruler.incumbent,
        holdout=None if holdout is None else _holdout(Priced(summary=holdout, price=seen.price), ruler),
    )


def _holdout(seen: Priced, ruler: Ruler) -> HoldoutScore | None:
    if not seen.summary.n:
        return None
    latency = seen.latency_s(_statistic(ruler.objectives))
    return HoldoutScore(quality=seen.quality, cost_usd=seen.cost_usd, latency_s=latency, n=seen.summary.n)


def _statistic(objectives: Sequence[Objective]) -> str:
    return next((objective.statistic for objective in objectives if objective.name == "latency"), "p50")
