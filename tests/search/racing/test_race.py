"""The contract of `Race`: what it hands out, what it may not do, and that it repeats itself."""

from __future__ import annotations

import numpy as np
import pytest

from offramp.search.racing import COST, LATENCY, QUALITY, Race, RaceSettings
from offramp.stats import hypervolume

EXAMPLES = 40
MODELS = ("a", "b", "c", "d")


def pool() -> list[dict]:
    return [{"model": model, "temperature": t} for model in MODELS for t in (0.0, 0.5, 1.0)]


def outcomes(seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    level = np.repeat([0.3, 0.5, 0.7, 0.9], 3)
    score = (generator.random((12, EXAMPLES)) < level[:, None]).astype(float)
    cost = np.repeat([1.0, 2.0, 4.0, 3.0], 3)[:, None] * generator.lognormal(0, 0.1, (12, EXAMPLES))
    seconds = np.repeat([0.1, 0.5, 0.4, 0.9], 3)[:, None] * generator.lognormal(0, 0.4, (12, EXAMPLES))
    return np.stack([score, cost, seconds], axis=-1)


def new_race(seed: int = 0, **settings) -> Race:
    return Race(objectives=(QUALITY, COST, LATENCY), n_examples=EXAMPLES, seed=seed, settings=RaceSettings(**settings))


def play(race: Race, table: np.ndarray, cells: int) -> list:
    blocks = []
    while cells > 0 and (block := race.next(cells)) is not None:
        blocks.append(block)
        cells -= len(block.positions)
        race.observe(block.index, block.positions, table[block.index, list(block.positions)])
    return blocks


def test_no_cell_is_handed_out_twice_and_every_candidate_ends() -> None:
    race, table = new_race(), outcomes()
    for params in pool():
        race.add(params)
    blocks = play(race, table, 10_000)
    cells = [(b.index, p) for b in blocks for p in b.positions]
    assert len(cells) == len(set(cells))
    assert race.next(100) is None
    assert all(race.complete(i) for i in range(12))


def test_everybody_gets_a_first_block_before_anyone_gets_a_second() -> None:
    race = new_race()
    for params in pool():
        race.add(params)
    assert sorted(b.index for b in play(race, outcomes(), 12 * 5)) == list(range(12))


def test_a_block_is_never_larger_than_what_may_be_read() -> None:
    race = new_race()
    race.add({"model": "a"})
    block = race.next(2)
    assert block is not None and len(block.positions) == 2
    assert race.next(0) is None


def test_the_same_seed_and_cells_lead_to_the_same_blocks() -> None:
    first, second, other = new_race(), new_race(), new_race(seed=1)
    for race in (first, second, other):
        for params in pool():
            race.add(params)
    table = outcomes()
    blocks = [play(race, table, 200) for race in (first, second, other)]
    assert blocks[0] == blocks[1]
    assert blocks[0] != blocks[2]
    assert first.declare() == second.declare()


def test_the_pool_may_grow() -> None:
    race, table = new_race(), outcomes()
    for params in pool()[:6]:
        race.add(params)
    play(race, table, 10_000)
    assert race.next(10) is None
    race.add(pool()[6])
    block = race.next(10)
    assert block is not None and block.index == 6


def test_failed_cells_count_against_nobody() -> None:
    """The best candidate loses half its calls to the infrastructure; its estimate does not fall for it."""
    table = outcomes()
    race = new_race()
    for params in pool():
        race.add(params)
    table[9:, ::2] = np.nan
    play(race, table, 10_000)
    found = race.declare()
    truth = np.nanmean(table[9, :, 0])
    assert found.estimates[9]["quality"].mean == pytest.approx(truth, abs=0.08)
    assert set(found.front) & {9, 10, 11}


def test_a_candidate_of_which_all_calls_failed_is_not_declared() -> None:
    race = new_race()
    index = race.add({"model": "a"})
    race.observe(index, range(EXAMPLES), np.full((EXAMPLES, 3), np.nan))
    found = race.declare()
    assert found.front == () and found.recommended is None and race.next(5) is None


def test_read_to_the_end_the_estimates_are_the_means() -> None:
    race, table = new_race(), outcomes()
    for params in pool():
        index = race.add(params)
        race.observe(index, range(EXAMPLES), table[index])
    found = race.declare()
    for index in range(12):
        assert found.estimates[index]["quality"].mean == pytest.approx(table[index, :, 0].mean())
        assert found.estimates[index]["quality"].sd == 0
    assert found.recommended in found.front


@pytest.mark.filterwarnings("error")
def test_a_single_cell_of_a_single_candidate_is_a_front() -> None:
    race = new_race(budget=1, first=1, block=1)
    race.add({"model": "a"})
    assert len(play(race, outcomes(), 1)) == 1
    assert race.declare().front == (0,)


def test_one_objective_is_enough() -> None:
    table = outcomes()[:, :, :1]
    race = Race(objectives=(QUALITY,), n_examples=EXAMPLES, seed=0, settings=RaceSettings(budget=120, first=3))
    for params in pool():
        race.add(params)
    play(race, table, 120)
    assert set(race.declare().front) <= {9, 10, 11}


def test_near_ties_are_declared_and_not_the_few_whose_expected_values_happen_to_lead() -> None:
    """On a table of equals, up to a sixth of the true hypervolume was left out: shrunken means looked far apart."""
    assert np.mean([share_of_equals(seed) for seed in (0, 2, 5)]) >= 0.93


def share_of_equals(seed: int) -> float:
    """Share of the true hypervolume declared from 15 % of the cells of candidates that are equal but for luck and price."""
    generator, n, j, budget = np.random.default_rng(seed), 60, 50, 450
    score = (generator.random((n, j)) < 0.6).astype(float)
    cost = np.exp(generator.normal(0, 1, n))[:, None] * generator.lognormal(0, 0.2, (n, j))
    seconds = np.exp(generator.normal(0, 1, n))[:, None] * generator.lognormal(0, 0.3, (n, j))
    table = np.stack([score, cost, seconds], axis=-1)
    settings = RaceSettings(first=2, block=1, budget=budget)
    race = Race(objectives=(QUALITY, COST, LATENCY), n_examples=j, seed=seed, settings=settings)
    for i in range(n):
        race.add({"prompt": str(i)})
    play(race, table, budget)
    losses = table.mean(axis=1) * [-1, 1, 1]
    losses = (losses - losses.min(axis=0)) / np.ptp(losses, axis=0)
    declared = losses[list(race.declare().front)]
    found, best = (hypervolume(rows, np.ones(3), maximise=[False] * 3) for rows in (declared, losses))
    return found / best
