"""How much of the true front a replay declares, next to plain methods at the same cells.

    python benchmarks/replay.py [--seeds 10] [--shares 0.05,0.1] [TABLE.parquet | SHAPE ...]

Without names: every shape of replay_tables.py. Medians over seeds (and the lowest share) of: share of the true hypervolume of
the declared front, scored with full-table means and normalised by their span; precision, the share of members that nobody
beats by more than 0.05 in every objective; regret, the mean loss of utility over 21 weightings. `halving` is successive
halving by non-domination rank with a shared example order, the better of r0=5, eta=3 and r0=10, eta=2; `random` evaluates
random candidates completely; `tpe` does so in the order of Optuna's TPE. One JSON line a table and share.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from replay_tables import SHAPES, make_table

from offramp.records import Split
from offramp.search.racing import COST, LATENCY, QUALITY
from offramp.search.recorded import Recorded, read_recorded
from offramp.search.replay import raced
from offramp.stats import hypervolume, non_dominated, ranks

OBJECTIVES = {"score": QUALITY, "cost_usd": COST, "latency_s": LATENCY}
Method = Callable[["Truth", int, int], list[int]]


class Truth:
    """A table with everything known: for scoring, and for the plain methods."""

    def __init__(self, recorded: Recorded) -> None:
        self.recorded = recorded
        signs = np.array([-1.0 if outcome == "score" else 1.0 for outcome in recorded.outcomes])
        self.losses = recorded.values * signs
        self.n, self.k, self.m = self.losses.shape
        mean = np.nanmean(self.losses, axis=1)
        span = np.ptp(mean, axis=0)
        self.norm = (mean - mean.min(axis=0)) / np.where(span > 0, span, 1.0)
        self.best = self.volume(range(self.n))

    def volume(self, ids: Sequence[int]) -> float:
        return hypervolume(self.norm[list(ids)], np.ones(self.m), maximise=[False] * self.m) if len(ids) else 0.0

    def front(self, losses: np.ndarray) -> np.ndarray:
        return np.flatnonzero(non_dominated(losses, maximise=[False] * self.m))

    def scored(self, ids: list[int]) -> tuple[float, float, float, float]:
        if not ids:
            return 0.0, 0.0, 1.0, 0.0
        beaten = [(self.norm <= self.norm[i] - 0.05).all(axis=1).any() for i in ids]
        steps = np.linspace(0, 1, 6)
        weights = np.array([(a, b, 1 - a - b)[: self.m] for a in steps for b in steps if a + b <= 1.0001])
        utility = self.norm @ weights.T
        regret = float(np.mean(utility[ids].min(axis=0) - utility.min(axis=0)))
        return self.volume(ids) / self.best, 1.0 - float(np.mean(beaten)), regret, float(len(ids))


def racing(truth: Truth, cells: int, seed: int) -> list[int]:
    objectives = [OBJECTIVES[outcome] for outcome in truth.recorded.outcomes]
    return list(raced(truth.recorded, objectives, cells, seed).declare().front)


def random_full(truth: Truth, cells: int, seed: int) -> list[int]:
    return _full(truth, np.random.default_rng(seed).permutation(truth.n)[: cells // truth.k].tolist())


def tpe_full(truth: Truth, cells: int, seed: int) -> list[int]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=10)
    study = optuna.create_study(directions=["minimize"] * truth.m, sampler=sampler)
    rows = [tuple(str(v) for v in params.values()) for params in truth.recorded.pool]
    choices = {name: sorted({row[d] for row in rows}) for d, name in enumerate(truth.recorded.pool[0])}
    index, seen, tries = {row: i for i, row in enumerate(rows)}, [], 0
    while len(seen) < cells // truth.k and tries < 20 * (cells // truth.k):
        tries += 1
        trial = study.ask()
        i = index.get(tuple(trial.suggest_categorical(name, values) for name, values in choices.items()))
        if i is None:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            continue
        study.tell(trial, truth.norm[i].tolist())
        if i not in seen:
            seen.append(i)
    return _full(truth, seen)


def _full(truth: Truth, seen: list[int]) -> list[int]:
    return [seen[i] for i in truth.front(truth.norm[seen])] if seen else []


def halving(truth: Truth, cells: int, seed: int, first: int, eta: int) -> list[int]:
    order, alive = np.random.default_rng(seed).permutation(truth.k), np.arange(truth.n)
    used = before = 0
    rung, found = first, []
    while True:
        rung = min(rung, truth.k)
        used += len(alive) * (rung - before)
        if used > cells:
            return found
        means = np.nanmean(truth.losses[alive][:, order[:rung]], axis=1)
        found = alive[truth.front(means)].tolist()
        if rung == truth.k:
            return found
        rank = ranks(means, maximise=[False] * truth.m)
        target = max(len(found), -(-len(alive) // eta))
        last = np.sort(rank)[target - 1]
        alive, before, rung = alive[rank <= last], rung, rung * eta


def measured(truth: Truth, method: Method, cells: int, seeds: int) -> dict[str, float]:
    begin = time.process_time()
    rows = [truth.scored(method(truth, cells, seed)) for seed in range(seeds)]
    share, precision, regret, size = (statistics.median(column) for column in zip(*rows, strict=True))
    return {
        "share": round(share, 3), "lowest": round(min(row[0] for row in rows), 3), "precision": round(precision, 3),
        "regret": round(regret, 4), "members": size, "cpu_s": round((time.process_time() - begin) / seeds, 1),
    }  # fmt: skip


def compared(name: str, truth: Truth, share: float, seeds: int, tpe: bool) -> None:
    cells = int(share * truth.n * truth.k + 1e-6)
    methods: dict[str, Method] = {"racing": racing, "random": random_full}
    if tpe:
        methods["tpe"] = tpe_full
    found = {key: measured(truth, method, cells, seeds) for key, method in methods.items()}
    both = [
        measured(truth, lambda t, c, s, r=r, e=e: halving(t, c, s, r, e), cells, seeds) for r, e in ((5, 3), (10, 2))
    ]
    found["halving"] = max(both, key=lambda row: row["share"])
    print(json.dumps({"table": name, "candidates": truth.n, "examples": truth.k, "cells": share, **found}), flush=True)


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("tables", nargs="*", default=list(SHAPES))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--shares", default="0.05,0.1")
    parser.add_argument("--tpe", action="store_true", help="also Optuna's TPE with full evaluations (slow)")
    given = parser.parse_args()
    for name in given.tables:
        recorded = make_table(SHAPES[name], 0) if name in SHAPES else read_recorded(Path(name))[Split.SEARCH]
        for share in given.shares.split(","):
            compared(Path(name).stem, Truth(recorded), float(share), given.seeds, given.tpe)


if __name__ == "__main__":
    main()
