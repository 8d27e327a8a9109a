"""Which rule the training rows choose, of each kind and of all, and what that comes to on rows that chose nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offramp.stats.pareto import Floats
from offramp.study.domain.cascade_options import PRIORS, kinds
from offramp.study.domain.cascades import ROUTER, SINGLE, Outcome, Recorded, Rows, Rule, apply

POOL = 12
"""Candidates that rules are made of: of each model equally many, the best on the training rows."""


FOLDS, REPEATS = 10, 5


ENOUGH = 1000
"""Rows, counted once for each repeat, above which folds are not drawn again: many rows need it less."""


MARGIN_SE = 2.0
"""Standard errors by which a rule has to be ahead on the training rows, of the router over all models where that is
ahead of the best single member, else of this member. The router needs no margin: its prior leaves it at one model
where nothing is known, and nothing else of it is chosen."""


INNER_FOLDS, INNER_REPEATS = 5, 10
"""Of the training rows, for what a kind's own choice among its rules is expected to come to."""


CHOSEN = "chosen"


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
