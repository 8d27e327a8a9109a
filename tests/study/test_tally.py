"""Counts and tests of two candidates on the same examples."""

import numpy as np
import pytest

from offramp.stats import difference_interval, sign_test
from offramp.study.domain.paired_comparison import compare_paired, holm_corrected


def test_wins_losses_and_ties_add_up_and_rounding_is_a_tie():
    found = compare_paired([1.0, 0.0, 0.1 + 0.2, 0.5], [0.0, 1.0, 0.3, 0.25])
    assert (found.n, found.wins, found.losses, found.ties) == (4, 2, 1, 1)
    assert found.difference == pytest.approx(0.0625)
    assert found.interval == difference_interval([1.0, -1.0, 0.0, 0.25])


def test_zero_one_scores_are_judged_by_mcnemar_s_exact_test():
    found = compare_paired([1.0] * 9 + [0.0] + [1.0] * 5, [0.0] * 9 + [1.0] + [1.0] * 5)
    assert found.p_value == pytest.approx(sign_test(9, 1))
    assert found.better
    assert not compare_paired([1.0] * 9 + [0.0] + [1.0] * 5, [0.0] * 9 + [1.0] + [1.0] * 5, looks=20).better


def test_nothing_to_compare_shows_nothing():
    found = compare_paired([], [])
    assert (found.n, found.difference, found.p_value, found.worse_at_most) == (0, None, 1.0, 1.0)
    assert (found.interval.low, found.interval.high) == (-1.0, 1.0)
    assert not (found.better or found.worse or found.not_inferior.holds)


def test_one_example_proves_nothing():
    found = compare_paired([1.0], [0.0])
    assert not found.better
    assert found.interval.width == 2.0


def test_slices_pay_for_each_other():
    rng = np.random.default_rng(0)
    parts = [compare_paired(rng.integers(0, 2, 12), rng.integers(0, 2, 12)) for _ in range(5)]
    assert all(after.p_corrected >= before.p_value for before, after in zip(parts, holm_corrected(parts), strict=True))
    assert holm_corrected([]) == ()


def test_many_small_gains_that_a_rare_large_loss_outweighs_are_not_called_better():
    """Ten gains of a twentieth are as likely as not where every tenth example loses 0.45: signs alone say p = 0.002."""
    found = compare_paired([0.55] * 10, [0.5] * 10, looks=20)
    assert found.p_corrected < 0.05 and not found.better
