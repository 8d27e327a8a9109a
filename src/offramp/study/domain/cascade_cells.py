"""Recorded outcomes by candidate and row, and the part of them that rules are chosen on: what is complete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.errors import UsageError, problem
from offramp.records import Objective, Scalar
from offramp.stats.pareto import Floats
from offramp.study.domain.cascades import Recorded
from offramp.study.domain.similarity import AlikeRows, similarity

FEWEST_ROWS = 20
"""Rows below which nothing can be chosen on some and measured on others."""


MOST_ROWS = 2000
"""Rows above which similar rows are not looked for: every pair would be compared."""


_COMPLETE = 0.9  # share of the rows that a candidate needs scores for


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """Recorded outcomes, the search rows first.

    Attributes:
        source: name of the study or table.
        candidates: ids. params: of each.
        rows: names of the examples. searched: how many of them are of the search split; the rest are the holdout's.
        score, cost, latency: shape (candidates, rows), NaN where not known.
        answers: shape (candidates, rows), None where not known. confidence: NaN where not known.
        inputs: columns of the rows' inputs, each with a value for each row.
        groups: of each row.
        objectives: `quality`, `cost`, `latency` where they count; a scale of None is the span of the means.
        compared: outputs that answers are compared by; none for all but a chain of thought.
    """

    source: str
    candidates: tuple[str, ...]
    params: tuple[Mapping[str, Scalar], ...]
    rows: tuple[str, ...]
    searched: int
    score: Floats
    cost: Floats
    latency: Floats
    answers: NDArray[np.object_] | None
    confidence: Floats | None
    inputs: Mapping[str, Sequence[Any]]
    groups: tuple[str, ...]
    objectives: tuple[Objective, ...]
    compared: tuple[str, ...] = ()


def recorded_rows(cells: Cells) -> Recorded:
    """The complete candidates on the search rows. Raises as `cascade_report`."""
    return searched_rows(cells)[3]


def recorded_names(cells: Cells) -> tuple[str, ...]:
    """The search rows that rules are chosen on and look for similar rows in."""
    return tuple(cells.rows[i] for i in complete(rows_until(cells, cells.searched))[1])


def searched_rows(cells: Cells) -> tuple[Cells, NDArray[np.intp], NDArray[np.intp], Recorded]:
    """The search rows, positions of the candidates and of the rows that are complete, and these as recorded."""
    searching = rows_until(cells, cells.searched)
    kept, rows = complete(searching)
    _refuse_few(searching, kept, rows)
    return searching, kept, rows, recorded(searching, kept, rows, searching.objectives)


def rows_until(cells: Cells, end: int) -> Cells:
    """The first rows alone."""
    return replace(
        cells,
        rows=cells.rows[:end],
        score=cells.score[:, :end],
        cost=cells.cost[:, :end],
        latency=cells.latency[:, :end],
        answers=None if cells.answers is None else cells.answers[:, :end],
        confidence=None if cells.confidence is None else cells.confidence[:, :end],
        inputs={name: values[:end] for name, values in cells.inputs.items()},
        groups=cells.groups[:end],
    )


def complete(cells: Cells) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Positions of the candidates that have nearly every row, and of the rows that all of these have a score for."""
    known = np.isfinite(cells.score)
    usable = known.mean(1) >= _COMPLETE * known.mean(1).max(initial=0.0)
    for o in cells.objectives:
        values = {"cost": cells.cost, "latency": cells.latency}.get(o.name)
        if values is not None:
            usable &= (np.isfinite(values) & known).any(1)
    kept = np.flatnonzero(usable & known.any(1))
    return kept, np.flatnonzero(known[kept].all(0)) if len(kept) else np.array([], dtype=np.intp)


def _refuse_few(cells: Cells, kept: NDArray[np.intp], rows: NDArray[np.intp]) -> None:
    if len(kept) < 2:
        got, expected = f"{len(kept)}", "two or more to choose between"
        raise UsageError(
            problem(cells.source, "candidates with results on all search rows", got=got, expected=expected)
        )
    if len(set(np.asarray(cells.groups)[rows])) < FEWEST_ROWS:
        what = "search rows that all candidates have a score for"
        expected = f"{FEWEST_ROWS} or more, so that some choose and others measure"
        raise UsageError(problem(cells.source, what, got=len(rows), expected=expected))


def recorded(cells: Cells, kept: NDArray[np.intp], rows: NDArray[np.intp], objectives: Sequence[Objective]) -> Recorded:
    """These candidates on these rows, in ascending order. A row of the holdout is like those of the search split as it
    would be in an app, where the inputs of no other row of the holdout are known.
    """
    part = np.ix_(kept, rows)
    score, cost, latency = cells.score[part], _filled(cells.cost[part]), _filled(cells.latency[part])
    means = {"quality": score.mean(1), "cost": cost.mean(1), "latency": latency.mean(1)}
    scaled = tuple(o if o.scale is not None else replace(o, scale=_span(o, means[o.name])) for o in objectives)
    return Recorded(
        models=tuple(str(cells.params[i].get("model", "")) for i in kept),
        score=score,
        cost=cost,
        latency=latency,
        answers=None if cells.answers is None else _codes(cells.answers[part]),
        confidence=None if cells.confidence is None else cells.confidence[part],
        similarity=_similarity(cells, rows) if len(rows) <= MOST_ROWS else None,
        groups=np.unique(np.asarray(cells.groups)[rows], return_inverse=True)[1].astype(np.int64),
        objectives=scaled,
    )


def _similarity(cells: Cells, rows: NDArray[np.intp]) -> Floats | None:
    """Shape (rows, rows); 0 between rows of the holdout, which are never looked in. None without a usable column."""
    n = int((rows < cells.searched).sum())
    among = similarity({name: [values[i] for i in rows[:n]] for name, values in cells.inputs.items()})
    if among is None or n == len(rows):
        return among
    alike = AlikeRows({name: [values[i] for i in rows[:n]] for name, values in cells.inputs.items()})
    found = np.zeros((len(rows), len(rows)))
    found[:n, :n] = among
    for place, i in enumerate(rows[n:], start=n):
        near = alike.to({name: values[i] for name, values in cells.inputs.items()})
        found[place, :n] = 1.0 if near is None else near
    return found


def _filled(values: Floats) -> Floats:
    """A value that is not known counts as its candidate's mean; a candidate without any counts 0."""
    known = np.isfinite(values)
    sums = np.where(known, values, 0.0).sum(1) / np.maximum(known.sum(1), 1)
    return np.where(known, values, sums[:, None])


def _span(objective: Objective, means: Floats) -> tuple[float, float]:
    low, high = float(means.min()), float(means.max())
    high = high if high > low else low + 1.0
    return (low, high) if objective.maximise else (high, low)


def _codes(answers: NDArray[np.object_]) -> NDArray[np.int64]:
    known: dict[str, int] = {}
    codes = [-1 if a is None else known.setdefault(str(a), len(known)) for a in answers.ravel()]
    return np.array(codes, dtype=np.int64).reshape(answers.shape)
