"""The rules of each kind that recordings allow, and what each comes to on the training rows.

Invariant: no row speaks for its own group.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from offramp.stats.pareto import Floats
from offramp.study.domain.cascades import (
    ROUNDING,
    ROUTER,
    SINGLE,
    STAGES,
    Recorded,
    Rows,
    Rule,
    apart_of,
    apply,
    both_ran,
    estimate,
    likeness,
    same_work,
    signal_of,
    work,
)

QUANTILES = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Of a signal on the training rows: the thresholds that are tried."""


PRIORS = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 256.0, 1e6)
"""How many average rows an estimate from similar rows is mixed with. The one that predicts best is taken: where similar
rows tell nothing that is the last, and every row gets the candidate that is best on average."""


CLOSE_SE = 2.0
"""Standard errors behind the best within which a candidate is about as good."""


BEGINNINGS = 24
"""Cascades of two that a third stage is tried on: those that the training rows have ahead."""


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
            signal, both = signal_of(data, kind, first, train), both_ran(data, [first], seconds, train)
            for threshold in _tried(signal):
                rules += [Rule(kind=kind, members=(first, int(i)), threshold=float(threshold)) for i in seconds]
                values.append(np.where(signal > threshold + ROUNDING, both, data.utilities[first, train]))
        return rules, _stacked(values, train)

    return options


def _tried(signal: Floats) -> Floats:
    """The thresholds that are tried: quantiles of what is known of a signal."""
    known = signal[np.isfinite(signal)]
    return np.unique(np.quantile(known, QUANTILES)) if len(known) else known


def _stages(kind: str) -> Callable[[Recorded, Sequence[int], Rows], Options]:
    """A third candidate behind the best cascades of two, at every threshold of the second's own signal."""
    begin = _thresholds(STAGES[kind])

    def options(data: Recorded, pool: Sequence[int], train: Rows) -> Options:
        two, known = begin(data, pool, train)
        signals = {i: signal_of(data, STAGES[kind], i, train) for i in pool}
        rules: list[Rule] = []
        values: list[Floats] = []
        for rule in (two[i] for i in np.argsort(-known.mean(1), kind="stable")[:BEGINNINGS]):
            first, second = rule.members
            thirds = _partners(data, pool, second)
            thirds = thirds[thirds != first]
            go = signals[first] > (rule.threshold or 0.0) + ROUNDING
            stopped = np.where(go, both_ran(data, [first], np.array([second]), train)[0], data.utilities[first, train])
            all_ran = both_ran(data, [first, second], thirds, train)
            for threshold in _tried(signals[second][go]):
                rules += [
                    replace(rule, kind=kind, members=(first, second, int(i)), second_threshold=float(threshold))
                    for i in thirds
                ]
                values.append(np.where(go & (signals[second] > threshold + ROUNDING), all_ran, stopped))
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
    apart, alike, utilities = apart_of(data, train, train), likeness(data, train, train), data.utilities
    for first in pool:
        seconds = _partners(data, pool, first)
        both = both_ran(data, [first], seconds, train)
        gained, near = both - utilities[first, train], alike * same_work(data, first, train, train)
        prior = _best_prior(gained, near, apart)
        rules += [Rule(kind="predicted", members=(first, int(i)), prior=prior) for i in seconds]
        values.append(np.where(estimate(gained, near, apart, prior) > 0, both, utilities[first, train]))
    return rules, _stacked(values, train)


def _pairs(data: Recorded, pool: Sequence[int], train: Rows) -> Options:
    near, apart = likeness(data, train, train), apart_of(data, train, train)
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
    near, apart = likeness(data, train, train), apart_of(data, train, train)
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
    errors = [float(np.square(known - estimate(known, near, apart, prior)).mean()) for prior in PRIORS]
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
    several = len(set(data.models)) > 2 or (len(set(data.models)) == 1 and len(data.score) > 2)
    found |= {kind: _stages(kind) for kind, signal in STAGES.items() if several and signal in found}
    if data.answers is not None and (data.answers >= 0).any():
        found["agreement"] = _agreements
    return found | ({"pair": _pairs, "router": _all_models} if data.similarity is not None else {})
