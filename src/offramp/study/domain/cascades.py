"""Rules that choose between recorded candidates row by row: cascades of two, and routers by the most similar rows.

A cascade runs candidate A; where a signal says that A may be wrong, it runs B as well and takes B's answer: cost and
latency of both. One of three stages looks at B's own signal too, and then runs C. A router chooses before the call, and
pays for one. What each rule would have scored, cost and taken is read from recorded results; nothing is called.

    cost        A's own run was expensive (many tokens): escalate above a threshold
    confidence  a recorded confidence of A is low: escalate below a threshold
    stages_cost, stages_confidence: A, then B, then C, by the same signals of A and of B
    agreement   A and a third candidate, run at the same time, gave different answers: escalate
    predicted   B gained on similar rows where A's run cost about as much: escalate where the expected gain is above 0
    pair        no cascade: A or B, whichever did better on the most similar other rows
    router      the same among all models

Invariant: an outcome of a row that is reported was never read by what was chosen for it: neither the rule, nor its
threshold, nor a neighbour's weight. What is chosen is compared on the training rows with each row's own group left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offramp.records import Objective
from offramp.stats.pareto import Floats

Rows = NDArray[np.intp]
"""Positions of rows."""
Flags = NDArray[np.bool_]


BANDWIDTH = 0.7
"""Standard deviations of A's log cost within which two of its runs are alike."""


ROUNDING = 1e-9
"""By which a signal has to be above a threshold: many rows may have the very value that became one."""


SINGLE = "single"


ROUTER = "router"


BEFORE_THE_CALL = (SINGLE, "pair", "router")
"""Kinds that choose before anything has run; the others are cascades."""
STAGES = {"stages_cost": "cost", "stages_confidence": "confidence"}
"""Kinds of three stages, each with the kind of the signal that both its steps go by."""


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
        members: positions of candidates: of a cascade A and B, with `agreement` the third as well, with stages C.
        threshold: of the signal; None where there is none to choose. second_threshold: of B's, with stages.
        prior: how many average rows an estimate from similar rows is mixed with; None where nothing is estimated.
    """

    kind: str
    members: tuple[int, ...]
    threshold: float | None = None
    prior: float | None = None
    second_threshold: float | None = None


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
            place = estimate(known, likeness(data, rows, train), apart_of(data, rows, train), rule.prior or 0.0).argmax(
                0
            )
        return sent(data, rule.members, rows, place)
    go = _escalated(data, rule, train, rows)
    if rule.kind not in STAGES:
        return escalated(data, rule, rows, go)
    signal = signal_of(data, STAGES[rule.kind], rule.members[1], rows)
    return escalated(data, rule, rows, go, go & _is_above(signal, rule.second_threshold))


def sent(data: Recorded, members: Sequence[int], rows: Rows, place: Rows) -> Outcome:
    """Each row answered by the member at its `place`, of shape (rows,)."""
    chosen = np.asarray(members)[place]
    score, cost, latency = (values[chosen, rows] for values in (data.score, data.cost, data.latency))
    return _outcome(data, score, cost, latency, place > 0)


def escalated(data: Recorded, rule: Rule, rows: Rows, go: Flags, further: Flags | None = None) -> Outcome:
    """A cascade whose B answers where `go`, and with stages C where `further`; each of shape (rows,)."""
    if further is not None:
        return _staged(data, rule.members, rows, go, further)
    first, second = rule.members[:2]
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


def _staged(data: Recorded, members: Sequence[int], rows: Rows, go: Flags, further: Flags) -> Outcome:
    """A alone, then B where `go`, then C where `further`."""
    a, b, c = ([values[i, rows] for values in (data.score, data.cost, data.latency)] for i in members)
    score = np.where(further, c[0], np.where(go, b[0], a[0]))
    cost, latency = (a[i] + go * b[i] + further * c[i] for i in (1, 2))
    return _outcome(data, score, cost, latency, go)


def _is_above(signal: Floats, threshold: float | None) -> Flags:
    return np.asarray(signal > (threshold or 0.0) + ROUNDING)


def _outcome(data: Recorded, score: Floats, cost: Floats, latency: Floats, second: Flags) -> Outcome:
    utility = data.utility(score, cost, latency)
    return Outcome(score=score, cost=cost, latency=latency, second=second.astype(np.float64), utility=utility)


def _escalated(data: Recorded, rule: Rule, train: Rows, rows: Rows) -> Flags:
    first, second = rule.members[:2]
    if rule.kind == "agreement":
        return _disagree(data, first, rule.members[2], rows)
    if rule.kind == "predicted":
        gain = gains(data, first, np.array([second]), train)
        near = likeness(data, rows, train) * same_work(data, first, rows, train)
        return np.asarray(estimate(gain, near, apart_of(data, rows, train), rule.prior or 0.0)[0] > 0)
    return _is_above(signal_of(data, STAGES.get(rule.kind, rule.kind), first, rows), rule.threshold)


def work(data: Recorded, first: int) -> Floats | None:
    """How much a candidate's run took, row by row: log of its cost, or of its latency where cost says nothing."""
    for values in (data.cost[first], data.latency[first]):
        if np.ptp(values) > 1e-12 and (values > 0).all():
            return np.asarray(np.log(values))
    return None


def signal_of(data: Recorded, kind: str, first: int, rows: Rows) -> Floats:
    """What is compared with the threshold; higher means less sure. What is not known is not sure at all."""
    if kind == "confidence":
        known = data.confidence
        assert known is not None
        return np.where(np.isnan(known[first, rows]), np.inf, -known[first, rows])
    found = work(data, first)
    return np.full(len(rows), np.inf) if found is None else found[rows]


def _disagree(data: Recorded, first: int, third: int, rows: Rows) -> Flags:
    assert data.answers is not None
    one, other = data.answers[first, rows], data.answers[third, rows]
    return np.asarray((one != other) | (one < 0))


def likeness(data: Recorded, rows: Rows, train: Rows) -> Floats:
    return np.ones((len(rows), len(train))) if data.similarity is None else data.similarity[np.ix_(rows, train)]


def apart_of(data: Recorded, rows: Rows, train: Rows) -> Floats:
    """1 where a training row may speak for a row: not of its own group."""
    return np.asarray(data.groups[rows][:, None] != data.groups[train][None], dtype=np.float64)


def same_work(data: Recorded, first: int, rows: Rows, train: Rows) -> Floats:
    found = work(data, first)
    if found is None:
        return np.ones((len(rows), len(train)))
    spread = float(found[train].std()) or 1.0
    return np.asarray(np.exp(-0.5 * ((found[rows][:, None] - found[train][None]) / spread / BANDWIDTH) ** 2))


def estimate(known: Floats, near: Floats, apart: Floats, prior: float) -> Floats:
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
    return np.asarray(both_ran(data, [first], seconds, rows) - data.utilities[first, rows])


def both_ran(data: Recorded, before: Sequence[int], lasts: Rows, rows: Rows) -> Floats:
    """Shape (lasts, rows): utility where some ran one after another, and then one of these, whose answer is taken."""
    part, earlier = np.ix_(lasts, rows), np.ix_(np.asarray(before, dtype=np.intp), rows)
    cost, latency = (values[part] + values[earlier].sum(0) for values in (data.cost, data.latency))
    return data.utility(data.score[part], cost, latency)
