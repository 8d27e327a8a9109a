"""Intervals of quantiles: against exact binomial sums, and by how often they cover the truth."""

import math
from fractions import Fraction
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.stats import quantile


def exact_cdf(n, q):
    terms = [math.comb(n, r) * q**r * (1 - q) ** (n - r) for r in range(n + 1)]
    return [sum(terms[: r + 1]) for r in range(n + 1)]


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 120), st.sampled_from([Fraction(1, 2), Fraction(9, 10), Fraction(19, 20)]))
def test_a_quantile_s_ends_lie_between_the_ranks_that_cover_enough_and_too_little(n, q):
    values = list(range(1, n + 1))
    interval = quantile(values, float(q), bounds=(0, math.inf))
    below = exact_cdf(n, q)
    tail = Fraction(25, 1000)
    low = max([a for a in values if below[a - 1] <= tail], default=None)
    high = min([b for b in values if below[b - 1] >= 1 - tail], default=None)
    if low is not None and high is not None:
        assert low <= interval.low <= low + 1
        assert high - 1 <= interval.high <= high
    elif low is not None:
        one_sided = max(a for a in values if below[a - 1] <= 2 * tail)
        assert one_sided <= interval.low <= one_sided + (1 if n >= 10 else 0)
        assert interval.high == math.inf
    elif n == 5 and q == Fraction(1, 2):
        assert (interval.low, interval.high) == (1, 5)
    else:
        assert (interval.low, interval.high) == (0, math.inf)


def test_the_median_of_five_lies_between_the_smallest_and_the_largest_in_94_percent():
    assert 1 - 2 * 0.5**5 == 0.9375
    assert (quantile([3, 1, 5, 2, 4], 0.5).low, quantile([3, 1, 5, 2, 4], 0.5).high) == (1, 5)
    assert quantile([1, 2, 3, 4], 0.5).high == math.inf


@pytest.mark.parametrize("n", [10, 20, 50, 100])
@pytest.mark.parametrize("q", [0.5, 0.95])
def test_quantiles_of_latencies_are_covered_within_two_points(q, n):
    rng, truth = np.random.default_rng(n), math.exp(0.5 * NormalDist().inv_cdf(q))
    found = [quantile(row, q) for row in np.exp(0.5 * rng.standard_normal((1500, n)))]
    share = sum(f.low <= truth <= f.high for f in found) / 1500
    assert abs(share - 0.95) <= 0.02 + 2 * math.sqrt(0.95 * 0.05 / 1500)


def test_a_median_s_ends_between_values_are_hettmansperger_and_sheather_s():
    n, r, tail = 10, 2, 0.025  # between the second and the third of ten
    below = [float(x) for x in exact_cdf(n, Fraction(1, 2))]
    share = (tail - below[r - 1]) / (below[r] - below[r - 1])
    way = (n - r) * share / (r + (n - 2 * r) * share)
    interval = quantile(range(1, n + 1), 0.5)
    assert interval.low == pytest.approx(r + way)
    assert interval.high == pytest.approx(n + 1 - r - way)


@given(st.lists(st.floats(0, 10), max_size=40), st.sampled_from([0.1, 0.5, 0.95]))
def test_a_quantile_of_mirrored_values_is_the_mirrored_interval(values, q):
    one = quantile(values, q, bounds=(0, 10))
    other = quantile([10 - v for v in values], 1 - q, bounds=(0, 10))
    assert (10 - other.high, 10 - other.low) == pytest.approx((one.low, one.high), abs=1e-6)


def test_p95_needs_72_values_for_an_upper_end():
    assert quantile(range(71), 0.95).high == math.inf
    assert 70 <= quantile(range(72), 0.95).high <= 71


def test_a_quantile_of_nothing_is_unbounded():
    interval = quantile([], 0.5)
    assert (interval.low, interval.high) == (0.0, math.inf)


@pytest.mark.parametrize(("values", "q"), [([1.0], 0.0), ([1.0], 1.0), ([math.nan], 0.5), ([-1.0], 0.5)])
def test_a_quantile_refuses_what_it_cannot_answer(values, q):
    with pytest.raises(ValueError, match=r"q has|values have"):
        quantile(values, q)
