"""Which params matter: how much of the spread of each objective over a study's candidates goes with each param.

Each param is taken alone, over the candidates that were tried. One that was not run on all examples counts with what
the search expects of it. A sampler does not try evenly, so this is a hint on where to look, and no experiment. It costs
no call and no fit: milliseconds for ten thousand candidates.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np

from offramp.records import Objective, Scalar
from offramp.stats import explained_share
from offramp.stats.pareto import Floats
from offramp.store.candidates import CandidateRow
from offramp.study.domain.members import Member

QUALITY = "quality"
_BINS = 5
_FEW = 8
_LEVELS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One value of a param (or a range of values): how many candidates have it, and their mean quality in 0..1."""

    value: str
    n: int
    quality: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Importance:
    """One param.

    Attributes:
        shares: by objective, the share in 0..1 of its variance that goes with the param; None where it cannot be said.
        levels: its values, the best mean quality first; at most eight.
    """

    param: str
    shares: Mapping[str, float | None]
    levels: tuple[Level, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One candidate: its params, and its value of each objective, None where that is not known.

    Attributes:
        expected: whether the values are expected, because it was not run on all examples.
    """

    params: Mapping[str, Scalar]
    values: Mapping[str, float | None]
    expected: bool = False


def tried(
    members: Sequence[Member], rows: Sequence[CandidateRow], objectives: Sequence[Objective]
) -> tuple[Tried, ...]:
    """The members that are complete, and of the other candidates those with expected values on record."""
    names = [objective.name for objective in objectives]
    complete = [member for member in members if member.estimate is None]
    done = {member.candidate for member in complete}
    found = [Tried(params=m.params, values={name: m.value(name) for name in names}) for m in complete]
    kept = [(row, row.origin.get("expected")) for row in rows if row.id not in done]
    return (*found, *(Tried(params=row.params, values=values, expected=True) for row, values in kept if values))


def importances(candidates: Sequence[Tried], objectives: Sequence[Objective]) -> tuple[Importance, ...]:
    """The params that differ between candidates, those that go with most of the quality first."""
    known = [one for one in candidates if one.values.get(QUALITY) is not None]
    names = dict.fromkeys(name for one in known for name in one.params)
    found = [_importance(name, known, objectives) for name in names]
    varied = [item for item in found if len(item.levels) > 1]
    return tuple(sorted(varied, key=lambda item: (-_first(item.shares), item.param)))


def _first(shares: Mapping[str, float | None]) -> float:
    return next(iter(shares.values()), None) or 0.0


def _importance(name: str, candidates: Sequence[Tried], objectives: Sequence[Objective]) -> Importance:
    groups = _groups([one.params.get(name) for one in candidates])
    shares = {o.name: _share(groups, [one.values.get(o.name) for one in candidates]) for o in objectives}
    return Importance(param=name, shares=shares, levels=_levels(groups, candidates))


def _share(groups: Sequence[str], values: Sequence[float | None]) -> float | None:
    pairs = [(group, value) for group, value in zip(groups, values, strict=True) if value is not None]
    return explained_share([group for group, _ in pairs], [value for _, value in pairs])


def _groups(values: Sequence[Scalar]) -> list[str]:
    """A label for each value; numbers of many different values are put into ranges of about equal size."""
    numbers = [float(value) for value in values if _is_number(value)]
    if len(set(numbers)) <= _FEW:
        return ["none" if value is None else str(value) for value in values]
    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, _BINS + 1)))
    return [_range(value, edges) if _is_number(value) else str(value) for value in values]


def _is_number(value: Scalar) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _range(value: float, edges: Floats) -> str:
    at = min(max(int(np.searchsorted(edges, value, side="right")) - 1, 0), len(edges) - 2)
    return f"{edges[at]:.3g} to {edges[at + 1]:.3g}"


def _levels(groups: Sequence[str], candidates: Sequence[Tried]) -> tuple[Level, ...]:
    by_value: dict[str, list[float]] = defaultdict(list)
    for group, one in zip(groups, candidates, strict=True):
        by_value[group].append(one.values[QUALITY] or 0.0)
    levels = (Level(value=value, n=len(qs), quality=sum(qs) / len(qs)) for value, qs in by_value.items())
    return tuple(sorted(levels, key=lambda level: (-level.quality, level.value))[:_LEVELS])
