"""What a check found, held against the evidence: non-inferiority, failures, ceilings.

Quality holds when no example got worse, or when the mean is, with 95% confidence, not lower by more than the margin.
With few examples the second cannot be shown; one example that got worse then asks for a look.

Invariant: `holds` is true only when each condition was looked at and kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from offramp.promote.gate import MOST_MISSING
from offramp.promote.promotion import Promotion
from offramp.promote.serialization import values_of
from offramp.records import SAME_SCORE, Aggregate, Evaluation, Example, Result
from offramp.store.aggregates import aggregate_of
from offramp.study.domain.paired_comparison import compare_scores
from offramp.study.wording import plain


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What has to be kept. None: no such limit."""

    margin: float
    cost_usd: float | None
    latency_p95_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One thing that was looked at, in words."""

    name: str
    holds: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """An example that scores lower than when it was promoted."""

    example: str
    inputs: Mapping[str, Any]
    before: float
    after: float
    outputs: Mapping[str, Any] | None
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """A check.

    Attributes:
        n: examples with a score both times.
        quality_before, quality_after: mean scores on them.
        difference: mean change of score, with its 95% interval.
        broken: examples that got worse, the worst first.
        ids: every example that was run.
        spent_usd: physical money of the check. calls, cached_calls: requests sent, and answers that were known.
    """

    feature: str
    version: str
    label: str
    n: int
    quality_before: float | None
    quality_after: float | None
    difference: float | None
    low: float
    high: float
    wins: int
    losses: int
    cost_usd: float | None
    latency_p95_s: float | None
    conditions: tuple[Condition, ...]
    broken: tuple[Broken, ...]
    ids: tuple[str, ...]
    spent_usd: float
    calls: int
    cached_calls: int

    @property
    def holds(self) -> bool:
        """Whether every condition holds."""
        return all(condition.holds for condition in self.conditions)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"holds": self.holds, **values_of(self)}


def judge(
    promotion: Promotion, *, label: str, evaluation: Evaluation, before: Mapping[str, float], limits: Limits,
    examples: Mapping[str, Example], spent_usd: float, calls: int, cached_calls: int,
) -> CheckReport:  # fmt: skip
    """Holds a fresh evaluation of the holdout against the scores that the evidence has."""
    after = {result.example: result for result in evaluation.counted}
    groups = {name: example.group for name, example in examples.items() if example.group is not None}
    whole = compare_scores(evaluation.scores, before, margin=limits.margin, groups=groups)
    seen = aggregate_of(evaluation.results)
    cost_usd, p95_s = seen.cost_usd, seen.latency_p95_s
    broken = [_broken(after[name], before[name], examples[name]) for name in sorted(before) if name in after]
    return CheckReport(
        feature=promotion.feature,
        version=promotion.version,
        label=label,
        n=whole.n,
        quality_before=whole.quality_b,
        quality_after=whole.quality_a,
        difference=whole.difference,
        low=whole.interval.low,
        high=whole.interval.high,
        wins=whole.wins,
        losses=whole.losses,
        cost_usd=cost_usd,
        latency_p95_s=p95_s,
        conditions=(
            _quality(whole, limits.margin),
            _failures(seen),
            *_ceiling("cost_usd", cost_usd, limits.cost_usd),
            *_ceiling("latency_p95_s", p95_s, limits.latency_p95_s),
        ),
        broken=_worst_first(broken),
        ids=tuple(result.example for result in evaluation.results),
        spent_usd=spent_usd,
        calls=calls,
        cached_calls=cached_calls,
    )


def _worst_first(pairs: Sequence[Broken]) -> tuple[Broken, ...]:
    worse = (pair for pair in pairs if pair.after < pair.before - SAME_SCORE)
    return tuple(sorted(worse, key=lambda pair: (pair.after - pair.before, pair.example)))


def _quality(whole: Any, margin: float) -> Condition:
    if not whole.n:
        return Condition(name="quality", holds=False, text="no example has a score both times")
    numbers = f"{whole.quality_b:.3f} -> {whole.quality_a:.3f} on {whole.n} examples"
    if not whole.losses:
        return Condition(name="quality", holds=True, text=f"{numbers}, none worse")
    lower = whole.not_inferior.lower
    text = f"{numbers}, {whole.losses} worse and {whole.wins} better; at least {lower:+.3f} with 95% confidence"
    return Condition(name="quality", holds=whole.not_inferior.holds, text=f"{text}, {-margin:+.3f} is allowed")


def _failures(seen: Aggregate) -> Condition:
    total = seen.n + seen.n_failed
    share = seen.n_failed / total if total else 1.0
    text = f"{seen.n_failed} of {total} runs have no score, {MOST_MISSING:.0%} may"
    return Condition(name="failures", holds=share <= MOST_MISSING, text=text)


def _ceiling(name: str, value: float | None, limit: float | None) -> list[Condition]:
    if limit is None:
        return []
    if value is None:
        return [Condition(name=name, holds=False, text=f"not known, and {limit:g} is the ceiling")]
    return [Condition(name=name, holds=value <= limit, text=f"{value:.4g}, {limit:g} is the ceiling")]


def _broken(result: Result, before: float, example: Example) -> Broken:
    shown = {name: value for name, value in example.values.items() if name != "id"}
    return Broken(
        example=result.example,
        inputs=shown,
        before=before,
        after=result.score or 0.0,
        outputs=result.outputs,
        reason=result.reason,
    )


def told(report: CheckReport, *, most: int = 20) -> list[str]:
    """The report as lines: conditions, then the examples that broke, the worst first."""
    verdict = "holds" if report.holds else "does not hold"
    lines = [f"{report.feature} {report.label} {report.version}: {verdict}"]
    lines += [f"  {'ok    ' if each.holds else 'BROKEN'} {each.name}: {each.text}" for each in report.conditions]
    lines += [f"  {_broken_line(broken)}" for broken in report.broken[:most]]
    if len(report.broken) > most:
        lines.append(f"  and {len(report.broken) - most} more; see --json")
    return [plain(line) for line in lines]


def _broken_line(broken: Broken) -> str:
    got = broken.reason if broken.outputs is None else json.dumps(broken.outputs, ensure_ascii=False, default=str)
    inputs = json.dumps(broken.inputs, ensure_ascii=False, default=str)
    shown = inputs if len(inputs) <= 160 else inputs[:160] + "..."
    return f"{broken.example}: {broken.before:.3g} -> {broken.after:.3g}, got {got} for {shown}"
