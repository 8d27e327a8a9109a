"""A study as a report: incumbent, front, recommendation, money. One source for JSON, CSV, table, page and plot.

A report is a function of the study's rows (`report_of`): stored ones, or those that a running job has in memory.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from offramp.records import Aggregate, Objective, Split, picked
from offramp.store.candidates import CandidateRow, CandidateState, Variant
from offramp.store.results import PairedCounts, ProbeRuns
from offramp.store.studies import ParkedModel, StudyRow, WarmStart
from offramp.study.domain.common_rows import CommonRows, Numbers, is_uneven
from offramp.study.domain.compared import why_uncompared
from offramp.study.domain.likely import LikelyMember, likely_members, reweighed
from offramp.study.domain.members import (
    Member,
    ScoringContext,
    ahead_on_holdout,
    beside,
    by_group,
    expected,
    front_of,
    latency_statistic,
    member_of,
    on_common_rows,
    recommend,
    with_finalist,
    with_holdout,
)
from offramp.study.domain.objectives import coarse_scales, reweighted, utility_of
from offramp.study.domain.paired_comparison import PairedComparison, Scores
from offramp.study.domain.regressions import regressed_at_most
from offramp.study.proof import Proof, prove
from offramp.study.shown import ShownStudy
from offramp.study.wording import (
    answer_counts,
    answer_notes,
    assumed_words,
    coarse_words,
    cold_notes,
    common_notes,
    estimate_notes,
    estimated_words,
    limit_words,
    replicate_notes,
    short_params,
    unreadable_words,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRows:
    """A study in memory: what `report_of` makes a report from. A running job keeps rows of its own.

    Attributes:
        candidates: in the order of their trials.
        search, holdout: what they came to, by id, at the prices of `scoring`.
        holdout_scores: for each candidate of `holdout`, the score of each example that has one. May be empty while the
            incumbent is not among them, since they are compared with it.
        search_scores: by id, the score of each example of the search split that has one. May be empty while no
            candidate lacks a score, and examples have no groups.
        search_numbers, holdout_numbers: by id, what each example that has a score came to. May be empty while no
            run of those compared failed (`uneven_on_search`, `uneven_on_holdout`).
        search_counts: by id, wins and losses against the incumbent on the search split. May be empty without a
            regression budget, which alone asks for them.
        probes: timed runs by id.
        estimated: as `StudyReport` has it.
    """

    study: StudyRow
    scoring: ScoringContext
    candidates: Sequence[CandidateRow]
    search: Mapping[str, Aggregate]
    holdout: Mapping[str, Aggregate]
    holdout_scores: Mapping[str, Scores] = field(default_factory=dict)
    search_scores: Mapping[str, Scores] = field(default_factory=dict)
    search_numbers: Numbers = field(default_factory=dict)
    holdout_numbers: Numbers = field(default_factory=dict)
    search_counts: Mapping[str, PairedCounts] = field(default_factory=dict)
    probes: Mapping[str, ProbeRuns] = field(default_factory=dict)
    variants: tuple[Variant, ...] = ()
    estimated: Mapping[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """What a study has cost so far, over all its runs. `assumed_usd` of `spent_usd` is for requests that were lost."""

    calls: int
    spent_usd: float
    assumed_usd: float
    reserved_usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a policy chose and why, in one sentence; `member` is None where nothing fits."""

    policy: str
    member: Member | None
    why: str

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {"policy": self.policy, "member": member_json(self.member), "why": self.why}


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class StudyReport(ShownStudy):
    """A study, ready to be shown.

    Attributes:
        trials: different candidates tried, the incumbent included; `stopped` of them were not run on all examples.
        members: those with a complete evaluation; and the recommended one, where it is expected to be ahead of them and
            the search ended before all its examples were run (`Member.estimate`).
        front: members that no other dominates (among the feasible, where any is).
        recommended: the front's member of the highest utility.
        picked: what another policy chooses, where one was asked for.
        started_from: the study it started from, and what was taken over; None for a start from nothing.
        proposals: instructions beside those of the space file, dropped ones with the reason.
        holdout_examples: size of the holdout; None where the study does not say.
        parked_models: models that no longer answered. Their members stay, and are neither on the front nor recommended.
        estimates: candidates that are likely on the front and were not run on all examples, highest expected utility
            first; none of them is a member.
        unfinished: all that were not run on all examples and have an estimate, the recommended one included.
        replicates: runs of an example whose answers are sampled.
        uncompared: why no other candidate could be compared with the incumbent; None where one could.
        estimated: models whose replies named no tokens, by name: how many of how many answers.
        stated_scales: objectives whose scale the space file states.
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
    holdout_examples: int | None = None
    parked_models: tuple[ParkedModel, ...] = ()
    estimates: tuple[LikelyMember, ...] = ()
    unfinished: tuple[Member, ...] = ()
    replicates: int = 1
    uncompared: str | None = None
    estimated: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    stated_scales: frozenset[str] = frozenset()

    @property
    def shown_report(self) -> StudyReport:
        """Itself."""
        return self

    def is_parked(self, member: Member) -> bool:
        """Whether a model that it uses no longer answers."""
        return any(one.is_used(member.params) for one in self.parked_models)

    @property
    def decisive(self) -> tuple[Member, ...]:
        """The incumbent and the recommended member; one whose model no longer answers is left out.

        A study of one candidate is about that one, whether it is good enough to be recommended or not.
        """
        only = self.members[0] if len(self.members) == 1 else None
        both = (self.incumbent, self.recommended or only)
        chosen = [member for member in both if member is not None and not self.is_parked(member)]
        return tuple({member.candidate: member for member in chosen}.values())

    @property
    def standing(self) -> tuple[Member, ...]:
        """Who a decision is about: the incumbent, the recommended member, and the rest of the front by utility."""
        rest = sorted(self.front, key=lambda m: (-(m.utility or 0.0), m.candidate))
        return tuple({member.candidate: member for member in (*self.decisive, *rest)}.values())

    def ahead_on_holdout(self, member: Member) -> tuple[Member, ...]:
        """Who dominates a member on the holdout, highest utility first; empty where nobody does."""
        return ahead_on_holdout(member, self.members, self.objectives) if member.on_holdout_front is False else ()

    def proof(self, member: Member) -> Proof:
        """What the holdout proves about a member."""
        return prove(member, self.incumbent, self.front, self.holdout_examples, self.uncompared)

    @property
    def latency_statistic(self) -> str:
        """How latencies become one number in this study, such as `p50`."""
        return latency_statistic(self.objectives)

    def headline(self) -> str | None:
        """What to do, in one sentence; None where nothing can be recommended."""
        best = self.recommended
        label = "" if best is None else f"{best.candidate} ({short_params(best.shown)})"
        return None if best is None else self.proof(best).headline(label)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What makes the comparisons of the study doubtful; empty where nothing does."""
        return (*self._unreadable_incumbent(), *self._coarse_scales(), *self._estimated_costs())

    def _coarse_scales(self) -> tuple[str, ...]:
        """Of costs and latencies, where the scale is taken from an incumbent that costs or takes nothing."""
        if self.incumbent is None:
            return ()
        others = [m.ranked for m in self.members if not m.incumbent]
        open_ones = [o for o in self.objectives if o.name not in self.stated_scales]
        return tuple(map(coarse_words, coarse_scales(open_ones, self.incumbent.ranked, others)))

    def _unreadable_incumbent(self) -> tuple[str, ...]:
        today = self.incumbent
        if today is None or 2 * today.search.n_fault <= today.search.n:
            return ()
        said = unreadable_words(today.search.n_fault, today.search.n)
        return (
            f"The incumbent has {said}: is this what runs today? Every candidate is compared with it. State its "
            "format, `constrained`, demos and params under `incumbent`.",
        )

    def _estimated_costs(self) -> tuple[str, ...]:
        """Costs that are not from the token counts of a server: by model where the ledger was read, else in money."""
        if self.estimated or self.money is None or not self.money.assumed_usd:
            return tuple(estimated_words(model, n, of) for model, (n, of) in self.estimated.items())
        return (assumed_words(self.money.assumed_usd, self.money.spent_usd),)

    def to_json(self) -> dict[str, Any]:
        """JSON values; members other than front, incumbent and recommended are left out."""
        proof = None if self.recommended is None else self.proof(self.recommended)
        return {
            **picked(self, "study", "space", "seed", "status", "stop_reason", "trials", "stopped"),
            "objectives": [
                {"name": o.name, "weight": o.weight, "statistic": o.statistic if o.name == "latency" else "mean",
                 "scale": list(o.scale) if o.scale else None} for o in self.objectives
            ],
            "holdout_examples": self.holdout_examples,
            "incumbent": member_json(self.incumbent),
            "front": [member_json(member) for member in self.front],
            "recommended": member_json(self.recommended),
            "headline": self.headline(),
            "proven": None if proof is None else str(proof.proven),
            "shown_better": [] if proof is None else [member.candidate for member in proof.better],
            "picked": None if self.picked is None else self.picked.to_json(),
            "study_money": None if self.money is None else asdict(self.money),
            "started_from": None if self.started_from is None else dict(self.started_from),
            "proposals": [variant.to_json() for variant in self.proposals],
            "parked_models": [one.to_json() for one in self.parked_models],
            "warnings": list(self.warnings),
            "estimates": [likely.to_json() for likely in self.estimates],
            **({} if self.replicates == 1 else {"replicates": self.replicates}),
        }  # fmt: skip


def member_json(member: Member | None) -> dict[str, Any] | None:
    """A member as JSON values."""
    if member is None:
        return None
    search, ranked = member.search, member.ranked
    return {
        "candidate": member.candidate,
        "params": dict(member.params),
        **picked(member, "quality", "cost_usd", "latency_s"),
        **picked(ranked, "latency_p50_s", "latency_p95_s", "n", "n_fault", "n_failed"),
        **picked(member, "utility", "feasible", "incumbent"),
        "holdout": _holdout_json(member),
        **picked(ranked, "quality_low", "quality_high"),
        "probe": None if member.probe is None else asdict(member.probe),
        "regressed_at_most": member.regressed_at_most,
        "breaks": [limit_words(broken) for broken in member.breaks],
        **answer_counts(search),
        "cost_cold_usd": ranked.cost_cold_usd,
        "notes": member_notes(member),
        **({"sent": dict(member.sent)} if member.sent else {}),
        **({} if member.estimate is None else {"estimate": {"n": member.estimate.n, "of": member.estimate.of}}),
        **({} if member.common is None else {"own_rows": _own_json(search, member.latency_statistic)}),
        **_replicates_json(search),
    }


def _own_json(seen: Aggregate, statistic: str) -> dict[str, Any]:
    """What a candidate that lacks scores came to on the rows that it has."""
    return {
        **picked(seen, "quality", "cost_usd"),
        "latency_s": seen.latency_s(statistic),
        **picked(seen, "latency_p50_s", "latency_p95_s", "quality_low", "quality_high"),
    }


def _replicates_json(seen: Aggregate) -> dict[str, Any]:
    """Empty where each example was run once."""
    if seen.n_runs is None or seen.within_variance is None:
        return {}
    return {"n_runs": seen.n_runs, "within_sd": math.sqrt(seen.within_variance)}


def member_notes(member: Member) -> list[str]:
    """What the provider says about a member's answers on both splits, and what it costs without a warm cache."""
    held = [] if member.holdout is None else answer_notes(member.holdout, member.params, where="holdout")
    seen = member.search
    return [
        *estimate_notes(member.estimate),
        *common_notes(member),
        *answer_notes(seen, member.params),
        *held,
        *cold_notes(seen),
        *replicate_notes(seen),
    ]


def _holdout_json(member: Member) -> dict[str, Any] | None:
    seen, statistic = member.held, member.latency_statistic
    if seen is None or member.holdout is None:
        return None
    return {
        **picked(seen, "quality", "cost_usd"),
        "latency_s": seen.latency_s(statistic),
        **picked(seen, "latency_p50_s", "n", "quality_low", "quality_high"),
        "on_front": member.on_holdout_front,
        "n_fault": seen.n_fault,
        **answer_counts(seen),
        "cost_cold_usd": seen.cost_cold_usd,
        "against": None if member.against_incumbent is None else _against_json(member.against_incumbent),
        **({} if member.held_common is None else {"own_rows": _own_json(member.holdout, statistic)}),
        **_replicates_json(seen),
    }


def _against_json(one: PairedComparison) -> dict[str, Any]:
    return {
        "difference": one.difference,
        "low": one.interval.low,
        "high": one.interval.high,
        **picked(one, "wins", "losses", "ties", "p_value", "p_corrected", "better", "worse", "worse_at_most"),
        "low_corrected": one.corrected.low,
        "high_corrected": one.corrected.high,
        "looked_at": one.looked_at,
    }


def report_of(rows: StudyRows, weights: Mapping[str, float] | None = None) -> StudyReport:
    """The report of a study, from its rows alone.

    Args:
        weights: other weights; the study's own for None.

    Raises:
        UsageError: weights that do not fit its objectives.
    """
    study, scoring = rows.study, replace(rows.scoring, objectives=reweighted(rows.scoring.objectives, weights))
    complete = [
        _member(row, rows, scoring)
        for row in rows.candidates
        if row.state is CandidateState.COMPLETE and row.id in rows.search
    ]
    searched = CommonRows(rows.search_numbers) if rows.search_numbers else None
    if searched is not None:
        complete = on_common_rows(complete, searched, scoring)
    parked = study.details.parked
    running = [row for row in rows.candidates if not any(one.is_used(row.params) for one in parked)]
    likely = {one.candidate: one for one in likely_members(running, scoring.objectives)}
    unfinished = [
        expected(_member(row, rows, scoring), likely[row.id], scoring)
        for row in running
        if row.id in likely and row.id in rows.search
    ]
    if searched is not None:
        complete, unfinished = (beside(some, searched, scoring.incumbent) for some in (complete, unfinished))
    standing = [m for m in complete if not any(one.is_used(m.params) for one in parked)]
    ranked = with_finalist(standing, unfinished, scoring.objectives)
    front = front_of(ranked, scoring.objectives)
    incumbents = [member for member in complete if member.incumbent]
    asked = {m.candidate: m for m in (*front, *incumbents, *unfinished)}
    examined = CommonRows(rows.holdout_numbers) if rows.holdout_numbers else None
    held = with_holdout(list(asked.values()), scoring, rows.holdout_scores, examined)
    members = [held.get(m.candidate, m) for m in (*complete, *(m for m in ranked if m.estimate is not None))]
    front = tuple(held.get(member.candidate, member) for member in front)
    return StudyReport(
        study=study.name,
        space=study.space_name,
        seed=study.seed,
        status=str(study.status),
        stop_reason=study.stop_reason,
        objectives=scoring.objectives,
        trials=len(rows.candidates),
        stopped=sum(row.state is CandidateState.STOPPED for row in rows.candidates),
        members=tuple(members),
        front=front,
        incumbent=next((member for member in members if member.incumbent), None),
        recommended=recommend(front),
        started_from=_started_from(study.details.warm),
        proposals=rows.variants,
        holdout_examples=study.details.examples.get(Split.HOLDOUT),
        replicates=scoring.replicates,
        parked_models=parked,
        estimates=tuple(one for one in likely.values() if one.candidate not in {m.candidate for m in members}),
        unfinished=tuple(held.get(member.candidate, member) for member in unfinished),
        uncompared=_uncompared(rows),
        estimated=rows.estimated,
        stated_scales=scoring.stated_scales,
    )


def uneven_on_search(candidates: Sequence[CandidateRow], search: Mapping[str, Aggregate]) -> tuple[str, ...]:
    """The candidates whose numbers example by example the report needs (`StudyRows.search_numbers`), by id.

    Empty where no run of those that are compared failed.
    """
    compared = (row for row in candidates if row.state is CandidateState.COMPLETE or row.origin.get("estimate"))
    seen = {row.id: search[row.id] for row in compared if row.id in search}
    return tuple(seen) if is_uneven(seen) else ()


def uneven_on_holdout(holdout: Mapping[str, Aggregate]) -> tuple[str, ...]:
    """The same for `StudyRows.holdout_numbers`."""
    return tuple(holdout) if is_uneven(holdout) else ()


def _uncompared(rows: StudyRows) -> str | None:
    """Why no other candidate could be compared with the incumbent; None where one could."""
    parked = rows.study.details.parked
    answering = [row for row in rows.candidates if not any(one.is_used(row.params) for one in parked)]
    others = [row for row in answering if row.id != rows.scoring.incumbent]
    unknown = {row.id for row in others if row.id in rows.search and not _all_known(rows.search[row.id], rows.scoring)}
    return why_uncompared(others, rows.search, unknown=unknown, is_parked=bool(parked))


def _all_known(seen: Aggregate, scoring: ScoringContext) -> bool:
    values = {"quality": seen.quality, "cost": seen.cost_usd, "latency": seen.latency_mean_s}
    return all(values[objective.name] is not None for objective in scoring.objectives)


def _member(row: CandidateRow, rows: StudyRows, scoring: ScoringContext) -> Member:
    """A candidate with what it came to."""
    return member_of(
        row.id,
        row.params,
        by_group(rows.search[row.id], rows.search_scores.get(row.id, {}), scoring.groups),
        scoring,
        holdout=_held(row.id, rows),
        regressed_at_most=_regressed(row.id, rows),
        runs=rows.probes.get(row.id),
        sent=row.sent,
    )


def _held(candidate: str, rows: StudyRows) -> Aggregate | None:
    seen = rows.holdout.get(candidate)
    return None if seen is None else by_group(seen, rows.holdout_scores.get(candidate, {}), rows.scoring.groups)


def _regressed(candidate: str, rows: StudyRows) -> float | None:
    """The bound that a regression budget holds against; None without a budget or an incumbent."""
    budget, incumbent = rows.scoring.constraints.regressions, rows.scoring.incumbent
    if budget is None or incumbent is None:
        return None
    return 0.0 if candidate == incumbent else regressed_at_most(rows.search_counts.get(candidate), budget.confidence)


def _started_from(warm: WarmStart | None) -> dict[str, Any] | None:
    """What the report says of the study that this one started from."""
    if warm is None:
        return None
    return {
        "study": warm.study,
        "storage": warm.storage,
        "notes": list(warm.notes),
        "first": len(warm.first),
        "cells": sum(warm.reused.values()),
        "prior": len(warm.prior),
    }


def reweigh(report: StudyReport, weights: Mapping[str, float]) -> StudyReport:
    """The same report by other weights, without reading anything: what `report_of` says for them.

    Raises:
        UsageError: weights that do not fit its objectives.
    """
    objectives = reweighted(report.objectives, weights)
    likely = reweighed([m.estimate for m in report.unfinished if m.estimate is not None], objectives)
    by_id = {m.candidate: m for m in report.unfinished}
    unfinished = tuple(replace(by_id[one.candidate], utility=one.utility, estimate=one) for one in likely)
    complete = tuple(
        replace(m, utility=utility_of(objectives, m.ranked)) for m in report.members if m.estimate is None
    )  # fmt: skip
    ranked = with_finalist([m for m in complete if not report.is_parked(m)], unfinished, objectives)
    members = (*complete, *(m for m in ranked if m.estimate is not None))
    front = front_of(ranked, objectives)
    return replace(
        report,
        objectives=objectives,
        members=members,
        front=front,
        incumbent=next((member for member in members if member.incumbent), None),
        recommended=recommend(front),
        estimates=tuple(one for one in likely if one.candidate not in {m.candidate for m in members}),
        unfinished=unfinished,
    )


def summary_text(report: StudyReport) -> str:
    """The report as JSON text, for the study's record."""
    return json.dumps(report.to_json(), allow_nan=False)
