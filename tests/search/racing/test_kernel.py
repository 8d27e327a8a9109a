"""The kernel: params of any kind become similarities, and real differences are separated from the noise of few cells."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from offramp.search.racing.kernel import Evidence, Kernel, features_of, fit


def evidence(values: np.ndarray, noise: float, tables: tuple[np.ndarray, ...] = ()) -> Evidence:
    m = len(values)
    return Evidence(values=values, noise=noise * np.eye(m), overlap=np.eye(m), tables=tables)


@pytest.mark.parametrize("truth", [0.0, 0.02, 1.0])
def test_noise_alone_does_not_make_equal_candidates_differ(truth: float) -> None:
    generator = np.random.default_rng(0)
    values = generator.normal(0, np.sqrt(truth), 150) + generator.normal(0, 1.0, 150)
    found = fit(evidence(values, 1.0), 0.0, None)
    assert abs(found.own - truth) < 0.2 + 0.3 * truth


def posterior(known: Evidence, point: np.ndarray) -> float:
    """Written down anew: how well variances (shared, own) and r of each param explain values whose level is unknown.

    Args:
        point: logarithms of the variances and log odds of each r. About all of them there is a normal prior with a
            standard deviation of 2: r about 1/2, the variances about half of the values' variance beyond the noise,
            or of what the noise may hide of 1. The root of each variance also has a gamma prior of shape 2, which keeps
            it from 0.
    """
    variance, noise = float(np.var(known.values)), known.noise[0, 0]
    hidden = noise / (noise + 1.0)
    middle = 0.5 * max(float(np.var(known.values, ddof=1)) - noise, 0.05 * variance, hidden)
    (shared, own), r = np.exp(point[:2]), 1 / (1 + np.exp(-point[2:]))
    product = np.prod([p + (1 - p) * table for p, table in zip(r, known.tables, strict=True)], axis=0)
    similarity = (product - np.prod(r)) / (1 - np.prod(r))
    covariance = shared * similarity + own * np.eye(len(known.values)) + known.noise + 25 * variance
    prior = ((point - np.array([np.log(middle)] * 2 + [0.0] * len(r))) / 2) ** 2
    likelihood = multivariate_normal(cov=covariance).logpdf(known.values - known.values.mean())
    return float(likelihood - 0.5 * prior.sum() + 0.5 * point[:2].sum())


@settings(max_examples=15)
@given(
    st.integers(0, 1000), st.sampled_from([0.0, 1.0]), st.sampled_from([0.05, 0.5]), st.sampled_from([None, 1e-6, 3.0])
)
def test_the_fitted_kernel_is_the_one_that_explains_the_values_best(
    seed: int, effect: float, noise: float, before: float | None
) -> None:
    """Also where few cells had led to a kernel that is far from it."""
    start = None if before is None else Kernel(shared=before, own=1e-6, mixed=0.0, irrelevance=np.full(2, 0.98))
    generator = np.random.default_rng(seed)
    codes = generator.integers(0, 3, (20, 2))
    tables = tuple((codes[:, [k]] == codes[:, [k]].T).astype(float) for k in range(2))
    values = effect * generator.normal(size=3)[codes[:, 0]] + generator.normal(0, np.sqrt(noise), 20)
    known = evidence(values, noise, tables)
    found = fit(known, 0.0, start)
    odds = np.log(found.irrelevance / (1 - found.irrelevance))
    point = np.concatenate([np.log([found.shared, found.own]), odds])
    bounds = [(np.log(1e-6 * np.var(values)), np.log(10 * np.var(values)))] * 2 + [(-np.log(49), np.log(49))] * 2
    better = minimize(
        lambda p: -posterior(known, p), point, method="Nelder-Mead", bounds=bounds, options={"maxfev": 200}
    )
    assert -better.fun < posterior(known, point) + 0.05


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
