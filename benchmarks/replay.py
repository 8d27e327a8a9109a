"""How much of the true front a replay declares, next to baseline methods at the same number of cells.

    python benchmarks/replay.py [--quick] [--seeds 10] [--landscapes 1] [--shares 0.05,0.1] [--wave 8] [--optuna]
                                [TABLE.parquet | SHAPE ...]

Without names: every shape of replay_tables.py, with the given number of landscapes of each. Prints a Markdown table with
one line per table and share:

- median and lowest share of the true hypervolume that the declared front covers, computed from full-table means and
  normalised by their span;
- median precision: the share of members that no candidate beats by more than 0.05 in every objective; members;
- the baseline with the best median share, its median and lowest share;
- `regret`: how far the recommended candidate is behind the best by utility (0..1, weights 0.7, 0.15, 0.15), on average;
- `ahead`: the median of racing less that of the best baseline, in the landscape where that is least;
- seconds of CPU of one race.

--wave: cells that are run together; two such waves are under way, so a decision lags by one.

The baselines are `halving 5/3` and `halving 10/2`, successive halving by non-domination rank with a shared example order
(r0/eta in the name), and `random`, full evaluation of random candidates. With --optuna also full evaluation in the order
of Optuna's `TPE` and `NSGA-II` (slow). --quick: three seeds at 5 % of the cells, without the shapes of 900 candidates.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from replay_tables import SHAPES, make_table

from offramp.records import Split
from offramp.search.racing import COST, LATENCY, QUALITY
from offramp.search.replay.run import WAVE, WEIGHTS, race_over_table
from offramp.search.replay.table import RecordedTable, read_table
from offramp.stats import hypervolume, non_dominated

OUTCOMES = {"score": "quality", "cost_usd": "cost", "latency_s": "latency"}
OBJECTIVES = {
    "score": replace(QUALITY, weight=WEIGHTS["quality"]),
    "cost_usd": replace(COST, weight=WEIGHTS["cost"]),
    "latency_s": replace(LATENCY, weight=WEIGHTS["latency"]),
}
CLOSE = 0.05
LARGE = 900
"""Candidates of a shape that --quick leaves out."""
Method = Callable[["Truth", int, int], list[int]]
"""From a table, cells and a seed to the declared candidates, the recommended one first where the method has one."""


class Truth:
    """A table with everything known: for scoring, and for the baselines."""

    def __init__(self, table: RecordedTable) -> None:
        self.table = table
        signs = np.array([-1.0 if outcome == "score" else 1.0 for outcome in table.outcomes])
        self.losses = table.values * signs
        self.n, self.k, self.m = self.losses.shape
        mean = np.nanmean(self.losses, axis=1)
        span = np.ptp(mean, axis=0)
        self.norm = (mean - mean.min(axis=0)) / np.where(span > 0, span, 1.0)
        self.best = self.volume(range(self.n))
        weights = np.array([WEIGHTS[OUTCOMES[outcome]] for outcome in table.outcomes])
        self.utility = (1.0 - self.norm) @ (weights / weights.sum())

    def volume(self, ids: Sequence[int]) -> float:
        return hypervolume(self.norm[list(ids)], np.ones(self.m), maximise=[False] * self.m) if len(ids) else 0.0

    def front(self, losses: np.ndarray) -> np.ndarray:
        return np.flatnonzero(non_dominated(losses, maximise=[False] * self.m))

    def scored(self, ids: list[int]) -> tuple[float, float, int, float]:
        """Share of the true hypervolume, precision, members, and the regret of the first."""
        if not ids:
            return 0.0, 0.0, 0, 1.0
        beaten = [(self.norm <= self.norm[i] - CLOSE).all(axis=1).any() for i in ids]
        regret = float(self.utility.max() - self.utility[ids[0]])
        return self.volume(ids) / self.best, 1.0 - float(np.mean(beaten)), len(ids), regret


def racing(truth: Truth, cells: int, seed: int, wave: int = WAVE) -> list[int]:
    objectives = [OBJECTIVES[outcome] for outcome in truth.table.outcomes]
    return list(race_over_table(truth.table, objectives, cells, seed, wave=wave).declare().front)


def random_full(truth: Truth, cells: int, seed: int) -> list[int]:
    return _full(truth, np.random.default_rng(seed).permutation(truth.n)[: cells // truth.k].tolist())


def tpe_full(truth: Truth, cells: int, seed: int) -> list[int]:
    import optuna

    return _sampled(truth, cells, optuna.samplers.TPESampler(seed=seed, multivariate=True, n_startup_trials=10))


def nsga_full(truth: Truth, cells: int, seed: int) -> list[int]:
    import optuna

    return _sampled(truth, cells, optuna.samplers.NSGAIISampler(seed=seed, population_size=20))


def _sampled(truth: Truth, cells: int, sampler: Any) -> list[int]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    study = optuna.create_study(directions=["minimize"] * truth.m, sampler=sampler)
    rows = [tuple(str(v) for v in params.values()) for params in truth.table.pool]
    choices = {name: sorted({row[d] for row in rows}) for d, name in enumerate(truth.table.pool[0])}
    index, seen, tries = {row: i for i, row in enumerate(rows)}, [], 0
    while len(seen) < cells // truth.k and tries < 40 * (cells // truth.k):
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


def _front_numbers(truth: Truth, means: np.ndarray) -> np.ndarray:
    """0 for the front, 1 for the front of the rest, and so on."""
    rank, rest, number = np.zeros(len(means), dtype=int), np.arange(len(means)), 0
    while len(rest):
        rank[rest] = number
        rest, number = np.delete(rest, truth.front(means[rest])), number + 1
    return rank


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
        rank = _front_numbers(truth, means)
        target = max(len(found), -(-len(alive) // eta))
        last = np.sort(rank)[target - 1]
        alive, before, rung = alive[rank <= last], rung, rung * eta


BASELINES: Mapping[str, Method] = {
    "halving 5/3": lambda truth, cells, seed: halving(truth, cells, seed, 5, 3),
    "halving 10/2": lambda truth, cells, seed: halving(truth, cells, seed, 10, 2),
    "random": random_full,
}
OPTUNA: Mapping[str, Method] = {"TPE": tpe_full, "NSGA-II": nsga_full}


@dataclass(frozen=True)
class Runs:
    """Runs of one method over seeds.

    Attributes:
        rows: (share, precision, members, regret) of each.
        cpu_s: of one run.
    """

    rows: list[tuple[float, float, int, float]]
    cpu_s: float

    @property
    def median(self) -> float:
        return statistics.median(row[0] for row in self.rows)

    @property
    def lowest(self) -> float:
        return min(row[0] for row in self.rows)


def runs(truth: Truth, method: Method, share: float, seeds: int) -> Runs:
    begin, cells = time.process_time(), int(share * truth.n * truth.k + 1e-6)
    rows = [truth.scored(method(truth, cells, seed)) for seed in range(seeds)]
    return Runs(rows, (time.process_time() - begin) / seeds)


def line(
    name: str, landscapes: Sequence[Truth], share: float, seeds: int, baselines: Mapping[str, Method], wave: int
) -> str:
    ours = [runs(truth, partial(racing, wave=wave), share, seeds) for truth in landscapes]
    theirs = {key: [runs(truth, method, share, seeds) for truth in landscapes] for key, method in baselines.items()}
    ahead = min(one.median - max(rival[i].median for rival in theirs.values()) for i, one in enumerate(ours))
    whole = _pooled(ours)
    best = max(theirs, key=lambda key: (_pooled(theirs[key]).median, key))
    rival = _pooled(theirs[best])
    precision, members = (statistics.median(row[k] for row in whole.rows) for k in (1, 2))
    regret = statistics.fmean(row[3] for row in whole.rows)
    truth = landscapes[0]
    return (
        f"| {name}, {truth.n} x {truth.k} | {share:.0%} | {whole.median:.3f} | {whole.lowest:.3f} | {precision:.2f} "
        f"| {members:g} | {regret:.3f} "
        f"| {best} {rival.median:.3f} | {rival.lowest:.3f} | {ahead:+.3f} | {whole.cpu_s:.1f} |"
    )


def _pooled(parts: Sequence[Runs]) -> Runs:
    return Runs([row for part in parts for row in part.rows], statistics.mean(part.cpu_s for part in parts))


def tables(name: str, landscapes: int) -> list[Truth]:
    if name in SHAPES:
        return [Truth(make_table(SHAPES[name], seed)) for seed in range(landscapes)]
    return [Truth(read_table(Path(name))[Split.SEARCH])]


def main() -> None:
    """Measures what the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("tables", nargs="*")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--landscapes", type=int, default=1, help="of each synthetic shape")
    parser.add_argument("--shares", default="0.05,0.1")
    parser.add_argument("--wave", type=int, default=WAVE, help="cells that are run together")
    parser.add_argument("--optuna", action="store_true", help="also TPE and NSGA-II with full evaluations")
    parser.add_argument("--quick", action="store_true", help="three seeds at 5 %%, no large tables")
    given = parser.parse_args()
    seeds, shares = (3, "0.05") if given.quick else (given.seeds, given.shares)
    small = [name for name, shape in SHAPES.items() if not given.quick or shape.candidates < LARGE]
    print(
        "| table | cells | racing | lowest | precision | members | regret | best baseline | its lowest | ahead | CPU s |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for name in given.tables or small:
        truths = tables(name, given.landscapes)
        for share in map(float, shares.split(",")):
            methods = {**BASELINES, **(OPTUNA if given.optuna else {})}
            print(line(Path(name).stem, truths, share, seeds, methods, given.wave), flush=True)


if __name__ == "__main__":
    main()
