"""Params of any kind become similarities."""

from __future__ import annotations

import numpy as np

from offramp.search.racing.features import features_of


def test_names_and_what_is_the_same_for_all_do_not_matter() -> None:
    one = features_of([{"x": "p", "z": 1}, {"x": "q", "z": 1}, {"x": "p", "z": 1}])
    other = features_of([{"anything": "p"}, {"anything": "q"}, {"anything": "p"}])
    assert one.n_dims == other.n_dims == 1
    rows = np.arange(3)
    assert (one.alike(0, rows, rows) == other.alike(0, rows, rows)).all()
    assert one.alike(0, rows, rows)[0].tolist() == [1.0, 0.0, 1.0]


def test_numbers_are_alike_by_their_distance_and_kinds_stay_apart() -> None:
    values = [0.0, 0.5, 1.0, None, "0.5", True, float("nan"), 0.5]
    features = features_of([{"t": value} for value in values] + [{}])
    alike = features.alike(0, np.arange(9), np.arange(9))
    assert alike[0, 1] > alike[0, 2] > 0
    assert alike[1, 7] == 1
    assert alike[3, 6] == 1  # None and NaN are both "not there"
    assert (alike[1, [3, 4, 5, 8]] == 0).all() and alike[3, 8] == 0
    assert np.linalg.eigvalsh(alike).min() > -1e-9


def test_a_column_that_names_each_candidate_tells_nothing_of_others() -> None:
    assert features_of([{"prompt": str(i)} for i in range(5)]).n_dims == 0
    assert features_of([]).n_dims == 0
