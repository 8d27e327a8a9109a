"""Hypervolume against two oracles: counting unit cubes on a grid, and inclusion and exclusion."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.stats import hypervolume, non_dominated

SIDE = 5


@st.composite
def grids(draw):
    """Whole-number points, some of them beyond the reference, which is (SIDE, ...) when smaller is better."""
    k = draw(st.integers(1, 4))
    return draw(st.lists(st.tuples(*[st.integers(0, SIDE + 1)] * k), max_size=9)), k


def counted(points, k):
    cubes = itertools.product(range(SIDE), repeat=k)
    return sum(any(all(p <= c for p, c in zip(point, cube, strict=True)) for point in points) for cube in cubes)


def included_and_excluded(points, reference):
    total = 0.0
    for size in range(1, len(points) + 1):
        for subset in itertools.combinations(points, size):
            edges = [max(0.0, r - max(column)) for r, column in zip(reference, zip(*subset, strict=True), strict=True)]
            total += (-1) ** (size + 1) * math.prod(edges)
    return total


@settings(max_examples=400, deadline=None)
@given(grids())
def test_whole_numbers_cover_as_many_cubes_as_are_counted(grid):
    points, k = grid
    array = np.array(points, dtype=float).reshape(len(points), k)
    assert hypervolume(array, [SIDE] * k, maximise=[False] * k) == counted(points, k)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 5), st.data())
def test_any_numbers_agree_with_inclusion_and_exclusion(k, data):
    number = st.floats(-3, 3, allow_nan=False)
    points = data.draw(st.lists(st.tuples(*[number] * k), min_size=1, max_size=6))
    reference = data.draw(st.tuples(*[number] * k))
    expected = included_and_excluded(points, reference)
    assert hypervolume(points, reference, maximise=[False] * k) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@settings(max_examples=100, deadline=None)
@given(grids(), st.data())
def test_directions_are_signs(grid, data):
    points, k = grid
    up = data.draw(st.lists(st.booleans(), min_size=k, max_size=k))
    signs = np.where(up, -1.0, 1.0)
    turned = np.array(points, dtype=float).reshape(len(points), k) * signs
    assert hypervolume(turned, SIDE * signs, maximise=up) == counted(points, k)


@settings(max_examples=100, deadline=None)
@given(grids(), st.randoms(use_true_random=False))
def test_row_order_duplicates_and_nan_change_nothing(grid, random):
    points, k = grid
    rows = [*points, *points, (math.nan,) * k, (-math.inf, *[math.nan] * (k - 1))]
    if k == 1:
        rows.pop()
    random.shuffle(rows)
    assert hypervolume(rows, [SIDE] * k, maximise=[False] * k) == counted(points, k)


@settings(max_examples=100, deadline=None)
@given(grids())
def test_only_the_front_counts_and_one_more_point_never_takes_away(grid):
    points, k = grid
    if not points:
        return
    array = np.array(points, dtype=float)
    whole = hypervolume(array, [SIDE] * k, maximise=[False] * k)
    front = array[non_dominated(array, maximise=[False] * k)]
    assert hypervolume(front, [SIDE] * k, maximise=[False] * k) == whole
    assert hypervolume(array[:-1], [SIDE] * k, maximise=[False] * k) <= whole


@pytest.mark.parametrize("k", [2, 3])
def test_a_large_front_agrees_with_counting(k):
    side = 20
    points = np.random.default_rng(0).integers(0, side, size=(60, k))
    grid = np.stack(np.meshgrid(*[np.arange(side)] * k), axis=-1).reshape(-1, 1, k)
    expected = int((points <= grid).all(axis=2).any(axis=1).sum())
    assert hypervolume(points, [side] * k, maximise=[False] * k) == expected


def test_points_not_better_than_the_reference_add_nothing():
    points = [[0.9, 0.2], [0.5, 0.0], [1.0, -1.0]]
    assert hypervolume(points, [0.5, 0.0], maximise=[True, True]) == pytest.approx(0.4 * 0.2)


def test_no_points_cover_nothing():
    assert hypervolume([], [0.0, 0.0], maximise=[True, True]) == 0.0


def test_an_infinitely_good_point_covers_everything():
    assert hypervolume([[math.inf, 0.5]], [0.0, 0.0], maximise=[True, True]) == math.inf
    assert hypervolume([[math.inf, 0.0]], [0.0, 0.0], maximise=[True, True]) == 0.0


@pytest.mark.parametrize("reference", [[0.0], [0.0, math.nan], [0.0, math.inf], [0.0, 0.0, 0.0]])
def test_a_reference_that_does_not_fit_is_an_error(reference):
    with pytest.raises(ValueError, match=r"expected|finite"):
        hypervolume([[1.0, 1.0]], reference, maximise=[True, True])
