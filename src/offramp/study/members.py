"""The candidates of a study with their aggregates, ready to be ranked and shown.

Everything is read from the storage, in a few queries whatever the number of results; tokens are priced when they are
read, so that a price change re-prices an old study.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from offramp.records import Price, Scalar, Split
from offramp.space.model import ConstraintsPart
from offramp.stats.intervals import Interval
from offramp.stats.means import mean_interval_of
from offramp.store.candidates import CandidateRow, CandidateState
from offramp.store.engine import Store
from offramp.store.paired import counts_against
from offramp.store.probes import ProbeRuns, ProbeStore
from offramp.store.summaries import Summary, SummaryStore
from offramp.study.limits import broken_limits
from offramp.study.objectives import Objective, utility, values_of, violations
from offramp.study.probe import Probe, probe_of
from offramp.study.regressions import regressed_by_counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Against:
    """A candidate against the incumbent on the same examples of the holdout.

    Attributes:
        difference: mean score minus the incumbent's, in -1..1, with its 95 % interval.
        p_value: exact, two-sided. p_corrected: by Holm over all that were scored on the holdout.
        better, worse: what p_corrected and the interval say at 95 %.
        worse_at_most: upper 95 % bound of the share of examples that got worse.
    """

    difference: float
    low: float
    high: float
    wins: int
    losses: int
    ties: int
    p_value: float
    p_corrected: float
    better: bool
    worse: bool
    worse_at_most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldoutScore:
    """The same aggregates on the holdout, which the search never saw.

    Attributes:
        quality_low, quality_high: 95 % interval.
        on_front: whether no other of those that were scored there dominates it there; None where that was not asked.
        against: None for the incumbent itself, and where the incumbent was not scored there.
    """

    quality: float | None
    cost_usd: float | None
    latency_s: float | None
    n: int
    quality_low: float | None = None
    quality_high: float | None = None
    on_front: bool | None = None
    against: Against | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One candidate with its aggregates on the search split.

    Attributes:
        candidate: id.
        params: full assignment.
        quality: mean score in 0..1; quality_low and quality_high are its 95 % interval.
        cost_usd: mean virtual USD of a run. latency_s: seconds of a run, by the objective's statistic, as run.
        latency_p95_s: 95th percentile.
        n: examples with a score, n_fault of them zero by the program's own fault; n_failed have no score.
        utility: weighted, 0..1; None when an objective is not known.
        feasible: whether it keeps all constraints; breaks: those that it does not keep, in words.
        incumbent: whether it is what runs today.
        holdout: None where it was not scored on the holdout.
        probe: latency measured apart; None where it was not.
        regressed_at_most: upper bound of the share of examples that got worse than with the incumbent, at the
            confidence of the regression budget; None without one.
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
    quality_low: float | None = None
    quality_high: float | None = None
    probe: Probe | None = None
    regressed_at_most: float | None = None
    breaks: tuple[str, ...] = ()


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
    complete = [row for row in rows if row.state is CandidateState.COMPLETE and row.id in search]
    regressed, probes = _regressed(store, study, ruler), ProbeStore(store).all(study)
    return tuple(
        _member(row, search[row.id], holdout.get(row.id), ruler, regressed(row.id), probes.get(row.id))
        for row in complete
    )


def _regressed(store: Store, study: str, ruler: Ruler) -> Callable[[str], float | None]:
    """By candidate, the bound that a regression budget holds against; always None without a budget."""
    budget, incumbent = ruler.constraints.regressions, ruler.incumbent
    if budget is None or incumbent is None:
        return lambda _: None
    counts, confidence = counts_against(store, study, Split.SEARCH, incumbent), budget.confidence
    return lambda name: 0.0 if name == incumbent else regressed_by_counts(counts.get(name), confidence)


def _member(
    row: CandidateRow, search: Summary, holdout: Summary | None, ruler: Ruler, regressed_at_most: float | None,
    runs: ProbeRuns | None,
) -> Member:  # fmt: skip
    seen = Priced(summary=search, price=ruler.prices.get(row.candidate.model))
    interval = _interval(search)
    values = values_of(ruler.objectives, seen)
    fixed = all(objective.scale is not None for objective in ruler.objectives)
    missed = violations(ruler.constraints, seen, regressed_at_most)
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
        feasible=all(m <= 0 for m in missed.values()),
        breaks=broken_limits(missed, ruler.constraints, seen, regressed_at_most),
        incumbent=row.id == ruler.incumbent,
        holdout=None if holdout is None else _holdout(Priced(summary=holdout, price=seen.price), ruler),
        quality_low=None if interval is None else interval.low,
        quality_high=None if interval is None else interval.high,
        probe=None if runs is None else probe_of(runs),
        regressed_at_most=regressed_at_most,
    )


def _interval(summary: Summary) -> Interval | None:
    if summary.quality is None or summary.quality_square is None:
        return None
    return mean_interval_of(n=summary.n, mean=summary.quality, mean_square=summary.quality_square)


def _holdout(seen: Priced, ruler: Ruler) -> HoldoutScore | None:
    if not seen.summary.n:
        return None
    interval = _interval(seen.summary)
    return HoldoutScore(
        quality=seen.quality,
        cost_usd=seen.cost_usd,
        latency_s=seen.latency_s(_statistic(ruler.objectives)),
        n=seen.summary.n,
        quality_low=None if interval is None else interval.low,
        quality_high=None if interval is None else interval.high,
    )


def _statistic(objectives: Sequence[Objective]) -> str:
    return next((objective.statistic for objective in objectives if objective.name == "latency"), "p50")
