"""The candidates of a study with what they came to: who is on the front, who is recommended, who breaks a limit.

Invariant: the holdout decides nothing here; what it says of a member is shown beside what the search found.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from offramp.records import Aggregate, Objective, Price, Scalar, Split, percentile
from offramp.space.model import ConstraintsPart
from offramp.stats import effective_n, knee, mean_interval_of, non_dominated, quantile
from offramp.store.results import ProbeRuns
from offramp.study.domain.common_rows import CommonRows, Paired
from offramp.study.domain.likely import LikelyMember
from offramp.study.domain.objectives import BrokenLimit, broken_limits, utility_of
from offramp.study.domain.paired_comparison import Groups, PairedComparison, Scores, compare_all, groups_of
from offramp.study.domain.sent_values import as_sent


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringContext:
    """What the candidates of one study are scored with: its objectives and constraints, prices and the incumbent.

    Attributes:
        groups: of examples that belong together, which intervals and tests take as one.
        replicates: runs of an example whose answers are sampled.
        stated_scales: objectives whose scale the space file states, and does not leave to the incumbent.
    """

    objectives: tuple[Objective, ...]
    constraints: ConstraintsPart
    prices: Mapping[str, Price | None]
    incumbent: str | None
    groups: Groups = field(default_factory=dict)
    replicates: int = 1
    stated_scales: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Latency measured in isolation: warm-up left out, fixed concurrency, nothing from the ledger.

    Attributes:
        n: timed runs. concurrency: of them at the same time.
        measured_at: UTC, ISO 8601.
        p50_s, p95_s: seconds of one run, with 95 % intervals; an upper end is None where there are too few runs.
    """

    n: int
    concurrency: int
    measured_at: str
    p50_s: float
    p50_low_s: float
    p50_high_s: float | None
    p95_s: float
    p95_low_s: float
    p95_high_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One candidate with a complete evaluation, or the one recommended from part of one.

    Attributes:
        candidate: id.
        params: full assignment.
        sent: what was sent that the params do not say: param to predictor to values.
        search, holdout: what it came to there, at today's prices; `holdout` is None where it was not scored.
        latency_statistic: how latencies become one number in this study, such as `p50`.
        utility: weighted, 0..1; None when an objective is not known.
        feasible: whether it keeps all constraints; `breaks` are those that it does not keep.
        incumbent: whether it is what runs today.
        on_holdout_front: whether no other of those scored on the holdout dominates it there; None where that was not
            asked.
        against_incumbent: on the holdout; None for the incumbent itself, and where the incumbent was not scored there.
        probe: latency measured in isolation; None where it was not.
        regressed_at_most: upper bound of the share of examples that got worse than with the incumbent, at the
            confidence of the regression budget; None without one.
        common, held_common: its numbers on the search split and on the holdout as on all examples, where it lacks
            scores (`common_rows`). None where it has a score for each example.
        estimate: what it is expected to come to over all search examples, where the search ended before they were run.
            `common` then has the expected quality with its interval, and `value` those that it is ranked by.
        beside_incumbent: it and the incumbent on the search examples that both have a score for; None for the incumbent
            itself, and where both have the same.
    """

    candidate: str
    params: Mapping[str, Scalar]
    search: Aggregate
    holdout: Aggregate | None = None
    latency_statistic: str = "p50"
    utility: float | None
    feasible: bool
    breaks: tuple[BrokenLimit, ...] = ()
    incumbent: bool = False
    on_holdout_front: bool | None = None
    against_incumbent: PairedComparison | None = None
    probe: Probe | None = None
    regressed_at_most: float | None = None
    common: Aggregate | None = None
    held_common: Aggregate | None = None
    sent: Mapping[str, Any] = field(default_factory=dict)
    estimate: LikelyMember | None = None
    beside_incumbent: Paired | None = None

    @property
    def shown(self) -> dict[str, Scalar]:
        """Its params as they are shown: with what was sent."""
        return as_sent(self.params, self.sent)

    @property
    def quality(self) -> float | None:
        """Mean score on the search split, in 0..1, as on all examples."""
        return self.ranked.quality

    @property
    def cost_usd(self) -> float | None:
        """Mean virtual USD of one run on the search split, as on all examples."""
        return self.ranked.cost_usd

    @property
    def latency_s(self) -> float | None:
        """Seconds of one run on the search split, by the study's statistic, as run and as on all examples."""
        return self.ranked.latency_s(self.latency_statistic)

    @property
    def ranked(self) -> Aggregate:
        """What it is ranked, limited and shown by on the search split: `search`, as on all examples."""
        return self.common or self.search

    @property
    def held(self) -> Aggregate | None:
        """What it is compared and shown by on the holdout: `holdout`, as on all examples; None without a score."""
        return self.held_common or self.holdout

    def value(self, objective: str, split: Split = Split.SEARCH) -> float | None:
        """The value of one objective, in its unit, as on all examples; None where it is not known."""
        if self.estimate is not None and split is Split.SEARCH:
            found = self.estimate.values.get(objective)
            return None if found is None else found.mean
        seen = self.ranked if split is Split.SEARCH else self.held
        if seen is None:
            return None
        return {"quality": seen.quality, "cost": seen.cost_usd, "latency": seen.latency_s(self.latency_statistic)}[
            objective
        ]


def latency_statistic(objectives: Sequence[Objective]) -> str:
    """How latencies become one number: the statistic of the objective; `p50` where latency is not one."""
    return next((o.statistic for o in objectives if o.name == "latency"), "p50")


def member_of(
    candidate: str, params: Mapping[str, Scalar], search: Aggregate, scoring: ScoringContext, *,
    holdout: Aggregate | None = None, regressed_at_most: float | None = None, runs: ProbeRuns | None = None,
    sent: Mapping[str, Any] | None = None,
) -> Member:  # fmt: skip
    """One candidate as a member of its study.

    Args:
        search, holdout: priced. A holdout without one scored example is as good as none.
        regressed_at_most: as `violations` takes it.
        runs: its timed runs; None where there are none.
        sent: what was sent that the params do not say.
    """
    found = Member(
        candidate=candidate,
        params=params,
        search=search,
        holdout=holdout if holdout is not None and holdout.n else None,
        latency_statistic=latency_statistic(scoring.objectives),
        utility=None,
        feasible=True,
        incumbent=candidate == scoring.incumbent,
        probe=None if runs is None else probe_of(runs),
        regressed_at_most=regressed_at_most,
        sent=sent or {},
    )
    return _judged(found, scoring)


def _judged(member: Member, scoring: ScoringContext) -> Member:
    """With the utility and the broken limits of what it is ranked by."""
    breaks = broken_limits(scoring.constraints, member.ranked, member.regressed_at_most)
    utility = utility_of(scoring.objectives, member.ranked)
    return replace(member, utility=utility, feasible=not breaks, breaks=breaks)


def expected(member: Member, likely: LikelyMember, scoring: ScoringContext) -> Member:
    """A member that was run on part of the search examples, with what it is expected to come to over all of them."""
    quality, common = likely.values.get("quality"), member.search
    if quality is not None:
        common = replace(common, quality=quality.mean, quality_low=quality.low, quality_high=quality.high)
    found = _judged(replace(member, common=common, estimate=likely), scoring)
    return replace(found, utility=likely.utility)


def with_finalist(
    complete: Sequence[Member], unfinished: Sequence[Member], objectives: Sequence[Objective]
) -> tuple[Member, ...]:
    """The complete members, and the unfinished one that is expected to be ahead of all of them, where there is one.

    A search with few calls spends them on finding out which candidate is best, and not on running that one on what is
    left of the search split: the holdout, which decides, is run in full either way.

    Args:
        unfinished: candidates with an estimate.
    """
    found = [m for m in unfinished if m.feasible and m.utility is not None and readable(m.search)]
    first = min(found, key=lambda m: (-(m.utility or 0.0), m.candidate), default=None)
    if first is None:
        return tuple(complete)
    best = recommend(front_of(complete, objectives))
    if best is not None and best.feasible and (best.utility or 0.0) >= (first.utility or 0.0) - 1e-9:
        return tuple(complete)
    return (*complete, first)


def probe_of(runs: ProbeRuns) -> Probe:
    """What timed runs come to."""
    p50, p95 = (quantile(runs.latencies_s, q) for q in (0.5, 0.95))
    return Probe(
        n=len(runs.latencies_s),
        concurrency=runs.concurrency,
        measured_at=runs.measured_at,
        p50_s=percentile(runs.latencies_s, 50),
        p50_low_s=p50.low,
        p50_high_s=p50.high if math.isfinite(p50.high) else None,
        p95_s=percentile(runs.latencies_s, 95),
        p95_low_s=p95.low,
        p95_high_s=p95.high if math.isfinite(p95.high) else None,
    )


def by_group(seen: Aggregate, scores: Scores, groups: Groups) -> Aggregate:
    """The aggregate with the interval of its quality by groups: examples that belong together count as one."""
    named = groups_of(list(scores), groups)
    if named is None or not scores or seen.quality is None or seen.quality_square is None:
        return seen
    worth = effective_n(list(scores.values()), named)
    interval = mean_interval_of(n=worth, mean=seen.quality, mean_square=seen.quality_square)
    return replace(seen, quality_low=interval.low, quality_high=interval.high)


def on_common_rows(members: Sequence[Member], rows: CommonRows, scoring: ScoringContext) -> list[Member]:
    """The members, those that lack scores with their numbers as on all examples, and ranked and limited by these.

    Args:
        rows: of the search split.
    """
    found = []
    for member in members:
        common = rows.on_all(member.candidate, member.search)
        found.append(member if common is None else _judged(replace(member, common=common), scoring))
    return found


def beside(members: Sequence[Member], rows: CommonRows, incumbent: str | None) -> list[Member]:
    """The members, each with itself and the incumbent on the search examples that both have a score for."""
    if incumbent is None:
        return list(members)
    return [replace(m, beside_incumbent=rows.paired(m.candidate, incumbent)) for m in members]


def front_of(members: Sequence[Member], objectives: Sequence[Objective]) -> tuple[Member, ...]:
    """The members that no other dominates, best quality first; infeasible ones only where none is feasible.

    One without a single readable answer is on no front, however fast and cheap it is.
    """
    usable = [member for member in members if readable(member.search)]
    feasible = [member for member in usable if member.feasible] or usable
    known = [member for member in feasible if all(member.value(o.name) is not None for o in objectives)]
    front = [m for m, on in zip(known, _not_dominated(known, objectives, Split.SEARCH), strict=True) if on]
    return tuple(sorted(front, key=lambda m: (-(m.ranked.quality or 0.0), m.cost_usd or 0.0, m.candidate)))


def readable(seen: Aggregate) -> bool:
    """Whether any of its answers could be read."""
    return seen.n_fault < max(1, seen.n)


def _not_dominated(members: Sequence[Member], objectives: Sequence[Objective], split: Split) -> Sequence[bool]:
    """Who is not dominated by another of them; one that lacks an objective is not among them."""
    if not members:
        return ()
    points = np.array([[m.value(o.name, split) for o in objectives] for m in members], dtype=float)
    return [bool(on) for on in non_dominated(points, maximise=[objective.maximise for objective in objectives])]


def ahead_on_holdout(member: Member, among: Sequence[Member], objectives: Sequence[Objective]) -> tuple[Member, ...]:
    """Those on the front of the holdout that dominate a member there, highest utility first.

    Empty where nobody does, and where the member or an objective of it is not known there.
    """
    others = [member, *(m for m in among if m.on_holdout_front and m.candidate != member.candidate)]
    points = np.array([[m.value(o.name, Split.HOLDOUT) for o in objectives] for m in others], dtype=float)
    points *= [1.0 if o.maximise else -1.0 for o in objectives]
    ahead = (points >= points[0]).all(axis=1) & (points > points[0]).any(axis=1)
    found = [m for m, on in zip(others, ahead, strict=True) if on]
    return tuple(sorted(found, key=lambda m: (-(m.utility or 0.0), m.candidate)))


def recommend(front: Sequence[Member]) -> Member | None:
    """The member of the highest utility; among equals the better, the cheaper one, then what runs today.

    None for an empty front.
    """

    def order(m: Member) -> tuple[float, float, float, bool, str]:
        return -round(m.utility or 0.0, 9), -(m.ranked.quality or 0.0), m.cost_usd or 0.0, not m.incumbent, m.candidate

    return min((member for member in front if member.utility is not None), key=order, default=None)


def knee_of(front: Sequence[Member], objectives: Sequence[Objective]) -> Member | None:
    """The front's knee; None without a front. Its own extremes are the ends of each axis, so scales do not matter."""
    gains = [[(m.value(o.name) or 0.0) * (1 if o.maximise else -1) for o in objectives] for m in front]
    return front[knee(gains)] if gains else None


def with_holdout(
    members: Sequence[Member], scoring: ScoringContext, scores: Mapping[str, Scores], rows: CommonRows | None = None
) -> dict[str, Member]:
    """Those of the members that were scored on the holdout, by candidate, with what the holdout says of them.

    Args:
        members: the front and the incumbent.
        scores: of every candidate with results on the holdout.
        rows: of the holdout; None where all have the same.
    """
    held = [member for member in members if member.holdout is not None]
    incumbent = scoring.incumbent
    against: Mapping[str, PairedComparison] = {}
    if incumbent is not None and any(member.candidate == incumbent for member in held):
        against = compare_all(incumbent, scores, scoring.groups)
    if rows is not None:
        held = [
            m if m.holdout is None else replace(m, held_common=rows.on_all(m.candidate, m.holdout)) for m in held
        ]  # fmt: skip
    usable = [member for member in held if member.holdout is not None and readable(member.holdout)]
    on_front = dict(
        zip((m.candidate for m in usable), _not_dominated(usable, scoring.objectives, Split.HOLDOUT), strict=True)
    )
    return {
        member.candidate: replace(
            member, on_holdout_front=on_front.get(member.candidate, False),
            against_incumbent=against.get(member.candidate),
        )
        for member in held
    }  # fmt: skip
