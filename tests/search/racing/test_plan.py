"""The plan of a race: what each wave is for, what is reserved, and that no wave takes more than what is left."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.records import Scalar
from offramp.search.racing import COST, QUALITY, Allowance, Block, Planner, Race, RaceSettings, Wave
from offramp.search.racing.plan import STARTUP

EXAMPLES, CANDIDATES = 30, 12


def outcomes(seed: int = 0, candidates: int = CANDIDATES) -> np.ndarray:
    """Quality and cost; later candidates are better and more expensive."""
    generator = np.random.default_rng(seed)
    level = np.linspace(0.2, 0.9, candidates)
    score = (generator.random((candidates, EXAMPLES)) < level[:, None]).astype(float)
    cost = np.linspace(1.0, 4.0, candidates)[:, None] * generator.lognormal(0, 0.2, (candidates, EXAMPLES))
    return np.stack([score, cost], axis=-1)


def new_race(seed: int = 0, *, size: int = CANDIDATES, first: int = 3) -> Race:
    few = RaceSettings(first=first, block=3, draws=24, grid_points=128)
    race = Race(objectives=(QUALITY, replace(COST, weight=0.2)), n_examples=EXAMPLES, seed=seed, settings=few)
    for i in range(size):
        race.add({"prompt": f"p{i}"})
    return race


def capped(race: Race, cap: float, unit: np.ndarray | None = None) -> Callable[[], Allowance]:
    def allowance() -> Allowance:
        used = race.cells.count if unit is None else race.cells.count * unit
        return Allowance(total=cap, left=cap - float(used.sum()), unit=unit)

    return allowance


def run(planner: Planner, table: np.ndarray, limit: int = 10_000) -> list[Wave]:
    """Waves, each observed before the next is decided."""
    waves: list[Wave] = []
    while len(waves) < limit and (wave := planner.next()) is not None:
        for block in wave.blocks:
            planner.race.observe(block.index, block.positions, table[block.index, list(block.positions)])
        waves.append(wave)
    return waves


@settings(max_examples=8, deadline=None)
@given(
    cap=st.integers(1, 120), size=st.integers(4, 40), seed=st.integers(0, 9),
    prices=st.none() | st.lists(st.floats(0.2, 3.0), min_size=CANDIDATES, max_size=CANDIDATES),
)  # fmt: skip
def test_no_wave_takes_more_than_what_is_left(cap: int, size: int, seed: int, prices: list[float] | None) -> None:
    race, unit = new_race(seed), None if prices is None else np.array(prices)
    run(Planner(race=race, wave=size, allowance=capped(race, cap, unit)), outcomes(seed))
    used = float((race.cells.count * (1.0 if unit is None else unit)).sum())
    assert used <= cap + 1e-9
    assert used > cap - (1.0 if unit is None else 2 * unit.max())


def test_a_wave_has_the_size_asked_for_and_more_once_much_was_run() -> None:
    race = new_race()
    waves = run(Planner(race=race, wave=6, allowance=lambda: Allowance()), outcomes())
    assert waves[0].size == waves[3].size == 6
    assert waves[-2].size > 6
    assert [wave.number for wave in waves] == list(range(len(waves)))


def test_numbers_continue_where_an_earlier_run_stopped() -> None:
    race = new_race()
    wave = Planner(race=race, wave=6, allowance=lambda: Allowance(), number=7).next()
    assert wave is not None and wave.number == 7


def test_without_a_cap_everyone_is_run_to_the_end() -> None:
    race = new_race()
    waves = run(Planner(race=race, wave=16, allowance=lambda: Allowance()), outcomes())
    assert race.cells.requested.all()
    assert {wave.purpose for wave in waves} == {"search"}


@pytest.mark.parametrize("cap", [None, 150.0])
def test_a_closed_candidate_gets_no_more_cells(cap: float | None) -> None:
    race = new_race()
    planner = Planner(race=race, wave=12, allowance=(lambda: Allowance()) if cap is None else capped(race, cap))
    run(planner, outcomes(), limit=3)
    before = race.cells.count.copy()
    race.closed |= {9, 10, 11}
    run(planner, outcomes())
    assert (race.cells.count[9:] == before[9:]).all()
    assert cap is not None or race.cells.requested[:9].all()


def test_everyone_is_looked_at_before_anyone_is_looked_at_again() -> None:
    race = new_race()
    waves = run(Planner(race=race, wave=12, allowance=capped(race, 200)), outcomes(), limit=3)
    assert sorted(b.index for wave in waves for b in wave.blocks) == list(range(CANDIDATES))


@pytest.mark.parametrize(("cap", "share"), [(30, 0.6), (90, 0.2)])
def test_first_looks_use_a_share_of_what_there_is(cap: int, share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no room for a first block of everyone, some of it is kept to compare those that were looked at."""
    race, looked = new_race(size=100), []
    looks = race.looks

    def counted(*arguments: Any) -> list[Block]:
        blocks = looks(*arguments)
        looked.extend(blocks)
        return blocks

    monkeypatch.setattr(race, "looks", counted)
    planner = Planner(
        race=race, wave=5, allowance=capped(race, cap), looks_share=share, kept_share=0.0, recommended_share=0.1
    )
    run(planner, outcomes(candidates=100))
    assert sum(len(block.positions) for block in looked) == int(share * cap + 1e-6)
    assert race.cells.count.sum() == cap


@pytest.mark.parametrize("size", [4, 16, 40])
@pytest.mark.parametrize("cap", [100, 200])
def test_cells_are_kept_back_to_complete_members(cap: int, size: int) -> None:
    """The recommended one first; with little room, another may take its place once its last cells are known."""
    for seed in range(3):
        race = new_race(seed)
        waves = run(Planner(race=race, wave=size, allowance=capped(race, cap)), outcomes(seed))
        assert race.cells.complete.any()
        found = race.declare()
        quality = {i: each["quality"].mean for i, each in found.estimates.items()}
        best = max(quality[i] for i in quality if race.complete(i))
        assert cap == 100 or any(race.complete(i) for i in found.front) or best > quality[found.recommended] - 0.05
        assert waves[0].purpose == "search"


@pytest.mark.parametrize(("cap", "share"), [(25, 1.0), (60, 0.34)])
def test_nothing_is_kept_back_where_one_complete_candidate_would_take_too_much(cap: int, share: float) -> None:
    race = new_race()
    waves = run(Planner(race=race, wave=4, allowance=capped(race, cap), recommended_share=share), outcomes())
    assert {wave.purpose for wave in waves} == {"search"}
    assert race.cells.count.sum() == cap and race.cells.count.max() < EXAMPLES


def test_what_may_not_be_completed_gets_nothing_of_what_is_kept_back() -> None:
    race = new_race()
    planner = Planner(race=race, wave=8, allowance=capped(race, 150), kept_share=0.5, gate=lambda i: i < 6)
    waves = run(planner, outcomes())
    completed = {block.index for wave in waves if wave.purpose == "complete" for block in wave.blocks}
    assert completed and max(completed) < 6


class Proposing:
    """Proposes as many as asked for, up to a limit."""

    def __init__(self, limit: int) -> None:
        self.limit, self.proposed, self.asked = limit, 0, list[int]()

    def join(self, count: int) -> Sequence[Mapping[str, Scalar]]:
        """The next `count` params, or as many as there are."""
        self.asked.append(count)
        count = min(count, self.limit - self.proposed)
        self.proposed += count
        return [{"prompt": f"new{self.proposed - i}"} for i in range(count)]


def test_new_candidates_join_at_the_pace_at_which_the_known_ones_are_run() -> None:
    race, table, joining = new_race(size=0), outcomes(candidates=200), Proposing(200)
    planner = Planner(race=race, wave=12, allowance=capped(race, 600), joining=joining)
    while race.cells.count.sum() < 400:
        run(planner, table, limit=1)
        first, looked = race.settings.first, np.minimum(race.cells.count, race.settings.first).sum()
        assert looked <= STARTUP * first + race.cells.count.sum() / 2 + first
    assert STARTUP < len(race.pool) < 100
    assert all(0 < count <= STARTUP for count in joining.asked)


def test_a_space_that_has_no_more_candidates_is_run_to_the_end() -> None:
    race, joining = new_race(size=0), Proposing(5)
    run(Planner(race=race, wave=10, allowance=lambda: Allowance(), joining=joining), outcomes(candidates=5))
    assert len(race.pool) == 5 and race.cells.requested.all()


def test_where_nobody_is_raced_candidates_are_run_whole_one_after_another() -> None:
    race = new_race(first=EXAMPLES)
    waves = run(Planner(race=race, wave=8, allowance=capped(race, 100), whole=True, kept_share=0.0), outcomes())
    assert sorted(race.cells.count.tolist()) == [0] * 9 + [EXAMPLES] * 3
    assert all(len(block.positions) == EXAMPLES for wave in waves for block in wave.blocks)


def test_nothing_left_is_the_end() -> None:
    race = new_race()
    assert Planner(race=race, wave=8, allowance=lambda: Allowance(total=10, left=0.0)).next() is None
    assert Planner(race=new_race(size=0), wave=8, allowance=lambda: Allowance(total=10, left=10.0)).next() is None
