"""What a candidate adds to the front, and by how much it is the best, against plain counting."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.search.racing.allocate import (
    CELLS_EACH,
    LEAST_CONTENDERS,
    best_gains,
    contenders,
    hypervolume_shares,
    value_of_next_cell,
)
from offramp.search.racing.front import Draws, _grid, front_of


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 5), st.booleans())
def test_a_gain_is_the_distance_to_the_best_of_the_others(seed: int, n: int, draws: int, ties: bool) -> None:
    utilities = np.random.default_rng(seed).random((draws, n))
    utilities = np.round(utilities * 3) / 3 if ties else utilities
    expected = [
        [max(0.0, row[i] - max(np.delete(row, i))) if n > 1 else 0.0 for i in range(n)] for row in utilities
    ]  # fmt: skip
    assert np.allclose(best_gains(utilities), expected)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 30), st.floats(0, 400), st.booleans())
def test_contenders_are_the_best_that_the_budget_still_pays_for(seed: int, n: int, units: float, ties: bool) -> None:
    generator = np.random.default_rng(seed)
    utility, lacking, price = generator.random(n), generator.integers(0, 12, n), generator.uniform(0.5, 3.0, n)
    utility = np.round(utility * 2) / 2 if ties else utility
    expected, left = [i for i in range(n) if not lacking[i]], units
    ranked = sorted((i for i in range(n) if lacking[i]), key=lambda i: (-utility[i], i))
    for place, i in enumerate(ranked):
        left -= min(CELLS_EACH, lacking[i]) * price[i]
        expected += [i] if left >= 0 or place < LEAST_CONTENDERS else []
    assert np.flatnonzero(contenders(utility, lacking, price, units)).tolist() == sorted(expected)
    assert contenders(utility, lacking, price, math.inf).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 3))
def test_a_share_is_what_only_this_candidate_covers_of_the_expected_front_and_itself(seed: int, n: int, m: int) -> None:
    generator = np.random.default_rng(seed)
    draws = Draws(losses=generator.random((4, n, m)), expected=generator.random((n, m)), values=np.zeros((4, n, m)))
    points, members = _grid(m, 256), set(front_of(draws.expected).tolist())
    found = hypervolume_shares(draws, 256)
    for losses, shares in zip(draws.losses, found, strict=True):
        counted = members | set(front_of(losses).tolist())
        for i in range(n):
            covered = sum(
                (losses[i] <= point).all() and not any((losses[k] <= point).all() for k in members - {i})
                for point in points
            )
            assert np.isclose(shares[i], covered / len(points) if i in counted else 0.0)


def test_a_cell_tells_less_the_more_cells_there_are_and_nothing_of_who_is_certain() -> None:
    shares = np.array([[0.0, 0.0, 0.3], [0.2, 0.2, 0.3]])
    spread = shares.std(axis=0)
    value = value_of_next_cell(spread, np.array([5, 20, 5]), 50)
    assert value[0] > value[1] > 0 and value[2] == 0
    assert value_of_next_cell(spread, np.array([50, 49, 0]), 50)[0] == 0
