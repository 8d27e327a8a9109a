"""What cascades and routers gain over the best single candidate, on rows that chose nothing, over many splits.

    python benchmarks/cascades.py [--splits 20] [--worlds 40] [TABLE.parquet ...]

Prints one line of JSON per table and weighting: `gain`, the mean difference in utility to the best single candidate for
what `offramp cascades` chooses, over `splits` draws of ten folds; `low` and `high`, its 95% interval over the table's
rows; `ahead`, the share of the draws with a gain above 0; `worst`, the lowest of them; `kinds`, the mean for each kind.
Then one line for each kind of made-up world, of 100 rows in ten topics and nine models whose skills differ by topic by
`spread` (in logits; 0: topics tell nothing): the gain on 300 fresh rows by their true chances, and its interval over
worlds.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from offramp.records import Objective
from offramp.search.cascades import table_cells
from offramp.stats.pareto import Floats
from offramp.study.domain import cascade_choice, cascades
from offramp.study.domain.cascade_cells import recorded_rows
from offramp.study.domain.cascade_choice import CHOSEN
from offramp.study.domain.cascades import SINGLE, Recorded

WEIGHTS = (
    {"quality": 0.7, "cost": 0.15, "latency": 0.15}, {"quality": 0.6, "cost": 0.3, "latency": 0.1},
    {"quality": 0.5, "cost": 0.5}, {"quality": 0.8, "cost": 0.2}, {"quality": 0.9, "cost": 0.05, "latency": 0.05},
)  # fmt: skip
SPREADS = (0.0, 0.4, 0.8)
ROWS, FRESH, TOPICS, MODELS = 100, 300, 10, 9


def on_table(path: Path, weights: dict[str, float], splits: int) -> dict[str, object]:
    """Many draws of folds over the search rows of a table."""
    data = recorded_rows(table_cells(path, weights))
    gains: dict[str, list[Floats]] = {}
    for seed in range(splits):
        found = cascade_choice.cross_fitted(data, seed)
        for kind, outcome in found.items():
            gains.setdefault(kind, []).append(outcome.utility - found[SINGLE].utility)
    rows, draws = np.mean(gains[CHOSEN], axis=0), [float(one.mean()) for one in gains[CHOSEN]]
    named = {kind: round(float(np.mean(each)), 3) for kind, each in gains.items() if kind not in (CHOSEN, SINGLE)}
    return {
        "table": path.stem, "weights": weights, "splits": splits, **interval(rows),
        "ahead": float(np.mean(np.array(draws) > 0)), "worst": round(min(draws), 3), "kinds": named,
    }  # fmt: skip


def interval(gains: Floats) -> dict[str, float]:
    """Mean and 95% interval of independent gains."""
    mean, half = float(gains.mean()), 1.96 * float(gains.std(ddof=1)) / len(gains) ** 0.5
    return {"gain": round(mean, 3), "low": round(mean - half, 3), "high": round(mean + half, 3)}


def world(spread: float, seed: int) -> Recorded:
    """Recorded rows, and fresh ones whose scores are the chances of an answer to be right."""
    rng = np.random.default_rng([5, seed])
    n = ROWS + FRESH
    skill = np.sort(rng.normal(0.6, 0.8, MODELS))
    prices = np.exp(np.sort(rng.uniform(np.log(0.3), np.log(20), MODELS)))
    price = prices[np.argsort(np.argsort(skill + rng.normal(0, 0.4, MODELS)))]
    by_topic, base = rng.normal(0, spread, (MODELS, TOPICS)), rng.normal(0.3, 1.0, TOPICS)
    topic = np.concatenate([np.arange(ROWS) % TOPICS, rng.integers(0, TOPICS, FRESH)])
    hard = rng.normal(0, 1.2, n)
    chance = 1 / (1 + np.exp(-(skill[:, None] + by_topic[:, topic] + base[topic] - hard)))
    length = rng.lognormal(0, 0.4, n) * (1 + 0.25 * hard.clip(-1, 3))
    cost = 1e-3 * price[:, None] * length * np.exp(rng.normal(0, 0.15, (MODELS, n)))
    latency = price[:, None] ** 0.5 * length * np.exp(rng.normal(0, 0.3, (MODELS, n)))
    score = (rng.random(chance.shape) < chance).astype(float)
    means = {"quality": score, "cost": cost, "latency": latency}
    ends = {name: np.sort(values[:, :ROWS].mean(1))[[0, -1]] for name, values in means.items()}
    scales = {name: (low, high) if name == "quality" else (high, low) for name, (low, high) in ends.items()}
    score[:, ROWS:] = chance[:, ROWS:]
    return Recorded(
        models=tuple(f"m{i}" for i in range(MODELS)), score=score, cost=cost, latency=latency, groups=np.arange(n),
        similarity=(topic[:, None] == topic[None]).astype(float),
        objectives=tuple(Objective(name=o, weight=w, scale=scales[o]) for o, w in WEIGHTS[0].items()),
    )  # fmt: skip


def on_worlds(spread: float, worlds: int) -> dict[str, object]:
    """The gain of what the recorded rows choose on the fresh ones."""
    gains: dict[str, list[float]] = {}
    train, fresh = np.arange(ROWS), np.arange(ROWS, ROWS + FRESH)
    for seed in range(worlds):
        data = world(spread, seed)
        fitted = cascade_choice.fit(data, train)
        rules = {kind: one.rule for kind, one in fitted.items()}
        rules[CHOSEN] = rules[cascade_choice.choose(fitted)]
        came = {kind: cascades.apply(data, rule, train, fresh).utility.mean() for kind, rule in rules.items()}
        for kind, utility in came.items():
            gains.setdefault(kind, []).append(float(utility - came[SINGLE]))
    named = {kind: round(float(np.mean(each)), 3) for kind, each in gains.items() if kind not in (CHOSEN, SINGLE)}
    return {"world": {"spread": spread}, "worlds": worlds, **interval(np.array(gains[CHOSEN])), "kinds": named}


def main() -> None:
    """Measures what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", type=Path)
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--worlds", type=int, default=40)
    given = parser.parse_args()
    for table in given.tables:
        for weights in WEIGHTS:
            print(json.dumps(on_table(table, weights, given.splits)), flush=True)
    for spread in SPREADS if given.worlds else ():
        print(json.dumps(on_worlds(spread, given.worlds)), flush=True)


if __name__ == "__main__":
    main()
