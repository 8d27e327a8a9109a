"""Intervals: against exact sums where these exist, and never narrower than the evidence allows."""

import math
from fractions import Fraction
from itertools import product
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.stats import bootstrap_mean, quantile, wilson

SCORES = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), max_size=12)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 300), st.data(), st.sampled_from([0.5, 0.9, 0.95, 0.999]))
def test_wilson_s_ends_are_where_the_score_test_just_rejects(n, data, confidence):
    successes = data.draw(st.integers(0, n))
    interval = wilson(successes, n, confidence=confidence)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    assert 0 <= interval.low < interval.high <= 1
    if n == 0:
        assert (interval.low, interval.high) == (0, 1)
        return
    for end in (interval.low, interval.high):
        if 0 < end < 1:
            assert abs(successes / n - end) / math.sqrt(end * (1 - end) / n) == pytest.approx(z, rel=1e-6)
    assert interval.low <= successes / n <= interval.high


def test_wilson_gives_the_textbook_numbers():
    interval = wilson(8, 10)
    assert (interval.low, interval.high) == pytest.approx((0.490162, 0.943318), abs=1e-6)


@given(st.integers(1, 50))
def test_all_right_is_no_proof_of_perfection(n):
    assert wilson(n, n).high == 1.0
    assert wilson(n, n).low < 1.0
    assert wilson(0, n).low == 0.0


@pytest.mark.parametrize(("successes", "n"), [(-1, 3), (4, 3), (math.nan, 3), (0, -1)])
def test_wilson_refuses_impossible_counts(successes, n):
    with pytest.raises(ValueError, match="successes"):
        wilson(successes, n)


@settings(max_examples=200, deadline=None)
@given(SCORES, st.integers(0, 5), st.sampled_from([0.1, 0.9, 0.95]))
def test_a_bootstrap_interval_has_width_and_stays_in_bounds(scores, seed, confidence):
    interval = bootstrap_mean(scores, np.random.default_rng(seed), confidence=confidence, resamples=200)
    assert 0.0 <= interval.low < interval.high <= 1.0
    if len(scores) < 2:
        assert (interval.low, interval.high) == (0.0, 1.0)


@settings(max_examples=100, deadline=None)
@given(SCORES, st.randoms(use_true_random=False))
def test_the_same_seed_gives_the_same_interval_in_any_order(scores, random):
    shuffled = random.sample(scores, len(scores))
    first = bootstrap_mean(scores, np.random.default_rng(0), resamples=100)
    assert bootstrap_mean(shuffled, np.random.default_rng(0), resamples=100) == first


def test_the_global_random_state_is_not_touched():
    np.random.seed(3)
    before = np.random.get_state()[1].tolist()
    bootstrap_mean([0.0, 1.0, 0.5], np.random.default_rng(0))
    assert np.random.get_state()[1].tolist() == before


@pytest.mark.parametrize("values", [[0.0, 0.0, 1.0, 1.0, 0.5], [0.0, 0.25, 1.0, 1.0, 1.0, 1.0]])
def test_the_bootstrap_agrees_with_all_resamples_written_out(values):
    means = sorted(sum(resample) / len(values) for resample in product(values, repeat=len(values)))
    n = len(values)
    tail = NormalDist().cdf({5: -2.1318468, 6: -2.0150484}[n] * math.sqrt(n / (n - 1)))
    expected = np.quantile(means, [tail, 1 - tail])
    interval = bootstrap_mean(values, np.random.default_rng(1), confidence=0.9, resamples=20_000)
    assert (interval.low, interval.high) == pytest.approx(tuple(expected), abs=0.051)


def test_equal_scores_get_wilson_s_interval():
    interval = bootstrap_mean([1.0] * 10, np.random.default_rng(0))
    assert interval == wilson(10, 10)
    paired = bootstrap_mean([0.0] * 10, np.random.default_rng(0), bounds=(-1.0, 1.0))
    assert paired.low == pytest.approx(-paired.high)
    assert paired.low < -0.2


def test_scores_that_differ_by_rounding_only_count_as_equal():
    assert bootstrap_mean([0.9, 0.9, 0.9 + 1e-15], np.random.default_rng(0)).width > 0.1


def test_many_values_do_not_fill_the_memory():
    values = np.random.default_rng(0).random(200_000)
    interval = bootstrap_mean(values, np.random.default_rng(0), resamples=50)
    assert interval.low < 0.5 < interval.high + 0.005


@pytest.mark.parametrize(
    ("values", "options"),
    [
        ([0.5, 1.5], {}),
        ([0.5, math.nan], {}),
        ([[0.5]], {}),
        ([0.5], {"confidence": 1.0}),
        ([0.5], {"resamples": 0}),
        ([0.5], {"bounds": (0.0, math.inf)}),
    ],
)
def test_the_bootstrap_refuses_what_it_cannot_answer(values, options):
    with pytest.raises(ValueError, match=r"values|confidence|resamples|bounds"):
        bootstrap_mean(values, np.random.default_rng(0), **options)


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
