"""Where the budget is money, a cell is worth what it may tell per dollar."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace

import numpy as np
import pytest

from offramp.search.racing import COST, QUALITY, Allowance, Planner, Race, RaceSettings
from offramp.search.racing.allocate import value_of_next_cell
from offramp.stats import hypervolume

CANDIDATES, EXAMPLES = 30, 40


def outcomes(seed: int) -> np.ndarray:
    """Quality and cost; prices range over two orders of magnitude, and better candidates tend to be more expensive."""
    generator = np.random.default_rng(seed)
    level = generator.uniform(0.1, 0.9, CANDIDATES)
    price = np.exp(2.0 * level + generator.normal(0.0, 1.2, CANDIDATES))
    score = (generator.random((CANDIDATES, EXAMPLES)) < level[:, None]).astype(float)
    return np.stack([score, price[:, None] * generator.lognormal(0, 0.2, (CANDIDATES, EXAMPLES))], axis=-1)


def new_race(seed: int) -> Race:
    few = RaceSettings(first=2, block=2, draws=24, grid_points=256)
    race = Race(objectives=(QUALITY, COST), n_examples=EXAMPLES, seed=seed, settings=few)
    for i in range(CANDIDATES):
        race.add({"prompt": f"p{i}"})
    return race


def raced(seed: int, cap: float, *, by_price: bool) -> tuple[float, int]:
    """Share of the true hypervolume declared for so much money, and cells; `by_price` or as if all cost the same."""
    table, race = outcomes(seed), new_race(seed)

    def allowance() -> Allowance:
        spent = float(table[..., 1][race.cells.requested].sum())
        expected = race.expected()[:, 1] if spent else np.full(CANDIDATES, float(np.median(table[..., 1])))
        unit = expected if by_price else np.full(CANDIDATES, float(expected.mean()))
        return Allowance(total=cap, left=cap - spent, unit=unit)

    planner = Planner(race=race, wave=12, allowance=allowance, kept_share=0.0, recommended_share=0.0)
    while (wave := planner.next()) is not None:
        for block in wave.blocks:
            race.observe(block.index, block.positions, table[block.index, list(block.positions)])
    losses = table.mean(axis=1) * [-1.0, 1.0]
    losses[:, 1] = np.log(losses[:, 1])
    losses = (losses - losses.min(axis=0)) / np.ptp(losses, axis=0)
    found, best = (
        hypervolume(rows, np.ones(2), maximise=[False] * 2) for rows in (losses[list(race.declare().front)], losses)
    )
    return found / best, int(race.cells.requested.sum())


def test_a_race_that_knows_prices_runs_more_cells_for_the_same_money_and_finds_as_much() -> None:
    pairs = []
    for seed in range(8):
        cap = 0.08 * float(outcomes(seed)[..., 1].sum())
        pairs.append((raced(seed, cap, by_price=True), raced(seed, cap, by_price=False)))
    (priced, cells), (blind, blind_cells) = (zip(*rows, strict=True) for rows in zip(*pairs, strict=True))
    assert sum(cells) > 1.1 * sum(blind_cells)
    assert statistics.mean(priced) > statistics.mean(blind) - 0.02


@pytest.mark.parametrize("recommend", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_the_cells_handed_out_next_tell_most_per_unit(seed: int, recommend: float) -> None:
    """Of the front, or of the best by utility; against the value of every candidate's next cell, counted one by one."""
    race, table = new_race(seed), outcomes(seed)
    race.settings = replace(race.settings, recommend=recommend)
    unit = table[..., 1].mean(axis=1)
    for block in race.looks(CANDIDATES * 2):
        race.observe(block.index, block.positions, table[block.index, list(block.positions)])
    race.informative(0)
    chosen = race.informative(1, race.spending(math.inf, unit))[0].index
    race.cells._requested[chosen] = ~np.isnan(race.cells.values[chosen, :, 0])
    lacking = EXAMPLES - race.cells.count
    spread = race._spreads(lacking, race.spending(math.inf, unit))[int(recommend)]
    values = [value_of_next_cell(spread[[i]], race.cells.count[[i]], EXAMPLES)[0] / unit[i] for i in range(CANDIDATES)]
    assert chosen == int(np.argmax(values))


def test_what_is_too_expensive_for_what_is_left_is_passed_over() -> None:
    race, table = new_race(0), outcomes(0)
    unit = np.where(np.arange(CANDIDATES) < 5, 0.1, 50.0)
    looked = race.looks(100, race.spending(1.0, unit))
    assert sorted(block.index for block in looked) == list(range(5))
    for block in looked:
        race.observe(block.index, block.positions, table[block.index, list(block.positions)])
    blocks = race.informative(100, race.spending(0.75, unit))
    assert max(block.index for block in blocks) < 5
    assert sum(len(block.positions) for block in blocks) == 7
