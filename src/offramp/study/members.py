"""The candidates of a study with their aggregates, ready to be ranked and shown.

Tokens are priced here and not when they are stored, so that a price change re-prices an old study.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from offramp.records import Price, Scalar
from offramp.space.model import ConstraintsPart
from offramp.stats import Interval, mean_interval_of
from offramp.store.candidates import CandidateRow
from offramp.store.probes import ProbeRuns
from offramp.store.summaries import Summary
from offramp.study.limits import broken_limits
from offramp.study.objectives import Objective, utility, values_of, violations
from offramp.study.probe import Probe, probe_of


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
class ScoringContext:
    """What the candidates of one study are scored with."""

    objectives: tuple[Objective, ...]
    constraints: ConstraintsPart
    prices: Mapping[str, Price | None]
    incumbent: str | None


def member_of(
    row: CandidateRow, search: Summary, holdout: Summary | None, scoring: ScoringContext, *,
    regressed_at_most: float | None = None, runs: ProbeRuns | None = None,
) -> Member:  # fmt: skip
    """One candidate with its aggregates at the prices of the context.

    Args:
        holdout: None where it was not scored there.
        regressed_at_most: as `violations` takes it.
        runs: its timed runs; None where there are none.
    """
    seen = Priced(summary=search, price=scoring.prices.get(row.candidate.model))
    interval = _interval(search)
    values = values_of(scoring.objectives, seen)
    fixed = all(objective.scale is not None for objective in scoring.objectives)
    missed = violations(scoring.constraints, seen, regressed_at_most)
    return Member(
        candidate=row.id,
        params=row.params,
        quality=seen.quality,
        cost_usd=seen.cost_usd,
        latency_s=seen.latency_s(_statistic(scoring.objectives)),
        latency_p95_s=seen.latency_s("p95"),
        n=search.n,
        n_fault=search.n_fault,
        n_failed=search.n_failed,
        utility=utility(scoring.objectives, values) if values is not None and fixed else None,
        feasible=all(m <= 0 for m in missed.values()),
        breaks=broken_limits(missed, scoring.constraints, seen, regressed_at_most),
        incumbent=row.id == scoring.incumbent,
        holdout=None if holdout is None else _holdout(Priced(summary=holdout, price=seen.price), scoring),
        quality_low=None if interval is None else interval.low,
        quality_high=None if interval is None else interval.high,
        probe=None if runs is None else probe_of(runs),
        regressed_at_most=regressed_at_most,
    )


def _interval(summary: Summary) -> Interval | None:
    if summary.quality is None or summary.quality_square is None:
        return None
    return mean_interval_of(n=summary.n, mean=summary.quality, mean_square=summary.quality_square)


def _holdout(seen: Priced, scoring: ScoringContext) -> HoldoutScore | None:
    if not seen.summary.n:
        return None
    interval = _interval(seen.summary)
    return HoldoutScore(
        quality=seen.quality,
        cost_usd=seen.cost_usd,
        latency_s=seen.latency_s(_statistic(scoring.objectives)),
        n=seen.summary.n,
        quality_low=None if interval is None else interval.low,
        quality_high=None if interval is None else interval.high,
    )


def _statistic(objectives: Sequence[Objective]) -> str:
    return next((objective.statistic for objective in objectives if objective.name == "latency"), "p50")
