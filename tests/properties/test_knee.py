"""The knee: on the front, the same under reordering and rescaling, and where a person would put it."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.stats import knee, non_dominated

POINTS = st.integers(1, 4).flatmap(
    lambda k: st.lists(st.tuples(*[st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.6, 0.9, 1.0])] * k), min_size=1, max_size=12)
)


@settings(max_examples=300, deadline=None)
@given(POINTS)
def test_the_knee_is_on_the_front(points):
    assert non_dominated(points, maximise=[True] * len(points[0]))[knee(points)]


@settings(max_examples=200, deadline=None)
@given(POINTS, st.randoms(use_true_random=False))
def test_row_order_does_not_move_it(points, random):
    shuffled = random.sample(points, len(points))
    assert shuffled[knee(shuffled)] == points[knee(points)]


@settings(max_examples=200, deadline=None)
@given(POINTS, st.sampled_from([0.5, 2.0, 64.0]))
def test_the_unit_of_an_objective_does_not_move_it(points, factor):
    array = np.array(points)
    array[:, 0] *= factor
    assert knee(array) == knee(points)


def test_it_is_where_the_curve_bends():
    assert knee([[0.0, 1.0], [0.85, 0.9], [0.9, 0.4], [1.0, 0.0]]) == 1


def test_of_a_straight_front_it_is_the_middle():
    assert knee([[0.0, 1.0], [0.25, 0.75], [0.5, 0.5], [0.75, 0.25], [1.0, 0.0]]) == 2


def test_dominated_and_unknown_points_do_not_stretch_the_front():
    front = [[0.6, 1.0], [0.9, 0.9], [1.0, 0.6]]
    assert knee([[math.nan, 1.0], [0.0, 0.0], *front, [math.inf, 0.0]]) == 3


def test_one_point_is_its_own_knee():
    assert knee([[0.3, 0.3]]) == 0


@pytest.mark.parametrize("points", [[], [[math.nan, 1.0]], [0.5, 0.5]])
def test_there_is_no_knee_without_a_point(points):
    with pytest.raises(ValueError, match=r"shape|no row"):
        knee(points)
