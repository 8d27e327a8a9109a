"""How much of the true front a live job finds, with a recorded table in place of the transport.

    python benchmarks/live_tables.py [--seeds 3] [--shares 0.05,0.1] [--wave N] [--concurrency 4] [--open [--sampler tpe]]
                                     [--incumbent INDEX] [--replay] [TABLE.parquet | SHAPE ...]

The job is `offramp.search.api.optimize`. Its space has the table's params, its examples are the table's search rows, and
the reply to a request carries the cell's score, cost and latency; a cell without a value is rejected. The cap on calls is
the share of the table's cells, and what the holdout evaluation takes of a candidate, or two with an incumbent (two calls
each).

A space is the product of its params, a table may have fewer candidates. Those that it lacks are taken out of the
space; with --open, where the pool is not listed and Optuna proposes, the nearest candidate that the table has takes the
place of one that it lacks.

Prints a Markdown table (medians over seeds; lowest share) and one line of JSON for each table:

- the share of the true hypervolume that the front covers: the complete members alone, and with the members that the
  study shows as estimates; computed as in replay.py from full-table means;
- precision and number of the members, those shown as estimates included;
- regret: how much utility the recommended candidate has less than the best of the table;
- calls on the search split, those of an incumbent (--incumbent: its position in the table) included;
- with --replay, what `offramp replay` declares from as many cells, on the same seeds.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import yaml
from replay import Truth, racing, tables

from offramp.calls.failures import RequestRejected
from offramp.ids import content_hash
from offramp.records import CallReply, CallRequest, Scalar, Usage
from offramp.search import api
from offramp.search.live import pool
from offramp.search.outcome import JobResult
from offramp.search.replay.table import RecordedTable
from offramp.search.sampling import untried

WEIGHTS = {"quality": 0.7, "cost": 0.15, "latency": 0.15}
NAMES = {"score": "quality", "cost_usd": "cost", "latency_s": "latency"}
MOST_TRIALS = 10_000
HOLDOUT = 2
"""Examples of the holdout: as few as a job may have."""
METRIC = "def score(example, prediction, trace=None):\n    return float(prediction.answer)\n"


@dataclass(slots=True)
class LiveTable:
    """A table as a job sees it.

    Attributes:
        pool: params of each candidate, as the space has them; equal ones are told apart by a param of their own.
        places: candidate by its params.
        calls: requests on search examples, by candidate and example.
    """

    truth: Truth
    pool: list[dict[str, Scalar]] = field(init=False)
    places: dict[str, int] = field(init=False)
    calls: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        seen: dict[str, int] = {}
        self.pool = []
        for params in self.table.pool:
            mine = {f"x_{name}": value for name, value in params.items()}
            copy = seen[key(mine)] = seen.get(key(mine), -1) + 1
            self.pool.append({**mine, "x_copy": copy})
        if not any(params["x_copy"] for params in self.pool):
            for params in self.pool:
                del params["x_copy"]
        self.places = {key(params): i for i, params in enumerate(self.pool)}

    @property
    def table(self) -> RecordedTable:
        return self.truth.table

    @property
    def choices(self) -> dict[str, list[Scalar]]:
        """Values of each param, in the order in which they occur."""
        names = dict.fromkeys(name for params in self.pool for name in params)
        return {n: list({key(v): v for v in (p.get(n) for p in self.pool)}.values()) for n in names}

    def place(self, params: Mapping[str, Scalar]) -> int:
        """The candidate with these params (others do not count); the nearest one where the table lacks it."""
        mine = {name: params.get(name) for name in self.choices}
        found = self.places.get(key(mine))
        if found is None:
            found = max(range(len(self.pool)), key=lambda i: sum(self.pool[i][n] == v for n, v in mine.items()))
        return found

    async def send(self, request: CallRequest, attempt: int = 1) -> CallReply:
        """The cell of a request."""
        number = int(re.findall(r"example (\d+)", str(request.messages[-1]["content"]))[-1])
        index = self.places[key({name: request.params.get(name) for name in self.choices})]
        values = self.table.values[index]
        if number < values.shape[0]:
            self.calls += 1
            cell = values[number]
        else:
            cell = np.nanmean(values, axis=0)
        if np.isnan(cell).any():
            raise RequestRejected("the table has no such cell")
        found = dict(zip(self.table.outcomes, cell.tolist(), strict=True))
        tokens = round(found.get("cost_usd", 0.0) / self.unit_usd * 1e6)
        return CallReply(
            text=repr(found["score"]), finish_reason="stop", usage=Usage(input_tokens=tokens),
            latency_s=found.get("latency_s", 0.1),
        )  # fmt: skip

    @property
    def unit_usd(self) -> float:
        """USD of a million tokens: a usual cell has a million of them, so that rounding does not show."""
        if "cost_usd" not in self.table.outcomes:
            return 1.0
        return float(np.nanmedian(self.table.values[..., self.table.outcomes.index("cost_usd")])) or 1.0

    def means(self) -> np.ndarray:
        """Shape (candidates, outcomes)."""
        return np.asarray(np.nanmean(self.table.values, axis=1))

    def scales(self) -> dict[str, tuple[float, float]]:
        """(worst, best) of each objective over the table."""
        found = {}
        for outcome, column in zip(self.table.outcomes, self.means().T, strict=True):
            low, high = float(column.min()), float(column.max())
            high = high if high > low else low + 1e-9
            found[NAMES[outcome]] = (low, high) if outcome == "score" else (high, low)
        return found

    def utilities(self) -> np.ndarray:
        """Shape (candidates,)."""
        total = np.zeros(len(self.pool))
        for (name, (worst, best)), column in zip(self.scales().items(), self.means().T, strict=True):
            total += WEIGHTS[name] * (column - worst) / (best - worst)
        return total / sum(WEIGHTS[name] for name in self.scales())

    def write(self, folder: Path, *, sampler: str, wave: int | None, incumbent: int | None) -> Path:
        """The space file with its data and metric."""
        n = len(self.table.examples)
        parts = (*["search"] * n, *["holdout"] * HOLDOUT, "train")
        rows = [
            {"id": f"e{i}", "question": f"example {i} {content_hash(i)}", "answer": "1.0", "part": part}
            for i, part in enumerate(parts)
        ]
        (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (folder / "table_metric.py").write_text(METRIC)
        scales = self.scales()
        objectives: dict[str, Any] = {
            name: {"weight": weight, "scale": list(scales[name])} if name in scales else None
            for name, weight in WEIGHTS.items()
        }
        if "latency" in scales:
            objectives["latency"]["statistic"] = "mean"
        price = {"input_usd": self.unit_usd, "output_usd": 0.0}
        space: dict[str, Any] = {
            "name": "table",
            "task": {"signature": "question -> answer"},
            "dataset": {"path": "rows.jsonl", "id": "id"},
            "splits": {"column": "part", "train": ["train"], "search": ["search"], "holdout": ["holdout"]},
            "metric": {"kind": "python", "path": "table_metric.py:score"},
            "models": [{
                "name": "recorded", "route": "openai/recorded", "api_base": "http://127.0.0.1:9/v1", "price": price,
                "supports": list(self.choices),
            }],
            "instructions": {"answer": "Answer."},
            "params": {name: {"choices": values} for name, values in self.choices.items()},
            "objectives": objectives,
            "search": {"sampler": sampler, "wave": wave},
            "verify": {"front": False},
            "calls": {"attempts": 1, "max_failed_share": 1.0},
        }  # fmt: skip
        if incumbent is not None:
            space["incumbent"] = {"model": "recorded", "params": self.pool[incumbent]}
        path = folder / "space.yaml"
        path.write_text(yaml.safe_dump(space, sort_keys=False))
        return path


def key(value: Any) -> str:
    """Equal for equal params, where 1, true and 1.0 differ."""
    return json.dumps(value, sort_keys=True)


@contextlib.contextmanager
def only_these(live: LiveTable, *, listed: bool) -> Iterator[None]:
    """The space is what the table has; `listed` or proposed by Optuna."""

    def assignments(params: Any, chosen: Any = None) -> Iterator[dict[str, Scalar]]:
        common = {param.name: param.choices[0] for param in params if param.name not in live.choices}
        for mine in live.pool:
            yield {**common, **mine}

    def cardinality(params: Any, **_: Any) -> float:
        return len(live.pool) if listed else float("inf")

    add = pool.Pool.add

    def nearest(self: pool.Pool, params: Mapping[str, Scalar], *, first: bool = False) -> int | None:
        return add(self, {**params, **live.pool[live.place(params)]}, first=first)

    with (
        mock.patch.object(pool, "assignments", assignments), mock.patch.object(pool, "cardinality", cardinality),
        mock.patch.object(untried, "assignments", assignments),
        mock.patch.object(untried, "cardinality", lambda params: len(live.pool)),
        mock.patch.object(pool.Pool, "add", nearest),
    ):  # fmt: skip
        yield


def run(live: LiveTable, share: float, seed: int, given: argparse.Namespace) -> tuple[JobResult, dict[str, Any]]:
    """One job, and what came of it."""
    cells = int(share * live.truth.n * live.truth.k + 1e-6)
    holdouts = HOLDOUT * (1 + (given.incumbent is not None))
    live.calls, begin = 0, time.process_time()
    with tempfile.TemporaryDirectory() as name, only_these(live, listed=not given.open):
        folder = Path(name)
        space = live.write(folder, sampler=given.sampler, wave=given.wave, incumbent=given.incumbent)
        result = api.optimize(
            space, results=folder, seed=seed, calls=cells + holdouts, transport=live, trials=MOST_TRIALS,
            concurrency=given.concurrency,
        )  # fmt: skip
    if result.error is not None:
        raise SystemExit(f"the job ended with an error: {result.error}")
    report, utilities = result.report, live.utilities()
    complete = [live.place(member.params) for member in report.front]
    likely = [live.place(one.params) for one in getattr(report, "estimates", ())]
    best, chosen = float(utilities.max()), report.recommended
    shown = live.truth.scored(list(dict.fromkeys([*complete, *likely])))
    return result, {
        "share": share, "seed": seed, "cells": cells, "calls": live.calls, "trials": report.trials,
        "complete": round(live.truth.scored(complete)[0], 4), "members": len(complete),
        "shown": round(shown[0], 4), "precision": round(shown[1], 3), "shown_members": shown[2],
        "regret": None if chosen is None else round(best - float(utilities[live.place(chosen.params)]), 4),
        "cpu_s": round(time.process_time() - begin, 1), "ended": report.stop_reason,
    }  # fmt: skip


def line(
    name: str, truth: Truth, rows: Sequence[Mapping[str, Any]], replayed: Sequence[tuple[float, float, int]]
) -> str:
    """One line of the Markdown table: the runs of one table with one share."""

    def median(what: str) -> float:
        return statistics.median(1.0 if row[what] is None else row[what] for row in rows)

    other = f"{statistics.median(r[0] for r in replayed):.3f}" if replayed else ""
    lowest = min(row["shown"] for row in rows)
    return (
        f"| {name}, {truth.n} x {truth.k} | {rows[0]['share']:.0%} | {median('complete'):.3f} | {median('shown'):.3f} "
        f"| {lowest:.3f} | {median('precision'):.2f} | {median('members'):g} + {median('shown_members') - median('members'):g} "
        f"| {median('regret'):.3f} | {median('calls'):g} of {rows[0]['cells']} | {other} | {median('cpu_s'):.0f} |"
    )


def main() -> None:
    """Measures what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="+")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--shares", default="0.05,0.1")
    parser.add_argument("--wave", type=int)
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--open", action="store_true", help="the pool is not listed: the sampler proposes")
    parser.add_argument("--sampler", default="tpe")
    parser.add_argument("--incumbent", type=int, help="position of a candidate of the table")
    parser.add_argument("--replay", action="store_true", help="also offramp replay, on the same seeds")
    given = parser.parse_args()
    print("| table | cells | complete | shown | lowest | precision | members | regret | calls | replay | CPU s |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for name in given.tables:
        live, rows = LiveTable(tables(name, 1)[0]), []
        truth = live.truth
        for share in map(float, given.shares.split(",")):
            ours = [run(live, share, seed, given)[1] for seed in range(given.seeds)]
            cells = int(share * truth.n * truth.k + 1e-6)
            theirs = [truth.scored(racing(truth, cells, s)) for s in range(given.seeds if given.replay else 0)]
            rows += ours
            print(line(Path(name).stem, truth, ours, theirs), flush=True)
        print(json.dumps({"table": Path(name).stem, "open": given.open, "wave": given.wave, "runs": rows}), flush=True)


if __name__ == "__main__":
    main()
