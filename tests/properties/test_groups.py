"""Groups of examples as units: against brute force, simulation, and the case of one example a group."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offramp.stats.groups import effective_n, group_units

SCORES = st.lists(st.tuples(st.floats(-1, 1), st.integers(0, 6)), min_size=1, max_size=40)


def brute_force(scores, groups):
    n, mean = len(scores), sum(scores) / len(scores)
    names = list(dict.fromkeys(groups))
    alone = sum((s - mean) ** 2 for s in scores) / (n - 1) / n
    totals = [sum(s - mean for s, g in zip(scores, groups, strict=True) if g == name) for name in names]
    together = len(names) / (len(names) - 1) * sum(t * t for t in totals) / n**2
    return min(n, max(1.0, n * alone / together))


@given(SCORES)
def test_the_effective_number_is_between_one_and_the_number_of_examples(rows):
    scores, groups = zip(*rows, strict=True)
    assert 1 <= effective_n(scores, groups) <= len(scores)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=30))
def test_with_one_example_a_group_nothing_changes(scores):
    units, factor = group_units(scores, range(len(scores)))
    assert effective_n(scores, range(len(scores))) == len(scores)
    assert factor == 1.0 and units.tolist() == scores


@given(SCORES)
def test_the_mean_of_the_units_is_the_mean_of_the_examples(rows):
    scores, groups = zip(*rows, strict=True)
    units, factor = group_units(scores, groups)
    assert len(units) == len(set(groups))
    assert np.abs(units).max() <= 1 + 1e-12
    assert units.mean() * factor == pytest.approx(np.mean(scores), abs=1e-12)


def test_the_effective_number_is_that_of_its_formula():
    rng = np.random.default_rng(1)
    for _ in range(50):
        groups = rng.integers(0, 8, size=30).tolist()
        scores = rng.random(30)
        assert effective_n(scores, groups) == pytest.approx(brute_force(scores.tolist(), groups))


def test_copies_of_one_example_are_worth_one_example():
    scores = np.repeat([0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0], 3)
    assert 7 <= effective_n(scores, np.repeat(range(8), 3).tolist()) <= 8
    assert effective_n(np.ones(12), np.repeat(range(4), 3).tolist()) == 4


def test_independent_examples_in_groups_are_worth_almost_all_of_them():
    rng = np.random.default_rng(0)
    groups = np.repeat(range(200), 3).tolist()
    assert effective_n(rng.random(600), groups) > 480


def test_intervals_by_group_cover_the_true_mean_where_intervals_by_example_do_not():
    from offramp.stats.intervals import mean_interval_of

    rng = np.random.default_rng(3)
    covered, naive = 0, 0
    for _ in range(400):
        scores = np.repeat((rng.random(40) < 0.6).astype(float), 3)
        groups = np.repeat(range(40), 3).tolist()
        mean = float(scores.mean())
        for n, by_group in ((effective_n(scores, groups), True), (len(scores), False)):
            interval = mean_interval_of(n=n, mean=mean, mean_square=mean)
            hit = interval.low <= 0.6 <= interval.high
            covered, naive = covered + (hit and by_group), naive + (hit and not by_group)
    assert covered / 400 >= 0.92
    assert naive / 400 <= 0.85


def test_one_group_for_each_value_is_needed():
    with pytest.raises(ValueError, match="one group for each value"):
        effective_n([1.0, 2.0], ["a"])
