"""What a rule would have given on recorded rows, from the results of its members: no call.

Invariant: it is decided as an app decides, and a row that lacks a result of a member that would have run has no score.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from offramp.records import Price, Result, ResultState, Usage
from offramp.stats.pareto import Floats
from offramp.store.aggregates import result_usd
from offramp.study.domain.cascade_rule import Decisions


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberResults:
    """What one member did, by example, and the price of its model at its tier; None where that is not known."""

    results: Mapping[str, Result]
    price: Price | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """A rule on recorded rows.

    Attributes:
        results: by example, as if one candidate had run: tokens are those of the first member, and what the others cost
            is in `others_usd`.
        ran: positions of the members that ran, by example.
    """

    results: Mapping[str, Result]
    ran: Mapping[str, tuple[int, ...]]

    def shares(self, members: int) -> tuple[float, ...]:
        """Share of the rows that each member ran on."""
        counts = [sum(place in places for places in self.ran.values()) for place in range(members)]
        return tuple(count / max(1, len(self.ran)) for count in counts)


def composed(
    decisions: Decisions, members: Sequence[MemberResults], inputs: Mapping[str, Mapping[str, Any]], *, name: str,
    apart: Mapping[str, Floats] | None = None,
) -> Composed:  # fmt: skip
    """The rule on every row that its members have results for.

    Args:
        inputs: by example.
        name: what the results are of.
        apart: as for `Decisions`, by example.
    """
    results: dict[str, Result] = {}
    ran: dict[str, tuple[int, ...]] = {}
    for example, values in inputs.items():
        parts = [member.results.get(example) for member in members]
        places = _places(decisions, parts, members, values, None if apart is None else apart.get(example))
        if places is None:
            continue
        found = {place: result for place in places if (result := parts[place]) is not None}
        results[example], ran[example] = _result(decisions, found, members, name), places
    return Composed(results=results, ran=ran)


def _places(
    decisions: Decisions, parts: Sequence[Result | None], members: Sequence[MemberResults], values: Mapping[str, Any],
    apart: Floats | None,
) -> tuple[int, ...] | None:  # fmt: skip
    """Who runs, the one that answers last; None where one of them has no result."""
    rule = decisions.rule
    if rule.kind in ("pair", "router"):
        place = decisions.order_for(values, apart)[0]
        return None if parts[place] is None else (place,)
    before = (0, 2) if rule.kind == "agreement" else (0,)
    known = [part for place in before if (part := parts[place]) is not None]
    if len(known) < len(before):
        return None
    if any(part.score is None for part in known):
        return before
    if not _doubtful(decisions, known, members[0].price, values, apart):
        return (*before[1:], 0)
    ran = before
    for stage, place in enumerate(rule.stages[1:], start=1):
        if (part := parts[place]) is None:
            return None
        ran = (*ran, place)
        last = place == rule.stages[-1] or part.score is None
        if last or not _doubtful(decisions, [part], members[place].price, values, apart, stage=stage):
            break
    return ran


def _doubtful(
    decisions: Decisions, known: Sequence[Result], price: Price | None, values: Mapping[str, Any],
    apart: Floats | None, *, stage: int = 0,
) -> bool:  # fmt: skip
    usable = [part.state is ResultState.SCORED and part.outputs is not None for part in known]
    if not all(usable):
        return True
    one, *other = known
    if other:
        return not decisions.agree(one.outputs or {}, other[0].outputs or {})
    of = decisions.rule.measure(stage)
    measured = {"cost_usd": result_usd(one, price), "confidence": one.confidence}.get(str(of), one.latency_s)
    return decisions.escalates(values, measured, apart, stage=stage)


def _result(decisions: Decisions, found: Mapping[int, Result], members: Sequence[MemberResults], name: str) -> Result:
    """One row as if one candidate had run."""
    failed = next((part for part in found.values() if part.score is None), None)
    *_, answer = found.values()
    if failed is not None:
        return replace(failed, candidate=name)
    usd = {place: result_usd(part, members[place].price) for place, part in found.items()}
    others = [found[0].others_usd] if 0 in found else []
    others += [cost for place, cost in usd.items() if place]
    seconds = {place: part.latency_s for place, part in found.items()}
    at_once = (0, 2) if decisions.rule.kind == "agreement" else (0,)
    together = [s for place, s in seconds.items() if place in at_once and s is not None]
    after = [s for place, s in seconds.items() if place not in at_once and s is not None]
    routed = decisions.rule.kind in ("pair", "router")
    return replace(
        answer,
        candidate=name,
        cost_usd=_sum(list(usd.values())),
        others_usd=_sum(others),
        usage=found[0].usage if 0 in found else Usage(compute_s=0.0),
        latency_s=answer.latency_s if routed else max(together, default=0.0) + math.fsum(after),
        calls=sum(part.calls for part in found.values()),
        cached_calls=sum(part.cached_calls for part in found.values()),
    )


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) if len(known) == len(values) else None
