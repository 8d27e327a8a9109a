"""What cascades and routers come to on rows that chose nothing, beside the best single candidate.

Invariant: no number of a rule is from a row that chose it, except where it says `in hindsight`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.errors import UsageError, problem
from offramp.ids import content_hash
from offramp.records import Objective, Scalar
from offramp.stats import difference_interval, group_units, holm, sign_flip_test
from offramp.study.domain.cascade_cells import FEWEST_ROWS, Cells, complete, recorded, searched_rows
from offramp.study.domain.cascade_choice import CHOSEN, choose, cross_fitted, fit, repeats_of
from offramp.study.domain.cascade_rule import RUNNABLE, CascadeRule, Decisions
from offramp.study.domain.cascades import (
    BEFORE_THE_CALL,
    SINGLE,
    STAGES,
    Outcome,
    Recorded,
    Rule,
    apply,
    escalated,
    gains,
    sent,
    work,
)

FEWEST_HOLDOUT = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class KindResult:
    """One kind of rule on rows that chose nothing. Differences are to the best single candidate, row by row.

    Attributes:
        kind: as in `cascades`; `single` and `chosen` included.
        quality, cost_usd, latency_s: means over rows; None where the objective is not known.
        second_share: share of rows that B, or another than the first member, answered.
        difference: of mean utility; None for `single`, as the rest.
        p_value, p_corrected: exact, two-sided; Holm's over the kinds.
    """

    kind: str
    utility: float
    quality: float
    cost_usd: float | None
    latency_s: float | None
    second_share: float
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    p_corrected: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenRule:
    """A rule in words and numbers.

    Attributes:
        members: candidates, A first; of a router all.
        threshold: in USD, seconds or the unit of the confidence; None where nothing is compared with one.
        of: what A's run is measured by: `cost_usd`, `latency_s` or `confidence`; None where it is not.
        second_threshold, second_of: the same of B's run, with three stages.
        id: first 12 characters of a hash of the rule, its source and the weights of the utility.
    """

    id: str
    kind: str
    members: tuple[str, ...]
    params: tuple[Mapping[str, Scalar], ...]
    threshold: float | None
    of: str | None
    prior: float | None
    second_threshold: float | None = None
    second_of: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadeReport:
    """Everything that `offramp cascades` says.

    Attributes:
        candidates: with a complete evaluation. rows: of the search split, that all of them have a score for.
        rules: how many were scored on all search rows.
        repeats: how often the folds of `crossed` were drawn.
        crossed: by kind, `chosen` first: each row's numbers are of rules that the rows of other folds chose.
        holdout: the same for rules that the search rows chose, on the holdout; None where it was not recorded.
        holdout_rows, holdout_candidates: how many.
        rule: what all search rows choose, of the kind that they choose; the best single candidate where none leads.
        best: by kind, what all search rows choose.
        hindsight: utility of the single candidate that is best on all search rows, on those same rows.
        features: what the rows' inputs are known by.
        missing: signals that the recordings do not allow, with the reason.
    """

    source: str
    candidates: int
    rows: int
    rules: int
    repeats: int
    weights: Mapping[str, float]
    crossed: tuple[KindResult, ...]
    holdout: tuple[KindResult, ...] | None
    holdout_rows: int
    holdout_candidates: int
    rule: ChosenRule
    best: Mapping[str, ChosenRule]
    hindsight: float
    features: tuple[str, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def chosen(self) -> KindResult:
        """What is chosen, kind included: on the holdout where that was recorded, else across folds."""
        return next(r for r in self.holdout or self.crossed if r.kind == CHOSEN)

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def cascade_report(cells: Cells, seed: int = 0) -> CascadeReport:
    """Scores every rule on recorded outcomes.

    Raises:
        UsageError: fewer than two candidates or `FEWEST_ROWS` rows that all have a score for.
    """
    searching, kept, rows, data = searched_rows(cells)
    every = np.arange(data.score.shape[1])
    fitted = fit(data, every)
    best = {kind: _in_words(searching, data, kept, one.rule) for kind, one in fitted.items()}
    held = _on_holdout(cells, data.objectives)
    return CascadeReport(
        source=cells.source,
        candidates=len(kept),
        rows=len(rows),
        rules=sum(one.scored for kind, one in fitted.items() if kind != SINGLE),
        repeats=repeats_of(len(rows)),
        weights={o.name: o.weight for o in data.objectives},
        crossed=_results(cross_fitted(data, seed), data.groups, data.objectives),
        holdout=None if held is None else held[0],
        holdout_rows=0 if held is None else held[1],
        holdout_candidates=0 if held is None else held[2],
        rule=best[choose(fitted)],
        best=best,
        hindsight=float(data.utilities.mean(1).max()),
        features=tuple(cells.inputs) if data.similarity is not None else (),
        missing=_missing(data, fitted),
    )


def rule_to_run(cells: Cells, report: CascadeReport, kind: str | None = None) -> CascadeRule:
    """The rule of a kind that all search rows choose, with what it needs to run; the report's own for None.

    Raises:
        UsageError: no rule of this kind was scored, or it cannot be run.
    """
    wanted = kind or report.rule.kind
    if wanted not in report.best or wanted not in RUNNABLE:
        expected = f"one of {[k for k in report.best if k in RUNNABLE]}"
        what = "a rule of this kind cannot be run" if wanted in report.best else "no rule of this kind was scored"
        raise UsageError(problem("--kind", what, got=wanted, expected=expected))
    searching, kept, rows, data = searched_rows(cells)
    rule = report.best[wanted]
    places = [[cells.candidates[i] for i in kept].index(member) for member in rule.members]
    utilities = data.utilities[places]
    works = work(data, places[0]) if wanted == "predicted" else None
    if wanted == "predicted":
        utilities = gains(data, places[0], np.array(places[1:], dtype=np.intp), np.arange(len(rows)))
    asked = wanted in ("pair", "router", "predicted")
    near = asked and data.similarity is not None
    runs = CascadeRule(
        source=cells.source,
        kind=wanted,
        members=rule.members,
        params=rule.params,
        compared=cells.compared,
        prior=rule.prior,
        inputs={name: tuple(values[i] for i in rows) for name, values in searching.inputs.items()} if near else {},
        utilities=tuple(tuple(map(float, line)) for line in utilities) if asked else (),
        threshold=rule.threshold,
        of=rule.of,
        second_threshold=rule.second_threshold,
        second_of=rule.second_of,
        work=() if works is None else tuple(map(float, works)),
        holdout=None,
        crossed=asdict(next(one for one in report.crossed if one.kind == wanted)),
    )
    result = _on_holdout_alone(cells, runs, report.best[SINGLE].members[0], data.objectives)
    return runs if result is None else replace(runs, holdout=asdict(result))


def _on_holdout_alone(
    cells: Cells, rule: CascadeRule, single: str, objectives: Sequence[Objective]
) -> KindResult | None:
    """This very rule on the holdout, decided row by row as in an app, beside the best single candidate.

    None where not all of them ran there.
    """
    ids = list(dict.fromkeys((*rule.members, single)))
    at = [cells.candidates.index(one) for one in ids]
    part = replace(
        cells,
        candidates=tuple(ids),
        params=tuple(cells.params[i] for i in at),
        score=cells.score[at],
        cost=cells.cost[at],
        latency=cells.latency[at],
        answers=None if cells.answers is None else cells.answers[at],
        confidence=None if cells.confidence is None else cells.confidence[at],
    )
    kept, rows = complete(part)
    rows = rows[rows >= cells.searched]
    if len(kept) < len(ids) or len(rows) < FEWEST_HOLDOUT:
        return None
    data, held = recorded(replace(part, inputs={}), kept, rows, objectives), np.arange(len(rows))
    outcome = _as_decided(part, rule, data, rows)
    base = sent(data, [ids.index(single)], held, np.zeros_like(held))
    return _result(rule.kind, outcome, base, data.groups, {o.name for o in objectives})


def _as_decided(cells: Cells, rule: CascadeRule, data: Recorded, rows: NDArray[np.intp]) -> Outcome:
    """What an app that runs the rule would have got on these rows.

    Args:
        data: of the same candidates, on these rows alone.
    """
    decisions, every = Decisions(rule), np.arange(len(rows))
    members = tuple(cells.candidates.index(one) for one in rule.members)
    as_scored = Rule(kind=rule.kind, members=members)
    inputs = [{name: values[i] for name, values in cells.inputs.items()} for i in rows]
    if rule.kind in BEFORE_THE_CALL:
        return sent(data, members, every, np.array([decisions.order_for(one)[0] for one in inputs], dtype=np.intp))
    if rule.kind == "agreement":
        return apply(data, as_scored, every, every)

    def doubtful(stage: int) -> NDArray[np.bool_]:
        runs = {"cost_usd": cells.cost, "confidence": cells.confidence}.get(str(rule.measure(stage)), cells.latency)
        known = [None if runs is None else float(runs[members[stage], i]) for i in rows]
        spent = [None if value is None or np.isnan(value) else value for value in known]
        unsure = [decisions.escalates(*one, stage=stage) for one in zip(inputs, spent, strict=True)]
        answers = cells.answers
        lacking = [answers is not None and answers[members[stage], i] is None for i in rows]
        return np.array(unsure, dtype=np.bool_) | np.array(lacking, dtype=np.bool_)

    go = doubtful(0)
    return escalated(data, as_scored, every, go, go & doubtful(1) if rule.kind in STAGES else None)


def _missing(data: Recorded, fitted: Mapping[str, object]) -> dict[str, str]:
    reasons = {
        "cost": "no candidate's cost or latency differs from row to row",
        "confidence": "no confidence is recorded",
        "agreement": "no answers are recorded" if data.answers is None else "fewer than three candidates",
        "router": "nothing is known of the rows' inputs",
    }
    return {kind: why for kind, why in reasons.items() if kind not in fitted}


def _on_holdout(cells: Cells, objectives: Sequence[Objective]) -> tuple[tuple[KindResult, ...], int, int] | None:
    """What the search rows choose, on the holdout; None where too little of it is recorded."""
    n = len(cells.rows)
    if n == cells.searched:
        return None
    there = np.isfinite(cells.score[:, cells.searched :]).any(axis=1, keepdims=True)
    part = replace(cells, score=np.where(there, cells.score, np.nan))
    kept, rows = complete(part)
    train, held = np.flatnonzero(rows < cells.searched), np.flatnonzero(rows >= cells.searched)
    if len(kept) < 2 or len(held) < FEWEST_HOLDOUT or len(train) < FEWEST_ROWS:
        return None
    data = recorded(part, kept, rows, objectives)
    fitted = fit(data, train)
    rules: dict[str, Rule] = {kind: one.rule for kind, one in fitted.items()}
    rules[CHOSEN] = rules[choose(fitted)]
    outcomes = {kind: apply(data, rule, train, held) for kind, rule in rules.items()}
    return _results(outcomes, data.groups[held], data.objectives), len(held), len(kept)


def _results(
    outcomes: Mapping[str, Outcome], groups: NDArray[np.int64], objectives: Sequence[Objective]
) -> tuple[KindResult, ...]:
    order = [CHOSEN, SINGLE, *(kind for kind in outcomes if kind not in (CHOSEN, SINGLE))]
    names, base = {o.name for o in objectives}, outcomes[SINGLE]
    found = [_result(kind, outcomes[kind], base, groups, names) for kind in order]
    tested = [i for i, one in enumerate(found) if one.p_value is not None]
    corrected = holm([found[i].p_value or 0.0 for i in tested])
    for i, p in zip(tested, corrected, strict=True):
        found[i] = replace(found[i], p_corrected=float(p))
    return tuple(found)


def _result(kind: str, outcome: Outcome, base: Outcome, groups: NDArray[np.int64], names: set[str]) -> KindResult:
    result = KindResult(
        kind=kind,
        utility=float(outcome.utility.mean()),
        quality=float(outcome.score.mean()),
        cost_usd=float(outcome.cost.mean()) if "cost" in names else None,
        latency_s=float(outcome.latency.mean()) if "latency" in names else None,
        second_share=float(outcome.second.mean()),
    )
    if kind == SINGLE:
        return result
    gains = outcome.utility - base.utility
    size = max(1.0, float(np.abs(gains).max()))  # a row's utility has no bound; tests and intervals want [-1, 1]
    units, factor = group_units(gains / size, groups.tolist())
    interval = difference_interval(units)
    return replace(
        result,
        difference=float(gains.mean()),
        low=size * factor * interval.low,
        high=size * factor * interval.high,
        p_value=sign_flip_test(units, np.random.default_rng(0)),
    )


def _in_words(cells: Cells, data: Recorded, kept: NDArray[np.intp], rule: Rule) -> ChosenRule:
    of, threshold = _in_units(data, rule, 0)
    second_of, second_threshold = _in_units(data, rule, 1) if rule.kind in STAGES else (None, None)
    members = tuple(cells.candidates[kept[i]] for i in rule.members)
    weights = {o.name: o.weight for o in data.objectives}
    return ChosenRule(
        id=content_hash(
            [cells.source, weights, rule.kind, list(members), threshold, of, rule.prior]
            + ([second_threshold, second_of] if rule.kind in STAGES else []),
            length=12,
        ),
        kind=rule.kind,
        members=members,
        params=tuple(dict(cells.params[kept[i]]) for i in rule.members),
        threshold=threshold,
        of=of,
        prior=rule.prior,
        second_threshold=second_threshold,
        second_of=second_of,
    )


def _in_units(data: Recorded, rule: Rule, place: int) -> tuple[str | None, float | None]:
    """What the run of the member at this place is measured by, and its threshold there; None where there is none."""
    threshold = rule.second_threshold if place else rule.threshold
    kind = STAGES.get(rule.kind, rule.kind)
    if kind == "confidence" and threshold is not None:
        return "confidence", -threshold
    if kind not in ("cost", "predicted"):
        return None, threshold
    signal, cost = work(data, rule.members[place]), data.cost[rule.members[place]]
    if signal is None:
        return None, threshold
    by_cost = np.allclose(signal, np.log(np.maximum(cost, 1e-300)))
    return "cost_usd" if by_cost else "latency_s", None if threshold is None else float(np.exp(threshold))
