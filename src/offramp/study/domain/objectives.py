"""Objectives: aggregates with a direction and a unit, the weighted utility over them, and constraints.

Each objective is mapped to 0..1 (best is 1) by a scale that is fixed before the search: stated in the space file, or
taken from the incumbent. The utility is the weighted mean of the mapped values. Weights rank, recommend and guide;
they never change what is on the front.

Invariant: the utility of an evaluation depends on that evaluation, the scales and the weights: never on other trials.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from offramp.errors import UsageError, nearest, problem
from offramp.records import Measured, Objective
from offramp.space.model import MOST_WEIGHT, ConstraintsPart, ObjectivePart, SpaceFile


def objectives_of(space: SpaceFile) -> tuple[Objective, ...]:
    """The objectives of a space file; scales that the incumbent gives are still open."""
    parts = {"quality": space.objectives.quality, "cost": space.objectives.cost, "latency": space.objectives.latency}
    return tuple(_objective(name, part) for name, part in parts.items() if part is not None)


def _objective(name: str, part: ObjectivePart) -> Objective:
    open_scale = (0.0, 1.0) if name == "quality" else None
    scale = part.scale if isinstance(part.scale, tuple) else open_scale
    return Objective(name=name, weight=part.weight, statistic=part.statistic, scale=scale)


def with_scales(objectives: Sequence[Objective], incumbent: Measured | None) -> tuple[Objective, ...]:
    """The objectives with every open scale fixed from the incumbent: 0 is best, twice its own value is worst.

    Where its value is 0 or not known, 1 USD or 1 second of one run is worst: `coarse_scales` then warns.
    """
    fixed = []
    for objective in objectives:
        if objective.scale is None:
            value = None if incumbent is None else objective.value(incumbent)
            fixed.append(replace(objective, scale=(2 * value if value else 1.0, 0.0)))
        else:
            fixed.append(objective)
    return tuple(fixed)


MOST_COARSE = 100.0
"""How many times the cheapest of the others may be above or below the worst end of a scale from the incumbent."""


def coarse_scales(
    objectives: Sequence[Objective], incumbent: Measured | None, others: Sequence[Measured]
) -> tuple[Objective, ...]:
    """Objectives whose scale is from an incumbent that costs, or takes, nothing or next to nothing.

    Nearly all others are then mapped to the same end of the scale, and the weight of the objective decides nothing, or
    everything.

    Args:
        others: the other candidates.
    """
    found = []
    for objective in objectives:
        own = None if incumbent is None or objective.name == "quality" else objective.value(incumbent)
        known = [v for seen in others if (v := objective.value(seen)) is not None and v > 0]
        if own is None or objective.scale is None or not objective.weight or not known:
            continue
        worst, best = objective.scale
        free = own == 0 and (worst, best) == (1.0, 0.0)
        tiny = own > 0 and (worst, best) == (2 * own, 0.0) and min(known) > MOST_COARSE * worst
        if free or tiny:
            found.append(objective)
    return tuple(found)


def values_of(objectives: Sequence[Objective], seen: Measured) -> tuple[float, ...] | None:
    """One value per objective, or None when any is unknown (no example counted, or no price)."""
    values = [objective.value(seen) for objective in objectives]
    return None if any(v is None for v in values) else tuple(v for v in values if v is not None)


def utility(objectives: Sequence[Objective], values: Sequence[float]) -> float:
    """Weighted mean of the scaled values, in 0..1."""
    total = math.fsum(objective.weight for objective in objectives)
    mapped = (o.weight * o.scaled(v) for o, v in zip(objectives, values, strict=True))
    return math.fsum(mapped) / total


def utility_of(objectives: Sequence[Objective], seen: Measured) -> float | None:
    """The utility; None where an objective is not known or a scale is not fixed yet."""
    values = values_of(objectives, seen)
    fixed = all(objective.scale is not None for objective in objectives)
    return utility(objectives, values) if values is not None and fixed else None


def violations(
    constraints: ConstraintsPart, seen: Measured, regressed_at_most: float | None = None
) -> dict[str, float]:
    """How far each stated constraint is missed, in its own unit; 0 or less means kept (Optuna's convention).

    Args:
        regressed_at_most: upper bound of the share of examples that got worse than with the incumbent, at the
            confidence of the regression budget; None where it is not known, which keeps no budget.
    """
    found: dict[str, float] = {}
    for name, limit, value, sign in (
        ("quality_min", constraints.quality_min, seen.quality, -1.0),
        ("cost_usd_max", constraints.cost_usd_max, seen.cost_usd, 1.0),
        ("latency_p95_s_max", constraints.latency_p95_s_max, seen.latency_s("p95"), 1.0),
    ):
        if limit is not None:
            found[name] = math.inf if value is None else sign * (value - limit)
    if constraints.regressions is not None:
        missed = math.inf if regressed_at_most is None else regressed_at_most - constraints.regressions.max
        found["regressions"] = missed
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenLimit:
    """A constraint that is not kept.

    Attributes:
        limit: `quality_min`, `cost_usd_max`, `latency_p95_s_max` or `regressions`.
        bound: what the space file asks for; of `regressions` the largest share of examples that may get worse.
        value: what it is; None where that is not known.
    """

    limit: str
    bound: float
    value: float | None


def broken_limits(
    constraints: ConstraintsPart, seen: Measured, regressed_at_most: float | None = None
) -> tuple[BrokenLimit, ...]:
    """The constraints that are not kept: those with a violation above 0. Arguments as for `violations`."""
    regressions = constraints.regressions
    limits: dict[str, tuple[float | None, float | None]] = {
        "quality_min": (constraints.quality_min, seen.quality),
        "cost_usd_max": (constraints.cost_usd_max, seen.cost_usd),
        "latency_p95_s_max": (constraints.latency_p95_s_max, seen.latency_s("p95")),
        "regressions": (None if regressions is None else regressions.max, regressed_at_most),
    }
    missed = violations(constraints, seen, regressed_at_most)
    found = ((name, *limits[name]) for name, by in missed.items() if by > 0)
    return tuple(BrokenLimit(limit=name, bound=bound or 0.0, value=value) for name, bound, value in found)


def reweighted(objectives: Sequence[Objective], weights: Mapping[str, float] | None) -> tuple[Objective, ...]:
    """The objectives with other weights; those not named get weight 0.

    Raises:
        UsageError: a name that is not an objective of this study, a weight that is not a number, or no weight above 0.
    """
    if weights is None:
        return tuple(objectives)
    names = [objective.name for objective in objectives]
    for name, weight in weights.items():
        if name not in names:
            raise UsageError(
                problem("--weights", "unknown objective", got=name, expected=f"one of {names}", do=nearest(name, names))
            )
        if not 0 <= weight <= MOST_WEIGHT:
            expected = f"a number in [0, {MOST_WEIGHT:,.0f}]"
            raise UsageError(problem("--weights", f"the weight of {name}", got=weight, expected=expected))
    if sum(weights.values()) <= 0:
        got = ", ".join(f"{name}={weight:g}" for name, weight in weights.items())
        do = "Raise one, such as quality=1."
        raise UsageError(problem("--weights", "the weights", got=got, expected="one above 0 at least", do=do))
    return tuple(replace(objective, weight=weights.get(objective.name, 0.0)) for objective in objectives)
