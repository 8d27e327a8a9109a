"""From a rule that `offramp cascades` prints to a promotion: its members, its rule, and what it came to on the holdout.

No model is asked. The rule is what the search split chose. What it would have given on the holdout is put together from
its members' recorded runs there, decided as an app decides.

Invariant: nothing of the holdout has a say in the rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from offramp.job.loaded import LoadedStudy
from offramp.promote.build_promotion import BuiltPromotion, PromotionRequest, build_promotion
from offramp.promote.evidence import beaten_incumbent, result_rows, split_evidence
from offramp.promote.promotion import (
    OF_ONE_PROGRAM,
    CascadeGain,
    CascadeMember,
    Evidence,
    FileRef,
    Gate,
    PromotedCascade,
    PromotedModel,
    Promotion,
)
from offramp.promote.promotion_store import Rows, rows_of
from offramp.records import Example, Price, Split, picked, price_of
from offramp.store.aggregates import aggregate_of, priced_by_results
from offramp.store.candidates import CandidateRow, CandidateState, CandidateStore
from offramp.store.engine import Store
from offramp.store.results import ResultStore
from offramp.study.domain.cascade_cells import recorded_names
from offramp.study.domain.cascade_report import KindResult
from offramp.study.domain.cascade_results import Composed, MemberResults, composed
from offramp.study.domain.cascade_rule import CascadeRule, Decisions
from offramp.study.domain.objectives import utility_of
from offramp.study.queries.recorded_rules import FoundRule
from offramp.study.queries.study_rows import current_prices
from offramp.study.study_report import StudyReport

_LEARNED = ("of", "threshold", "prior", "second_of", "second_threshold")
"""What a rule learned from the search rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltCascade:
    """A promotion with what its gate asks beside it.

    Attributes:
        complete: whether each member ran on the whole search split.
        scores: of the rule on the holdout, by example.
    """

    built: BuiltPromotion
    complete: bool
    scores: Mapping[str, float]


def build_cascade(
    store: Store, opened: LoadedStudy, found: FoundRule, request: PromotionRequest, *, report: StudyReport
) -> BuiltCascade:
    """The promotion of a rule.

    Args:
        report: of the study, by the weights that the rule was chosen by.

    Raises:
        UsageError: a member cannot be promoted: its model, parameters or demos are not available as they were.
    """
    names = list(found.rule.members)
    rows = {row.id: row for row in CandidateStore(store).all(opened.row.name, only=names)}
    members = [rows[candidate] for candidate in names]
    parts = [build_promotion(store, opened, row, request, trials=report.trials) for row in members]
    search, holdout = _runs(store, opened, found, members)
    kept = result_rows(holdout.results, judged=bool(opened.job.task.metric.judge_models))
    near = _recorded_rows(found.rule)
    rule = _rule_part(found, [part.promotion for part in parts], (holdout if holdout.ran else search), near)
    price = price_of(members[0].candidate, current_prices(opened.row))
    promotion = replace(
        parts[0].promotion,
        fallbacks=(),
        others=_others([part.promotion for part in parts]),
        rendering=None,
        rendering_refused="it is a cascade: which program answers depends on the input",
        evidence=_evidence(store, opened, found, parts, search, holdout, price, None if kept is None else kept.ref),
        cascade=_beside_recommended(rule, report, holdout, price),
    )
    data = {rows.ref: rows for part in parts for rows in part.rows if rows.ref in _pools(promotion)}
    data |= {rows.ref: rows for rows in (kept, near) if rows is not None}
    retirements = {name: date for part in parts for name, date in part.retirements.items()}
    return BuiltCascade(
        built=BuiltPromotion(promotion=promotion, rows=tuple(data.values()), retirements=retirements),
        complete=all(row.state is CandidateState.COMPLETE for row in members),
        scores={name: result.score for name, result in holdout.results.items() if result.score is not None},
    )


def _evidence(
    store: Store, opened: LoadedStudy, found: FoundRule, parts: Sequence[BuiltPromotion], search: Composed,
    holdout: Composed, price: Price | None, kept: FileRef | None,
) -> Evidence:  # fmt: skip
    """What the rule came to, in place of what its first member did."""
    study, groups, own = opened.row, opened.job.task.groups, parts[0].promotion.evidence
    incumbent, prices = study.details.incumbent, current_prices(study)
    return replace(
        own,
        candidate=found.id,
        params=_params(found.rule),
        requests_matched=_matched(parts, holdout),
        search=split_evidence(search.results, price, groups) or own.search,
        holdout=split_evidence(holdout.results, price, groups),
        holdout_results=kept,
        incumbent=beaten_incumbent(store, study.name, incumbent, holdout.results, prices, groups),
        probe=None,
        sent=None,
        gate=Gate(),
    )


def _rule_part(found: FoundRule, parts: Sequence[Promotion], ran: Composed, near: Rows | None) -> PromotedCascade:
    """The rule with its members, and its gain on rows that chose nothing."""
    rule, report = found.rule, found.report
    shares = ran.shares(len(parts))
    return PromotedCascade(
        kind=rule.kind,
        members=tuple(_member(part, share=share) for part, share in zip(parts, shares, strict=True)),
        single=found.single,
        weights=dict(report.weights),
        **picked(rule, *_LEARNED, "compared"),
        rows=None if near is None else near.ref,
        crossed=_gain(next(one for one in report.crossed if one.kind == rule.kind), report.rows),
        holdout=None if rule.holdout is None else _gain(KindResult(**rule.holdout), _shared_rows(found)),
    )


def _beside_recommended(
    rule: PromotedCascade, report: StudyReport, holdout: Composed, price: Price | None
) -> PromotedCascade:
    """With its utility and that of the recommended candidate on the holdout, by the study's own scales."""
    best, results = report.recommended, holdout.results.values()
    own = priced_by_results(aggregate_of(results), price, results) if results else None
    rival = None if best is None else best.holdout
    return replace(
        rule,
        recommended=None if best is None else best.candidate,
        utility=None if own is None else utility_of(report.objectives, own),
        recommended_utility=None if rival is None else utility_of(report.objectives, rival),
    )


def _runs(
    store: Store, opened: LoadedStudy, found: FoundRule, members: Sequence[CandidateRow]
) -> tuple[Composed, Composed]:
    """The rule on both splits; on the search split no row speaks for its own group."""
    results, prices, splits = ResultStore(store), current_prices(opened.row), opened.job.task.splits
    decisions = Decisions(found.rule)

    def runs(split: Split, examples: Sequence[Example], apart: Mapping[str, Any] | None) -> Composed:
        stored = results.some(opened.row.name, split, [row.id for row in members])
        ran = [MemberResults(results=stored.get(row.id, {}), price=price_of(row.candidate, prices)) for row in members]
        inputs = {e.id: {name: e.values.get(name) for name in opened.job.task.fields.inputs} for e in examples}
        return composed(decisions, ran, inputs, name=found.id, apart=apart)

    return runs(Split.SEARCH, splits.search, _apart(found)), runs(Split.HOLDOUT, splits.holdout, None)


def _apart(found: FoundRule) -> dict[str, Any] | None:
    """By example of the search split: 0 for the recorded rows of its own group."""
    if not found.rule.utilities:
        return None
    names = recorded_names(found.cells)
    group = dict(zip(found.cells.rows, found.cells.groups, strict=True))
    groups = np.asarray([group[name] for name in names])
    return {name: (groups != group[name]).astype(np.float64) for name in found.cells.rows[: found.cells.searched]}


def _params(rule: CascadeRule) -> dict[str, Any]:
    """The rule as params of a candidate."""
    found: dict[str, Any] = {"cascade": rule.kind}
    found |= {f"member_{place}": candidate for place, candidate in enumerate(rule.members, start=1)}
    return found | {name: value for name, value in picked(rule, *_LEARNED).items() if value is not None}


def _matched(parts: Sequence[BuiltPromotion], holdout: Composed) -> int:
    """How many runs of the rule make only requests that were measured, at least: those where every member's would."""
    missed = 0
    for part in parts:
        evidence = part.promotion.evidence
        missed += 0 if evidence.holdout is None else max(0, evidence.holdout.n - evidence.requests_matched)
    return max(0, sum(result.score is not None for result in holdout.results.values()) - missed)


def _member(part: Promotion, *, share: float) -> CascadeMember:
    evidence = part.evidence
    return CascadeMember(
        candidate=evidence.candidate,
        params=dict(evidence.params),
        share=share,
        **picked(part, *OF_ONE_PROGRAM),
        **picked(evidence, "sent", "search", "holdout"),
    )


def _others(parts: Sequence[Promotion]) -> tuple[PromotedModel, ...]:
    """Every model but the first member's, once."""
    models = {model.name: model for part in parts for model in (part.model, *part.others)}
    return tuple(model for name, model in models.items() if name != parts[0].model.name)


def _pools(promotion: Promotion) -> set[Any]:
    return {part.demos.pool for part in promotion.parts}


def _recorded_rows(rule: CascadeRule) -> Rows | None:
    """The rows that similar ones are looked for in; None where none are asked."""
    if not rule.utilities:
        return None
    lines = []
    for place in range(len(rule.utilities[0])):
        line: dict[str, Any] = {"inputs": {name: _plain(values[place]) for name, values in rule.inputs.items()}}
        line["utilities"] = [values[place] for values in rule.utilities]
        lines.append({**line, "work": rule.work[place]} if rule.work else line)
    return rows_of(lines)


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _gain(found: KindResult, rows: int) -> CascadeGain:
    return CascadeGain(
        n=rows,
        utility=found.utility,
        difference=found.difference or 0.0,
        low=found.low or 0.0,
        high=found.high or 0.0,
        p_value=1.0 if found.p_value is None else found.p_value,
    )


def _shared_rows(found: FoundRule) -> int:
    """Rows of the holdout that the members and the single candidate have a score for."""
    at = [found.cells.candidates.index(one) for one in found.candidates]
    return int(np.isfinite(found.cells.score[at, found.cells.searched :]).all(0).sum())
