"""The kernel: params of any kind become similarities, and real differences are separated from the noise of few cells."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.search.racing.kernel import Evidence, _between, _loss, features_of, fit


def evidence(values: np.ndarray, noise: float, tables: tuple[np.ndarray, ...] = ()) -> Evidence:
    m = len(values)
    return Evidence(values=values, noise=noise * np.eye(m), overlap=np.eye(m), tables=tables)


@given(st.lists(st.floats(-3, 3), min_size=3, max_size=20), st.floats(0.01, 1.0))
def test_with_equal_noise_the_variance_between_candidates_is_that_of_the_values_less_the_noise(
    values: list[float], noise: float
) -> None:
    spread = float(np.var(values, ddof=1))
    expected = max(spread - noise, 0.05 * max(1e-12, float(np.var(values))))
    assert _between(evidence(np.array(values), noise)) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("truth", [0.0, 0.02, 1.0])
def test_noise_alone_does_not_make_equal_candidates_differ(truth: float) -> None:
    generator = np.random.default_rng(0)
    values = generator.normal(0, np.sqrt(truth), 150) + generator.normal(0, 1.0, 150)
    found = fit(evidence(values, 1.0), 0.0, None)
    assert abs(found.own - truth) < 0.2 + 0.3 * truth


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_the_gradient_is_that_of_the_loss(seed: int) -> None:
    generator = np.random.default_rng(seed)
    codes = generator.integers(0, 3, (12, 2))
    tables = tuple((codes[:, [k]] == codes[:, [k]].T).astype(float) for k in range(2))
    known = evidence(generator.normal(size=12), 0.3, tables)
    point, step = generator.normal(size=4), 1e-6
    _, slope = _loss(point, known, 0.1, 0.5, 1.0)
    for k in range(4):
        up, down = point.copy(), point.copy()
        up[k] += step
        down[k] -= step
        measured = (_loss(up, known, 0.1, 0.5, 1.0)[0] - _loss(down, known, 0.1, 0.5, 1.0)[0]) / (2 * step)
        assert slope[k] == pytest.approx(measured, rel=1e-3, abs=1e-4)


def test_names_and_params_that_are_the_same_for_all_do_not_matter() -> None:
    one = features_of([{"x": "p", "z": 1}, {"x": "q", "z": 1}, {"x": "p", "z": 1}])
    other = features_of([{"anything": "p"}, {"anything": "q"}, {"anything": "p"}])
    assert one.n_params == other.n_params == 1
    rows = np.arange(3)
    assert (one.similarity(0, rows, rows) == other.similarity(0, rows, rows)).all()
    assert one.similarity(0, rows, rows)[0].tolist() == [1.0, 0.0, 1.0]


def test_numbers_are_similar_by_their_distance_and_kinds_stay_apart() -> None:
    values = [0.0, 0.5, 1.0, None, "0.5", True, float("nan"), 0.5]
    features = features_of([{"t": value} for value in values] + [{}])
    similarity = features.similarity(0, np.arange(9), np.arange(9))
    assert similarity[0, 1] > similarity[0, 2] > 0
    assert similarity[1, 7] == 1
    assert similarity[3, 6] == 1  # None and NaN both count as None
    assert (similarity[1, [3, 4, 5, 8]] == 0).all() and similarity[3, 8] == 0
    assert np.linalg.eigvalsh(similarity).min() > -1e-9


def test_a_param_that_names_each_candidate_says_nothing_about_the_others() -> None:
    assert features_of([{"prompt": str(i)} for i in range(5)]).n_params == 0
    assert features_of([]).n_params == 0
