"""A landscape with a known front and known noise: racing finds it in a part of the calls, and is seldom wrong."""

from __future__ import annotations

import numpy as np
import pytest

from offramp.search.racing import COST, LATENCY, QUALITY, Race, RaceSettings
from offramp.search.racing.stopping import worse_than_complete
from offramp.stats import non_dominated

EXAMPLES, CANDIDATES, FRONT = 200, 40, 5
RUNS = 6


def landscape(seed: int) -> tuple[np.ndarray, set[int]]:
    """Cells of 40 candidates, and the five that are the true front by construction; means are exact by example."""
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
    return np.stack([score.astype(float), cost, latency], axis=-1), set(range(FRONT))


def raced(table: np.ndarray, seed: int) -> tuple[Race, int]:
    settings = RaceSettings(first=5, block=10)
    race = Race(objectives=(QUALITY, COST, LATENCY), n_examples=EXAMPLES, seed=seed, settings=settings)
    for _ in range(CANDIDATES):
        race.add({"prompt": str(len(race.pool))})
    calls = 0
    while (block := race.next(EXAMPLES)) is not None:
        calls += len(block.positions)
        race.observe(block.index, block.positions, table[block.index, list(block.positions)])
    return race, calls


def front_of(table: np.ndarray, among: list[int]) -> set[int]:
    mask = non_dominated(table[among].mean(axis=1), maximise=[True, False, False])
    return {among[i] for i in np.flatnonzero(mask)}


def test_racing_finds_the_front_of_full_evaluations_in_a_quarter_of_the_calls() -> None:
    kept = found_full = found_raced = members = 0
    calls = []
    for seed in range(RUNS):
        table, true = landscape(seed)
        race, used = raced(table, seed)
        complete = [i for i in range(CANDIDATES) if race.complete(i)]
        found_full += len(true & front_of(table, list(range(CANDIDATES))))
        found_raced += len(true & front_of(table, complete))
        kept += len(true - set(race.stopped))
        members += FRONT
        calls.append(used / (CANDIDATES * EXAMPLES))
    assert np.median(calls) <= 0.25
    assert kept >= 0.95 * members
    assert found_raced >= 0.95 * found_full


def test_the_paired_rule_is_wrong_less_often_than_stated() -> None:
    """A candidate that equals the best one in quality and costs less is on the front; nine looks at noise."""
    generator = np.random.default_rng(0)
    wrong, runs = 0, 400
    for _ in range(runs):
        easy = generator.beta(2, 2, EXAMPLES)
        losses = -(generator.random((4, EXAMPLES)) < easy).astype(float)
        cost = np.array([1.0, 1.0, 1.0, 0.97])[:, None] * generator.lognormal(0, 0.5, (4, EXAMPLES))
        cells = np.stack([losses, cost], axis=-1)
        if (non_dominated(cells.mean(axis=1), maximise=[False, False]))[3]:
            order = generator.permutation(EXAMPLES)
            wrong += any(_stopped(cells, order[:n]) for n in (10, 20, 40, 80, 160))
    assert wrong <= 0.05 * runs


def _stopped(cells: np.ndarray, read: np.ndarray) -> bool:
    own = np.full_like(cells[3], np.nan)
    own[read] = cells[3, read]
    return worse_than_complete(own, cells[:3], 0.95)


def test_a_plainly_worse_candidate_is_stopped_early() -> None:
    generator = np.random.default_rng(1)
    good = np.stack([-(generator.random(EXAMPLES) < 0.9).astype(float), generator.lognormal(0, 0.3, EXAMPLES)], axis=-1)
    bad = np.stack([-(generator.random(EXAMPLES) < 0.2).astype(float), generator.lognormal(2, 0.3, EXAMPLES)], axis=-1)
    own = np.full_like(bad, np.nan)
    own[:20] = bad[:20]
    assert worse_than_complete(own, good[None], 0.95)
    own[:] = np.nan
    own[:9] = bad[:9]
    assert not worse_than_complete(own, good[None], 0.95)


@pytest.mark.parametrize("failed", [0.0, 0.5])
def test_failed_cells_stop_nobody(failed: float) -> None:
    generator = np.random.default_rng(2)
    best = np.stack([-np.ones(EXAMPLES), np.ones(EXAMPLES)], axis=-1)
    own = np.where(generator.random(EXAMPLES)[:, None] < failed, np.nan, best * [1, 0.5])
    own[40:] = np.nan
    assert not worse_than_complete(own, best[None], 0.95)
