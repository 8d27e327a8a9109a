"""Candidates that lack scores, made comparable: what they came to on their own rows, as on all rows.

A provider that fails on the hard and long examples must not make its candidate look better, cheaper or faster than one
that answered them. So quality, cost and latency of such a candidate are changed by as much as its rows were easier,
cheaper and faster for the candidates that answered all, on average, so that rows lost by chance cost nobody anything.

Invariant: no number gets better by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.records import Aggregate
from offramp.store.aggregates import RowNumbers

Numbers = Mapping[str, Mapping[str, RowNumbers]]
"""By candidate, then by example, those without a score left out."""
Floats = NDArray[np.float64]
STATISTICS = ("mean", "p50", "p90", "p95")
"""Of seconds, as an `Aggregate` has them."""
_SAME = 1e-12
"""Where the last digits of sums would decide, they do so for those that answered all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """A candidate and what runs today on the examples that both have a score for.

    Attributes:
        n: how many examples that is.
        cost_usd, today_cost_usd: mean USD of one run; None where a price is not known.
        p50_s, today_p50_s: seconds of one run; None where they are not known.
    """

    n: int
    cost_usd: float | None
    today_cost_usd: float | None
    p50_s: float | None
    today_p50_s: float | None


def is_uneven(seen: Mapping[str, Aggregate]) -> bool:
    """Whether some of these candidates lack scores: runs of theirs failed."""
    return any(one.n_failed for one in seen.values())


class CommonRows:
    """The candidates of one split example by example.

    Args:
        numbers: of all candidates that are compared.
    """

    def __init__(self, numbers: Numbers) -> None:
        self._rows = {name: at for at, name in enumerate(numbers)}
        columns = {example: at for at, example in enumerate(sorted({e for one in numbers.values() for e in one}))}
        self._score, self._cost, self._seconds = (np.full((len(self._rows), len(columns)), np.nan) for _ in range(3))
        for row, one in enumerate(numbers.values()):
            for example, found in one.items():
                at = row, columns[example]
                self._score[at] = found.score
                self._cost[at] = np.nan if found.cost_usd is None else found.cost_usd
                self._seconds[at] = np.nan if found.latency_s is None else found.latency_s
        self._has = ~np.isnan(self._score)
        whole = self._has.all(axis=1)
        self._anybody_whole = bool(whole.any())
        self._others = whole if self._anybody_whole else self._has.any(axis=1)
        self._known: dict[tuple[str, bytes], Mapping[str, Floats]] = {}

    def on_all(self, candidate: str, own: Aggregate) -> Aggregate | None:
        """A candidate's numbers as on all examples that any of them answered; None where none of its runs failed, and
        where nobody answered those that it lacks: such rows say nothing of anybody.

        Where no candidate answered all of them, all candidates take the place of those that did, on the rows that they
        have, and in quality what the candidate lacks counts as lost.

        Args:
            own: what it came to on its own rows.
        """
        row = self._rows.get(candidate)
        if row is None or own.quality is None or not own.n_failed or self._has[row].all():
            return None
        if self._anybody_whole:
            whole, part = self._beside("score", self._score, row)["mean"]
            easier = float((part - whole).mean()) if whole.size else 0.0
            quality = own.quality if easier <= _SAME else max(0.0, own.quality - easier - _SAME)
        else:
            quality = own.quality * own.n / self._score.shape[1]
        lower = own.quality - quality
        costs, seconds = self._beside("cost", self._cost, row), self._beside("seconds", self._seconds, row)
        latencies: dict[str, Any] = {
            f"latency_{name}_s": _raised(own.latency_s(name), seconds[name]) for name in STATISTICS
        }  # fmt: skip
        low, high = (None if end is None else max(0.0, end - lower) for end in (own.quality_low, own.quality_high))
        return replace(
            own,
            quality=quality,
            quality_low=low,
            quality_high=high,
            cost_usd=_raised(own.cost_usd, costs["mean"]),
            cost_cold_usd=_raised(own.cost_cold_usd, costs["mean"]),
            **latencies,
        )

    def paired(self, candidate: str, today: str) -> Paired | None:
        """Two candidates on the examples that both have a score for; None where both have the same, or none in common.

        Args:
            today: what runs today.
        """
        one, other = self._rows.get(candidate), self._rows.get(today)
        if one is None or other is None or (self._has[one] == self._has[other]).all():
            return None
        both = self._has[one] & self._has[other]
        if not both.any():
            return None
        costs, seconds = ([values[row][both] for row in (one, other)] for values in (self._cost, self._seconds))
        usd = [None if np.isnan(values).any() else float(values.mean()) for values in costs]
        p50 = [None if np.isnan(values).all() else float(np.nanmedian(values)) for values in seconds]
        return Paired(n=int(both.sum()), cost_usd=usd[0], today_cost_usd=usd[1], p50_s=p50[0], today_p50_s=p50[1])

    def _beside(self, kind: str, values: Floats, row: int) -> Mapping[str, Floats]:
        """By statistic, that of each of the others on all of its rows, and below it that on those that a candidate has.

        Shape (2, k), for the k others that have numbers on both.
        """
        mine, others = self._has[row], self._others.copy()
        others[row] = False
        key = kind, others.tobytes() + mine.tobytes()
        if key not in self._known:
            every = np.where(self._has, values, np.nan)[others]
            pairs = np.array([_statistics(every), _statistics(np.where(mine, every, np.nan))])
            on_both = ~np.isnan(pairs).any(axis=(0, 1))
            self._known[key] = {name: pairs[:, at, on_both] for at, name in enumerate(STATISTICS)}
        return self._known[key]


def _statistics(values: Floats) -> Floats:
    """The statistics of each row of values, NaN left out; NaN for a row without any. Shape (4, rows)."""
    ordered, n = np.sort(values, axis=1), (~np.isnan(values)).sum(axis=1)
    found = [np.where(n > 0, np.nansum(values, axis=1) / np.maximum(1, n), np.nan)]
    for share in (0.5, 0.9, 0.95):
        at = np.maximum(0, n - 1) * share
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, np.maximum(0, n - 1))
        first, then = (np.take_along_axis(ordered, place[:, None], axis=1)[:, 0] for place in (low, high))
        found.append(first + (then - first) * (at - low))
    return np.array(found)


def _raised(own: float | None, beside: Floats) -> float | None:
    """A value in proportion to how much more the others come to on all rows; by the difference where it was nothing."""
    if own is None or not beside.size:
        return own
    whole, part = beside
    free = part <= 0
    more = np.where(free, own + whole, own * whole / np.where(free, 1.0, part))
    mean = float(more.mean())
    return own if mean <= own * (1 + _SAME) else mean * (1 + _SAME)
