"""What few cells say of a score: perfect answers to four examples are not a perfect candidate."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.search.racing.kernel import features_of
from offramp.search.racing.model import posterior_of
from offramp.search.racing.statistics import log_odds_of, score_of, slope_of


@given(st.floats(0, 1))
def test_log_odds_are_undone_and_rise_with_the_score(score: float) -> None:
    there = log_odds_of(np.array([score]))
    assert score_of(there)[0] == pytest.approx(score, abs=1e-12)
    step = 1e-5
    slope = (score_of(there + step) - score_of(there - step)) / (2 * step)
    assert slope[0] == pytest.approx(slope_of(there)[0], rel=1e-4)


def test_expectations_do_not_pass_the_best_of_a_pool_whose_worst_are_far_away() -> None:
    """Many candidates at 0.8, a tail down to 0.3: on a straight scale whoever met four easy examples was taken for 0.97."""
    generator = np.random.default_rng(0)
    ability = 0.85 - generator.exponential(0.09, 300).clip(0, 0.6)
    table = (generator.random((300, 200)) < ability[:, None]).astype(float)
    cells = np.full_like(table, np.nan)
    read = generator.permutation(200)[:6]
    cells[:, read] = table[:, read]
    found = posterior_of(
        cells, features_of([{"prompt": str(i)} for i in range(300)]), positive=False, kernel=None, refit=True
    )
    expected, truth = found.natural(found.mean), table.mean(axis=1)
    assert expected.max() < truth.max()
    assert np.corrcoef(expected, truth)[0, 1] > 0.5
    assert np.abs(expected - truth).mean() < 0.07


def test_a_candidate_whose_cells_are_all_read_is_known_also_at_0_and_1() -> None:
    cells = np.full((5, 20), np.nan)
    cells[0], cells[1], cells[2] = 1.0, 0.0, np.arange(20) % 2
    cells[3, :4] = 1.0
    found = posterior_of(cells, features_of([{"x": i % 2} for i in range(5)]), positive=False, kernel=None, refit=True)
    natural = found.natural(found.mean)
    assert natural[[0, 1, 2]] == pytest.approx([1.0, 0.0, 0.5], abs=0.03)
    assert 0.5 < natural[3] < 1.0 and np.isfinite(found.covariance).all()
    assert found.sd(3) > 5 * found.sd(2)


def costs(sizes: np.ndarray, prices: np.ndarray) -> np.ndarray:
    """What each candidate's cells cost: its price times the example's size."""
    return np.asarray(prices[:, None] * sizes[None, :])


def expected_costs(cells: np.ndarray) -> np.ndarray:
    pool = [{"model": f"m{i // 2}", "t": i % 2} for i in range(len(cells))]
    found = posterior_of(cells, features_of(pool), positive=True, kernel=None, refit=True)
    return np.asarray(found.natural(found.mean))


@settings(max_examples=25)
@given(st.integers(0, 1000), st.sampled_from([0.0, 0.3, 1.5]), st.sampled_from([1.0, 2000.0]))
def test_the_cost_of_a_candidate_with_all_its_cells_is_their_mean(seed: int, spread: float, ratio: float) -> None:
    """However much examples differ in size, however cheap it is beside others, and whatever cells those lack."""
    generator = np.random.default_rng(seed)
    table = costs(np.exp(spread * generator.normal(size=20)), ratio ** np.linspace(-1, 0, 6))
    table *= np.exp(0.2 * generator.normal(size=table.shape))
    cells = np.where(generator.random(table.shape) < 0.5, table, np.nan)
    cells[:2] = table[:2]
    assert expected_costs(cells)[:2] == pytest.approx(table[:2].mean(axis=1), rel=0.02)


@pytest.mark.parametrize("lacking", [1, 2, 7])
@pytest.mark.parametrize("largest", [True, False])
def test_rows_without_a_cost_make_nobody_cheap(lacking: int, largest: bool) -> None:
    """Twice the price on every row is twice the price, whether the large rows lack it or the small ones."""
    sizes = np.sort(np.exp(0.5 * np.random.default_rng(3).normal(size=50)))
    table = costs(sizes, np.array([1.0, 2.0, 1.5, 0.5]))
    cells = table.copy()
    cells[1, slice(-lacking, None) if largest else slice(lacking)] = np.nan
    found = expected_costs(cells)
    assert found == pytest.approx(table.mean(axis=1), rel=0.03)
    assert 1.94 < found[1] / found[0] < 2.06


@pytest.mark.parametrize("unit", [1e-6, 1.0])
def test_a_cheap_candidate_with_some_of_its_cells_costs_no_more_beside_an_expensive_one(unit: float) -> None:
    table = costs(np.ones(40), unit * np.array([1.0, 1.0, 2000.0, 2000.0]))
    cells = table.copy()
    cells[1, 5:] = cells[3, 9:] = np.nan
    assert expected_costs(cells) == pytest.approx(table.mean(axis=1), rel=1e-3)


def test_expected_costs_are_about_right_where_few_cells_are_known() -> None:
    """Of twelve candidates whose rows differ in size by a third: no bias, and errors as large as stated."""
    errors, ratios = [], []
    for seed in range(12):
        generator = np.random.default_rng(seed)
        table = costs(np.exp(0.3 * generator.normal(size=100)), 0.0005 * 1.6 ** np.arange(12))
        table *= np.exp(0.05 * generator.normal(size=table.shape))
        cells = np.where(generator.random(table.shape) < 0.4, table, np.nan)
        pool = [{"model": f"m{i // 2}", "t": i % 2} for i in range(12)]
        found = posterior_of(cells, features_of(pool), positive=True, kernel=None, refit=True)
        off = found.natural(found.mean) - table.mean(axis=1)
        ratios.append(off / table.mean(axis=1))
        errors.append(off / [found.sd(i) for i in range(12)])
    assert abs(np.mean(ratios)) < 0.005
    assert np.mean(np.abs(errors) > 2) < 0.15
