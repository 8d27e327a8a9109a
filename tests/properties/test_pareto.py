"""Pareto fronts against a brute-force oracle that follows the definition word by word."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.stats import non_dominated

# Few different values, so that ties, duplicates, NaN and infinities are common.
VALUES = st.sampled_from([0.0, -0.0, 1.0, 2.0, 3.0, 0.5, math.inf, -math.inf, math.nan])


@st.composite
def problems(draw, largest=4):
    k = draw(st.integers(1, largest))
    maximise = draw(st.lists(st.booleans(), min_size=k, max_size=k))
    rows = draw(st.lists(st.lists(VALUES, min_size=k, max_size=k), max_size=14))
    return rows, maximise


def dominates(a, b, maximise):
    better = [x > y if up else x < y for x, y, up in zip(a, b, maximise, strict=True)]
    equal = [x == y for x, y in zip(a, b, strict=True)]
    return all(p or q for p, q in zip(better, equal, strict=True)) and any(better)


def oracle(rows, maximise):
    known = [not any(map(math.isnan, row)) for row in rows]
    return [
        known[i] and not any(known[j] and dominates(rows[j], rows[i], maximise) for j in range(len(rows)))
        for i in range(len(rows))
    ]


@settings(max_examples=600, deadline=None)
@given(problems())
def test_the_mask_is_what_the_definition_says(problem):
    rows, maximise = problem
    assert non_dominated(rows, maximise=maximise).tolist() == oracle(rows, maximise)


@settings(max_examples=200, deadline=None)
@given(problems(), st.randoms(use_true_random=False))
def test_row_order_does_not_matter(problem, random):
    rows, maximise = problem
    order = list(range(len(rows)))
    random.shuffle(order)
    mask = non_dominated(rows, maximise=maximise)
    assert non_dominated([rows[i] for i in order], maximise=maximise).tolist() == [mask[i] for i in order]


@settings(max_examples=200, deadline=None)
@given(problems(), st.data())
def test_objective_order_does_not_matter(problem, data):
    rows, maximise = problem
    order = data.draw(st.permutations(range(len(maximise))))
    swapped = non_dominated([[row[j] for j in order] for row in rows], maximise=[maximise[j] for j in order])
    assert swapped.tolist() == non_dominated(rows, maximise=maximise).tolist()


@settings(max_examples=100, deadline=None)
@given(problems())
def test_turning_a_direction_is_turning_the_sign(problem):
    rows, maximise = problem
    turned = [[-x for x in row] for row in rows]
    expected = non_dominated(rows, maximise=maximise).tolist()
    assert non_dominated(turned, maximise=[not up for up in maximise]).tolist() == expected


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_larger_fronts_agree_with_the_oracle(k):
    generator = np.random.default_rng(k)
    rows = generator.integers(0, 12, size=(150, k)).astype(float).tolist()
    maximise = [bool(j % 2) for j in range(k)]
    assert non_dominated(rows, maximise=maximise).tolist() == oracle(rows, maximise)


def test_duplicates_of_a_member_all_stay():
    rows = [[1.0, 2.0], [1.0, 2.0], [2.0, 3.0], [0.0, 3.0]]
    assert non_dominated(rows, maximise=[False, False]).tolist() == [True, True, False, True]


def test_a_row_with_nan_neither_joins_nor_dominates():
    rows = [[math.nan, 1.0], [0.5, 0.5], [1.0, math.nan]]
    assert non_dominated(rows, maximise=[True, True]).tolist() == [False, True, False]


def test_no_points_make_an_empty_mask():
    assert non_dominated([], maximise=[True, False]).shape == (0,)
    assert non_dominated(np.empty((0, 3)), maximise=[True] * 3).dtype == bool


def test_the_caller_s_array_is_left_alone():
    rows = np.array([[1.0, 2.0], [3.0, 4.0]])
    non_dominated(rows, maximise=[True, False])
    assert rows.tolist() == [[1.0, 2.0], [3.0, 4.0]]


@pytest.mark.parametrize(
    ("points", "maximise"), [([[1.0, 2.0]], [True]), ([1.0, 2.0], [True, True]), ([[1.0]], []), ([[]], [])]
)
def test_shapes_that_do_not_fit_are_errors(points, maximise):
    with pytest.raises(ValueError, match="points have shape"):
        non_dominated(points, maximise=maximise)
