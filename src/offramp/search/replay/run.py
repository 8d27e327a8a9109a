"""Races the candidates of a recorded table; reading a cell takes the place of a call.

Invariant: the race sees the params, the number of examples, and the outcomes of cells that it has paid for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from offramp.errors import DatasetError, UsageError, problem
from offramp.records import Objective, Scalar, Split
from offramp.search.racing import (
    COST,
    LATENCY,
    QUALITY,
    Allowance,
    DeclaredFront,
    Planner,
    Race,
    RaceObjective,
    RaceSettings,
    Wave,
)
from offramp.search.racing.waves import run_waves
from offramp.search.replay.reading import OUTCOMES
from offramp.search.replay.table import PaidCells, RecordedTable, read_table
from offramp.stats.pareto import Floats
from offramp.study.domain.objectives import reweighted

NAMES = ("quality", "cost_usd", "latency_s")
"""What is reported, in the order of the table's outcomes."""
WEIGHTS: Mapping[str, float] = {"quality": 0.7, "cost": 0.15, "latency": 0.15}
"""Those of a space file that states none."""
WAVE = 8
"""Cells of the first waves."""
FIRST_SHARE = 0.2
"""Share of the cells that first blocks use, where the pool allows it."""
COMPLETED_SHARE = 0.05
"""Share of the cells that completing the recommended candidate may take at most."""

Aggregate = dict[str, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayMember:
    """One member of the declared front.

    Attributes:
        params: named as the columns, without `param.`.
        estimates: quality, cost_usd and latency_s expected over all search examples; None where the table has no such
            column.
        sd: their standard deviations.
        trust: probability that it is on the true front or close to it.
        cells: how many of its cells were read.
        holdout: means over the holdout rows; None where that was not asked for, or the table has none.
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
    """What a replay found. `recommended` is the member of the front with the highest expected utility."""

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
        table: a Parquet or CSV file; docs/replay.md lists its columns.
        cells: how many may be read.
        share: the same, as a share of candidates x search examples. Neither: all of them.
        weights: by `quality`, `cost`, `latency`; None for those of a space file that states none.
        verify: whether to add the members' means over the holdout rows.

    Raises:
        UsageError: a table or an option that cannot be used.
    """
    splits = read_table(Path(table))
    search = splits[Split.SEARCH]
    _refuse_unmeasured(search, str(table))
    race = race_over_table(search, _objectives(search.outcomes, weights), _cap(search, cells, share), seed)
    return _report(race, search, splits.get(Split.HOLDOUT) if verify else None, seed)


def _refuse_unmeasured(table: RecordedTable, where: str) -> None:
    """Refuses a candidate without any value of an outcome that others have: its figure would be made up from theirs."""
    for column, name in enumerate(table.outcomes):
        unmeasured = np.flatnonzero(np.isnan(table.values[:, :, column]).all(axis=1))
        if not len(unmeasured):
            continue
        params = ", ".join(f"{key}={value}" for key, value in table.pool[unmeasured[0]].items())
        more = f" (and {len(unmeasured) - 1} more)" if len(unmeasured) > 1 else ""
        what = f"candidate {params}{more}: no {name} in any search row, while other candidates have one"
        do = "Fill it in (0 where a run was free), or remove the column." if name != "score" else "Remove its rows."
        raise DatasetError(problem(where, what, do=do))


def race_over_table(
    table: RecordedTable, objectives: Sequence[RaceObjective], cap: int, seed: int, *, wave: int = WAVE
) -> Race:
    """A race over a table's candidates that has ended because `cap` cells were read, or all there are."""
    n, j = len(table.pool), len(table.examples)
    first = max(1, min(j, round(FIRST_SHARE * cap / n)))
    settings = RaceSettings(first=first, block=max(1, first // 2))
    race = Race(objectives=objectives, n_examples=j, seed=seed, settings=settings)
    for params in table.pool:
        race.add(params)
    paid = PaidCells(table, cap)
    planner = Planner(
        race=race, wave=wave, kept_share=0.0, recommended_share=COMPLETED_SHARE,
        allowance=lambda: Allowance(total=cap, left=cap - int(race.cells.count.sum())),
    )  # fmt: skip
    asyncio.run(run_waves(planner, _Reading(paid)))
    return race


@dataclass(frozen=True, slots=True)
class _Reading:
    """A table in place of the transport."""

    paid: PaidCells

    async def run(self, wave: Wave) -> list[Floats]:
        """The values of a wave's blocks."""
        return [self.paid.read(block.index, block.positions) for block in wave.blocks]

    def observed(self, wave: Wave) -> None:
        """Nothing else to do."""


def _objectives(outcomes: Sequence[str], weights: Mapping[str, float] | None) -> tuple[RaceObjective, ...]:
    objectives = {"score": QUALITY, "cost_usd": COST, "latency_s": LATENCY}
    names = dict(zip(OUTCOMES, WEIGHTS, strict=True))
    default = tuple(Objective(name=names[o], weight=WEIGHTS[names[o]]) for o in outcomes)
    weight_of = {o.name: o.weight for o in reweighted(default, weights)}
    return tuple(replace(objectives[o], weight=weight_of[names[o]]) for o in outcomes)


def _cap(table: RecordedTable, cells: int | None, share: float | None) -> int:
    total = len(table.pool) * len(table.examples)
    if cells is not None and share is not None:
        raise UsageError(problem("offramp replay", "--cells and --share exclude each other", do="Choose one."))
    if share is not None:
        if not 0 < share <= 1:
            raise UsageError(problem("--share", "share of the cells", got=share, expected="a number above 0, up to 1"))
        return max(1, int(share * total + 1e-6))
    if cells is not None and cells < 1:
        raise UsageError(problem("--cells", "cells to read", got=cells, expected="1 or more"))
    return total if cells is None else min(cells, total)


def _report(race: Race, table: RecordedTable, holdout: RecordedTable | None, seed: int) -> Replay:
    declared = race.declare()
    means: dict[str, Aggregate] | None = None
    if holdout is not None:
        rows = zip(holdout.pool, holdout.values, strict=True)
        means = {repr(params): _aggregate(holdout.outcomes, row) for params, row in rows}
    members = {i: _member(race, declared, i, table, means) for i in declared.front}
    return Replay(
        cells_used=int(race.cells.count.sum()),
        cells_total=len(table.pool) * len(table.examples),
        candidates=len(table.pool),
        candidates_read=int((race.cells.count > 0).sum()),
        examples=len(table.examples),
        seed=seed,
        front=tuple(members.values()),
        recommended=None if declared.recommended is None else members[declared.recommended],
    )


def _member(
    race: Race, declared: DeclaredFront, index: int, table: RecordedTable, means: Mapping[str, Aggregate] | None
) -> ReplayMember:
    estimates = declared.estimates[index]
    params = table.pool[index]
    return ReplayMember(
        params=params,
        estimates={name: estimates[name].mean if name in estimates else None for name in NAMES},
        sd={name: estimates[name].sd if name in estimates else None for name in NAMES},
        trust=declared.trust[index],
        cells=int(race.cells.count[index]),
        holdout=None if means is None else means.get(repr(params), dict.fromkeys(NAMES)),
    )


def _aggregate(outcomes: Sequence[str], row: Any) -> Aggregate:
    """Means of one candidate's cells by reported name; None where none is known."""
    means: Aggregate = dict.fromkeys(NAMES)
    for column, outcome in enumerate(outcomes):
        known = row[:, column][~np.isnan(row[:, column])]
        means[NAMES[OUTCOMES.index(outcome)]] = float(known.mean()) if len(known) else None
    return means
