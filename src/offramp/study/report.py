"""A study as a report: incumbent, front, recommendation, money. One source for JSON, CSV, table, page and plot.

A report is a function of the study's rows (`report_of`): stored ones, or those that a running job has in memory.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from offramp.stats.pareto import non_dominated
from offramp.store.candidates import CandidateState
from offramp.store.engine import Store
from offramp.store.variants import Variant
from offramp.study.holdout import Scores, judged
from offramp.study.members import HoldoutScore, Member, ScoringContext, member_of
from offramp.study.objectives import Objective, reweighted, utility
from offramp.study.queries import StudyRows, read_study_rows
from offramp.study.regressions import regressed_by_counts

__all__ = [
    "Choice",
    "HoldoutScore",
    "Member",
    "Money",
    "StudyReport",
    "build_report",
    "front_of",
    "recommend",
    "report_of",
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


def build_report(store: Store, name: str, *, weights: Mapping[str, float] | None = None) -> StudyReport:
    """The report of a stored study.

    Raises:
        StorageError: no such study. UsageError: weights that do not fit its objectives.
    """
    return report_of(read_study_rows(store, name), weights)


def report_of(rows: StudyRows, weights: Mapping[str, float] | None = None) -> StudyReport:
    """The report of a study, from its rows alone.

    Args:
        weights: other weights; the study's own for None.

    Raises:
        UsageError: weights that do not fit its objectives.
    """
    scoring = replace(rows.scoring, objectives=reweighted(rows.scoring.objectives, weights))
    members = _members(rows, scoring)
    front = front_of(members, scoring.objectives)
    members, front = _with_holdout(members, front, scoring, rows.holdout_scores)
    study = rows.study
    return StudyReport(
        study=study.name,
        space=study.space_name,
        seed=study.seed,
        status=str(study.status),
        stop_reason=study.stop_reason,
        objectives=scoring.objectives,
        trials=len(rows.candidates),
        stopped=sum(row.state is CandidateState.STOPPED for row in rows.candidates),
        members=members,
        front=front,
        incumbent=next((member for member in members if member.incumbent), None),
        recommended=recommend(front),
        started_from=_start(study.extra.get("warm")),
        proposals=rows.variants,
    )


def _members(rows: StudyRows, scoring: ScoringContext) -> tuple[Member, ...]:
    """Those of the candidates that have a complete evaluation, in the order of their trials."""
    return tuple(
        member_of(
            row,
            rows.search[row.id],
            rows.holdout.get(row.id),
            scoring,
            regressed_at_most=_regressed(row.id, rows),
            runs=rows.probes.get(row.id),
        )
        for row in rows.candidates
        if row.state is CandidateState.COMPLETE and row.id in rows.search
    )


def _regressed(candidate: str, rows: StudyRows) -> float | None:
    """The bound that a regression budget holds against; None without a budget or an incumbent."""
    budget, incumbent = rows.scoring.constraints.regressions, rows.scoring.incumbent
    if budget is None or incumbent is None:
        return None
    return 0.0 if candidate == incumbent else regressed_by_counts(rows.search_counts.get(candidate), budget.confidence)


def _start(warm: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What the report says of the study that this one started from."""
    if warm is None:
        return None
    numbers = {"first": len(warm["first"]), "cells": sum(warm["cells"].values()), "prior": len(warm["prior"])}
    return {"study": warm["study"], "storage": warm["storage"], "notes": list(warm["notes"]), **numbers}


def _with_holdout(
    members: tuple[Member, ...], front: tuple[Member, ...], scoring: ScoringContext, holdout_scores: Scores
) -> tuple[tuple[Member, ...], tuple[Member, ...]]:
    """Members and front, with what became of front, recommended and incumbent on the holdout."""
    chosen = {m.candidate: m for m in (*front, *(m for m in members if m.incumbent))}
    scores = judged(tuple(chosen.values()), scoring.objectives, scoring.incumbent, holdout_scores)
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
