"""`offramp replay`: the racing core over a recorded table in place of live calls. A cell that is read is a call.

Invariant: the search sees the params, the number of examples, and the outcomes of cells that it has paid for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from offramp.errors import UsageError, problem
from offramp.records import Scalar, Split
from offramp.search.racing import COST, LATENCY, QUALITY, Declared, Race, RaceObjective, RaceSettings
from offramp.search.recorded import OUTCOMES, PaidCells, Recorded, read_recorded
from offramp.study.objectives import Objective, reweighted

NAMES = ("quality", "cost_usd", "latency_s")
"""Of what is reported, in the order of the table's outcomes."""
WEIGHTS: Mapping[str, float] = {"quality": 0.7, "cost": 0.15, "latency": 0.15}
"""As in a space file that states none."""
FIRST_SHARE = 0.2
"""Share of the cells that first blocks take where the pool allows it."""

Aggregate = dict[str, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayMember:
    """One member of the declared front.

    Attributes:
        params: named as the columns without `param.`.
        estimates: quality, cost_usd and latency_s over all search examples, expected from the cells read; None where
            the table has no such column. sd: how far off they may be, one standard deviation.
        trust: how likely it is on the front or close to it. cells: how many of its cells were read.
        holdout: means over the holdout; None where that was not asked for, or there is none.
    """

    params: Mapping[str, Scalar]
    estimates: Mapping[str, float | None]
    sd: Mapping[str, float | None]
    trust: float
    cells: int
    holdout: Mapping[str, float | None] | None

    def to_json(self) -> dict[str, Any]:
        """As `offramp replay --json` shows it."""
        holdout = {} if self.holdout is None else {f"holdout_{name}": value for name, value in self.holdout.items()}
        more = {"sd": dict(self.sd), "trust": self.trust, "cells": self.cells}
        return {"params": dict(self.params), **self.estimates, **holdout, **more}


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What a replay found. `recommended` is the member of the front with the best expected utility."""

    cells_used: int
    cells_total: int
    candidates: int
    candidates_read: int
    examples: int
    seed: int
    front: tuple[ReplayMember, ...]
    recommended: ReplayMember | None

    def to_json(self) -> dict[str, Any]:
        """As `offramp replay --json` shows it."""
        return {
            "cells_used": self.cells_used,
            "cells_total": self.cells_total,
            "candidates": self.candidates,
            "candidates_read": self.candidates_read,
            "examples": self.examples,
            "seed": self.seed,
            "front": [member.to_json() for member in self.front],
            "recommended": None if self.recommended is None else self.recommended.to_json(),
        }


def replay(
    table: str | Path, *, cells: int | None = None, share: float | None = None, seed: int = 0,
    weights: Mapping[str, float] | None = None, verify: bool = False,
) -> Replay:  # fmt: skip
    """The front of a recorded table, found by reading some of its cells.

    Args:
        table: a Parquet or CSV file; docs/replay.md shows its columns.
        cells: how many may be read. share: the same as a share of candidates x search examples. None of both: all.
        weights: by `quality`, `cost`, `latency`; None for those of a space file that states none.
        verify: whether members are also shown with their means over the holdout rows.

    Raises:
        UsageError: a table or an option that cannot be used.
    """
    splits = read_recorded(Path(table))
    recorded = splits[Split.SEARCH]
    objectives = _objectives(recorded.outcomes, weights)
    cap = _cap(recorded, cells, share)
    race = raced(recorded, objectives, cap, seed)
    holdout = splits.get(Split.HOLDOUT) if verify else None
    return _report(race, recorded, holdout, seed)


def raced(recorded: Recorded, objectives: Sequence[RaceObjective], cap: int, seed: int) -> Race:
    """A race over a table's candidates that ends when `cap` cells are read."""
    n, j = len(recorded.pool), len(recorded.examples)
    first = max(1, min(j, round(FIRST_SHARE * cap / n)))
    settings = RaceSettings(first=first, block=max(1, first // 2), budget=cap)
    race = Race(objectives=objectives, n_examples=j, seed=seed, settings=settings)
    for params in recorded.pool:
        race.add(params)
    paid = PaidCells(recorded, cap)
    while (block := race.next(paid.left)) is not None:
        race.observe(block.index, block.positions, paid.read(block.index, block.positions))
    return race


def _objectives(outcomes: Sequence[str], weights: Mapping[str, float] | None) -> tuple[RaceObjective, ...]:
    known = {"score": QUALITY, "cost_usd": COST, "latency_s": LATENCY}
    words = dict(zip(OUTCOMES, WEIGHTS, strict=True))
    stated = tuple(Objective(name=words[o], weight=WEIGHTS[words[o]]) for o in outcomes)
    weighed = {o.name: o.weight for o in reweighted(stated, weights)}
    return tuple(replace(known[o], weight=weighed[words[o]]) for o in outcomes)


def _cap(recorded: Recorded, cells: int | None, share: float | None) -> int:
    total = len(recorded.pool) * len(recorded.examples)
    if cells is not None and share is not None:
        raise UsageError(problem("offramp replay", "--cells and --share at once", do="Choose one."))
    if share is not None:
        if not 0 < share <= 1:
            raise UsageError(problem("--share", "share of the cells", got=share, expected="a number above 0, up to 1"))
        return max(1, int(share * total + 1e-6))
    if cells is not None and cells < 1:
        raise UsageError(problem("--cells", "cells to read", got=cells, expected="1 or more"))
    return total if cells is None else min(cells, total)


def _report(race: Race, recorded: Recorded, holdout: Recorded | None, seed: int) -> Replay:
    found = race.declare()
    means = {} if holdout is None else _means_by_params(holdout)
    members = {i: _member(race, found, i, recorded, means if holdout is not None else None) for i in found.front}
    return Replay(
        cells_used=int(race.cells.read.sum()),
        cells_total=len(recorded.pool) * len(recorded.examples),
        candidates=len(recorded.pool),
        candidates_read=int((race.cells.read > 0).sum()),
        examples=len(recorded.examples),
        seed=seed,
        front=tuple(members.values()),
        recommended=None if found.recommended is None else members[found.recommended],
    )


def _member(
    race: Race, found: Declared, index: int, recorded: Recorded, means: Mapping[str, Aggregate] | None
) -> ReplayMember:
    estimates = found.estimates[index]
    params = recorded.pool[index]
    return ReplayMember(
        params=params,
        estimates={name: estimates[name].mean if name in estimates else None for name in NAMES},
        sd={name: estimates[name].sd if name in estimates else None for name in NAMES},
        trust=found.trust[index],
        cells=int(race.cells.read[index]),
        holdout=None if means is None else means.get(repr(params), dict.fromkeys(NAMES)),
    )


def _means_by_params(holdout: Recorded) -> dict[str, Aggregate]:
    return {repr(params): _aggregate(holdout, row) for params, row in zip(holdout.pool, holdout.values, strict=True)}


def _aggregate(holdout: Recorded, row: Any) -> Aggregate:
    found: Aggregate = dict.fromkeys(NAMES)
    for column, outcome in enumerate(holdout.outcomes):
        known = row[:, column][~np.isnan(row[:, column])]
        found[NAMES[OUTCOMES.index(outcome)]] = float(known.mean()) if len(known) else None
    return found
