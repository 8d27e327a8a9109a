"""Waves run two at a time, and what they decide does not depend on when their cells come back."""

from __future__ import annotations

import asyncio
import random

import numpy as np
import pytest

from offramp.search.racing import COST, QUALITY, Allowance, Planner, Race, RaceSettings, Wave
from offramp.search.racing.waves import UNDER_WAY, run_waves
from offramp.stats.pareto import Floats

EXAMPLES, CANDIDATES, CAP = 30, 10, 180


def outcomes() -> np.ndarray:
    generator = np.random.default_rng(0)
    level = np.linspace(0.2, 0.9, CANDIDATES)
    score = (generator.random((CANDIDATES, EXAMPLES)) < level[:, None]).astype(float)
    cost = np.linspace(1.0, 4.0, CANDIDATES)[:, None] * generator.lognormal(0, 0.2, (CANDIDATES, EXAMPLES))
    return np.stack([score, cost], axis=-1)


class Delayed:
    """Answers each wave after some turns of the event loop; `delays` may be of any order."""

    def __init__(self, delays: random.Random | None) -> None:
        self.delays, self.table = delays, outcomes()
        self.waves: list[Wave] = []
        self.known: list[int] = []
        self.running = self.most = 0

    async def run(self, wave: Wave) -> list[Floats]:
        """Values of the wave's blocks."""
        self.waves.append(wave)
        self.running += 1
        self.most = max(self.most, self.running)
        for _ in range(0 if self.delays is None else self.delays.randrange(40)):
            await asyncio.sleep(0)
        self.running -= 1
        return [self.table[block.index, list(block.positions)] for block in wave.blocks]

    def observed(self, wave: Wave) -> None:
        """Remembers the order in which waves became known."""
        self.known.append(wave.number)


def race_of(source: Delayed, *, cap: int | None = CAP, size: int = 16) -> Race:
    race = Race(
        objectives=(QUALITY, COST),
        n_examples=EXAMPLES,
        seed=0,
        settings=RaceSettings(first=3, block=3, draws=24, grid_points=128),
    )
    for i in range(CANDIDATES):
        race.add({"prompt": f"p{i}"})

    def allowance() -> Allowance:
        return Allowance() if cap is None else Allowance(total=cap, left=cap - float(race.cells.count.sum()))

    asyncio.run(run_waves(Planner(race=race, wave=size, allowance=allowance), source))
    return race


@pytest.mark.parametrize("seed", range(4))
def test_decisions_do_not_depend_on_when_cells_come_back(seed: int) -> None:
    at_once, delayed = Delayed(None), Delayed(random.Random(seed))
    first, second = race_of(at_once), race_of(delayed)
    assert delayed.waves == at_once.waves
    assert delayed.known == [wave.number for wave in delayed.waves]
    assert second.declare() == first.declare()


def test_two_waves_are_under_way() -> None:
    source = Delayed(random.Random(0))
    race_of(source)
    assert source.most == UNDER_WAY == 2 and source.running == 0


def test_everything_that_was_handed_out_is_observed() -> None:
    race = race_of(Delayed(random.Random(1)), cap=None)
    assert not np.isnan(race.cells.values).any()


def test_what_is_under_way_counts_as_used() -> None:
    race = race_of(Delayed(random.Random(2)), size=50)
    assert race.cells.count.sum() == CAP
