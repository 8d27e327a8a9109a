"""Racing in the live search: a candidate runs on growing blocks until it is complete, or surely behind the front.

Its rivals are the members of the front so far. They are complete, so nothing about them is uncertain. The candidate's
own cells say what its means over all examples may be; other complete candidates say how hard, expensive or slow each
example is, and so what to expect of the examples not yet run (a regression estimator). Nothing is borrowed from
candidates with similar params: a winner is an exception, and a model that expects the usual would stop it.

The candidate is stopped where, in all but a few of many draws of its means, some rival is at least as good in every
objective: then it cannot win under any weights. How few is the stated chance of a wrong stop, divided by the number of
looks (Bonferroni). Partial means are never mixed with full ones, and an infrastructure error is not evidence.

Examples of one `dataset.group` are run together and count as one: a candidate is judged by whole groups, whose totals
are the values, so that three paraphrases of one question are not three pieces of evidence.

Invariant: decisions depend on the seed, the stored results and the front alone, so a job that was killed decides the
same again.

Source: Cochran, "Sampling Techniques", 3rd ed., 1977, chapter 7 (regression estimators from a finite population).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from offramp.ids import derived_seed
from offramp.records import Candidate, Evaluation, Example, Objective, Result
from offramp.search.live.cells import group_of, shared_order
from offramp.search.racing import COST, LATENCY, QUALITY, RaceObjective
from offramp.space.model import RacePart
from offramp.stats.pareto import Bools, Floats

LEAST_BLOCK = 5
BLOCKS = 8
"""A complete evaluation takes this many blocks, where there are enough examples."""
LEAST_S = 1e-6
MOST_OTHERS = 100
"""At most this many complete candidates besides the front say how hard the examples are: the newest."""
OBJECTIVES: Mapping[str, RaceObjective] = {"quality": QUALITY, "cost": COST, "latency": LATENCY}
MEDIAN_LATENCY = replace(LATENCY, positive=False)
"""The mean of logarithms stands for the median, because a few slow requests dominate the mean of seconds."""
FEWEST = 10
"""Values that a candidate needs before anything is concluded about it."""
DRAWS = 4000
PRIOR = 2.0
"""A rival's spread counts as this many values of the candidate's own, so that ten equal values are not certainty."""
STEEPEST = 2.0
"""An example that is harder for everyone by some amount is harder for one candidate by at most this many times that."""


class StoppingRule:
    """Says which candidates of one job are surely behind the front.

    Args:
        examples: the search split.
        seed: of the shared order and of the draws.
    """

    def __init__(self, part: RacePart, examples: Sequence[Example], seed: int) -> None:
        self._part, self._examples, self._seed = part, tuple(examples), seed
        self._order = [self._examples[position] for position in shared_order(examples, seed)]
        groups = [group_of(example) for example in self._order]
        self._starts = [i for i, group in enumerate(groups) if not i or group != groups[i - 1]]
        self._place = {example.id: i for i, example in enumerate(self._order)}

    def stopped_by(
        self, candidate: Candidate, evaluation: Evaluation, objectives: Sequence[Objective], *,
        rivals: Mapping[str, Evaluation], others: Mapping[str, Evaluation],
    ) -> str | None:  # fmt: skip
        """The member of the front that is most clearly ahead of a candidate; None while the candidate may still enter.

        Args:
            rivals: the front.
            others: everything that was run in full, oldest first.
        """
        complete = {
            name: cells
            for name, e in rivals.items()
            if not np.isnan(cells := self._cells(e, objectives)).all(axis=0).any()
        }
        rest = [name for name in others if name not in rivals][-MOST_OTHERS:]
        stack = [*complete.values(), *(self._cells(others[name], objectives) for name in rest)]
        place = ahead(
            np.stack([*stack, self._cells(evaluation, objectives)]),
            [MEDIAN_LATENCY if _is_median_latency(o) else OBJECTIVES[o.name] for o in objectives],
            rivals=len(complete), confidence=self._part.confidence, margin=self._part.margin,
            looks=count_looks(block_ends(len(self._order), self._part.block)),
            generator=np.random.default_rng(derived_seed(self._seed, "race", candidate.id, evaluation.n)),
            sampled=any(result.replicates is not None for result in evaluation.results),
        )  # fmt: skip
        return None if place is None else list(complete)[place]

    def _cells(self, evaluation: Evaluation, objectives: Sequence[Objective]) -> Floats:
        """Shape (groups, objectives), in the shared order; NaN where not every example of a group has a score.

        Totals of groups, divided by the usual size of a group: their mean is the mean over examples.
        """
        cells = np.full((len(self._order), len(objectives)), np.nan)
        for result in evaluation.counted:
            cells[self._place[result.example]] = [_value(result, o) for o in objectives]
        if len(self._starts) == len(self._order):
            return cells
        return np.asarray(np.add.reduceat(cells, self._starts, axis=0) * (len(self._starts) / len(self._order)))


def block_ends(examples: int, block: int | None = None) -> range:
    """How many examples a candidate has run on after each block but the last."""
    size = block or max(LEAST_BLOCK, math.ceil(examples / BLOCKS))
    return range(size, examples, size)


def count_looks(ends: range) -> int:
    """After how many of these blocks a candidate may be stopped; 1 at least."""
    return max(1, sum(end >= FEWEST for end in ends))


def _value(result: Result, objective: Objective) -> float:
    value = {"quality": result.score, "cost": result.cost_usd, "latency": result.latency_s}[objective.name]
    if value is None:
        return math.nan
    return math.log(max(value, LEAST_S)) if _is_median_latency(objective) else value


def _is_median_latency(objective: Objective) -> bool:
    return objective.name == "latency" and objective.statistic == "p50"


def ahead(
    cells: Floats, objectives: Sequence[RaceObjective], *, rivals: int, confidence: float, looks: int, margin: float,
    generator: np.random.Generator, sampled: bool = False,
) -> int | None:  # fmt: skip
    """The rival that stands for the front which the last candidate is behind; None while it may still enter.

    Args:
        cells: shape (n, examples, objectives); the rivals first, the candidate last; NaN where nothing is known.
        rivals: how many of the first rows are the front: run in full, though some of their results may be missing.
        confidence: probability that a member of the front is never declared behind, over all looks at it.
        looks: how often it will be looked at, at most.
        margin: being ahead by less does not count: a share of positive values (money, seconds), a difference in others.
        sampled: whether another run of the candidate on the same example may give another value.

    Returns:
        index of the rival that is ahead in most draws.
    """
    if not rivals or np.isfinite(cells[-1]).all(axis=-1).sum() < FEWEST:
        return None
    beaten: Bools = np.ones((DRAWS, rivals), dtype=bool)
    for m, objective in enumerate(objectives):
        means, units = np.nanmean(cells[:rivals, :, m], axis=1), _units(cells[:, :, m], objective)
        scaled = cells[:, :, m] / units[:, None]
        complete = scaled[:-1][np.isfinite(scaled[:-1]).all(axis=1)]
        usual = np.asarray(complete.mean(axis=0)) if len(complete) else np.zeros(scaled.shape[1])
        spread = float(np.mean(np.nanvar(scaled[:rivals], axis=1)))
        mean, sd, freedom = full_mean(scaled[-1], usual, spread, sampled=sampled)
        drawn = units[-1] * (mean + sd * generator.standard_t(freedom, DRAWS))
        beaten &= _at_least_as_good(means, drawn, objective, margin)
    free = 1.0 - float(beaten.any(axis=1).mean())
    return int(np.argmax(beaten.sum(axis=0))) if free <= (1.0 - confidence) / looks else None


def full_mean(own: Floats, usual: Floats, spread: float, *, sampled: bool = False) -> tuple[float, float, float]:
    """The mean over all examples that is likely given some of them, its standard error, and the degrees of freedom.

    Args:
        own: shape (j,); NaN where not run, two values or more.
        usual: shape (j,); the mean of complete candidates on each example.
        spread: variance of values about the mean that is expected before any was seen.
        sampled: whether a value is one of several that an example may give. Then the examples that were run are not
            known either, and no part of the error goes with them.
    """
    seen = np.isfinite(own)
    y, x, n = own[seen], usual[seen], int(seen.sum())
    dy, dx = y - y.mean(), x - x.mean()
    square = float(dx @ dx)
    gap = float(usual.mean() - x.mean())
    slope = float(np.clip(dx @ dy / square, 0.0, STEEPEST)) if square > 0 else 0.0
    rest = dy - slope * dx
    variance = (float(rest @ rest) + PRIOR * spread) / (n - 2 + PRIOR)
    error = variance * ((1.0 - (0.0 if sampled else n / len(own))) / n + (gap**2 / square if square > 0 else 0.0))
    return float(y.mean() + slope * gap), math.sqrt(error), n - 2 + PRIOR


def _units(cells: Floats, objective: RaceObjective) -> Floats:
    """Shape (n,): what values are divided by: money and seconds by the candidate's mean, scores by 1."""
    if not objective.positive:
        return np.ones(len(cells))
    total, known = np.nansum(cells, axis=1), np.isfinite(cells).sum(axis=1)
    return np.where(total > 0, total / np.maximum(1, known), 1.0)


def _at_least_as_good(means: Floats, drawn: Floats, objective: RaceObjective, margin: float) -> Bools:
    """Shape (draws, rivals)."""
    if objective.maximise:
        return np.asarray(means[None, :] >= drawn[:, None] - margin)
    if objective.positive:
        return np.asarray(means[None, :] <= drawn[:, None] * (1.0 + margin))
    return np.asarray(means[None, :] <= drawn[:, None] + margin)
