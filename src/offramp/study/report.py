"""A study as a report: incumbent, front, recommendation, money. One source for JSON, CSV, table, page and plot.

Everything is read from the storage. Nothing here makes a call.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from offramp.space.model import SpaceFile
from offramp.stats.pareto import non_dominated
from offramp.store.candidates import CandidateRow, CandidateState, CandidateStore
from offramp.store.engine import Store
from offramp.store.studies import StudyRow, StudyStore
from offramp.store.variants import Variant, VariantStore
from offramp.study.holdout import judged
from offramp.study.members import HoldoutScore, Member, Ruler, read_members
from offramp.study.objectives import Objective, objectives_from_json, reweighted, utility
from offramp.study.prices import current_prices

__all__ = [
    "Choice",
    "HoldoutScore",
    "Member",
    "Money",
    "StudyReport",
    "build_report",
    "front_of",
    "recommend",
    "summary_text",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """What a study has cost so far, over all its runs: `spent_usd` includes `assumed_usd`, booked for lost requests."""

    calls: int
    spent_usd: float
    assumed_usd: float
    reserved_usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a policy chose: `member` is None where nothing fits, and `why` says so in one sentence either way."""

    policy: str
    member: Member | None
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyReport:
    """A study, ready to be shown.

    Attributes:
        trials: different candidates tried, the incumbent included; `stopped` of them were raced out.
        members: those with a complete evaluation.
        front: members that no other dominates (among the feasible, where any is).
        recommended: the front's member of the highest utility.
        picked: what another policy chooses, where one was asked for.
        started_from: the study it started from, and what was taken over; None for a start from nothing.
        proposals: instructions beside those of the space file, dropped ones with the reason.
    """

    study: str
    space: str
    seed: int
    status: str
    stop_reason: str | None
    objectives: tuple[Objective, ...]
    trials: int
    stopped: int
    members: tuple[Member, ...]
    front: tuple[Member, ...]
    incumbent: Member | None
    recommended: Member | None
    money: Money | None = None
    picked: Choice | None = None
    started_from: Mapping[str, Any] | None = None
    proposals: tuple[Variant, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """JSON values; members other than front, incumbent and recommended are left out."""
        return {
            "study": self.study,
            "space": self.space,
            "seed": self.seed,
            "status": self.status,
            "stop_reason": self.stop_reason,
            "trials": self.trials,
            "stopped": self.stopped,
            "objectives": [
                {"name": o.name, "weight": o.weight, "statistic": o.statistic if o.name == "latency" else "mean",
                 "scale": list(o.scale) if o.scale else None} for o in self.objectives
            ],
            "incumbent": _member_json(self.incumbent),
            "front": [_member_json(member) for member in self.front],
            "recommended": _member_json(self.recommended),
            "picked": _choice_json(self.picked),
            "study_money": None if self.money is None else asdict(self.money),
            "started_from": None if self.started_from is None else dict(self.started_from),
            "proposals": [variant.to_json() for variant in self.proposals],
        }  # fmt: skip


def _member_json(member: Member | None) -> dict[str, Any] | None:
    return None if member is None else {**asdict(member), "breaks": list(member.breaks)}


def _choice_json(choice: Choice | None) -> dict[str, Any] | None:
    return None if choice is None else {**asdict(choice), "member": _member_json(choice.member)}


def build_report(
    store: Store, name: str, *, weights: Mapping[str, float] | None = None, rows: Sequence[CandidateRow] | None = None
) -> StudyReport:
    """The report of a study.

    Args:
        rows: its candidates, where they are at hand; read from the storage for None.

    Raises:
        StorageError: no such study. UsageError: weights that do not fit its objectives.
    """
    row = StudyStore(store).get(name)
    ruler = ruler_of(row, weights)
    rows = CandidateStore(store).all(name) if rows is None else rows
    members = read_members(store, name, ruler, rows)
    front = front_of(members, ruler.objectives)
    members, front = _with_holdout(store, name, members, front, ruler)
    return StudyReport(
        study=name,
        space=row.space_name,
        seed=row.seed,
        status=str(row.status),
        stop_reason=row.stop_reason,
        objectives=ruler.objectives,
        trials=len(rows),
        stopped=sum(row.state is CandidateState.STOPPED for row in rows),
        members=members,
        front=front,
        incumbent=next((member for member in members if member.incumbent), None),
        recommended=recommend(front),
        started_from=_start(row.extra.get("warm")),
        proposals=VariantStore(store).all(name),
    )


def _start(warm: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What the report says of the study that this one started from."""
    if warm is None:
        return None
    numbers = {"first": len(warm["first"]), "cells": sum(warm["cells"].values()), "prior": len(warm["prior"])}
    return {"study": warm["study"], "storage": warm["storage"], "notes": list(warm["notes"]), **numbers}


def _with_holdout(
    store: Store, study: str, members: tuple[Member, ...], front: tuple[Member, ...], ruler: Ruler
) -> tuple[tuple[Member, ...], tuple[Member, ...]]:
    """Members and front, with what became of front, recommended and incumbent on the holdout."""
    chosen = {m.candidate: m for m in (*front, *(m for m in members if m.incumbent))}
    scores = judged(store, study, tuple(chosen.values()), ruler.objectives, ruler.incumbent)
    after = {name: replace(chosen[name], holdout=score) for name, score in scores.items()}
    return tuple(after.get(m.candidate, m) for m in members), tuple(after.get(m.candidate, m) for m in front)


def reweigh(report: StudyReport, weights: Mapping[str, float]) -> StudyReport:
    """The same report by other weights, without reading anything: what `build_report` says for them.

    Raises:
        UsageError: weights that do not fit its objectives.
    """
    objectives = reweighted(report.objectives, weights)
    fixed = all(objective.scale is not None for objective in objectives)
    members = {m.candidate: replace(m, utility=_utility(m, objectives) if fixed else None) for m in report.members}
    front = tuple(members[m.candidate] for m in report.front)
    return replace(
        report,
        objectives=objectives,
        members=tuple(members.values()),
        front=front,
        incumbent=None if report.incumbent is None else members[report.incumbent.candidate],
        recommended=recommend(front),
    )


def _utility(member: Member, objectives: Sequence[Objective]) -> float | None:
    known = [value for value in _values(member, objectives) if value is not None]
    return utility(objectives, known) if len(known) == len(objectives) else None


def ruler_of(row: StudyRow, weights: Mapping[str, float] | None = None) -> Ruler:
    """What the members of a study are measured with: its objectives (weighed anew), constraints and today's prices."""
    return Ruler(
        objectives=reweighted(objectives_from_json(row.extra.get("objectives", [])), weights),
        constraints=SpaceFile.model_validate_json(row.space_json).constraints,
        prices=current_prices(row),
        incumbent=row.extra.get("incumbent"),
    )


def front_of(members: Sequence[Member], objectives: Sequence[Objective]) -> tuple[Member, ...]:
    """The members that no other dominates, best quality first; infeasible ones only where none is feasible."""
    feasible = [member for member in members if member.feasible] or list(members)
    known = [member for member in feasible if None not in _values(member, objectives)]
    if not known:
        return ()
    points = np.array([_values(member, objectives) for member in known], dtype=float)
    mask = non_dominated(points, maximise=[objective.maximise for objective in objectives])
    front = [member for member, on in zip(known, mask, strict=True) if on]
    return tuple(sorted(front, key=lambda m: (-(m.quality or 0.0), m.cost_usd or 0.0, m.candidate)))


def _values(member: Member, objectives: Sequence[Objective]) -> list[float | None]:
    by_name = {"quality": member.quality, "cost": member.cost_usd, "latency": member.latency_s}
    return [by_name[objective.name] for objective in objectives]


def recommend(front: Sequence[Member]) -> Member | None:
    """The member of the highest utility; among equals the better, then the cheaper one. None for an empty front."""
    known = [member for member in front if member.utility is not None]
    if not known:
        return None
    return min(known, key=lambda m: (-round(m.utility or 0.0, 9), -(m.quality or 0.0), m.cost_usd or 0.0, m.candidate))


def summary_text(report: StudyReport) -> str:
    """The report as JSON text, for the study's record."""
    return json.dumps(report.to_json(), allow_nan=False)
