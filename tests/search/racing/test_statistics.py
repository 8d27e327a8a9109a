"""What few cells say of a score: perfect answers to four examples are not a perfect candidate."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
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
