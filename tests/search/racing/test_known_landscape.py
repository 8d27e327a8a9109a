"""A landscape with a known front and known noise: in a quarter of the calls, racing finds what full evaluation finds."""

from __future__ import annotations

import numpy as np

from offramp.search.racing import COST, LATENCY, QUALITY
from offramp.search.replay.run import race_over_table
from offramp.search.replay.table import RecordedTable
from offramp.stats import non_dominated

EXAMPLES, CANDIDATES, FRONT = 200, 40, 5
RUNS = 6


def landscape(seed: int) -> np.ndarray:
    """Cells of 40 candidates of which the first five are the true front by construction; params explain nothing."""
    generator = np.random.default_rng(seed)
    quality = np.concatenate([np.linspace(0.3, 0.9, FRONT), generator.uniform(0.1, 0.6, CANDIDATES - FRONT)])
    price = np.concatenate([np.linspace(1.0, 5.0, FRONT) ** 1.5, np.zeros(CANDIDATES - FRONT)])
    for i in range(FRONT, CANDIDATES):  # each of the others is beaten by one of the front, by a margin
        better = int(generator.integers(FRONT))
        quality[i] = max(0.02, quality[better] - generator.uniform(0.15, 0.4))
        price[i] = price[better] * generator.uniform(1.1, 2.0)
    hard = generator.normal(0.0, 0.15, EXAMPLES)
    score = generator.random((CANDIDATES, EXAMPLES)) < np.clip(quality[:, None] + hard, 0.0, 1.0)
    cost = price[:, None] * generator.lognormal(0.0, 0.2, (CANDIDATES, EXAMPLES))
    latency = price[:, None] * generator.lognormal(0.0, 0.4, (CANDIDATES, EXAMPLES))
    return np.stack([score.astype(float), cost, latency], axis=-1)


def recorded(values: np.ndarray) -> RecordedTable:
    return RecordedTable(
        pool=tuple({"prompt": f"p{i}"} for i in range(CANDIDATES)),
        examples=tuple(str(i) for i in range(EXAMPLES)),
        outcomes=("score", "cost_usd", "latency_s"),
        values=values,
    )


def test_racing_finds_the_front_of_full_evaluation_in_a_quarter_of_the_calls() -> None:
    true, found_full, found_raced, declared = set(range(FRONT)), 0, 0, 0
    for seed in range(RUNS):
        table = landscape(seed)
        full = set(np.flatnonzero(non_dominated(table.mean(axis=1), maximise=[True, False, False])).tolist())
        race = race_over_table(recorded(table), (QUALITY, COST, LATENCY), CANDIDATES * EXAMPLES // 4, seed)
        front = set(race.declare().front)
        assert race.cells.count.sum() <= CANDIDATES * EXAMPLES / 4
        found_full, found_raced, declared = (
            found_full + len(true & full),
            found_raced + len(true & front),
            declared + len(front),
        )
    assert found_full >= 0.95 * RUNS * FRONT
    assert found_raced >= 0.95 * found_full
    assert found_raced >= 0.9 * declared
