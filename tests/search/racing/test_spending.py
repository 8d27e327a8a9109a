"""What blocks are paid from: a prompt is read once, and nobody gets cells that are not paid for."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from offramp.search.racing import COST, QUALITY, Race, RaceSettings
from offramp.search.racing.spending import Spending

CANDIDATES, EXAMPLES = 8, 12
PRICES = st.lists(st.sampled_from([0.25, 0.5, 1.0, 2.0]), min_size=CANDIDATES, max_size=CANDIDATES)
READING = st.lists(st.sampled_from([0.0, 0.5, 4.0]), min_size=CANDIDATES, max_size=CANDIDATES)
PROMPTS = st.lists(st.sampled_from(["a", "b", "c", None]), min_size=CANDIDATES, max_size=CANDIDATES)


@given(cell=PRICES, reading=READING, prompts=PROMPTS, paid=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 5))))
def test_a_prompt_is_paid_for_once_whoever_asks_first(
    cell: list[float], reading: list[float], prompts: list[str | None], paid: list[tuple[int, int]]
) -> None:
    spending = Spending(1000.0, np.array(cell), np.array(reading), prompts)
    read, left = set[object](), 1000.0
    for index, cells in paid:
        same = prompts[index] if prompts[index] is not None else index
        takes = cells * cell[index] + (reading[index] if cells and same not in read else 0.0)
        assert spending.takes(index, cells) == takes
        spending.pay(index, cells)
        left -= takes
        if cells:
            read.add(same)
    assert spending.units == left
    for index in range(CANDIDATES):
        same = prompts[index] if prompts[index] is not None else index
        beyond = 0.0 if same in read else reading[index]
        able = max(0, int((left - beyond) / cell[index] + 1e-6))
        assert spending.affordable()[index] == able
        assert spending.price(4)[index] == cell[index] + beyond / 4


@given(reading=READING, prompts=PROMPTS, units=st.floats(0.0, 40.0), seed=st.integers(0, 9))
def test_looks_and_informative_blocks_take_no_more_than_there_is(
    reading: list[float], prompts: list[str | None], units: float, seed: int
) -> None:
    few = RaceSettings(first=2, block=2, draws=8, grid_points=16)
    race = Race(objectives=(QUALITY, COST), n_examples=EXAMPLES, seed=seed, settings=few)
    for i, prompt in enumerate(prompts):
        race.add({"prompt": f"p{i}"}, prompt=prompt)
    generator, read, used = np.random.default_rng(seed), set[object](), 0.0
    for _ in range(3):
        spending = race.spending(units - used, reading=np.array(reading))
        for block in [*race.looks(5, spending), *race.informative(5, spending)]:
            same = prompts[block.index] if prompts[block.index] is not None else block.index
            used += len(block.positions) + (0.0 if same in read else reading[block.index])
            read.add(same)
            race.observe(block.index, block.positions, generator.random((len(block.positions), 2)))
        assert used <= units + 1e-5
        assert abs(spending.units - (units - used)) < 1e-9


def test_with_prompts_to_read_for_much_fewer_are_looked_at_and_each_more_often() -> None:
    def looked(reading: float) -> tuple[int, int]:
        race = Race(
            objectives=(QUALITY, COST), n_examples=30, seed=0, settings=RaceSettings(first=1, block=1, draws=32)
        )
        for i in range(40):
            race.add({"prompt": f"p{i % 8}", "model": f"m{i // 8}"})
        generator, left = np.random.default_rng(0), 120.0
        spending = race.spending(left, reading=np.full(40, reading))
        for block in race.looks(5, spending):
            race.observe(block.index, block.positions, generator.random((1, 2)))
        while blocks := race.informative(8, spending := race.spending(spending.units, reading=np.full(40, reading))):
            for block in blocks:
                size = len(block.positions)
                score = generator.random(size) < 0.2 + 0.015 * block.index
                race.observe(block.index, block.positions, np.stack([score, np.ones(size)], axis=-1))
        return int((race.cells.count > 0).sum()), int(race.cells.count.sum())

    cheap, expensive = looked(0.0), looked(8.0)
    assert cheap[1] == 120 and expensive[0] < 0.5 * cheap[0]
    assert expensive[1] / expensive[0] > cheap[1] / cheap[0]
