"""Which params matter: how much of the spread of each objective over a study's candidates goes with each param.

Each param is taken alone, over the candidates that were tried. A sampler does not try evenly, so this is a hint on
where to look, and no experiment. It costs no call and no fit: milliseconds for ten thousand candidates.
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
from offramp.study.domain.members import Member

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


def importances(members: Sequence[Member], objectives: Sequence[Objective]) -> tuple[Importance, ...]:
    """The params that differ between members, those that go with most of the quality first."""
    known = [member for member in members if member.quality is not None]
    names = dict.fromkeys(name for member in known for name in member.params)
    found = [_importance(name, known, objectives) for name in names]
    varied = [item for item in found if len(item.levels) > 1]
    return tuple(sorted(varied, key=lambda item: (-_first(item.shares), item.param)))


def _first(shares: Mapping[str, float | None]) -> float:
    return next(iter(shares.values()), None) or 0.0


def _importance(name: str, members: Sequence[Member], objectives: Sequence[Objective]) -> Importance:
    groups = _groups([member.params.get(name) for member in members])
    shares = {objective.name: _share(groups, members, objective.name) for objective in objectives}
    return Importance(param=name, shares=shares, levels=_levels(groups, members))


def _share(groups: Sequence[str], members: Sequence[Member], objective: str) -> float | None:
    values = [member.value(objective) for member in members]
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


def _levels(groups: Sequence[str], members: Sequence[Member]) -> tuple[Level, ...]:
    by_value: dict[str, list[float]] = defaultdict(list)
    for group, member in zip(groups, members, strict=True):
        by_value[group].append(member.quality or 0.0)
    levels = (Level(value=value, n=len(qs), quality=sum(qs) / len(qs)) for value, qs in by_value.items())
    return tuple(sorted(levels, key=lambda level: (-level.quality, level.value))[:_LEVELS])
