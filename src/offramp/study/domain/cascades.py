"""Rules that choose between recorded candidates row by row: cascades of two, and routers by the most similar rows.

A cascade runs candidate A; where a signal says that A may be wrong, it runs B as well and takes B's answer: cost and
latency of both. A router chooses before the call, and pays for one. What each rule would have scored, cost and taken
is read from recorded results; nothing is called.

    cost        A's own run was expensive (many tokens): escalate above a threshold
    confidence  a recorded confidence of A is low: escalate below a threshold
    agreement   A and a third candidate, run at the same time, gave different answers: escalate
    predicted   B gained on similar rows where A's run cost about as much: escalate where the expected gain is above 0
    pair        no cascade: A or B, whichever did better on the most similar other rows
    router      the same among all models

Invariant: an outcome of a row that is reported was never read by what was chosen for it: neither the rule, nor its
threshold, nor a neighbour's weight. What is chosen is compared on the training rows with each row's own group left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from offramp.records import Objective
from offramp.stats.pareto import Floats

Rows = NDArray[np.intp]
"""Positions of rows."""

POOL = 12
"""Candidates that rules are made of: of each model equally many, the best on the training rows."""
FOLDS, REPEATS = 10, 5
ENOUGH = 1000
"""Rows, counted once for each repeat, above which folds are not drawn again: many rows need it less."""
QUANTILES = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Of a signal on the training rows: the thresholds that are tried."""
PRIORS = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 256.0, 1e6)
"""How many average rows an estimate from similar rows is mixed with. The one that predicts best is taken: where similar
rows tell nothing that is the last, and every row gets the candidate that is best on average."""
CLOSE_SE = 2.0
"""Standard errors behind the best within which a candidate is about as good."""
BANDWIDTH = 0.7
"""Standard deviations of A's log cost within which two of its runs are alike."""
MARGIN_SE = 2.0
"""Standard errors by which a rule has to be ahead on the training rows, of the router over all models where that is
ahead of the best single member, else of this member. The router needs no margin: its prior leaves it at one model
where nothing is known, and nothing else of it is chosen."""
INNER_FOLDS, INNER_REPEATS = 5, 10
"""Of the training rows, for what a kind's own choice among its rules is expected to come to."""
ROUNDING = 1e-9
"""By which a signal has to be above a threshold: many rows may have the very value that became one."""
SINGLE = "single"
ROUTER = "router"
BEFORE_THE_CALL = (SINGLE, "pair", "router")
"""Kinds that choose before anything has run; the others are cascades."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What candidates did on the same rows.

    Attributes:
        models: of each candidate; a rule is made of different models, unless all are the same.
        score, cost, latency: shape (candidates, rows), without NaN; zeros for an objective that is not known.
        answers: a code for each answer, equal where answers are; below 0 where it is not known. None without answers.
        confidence: of each answer, higher is surer; NaN where it is not known. None without any.
        similarity: shape (rows, rows), of the rows' inputs; None where nothing is known of them.
        groups: of each row; rows of one group are never on both sides of a choice.
        objectives: with fixed scales. The utility of one row is linear in its values, and not clipped.
    """

    models: tuple[str, ...]
    score: Floats
    cost: Floats
    latency: Floats
    answers: NDArray[np.int64] | None = None
    confidence: Floats | None = None
    similarity: Floats | None = None
    groups: NDArray[np.int64]
    objectives: tuple[Objective, ...]

    def utility(self, score: Floats, cost: Floats, latency: Floats) -> Floats:
        """The weighted mean of the scaled values of each row."""
        values = {"quality": score, "cost": cost, "latency": latency}
        total = sum(o.weight for o in self.objectives)
        found = np.zeros(score.shape)
        for o in self.objectives:
            worst, best = o.scale or (0.0, 1.0)
            found = found + o.weight * (values[o.name] - worst) / (best - worst)
        return np.asarray(found / total)

    @property
    def utilities(self) -> Floats:
        """Shape (candidates, rows)."""
        return self.utility(self.score, self.cost, self.latency)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One way to answer.

    Attributes:
        kind: `single`, or one of the module's list.
        members: positions of candidates: of a cascade A and B, with `agreement` the third as well.
        threshold: of the signal; None where there is none to choose.
        prior: how many average rows an estimate from similar rows is mixed with; None where nothing is estimated.
    """

    kind: str
    members: tuple[int, ...]
    threshold: float | None = None
    prior: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a rule came to, each of shape (rows,). `second`: whether B, or another than the first member, answered."""

    score: Floats
    cost: Floats
    latency: Floats
    second: Floats
    utility: Floats


def apply(data: Recorded, rule: Rule, train: Rows, rows: Rows) -> Outcome:
    """A rule on rows, whose own outcomes only say what came of it; estimates are from the training rows."""
    if rule.kind in BEFORE_THE_CALL:
        place = np.zeros(len(rows), dtype=np.intp)
        if rule.kind != SINGLE:
            known = data.utilities[list(rule.members)][:, train]
            place = _estimate(known, _likeness(data, rows, train), _apart(data, rows, train), rule.prior or 0.0).argmax(
                0
            )
        chosen = np.asarray(rule.members)[place]
        score, cost, latency = (values[chosen, rows] for values in (data.score, data.cost, data.latency))
        return _outcome(data, score, cost, latency, place > 0)
    first, second = rule.members[:2]
    go = _escalated(data, rule, train, rows)
    cost, latency = data.cost[first, rows], data.latency[first, rows]
    if rule.kind == "agreement":
        third = rule.members[2]
        cost, latency = cost + data.cost[third, rows], np.maximum(latency, data.latency[third, rows])
    return _outcome(
        data,
        np.where(go, data.score[second, rows], data.score[first, rows]),
        cost + go * data.cost[second, rows],
        latency + go * data.latency[second, rows],
        go,
    )


def _outcome(data: Recorded, score: Floats, cost: Floats, latency: Floats, second: NDArray[np.bool_]) -> Outcome:
    utility = data.utility(score, cost, latency)
    return Outcome(score=score, cost=cost, latency=latency, second=second.astype(np.float64), utility=utility)


def _escalated(data: Recorded, rule: Rule, train: Rows, rows: Rows) -> NDArray[np.bool_]:
    first, second = rule.members[:2]
    if rule.kind == "agreement":
        return _disagree(data, first, rule.members[2], rows)
    if rule.kind == "predicted":
        gain = gains(data, first, np.array([second]), train)
        near = _likeness(data, rows, train) * _same_work(data, first, rows, train)
        return np.asarray(_estimate(gain, near, _apart(data, rows, train), rule.prior or 0.0)[0] > 0)
    return np.asarray(_signal(data, rule.kind, first, rows) > (rule.threshold or 0.0) + ROUNDING)


# ------------------------------------------------------------------------------------------------ signals


def work(data: Recorded, first: int) -> Floats | None:
    """How much a candidate's run took, row by row: log of its cost, or of its latency where cost says nothing."""
    for values in (data.cost[first], data.latency[first]):
        if np.ptp(values) > 1e-12 and (values > 0).all():
            return np.asarray(np.log(values))
    return None


def _signal(data: Recorded, kind: str, first: int, rows: Rows) -> Floats:
    """What is compared with the threshold; higher means less sure. A confidence that is not known is none."""
    if kind == "confidence":
        known = data.confidence
        assert known is not None
        return np.where(np.isnan(known[first, rows]), np.inf, -known[first, rows])
    found = work(data, first)
    return np.zeros(len(rows)) if found is None else found[rows]


def _disagree(data: Recorded, first: int, third: int, rows: Rows) -> NDArray[np.bool_]:
    assert data.answers is not None
    one, other = data.answers[first, rows], data.answers[third, rows]
    return np.asarray((one != other) | (one < 0))


def _likeness(data: Recorded, rows: Rows, train: Rows) -> Floats:
    return np.ones((len(rows), len(train))) if data.similarity is None else data.similarity[np.ix_(rows, train)]


def _apart(data: Recorded, rows: Rows, train: Rows) -> Floats:
    """1 where a training row may speak for a row: not of its own group."""
    return np.asarray(data.groups[rows][:, None] != data.groups[train][None], dtype=np.float64)


def _same_work(data: Recorded, first: int, rows: Rows, train: Rows) -> Floats:
    found = work(data, first)
    if found is None:
        return np.ones((len(rows), len(train)))
    spread = float(found[train].std()) or 1.0
    return np.asarray(np.exp(-0.5 * ((found[rows][:, None] - found[train][None]) / spread / BANDWIDTH) ** 2))


def _estimate(known: Floats, near: Floats, apart: Floats, prior: float) -> Floats:
    """Mean over the training rows that may speak, weighted by likeness and mixed with `prior` average rows.

    Args:
        known: shape (k, train). near, apart: shape (rows, train).

    Returns:
        Shape (k, rows).
    """
    weights = near * apart
    average = known @ apart.T / np.maximum(apart.sum(1), 1.0)
    return np.asarray((known @ weights.T + prior * average) / (weights.sum(1) + prior))


def gains(data: Recorded, first: int, seconds: Rows, rows: Rows) -> Floats:
    """Shape (seconds, rows): utility of A then B less that of A alone."""
    return np.asarray(_both(data, first, seconds, rows) - data.utilities[first, rows])


def _both(data: Recorded, first: int, seconds: Rows, rows: Rows) -> Floats:
    """Shape (seconds, rows): utility where A and then B ran."""
    part = np.ix_(seconds, rows)
    return data.utility(data.score[part], data.cost[part] + data.cost[first, rows],
                        data.latency[part] + data.latency[first, rows])  # fmt: skip


# ------------------------------------------------------------------------------------------------ choosing

Options = tuple[list[Rule], Floats]
"""Rules, and the utility of each on the training rows, shape (rules, train), no row speaking for its own group."""


def _singles(data: Recorded, pool: Sequence[int], train: Rows) -> Options:
    return [Rule(kind=SINGLE, members=(i,)) for i in pool], data.utilities[list(pool)][:, train]


def _thresholds(kind: str) -> Callable[[Recorded, Sequence[int], Rows], Options]:
    def options(data: Recorded, pool: Sequence[int], train: Rows) -> Options:
        rules: list[Rule] = []
        values: list[Floats] = []
        for first in pool:
            seconds = _partners(data, pool, first)
            signal, both = _signal(data, kind, first, train), _both(data, first, seconds, train)
            for threshold in (
                np.unique(np.quantile(signal[np.isfinite(signal)], QUANTILES)) if np.isfinite(signal).any() else ()
            ):
                rules += [Rule(kind=kind, members=(first, int(i)), threshold=float(threshold)) for i in seconds]
                values.append(np.where(signal > threshold + ROUNDING, both, data.utilities[first, train]))
        return rules, _stacked(values, train)

    return options


def _agreements(data: Recorded, pool: Sequence[int], train: Rows) -> Options:
    rules = [
        Rule(kind="agreement", members=(first, int(second), third))
        for first in pool for second in _partners(data, pool, first) for third in pool if third not in (first, second)
    ]  # fmt: skip
    return rules, _stacked([apply(data, rule, train, train).utility[None] for rule in rules], train)


def _predictions(data: Recorded, pool: Sequence[int], train: Rows) -> Options:
    rules: list[Rule] = []
    values: list[Floats] = []
    apart, likeness, utilities = _apart(data, train, train), _likeness(data, train, train), data.utilities
    for first in pool:
        seconds = _partners(data, pool, first)
        both = _both(data, first, seconds, train)
        gained, near = both - utilities[first, train], likeness * _same_work(data, first, train, train)
        prior = _best_prior(gained, near, apart)
        rules += [Rule(kind="predicted", members=(first, int(i)), prior=prior) for i in seconds]
        values.append(np.where(_estimate(gained, near, apart, prior) > 0, both, utilities[first, train]))
    return rules, _stacked(values, train)


def _pairs(data: Recorded, pool: Sequence[int], train: Rows) -> Options:
    near, apart = _likeness(data, train, train), _apart(data, train, train)
    rules = []
    for a, b in combinations(pool, 2):
        if b in _partners(data, pool, a):
            prior = _best_prior(data.utilities[[b]][:, train] - data.utilities[a, train], near, apart)
            rules.append(Rule(kind="pair", members=(a, b), prior=prior))
    return rules, _routed(data, train, rules)


def _all_models(data: Recorded, pool: Sequence[int], train: Rows) -> Options:
    """One router, with the prior that suits all candidates and with the one that suits those about as good as the best.

    Candidates that are bad on every row tell little of how to choose among good ones; those that complement each other
    may all be behind one that is good everywhere.
    """
    if len(pool) < 2:
        return [], _stacked([], train)
    near, apart = _likeness(data, train, train), _apart(data, train, train)
    known = data.utilities[list(pool)][:, train]
    priors = dict.fromkeys(_best_prior(part, near, apart) for part in (_close(known), known - known.mean(0)))
    rules = [Rule(kind=ROUTER, members=tuple(pool), prior=prior) for prior in priors]
    return rules, _routed(data, train, rules)


def _routed(data: Recorded, train: Rows, rules: Sequence[Rule]) -> Floats:
    return _stacked([apply(data, rule, train, train).utility[None] for rule in rules], train)


def _close(known: Floats) -> Floats:
    """Differences to the best candidate, row by row, of those that are about as good; shape (k, train)."""
    means = known.mean(1)
    behind = np.delete(known, means.argmax(), axis=0) - known[means.argmax()]
    near = behind.mean(1) > -CLOSE_SE * behind.std(1) / np.sqrt(known.shape[1])
    return np.asarray(behind[near])


def _best_prior(known: Floats, near: Floats, apart: Floats) -> float:
    """The one of `PRIORS` whose estimates are closest to the rows' own values, no row speaking for its own group."""
    if not len(known):
        return PRIORS[-1]
    errors = [float(np.square(known - _estimate(known, near, apart, prior)).mean()) for prior in PRIORS]
    return PRIORS[int(np.argmin(errors))]


def _partners(data: Recorded, pool: Sequence[int], first: int) -> Rows:
    """Those of the pool that may stand beside a candidate: of another model, or any other where there is one model."""
    alone = len(set(data.models)) == 1
    return np.array([i for i in pool if i != first and (alone or data.models[i] != data.models[first])], dtype=np.intp)


def _stacked(values: list[Floats], train: Rows) -> Floats:
    return np.concatenate(values) if values else np.zeros((0, len(train)))


def kinds(data: Recorded) -> dict[str, Callable[[Recorded, Sequence[int], Rows], Options]]:
    """The kinds of rules that these recordings allow, `single` first."""
    works = any(work(data, i) is not None for i in range(len(data.score)))
    found: dict[str, Callable[[Recorded, Sequence[int], Rows], Options]] = {SINGLE: _singles}
    found |= {"cost": _thresholds("cost"), "predicted": _predictions} if works else {}
    if data.confidence is not None and np.isfinite(data.confidence).any():
        found["confidence"] = _thresholds("confidence")
    if data.answers is not None and (data.answers >= 0).any():
        found["agreement"] = _agreements
    return found | ({"pair": _pairs, "router": _all_models} if data.similarity is not None else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """The best rule of one kind on the training rows.

    Attributes:
        expected: shape (train,): utility of each training row under the rule that the rows of other groups choose.
        scored: how many rules were compared.
    """

    rule: Rule
    expected: Floats
    scored: int


def fit(data: Recorded, train: Rows) -> dict[str, Fitted]:
    """By kind, what the training rows choose. Kinds without a rule are left out."""
    means = data.utilities[:, train].mean(1)
    order = [int(i) for i in np.argsort(-means, kind="stable")]
    found = {}
    for kind, options in kinds(data).items():
        rules, values = options(data, order if kind == SINGLE else pool_of(data.models, order), train)
        if rules:
            best, expected = left_out_choice(values, data.groups[train])
            found[kind] = Fitted(rule=rules[best], expected=expected, scored=len(rules))
    return found


def pool_of(models: Sequence[str], order: Sequence[int]) -> list[int]:
    """The first of this order, of each model equally many, `POOL` at most."""
    each, taken = max(1, POOL // len(set(models))), Counter[str]()
    found = []
    for i in order:
        taken[models[i]] += 1
        if taken[models[i]] <= each:
            found.append(i)
    return found[:POOL]


def left_out_choice(values: Floats, groups: NDArray[np.int64]) -> tuple[int, Floats]:
    """The option with the highest mean, and for each row what the options come to that other folds' rows choose.

    Args:
        values: shape (options, rows).
    """
    names, index = np.unique(groups, return_inverse=True)
    folds = min(INNER_FOLDS, len(names))
    totals, expected = values.sum(1), np.zeros(len(groups))
    for repeat in range(INNER_REPEATS):
        fold = (np.random.default_rng(repeat).permutation(len(names)) % folds)[index]
        for k in range(folds):
            rows = fold == k
            expected[rows] += values[(totals - values[:, rows].sum(1)).argmax(), rows] / INNER_REPEATS
    return int(totals.argmax()), expected


def choose(fitted: Mapping[str, Fitted]) -> str:
    """The kind that leads the router over all models by most, less `MARGIN_SE` standard errors; else that router.

    Where the router is not ahead of the best single member, or there is none, `single` is in its place. A rule by
    similar rows that tell nothing is never chosen.
    """
    known = {kind: one for kind, one in fitted.items() if one.rule.prior != PRIORS[-1]}
    base = max((kind for kind in (SINGLE, ROUTER) if kind in known), key=lambda kind: known[kind].expected.mean())

    def lead(kind: str) -> float:
        ahead = known[kind].expected - known[base].expected
        return float(ahead.mean() - MARGIN_SE * ahead.std() / np.sqrt(len(ahead)))

    best = max(known, key=lead)
    return best if lead(best) > 0 else base


CHOSEN = "chosen"


def repeats_of(rows: int) -> int:
    """How often folds are drawn."""
    return max(1, min(REPEATS, ENOUGH // rows))


def cross_fitted(data: Recorded, seed: int = 0) -> dict[str, Outcome]:
    """By kind, and for `chosen`, outcomes on every row under what the rows of other folds choose; mean over repeats."""
    n = data.score.shape[1]
    names, index = np.unique(data.groups, return_inverse=True)
    folds = min(FOLDS, len(names))
    parts: dict[str, dict[str, Floats]] = {}
    repeats = repeats_of(n)
    for repeat in range(repeats):
        fold = (np.random.default_rng([seed, repeat]).permutation(len(names)) % folds)[index]
        for k in range(folds):
            train, rows = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
            fitted = fit(data, train)
            for kind, rule in (*((k, f.rule) for k, f in fitted.items()), (CHOSEN, fitted[choose(fitted)].rule)):
                outcome = apply(data, rule, train, rows)
                into = parts.setdefault(kind, {name: np.zeros(n) for name in Outcome.__slots__})
                for name, values in into.items():
                    values[rows] += getattr(outcome, name) / repeats
    return {kind: Outcome(**values) for kind, values in parts.items()}
