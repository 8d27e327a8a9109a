"""A study as a report: incumbent, front, recommendation, money. One source for JSON, CSV, table and plot.

Everything is read from the storage: the trials from optuna's tables, results from offramp's, and tokens are priced when
they are read, so that a price change re-prices an old study. Nothing here makes a call.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from offramp.errors import ModelError
from offramp.models.catalogue import resolve
from offramp.records import Evaluation, Price, Result, Scalar, Split
from offramp.search.objectives import (
    Objective,
    objectives_from_json,
    reweighted,
    utility,
    values_of,
    violations,
)
from offramp.search.optuna_study import FinishedTrial, load_finished
from offramp.space.model import SpaceFile
from offramp.stats.pareto import non_dominated
from offramp.store.engine import Store
from offramp.store.results import ResultStore
from offramp.store.studies import StudyRow, StudyStore


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldoutScore:
    """The same aggregates on the holdout, which the search never saw."""

    quality: float | None
    cost_usd: float | None
    latency_s: float | None
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One candidate with its aggregates on the search split.

    Attributes:
        candidate: id.
        params: full assignment.
        quality: mean score in 0..1. cost_usd: mean virtual USD of a run. latency_s: seconds of a run, by the
            objective's statistic, as run. latency_p95_s: 95th percentile.
        n: examples with a score, n_fault of them zero by the program's own fault; n_failed have no score.
        utility: weighted, 0..1; None when an objective is not known.
        feasible: whether it keeps all constraints.
        incumbent: whether it is what runs today.
        holdout: None where it was not scored on the holdout.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """What a study has cost so far, over all its runs: `spent_usd` includes `assumed_usd`, booked for lost requests."""

    calls: int
    spent_usd: float
    assumed_usd: float
    reserved_usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyReport:
    """A study, ready to be shown.

    Attributes:
        trials: different candidates with a full evaluation, the incumbent included.
        members: all of them; `front` are those that no other dominates (among the feasible, where any is).
        recommended: the front's member of the highest utility.
    """

    study: str
    space: str
    seed: int
    status: str
    stop_reason: str | None
    objectives: tuple[Objective, ...]
    trials: int
    members: tuple[Member, ...]
    front: tuple[Member, ...]
    incumbent: Member | None
    recommended: Member | None
    money: Money | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON values; members other than front, incumbent and recommended are left out."""
        return {
            "study": self.study,
            "space": self.space,
            "seed": self.seed,
            "status": self.status,
            "stop_reason": self.stop_reason,
            "trials": self.trials,
            "objectives": [
                {"name": o.name, "weight": o.weight, "statistic": o.statistic if o.name == "latency" else "mean",
                 "scale": list(o.scale) if o.scale else None} for o in self.objectives
            ],
            "incumbent": None if self.incumbent is None else asdict(self.incumbent),
            "front": [asdict(member) for member in self.front],
            "recommended": None if self.recommended is None else asdict(self.recommended),
            "study_money": None if self.money is None else asdict(self.money),
        }  # fmt: skip


def build_report(
    store: Store,
    name: str,
    *,
    weights: Mapping[str, float] | None = None,
    trials: Sequence[FinishedTrial] | None = None,
) -> StudyReport:
    """The report of a study. `trials`: its finished trials, where the caller has them; else they are read.

    Raises:
        StorageError: no such study. UsageError: weights that do not fit its objectives.
    """
    row = StudyStore(store).get(name)
    space = SpaceFile.model_validate_json(row.space_json)
    objectives = reweighted(objectives_from_json(row.extra.get("objectives", [])), weights)
    told = load_finished(store, name) if trials is None else trials
    trials = [trial for trial in told if trial.duplicate_of is None]
    prices = current_prices(row)
    evaluations = read_evaluations(store, name, Split.SEARCH, trials, prices)
    holdout = read_evaluations(store, name, Split.HOLDOUT, trials, prices)
    incumbent_id = row.extra.get("incumbent")
    members = [
        _member(trial, evaluations[trial.candidate], holdout.get(trial.candidate), objectives, space, incumbent_id)
        for trial in trials
        if trial.candidate in evaluations
    ]
    front = front_of(members, objectives)
    return StudyReport(
        study=name,
        space=row.space_name,
        seed=row.seed,
        status=str(row.status),
        stop_reason=row.stop_reason,
        objectives=objectives,
        trials=len(members),
        members=tuple(members),
        front=front,
        incumbent=next((member for member in members if member.incumbent), None),
        recommended=recommend(front),
    )


def current_prices(row: StudyRow) -> dict[str, Price | None]:
    """Today's price of each model of a study: the space file's, else the catalogue's, else the one it was run with."""
    found: dict[str, Price | None] = {}
    space = SpaceFile.model_validate_json(row.space_json)
    parts = {part if isinstance(part, str) else part.name: part for part in space.models}
    for name, stored in row.extra.get("prices", {}).items():
        try:
            found[name] = resolve(parts.get(name, name), "study").price
        except ModelError:
            found[name] = None
        if found[name] is None and stored is not None:
            found[name] = Price(**stored)
    return found


def read_evaluations(
    store: Store, study: str, split: Split, trials: Sequence[FinishedTrial], prices: Mapping[str, Price | None]
) -> dict[str, Evaluation]:
    """Evaluations by candidate id, priced now."""
    stored = ResultStore(store).all(study, split)
    found = {}
    for trial in trials:
        results = stored.get(trial.candidate)
        if results:
            price = prices.get(str(trial.params["model"]))
            priced = tuple(_priced(result, price) for result in results.values())
            found[trial.candidate] = Evaluation(candidate=trial.candidate, results=priced)
    return found


def _priced(result: Result, price: Price | None) -> Result:
    if result.score is None:
        return result
    return replace(result, cost_usd=None if price is None else price.cost_usd(result.usage))


def _member(
    trial: FinishedTrial, evaluation: Evaluation, holdout: Evaluation | None, objectives: Sequence[Objective],
    space: SpaceFile, incumbent_id: str | None,
) -> Member:  # fmt: skip
    values = values_of(objectives, evaluation)
    fixed = all(objective.scale is not None for objective in objectives)
    return Member(
        candidate=trial.candidate,
        params=trial.params,
        quality=evaluation.quality,
        cost_usd=evaluation.cost_usd,
        latency_s=evaluation.latency_s(_statistic(objectives)),
        latency_p95_s=evaluation.latency_s("p95"),
        n=evaluation.n,
        n_fault=evaluation.n_fault,
        n_failed=evaluation.n_failed,
        utility=utility(objectives, values) if values is not None and fixed else None,
        feasible=all(missed <= 0 for missed in violations(space.constraints, evaluation).values()),
        incumbent=trial.candidate == incumbent_id,
        holdout=None if holdout is None else _holdout(holdout, objectives),
    )


def _holdout(evaluation: Evaluation, objectives: Sequence[Objective]) -> HoldoutScore:
    latency = evaluation.latency_s(_statistic(objectives))
    return HoldoutScore(quality=evaluation.quality, cost_usd=evaluation.cost_usd, latency_s=latency, n=evaluation.n)


def _statistic(objectives: Sequence[Objective]) -> str:
    return next((objective.statistic for objective in objectives if objective.name == "latency"), "p50")


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
