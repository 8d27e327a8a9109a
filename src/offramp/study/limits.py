"""Which limits of the space file a candidate does not keep, in words.

Invariant: there are none exactly for the feasible: what is told is what `violations` found.
"""

from __future__ import annotations

from collections.abc import Mapping

from offramp.space.model import ConstraintsPart
from offramp.study.objectives import Aggregates
from offramp.study.wording import number, per_thousand, seconds


def broken_limits(
    missed: Mapping[str, float], limits: ConstraintsPart, seen: Aggregates, regressed_at_most: float | None
) -> tuple[str, ...]:
    """One sentence part for each limit that is missed.

    Args:
        missed: by limit, how far it is missed; 0 or less means kept.
        regressed_at_most: as `violations` takes it.
    """
    return tuple(_words(name, limits, seen, regressed_at_most) for name, by in missed.items() if by > 0)


def _words(name: str, limits: ConstraintsPart, seen: Aggregates, regressed: float | None) -> str:
    if name == "quality_min":
        return f"quality {number(seen.quality)} is below {limits.quality_min:g}"
    if name == "cost_usd_max":
        return f"{per_thousand(seen.cost_usd)} per 1,000 runs is above {per_thousand(limits.cost_usd_max)}"
    if name == "latency_p95_s_max":
        return f"p95 {seconds(seen.latency_s('p95'))} is above {seconds(limits.latency_p95_s_max)}"
    if limits.regressions is None or regressed is None:
        return "what gets worse than with the incumbent is not known"
    return f"up to {regressed:.1%} of examples may get worse, and {limits.regressions.max:.1%} are allowed"
