"""Intervals of means and shares: against other formulas, and by how often they cover the truth."""

import importlib.util
import math
import sys
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from offramp.evaluate.replicates import PILOT
from offramp.stats import (
    difference_interval,
    mean_interval,
    mean_interval_of,
    share_at_most,
)


def benchmark():
    """The measurements of benchmarks/coverage.py, the same that people run."""
    path = Path(__file__).parents[2] / "benchmarks" / "coverage.py"
    spec = importlib.util.spec_from_file_location("coverage_benchmark", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["coverage_benchmark"] = module
    spec.loader.exec_module(module)
    return module


COVERAGE = benchmark()
SCORES = st.lists(st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1)), max_size=15)
DIFFERENCES = st.lists(st.one_of(st.sampled_from([-1.0, 0.0, 1.0]), st.floats(-1, 1)), max_size=15)


# --------------------------------------------------------------------------------------------------------- shares


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 300), st.data(), st.sampled_from([0.5, 0.9, 0.95, 0.999]))
def test_the_ends_of_a_share_s_interval_are_where_the_score_test_just_rejects(n, data, confidence):
    ones = data.draw(st.integers(0, n))
    interval = mean_interval([1.0] * ones + [0.0] * (n - ones), confidence=confidence)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    assert 0 <= interval.low < interval.high <= 1
    if n == 0:
        assert (interval.low, interval.high) == (0, 1)
        return
    for end in (interval.low, interval.high):
        if 0 < end < 1:
            assert abs(ones / n - end) / math.sqrt(end * (1 - end) / n) == pytest.approx(z, rel=1e-6)
    assert interval.low <= ones / n <= interval.high


@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=30), st.sampled_from([0.5, 0.9, 0.95]))
def test_zeros_and_ones_get_wilson_s_interval(scores, confidence):
    found = mean_interval(scores, confidence=confidence)
    wilson = binomtest(int(sum(scores)), len(scores)).proportion_ci(confidence, method="wilson")
    assert (found.low, found.high) == pytest.approx((wilson.low, wilson.high), abs=1e-9)


@given(st.integers(1, 50))
def test_all_right_is_no_proof_of_perfection(n):
    assert mean_interval([1.0] * n).high == 1.0
    assert mean_interval([1.0] * n).low < 1.0
    assert mean_interval([0.0] * n).low == 0.0


def binomial_cdf(x, n, p):
    return math.fsum(math.comb(n, r) * p**r * (1 - p) ** (n - r) for r in range(x + 1))


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 60), st.data(), st.sampled_from([0.8, 0.9, 0.95]))
def test_the_upper_bound_of_a_share_is_where_so_few_become_too_unlikely(n, data, confidence):
    x = data.draw(st.integers(0, n))
    bound = share_at_most(x, n, confidence=confidence)
    assert 0 < bound <= 1
    if x < n:
        assert binomial_cdf(x, n, bound) == pytest.approx(1 - confidence, rel=1e-6)


def test_three_percent_at_ninety_takes_76_examples_without_a_loss():
    assert share_at_most(0, 75, confidence=0.9) > 0.03 >= share_at_most(0, 76, confidence=0.9)


@given(st.integers(0, 60), st.data(), st.sampled_from([0.8, 0.9, 0.95]))
def test_the_upper_bound_of_a_share_is_clopper_and_pearson_s(n, data, confidence):
    x = data.draw(st.integers(0, n))
    expected = binomtest(x, n, alternative="less").proportion_ci(confidence, method="exact").high if n else 1.0
    assert share_at_most(x, n, confidence=confidence) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("successes", "n"), [(-1, 3), (4, 3), (math.nan, 3), (0, -1)])
def test_the_upper_bound_of_a_share_refuses_impossible_counts(successes, n):
    with pytest.raises(ValueError, match="successes"):
        share_at_most(successes, n)


@pytest.mark.parametrize("n", [5, 8, 13, 20, 50, 200, 500])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_shares_are_covered_as_often_as_stated_on_average_and_by_their_upper_bound_always(n, confidence):
    mean, _ = COVERAGE.coverage_of_shares(COVERAGE.share_interval, n, confidence)
    assert abs(mean - confidence) <= 0.02
    assert COVERAGE.coverage_of_bound(n, confidence)[1] >= confidence - 1e-9


# ---------------------------------------------------------------------------------------------------------- means


@settings(max_examples=300, deadline=None)
@given(SCORES, st.sampled_from([0.5, 0.9, 0.95]))
def test_the_interval_of_a_mean_has_width_holds_the_mean_and_stays_in_bounds(scores, confidence):
    interval = mean_interval(scores, confidence=confidence)
    assert 0.0 <= interval.low < interval.high <= 1.0
    if scores:
        assert interval.low - 1e-9 <= sum(scores) / len(scores) <= interval.high + 1e-9
    assert mean_interval(scores[::-1], confidence=confidence) == interval


@given(st.floats(0, 1), st.integers(1, 30))
def test_equal_scores_are_no_proof_of_anything(score, n):
    interval = mean_interval([score] * n)
    assert 0.0 <= interval.low < interval.high <= 1.0
    for end in (interval.low, interval.high):
        if 1e-6 < end < 1 - 1e-6:  # where the score test just rejects
            assert abs(score - end) / math.sqrt(end * (1 - end) / n) == pytest.approx(1.959964, rel=1e-4)


def test_far_from_the_bounds_and_with_many_scores_it_is_student_s_interval():
    scores = np.random.default_rng(0).normal(0.5, 0.05, 400)
    half = NormalDist().inv_cdf(0.975) * scores.std(ddof=1) / 20
    interval = mean_interval(scores)
    assert (interval.low, interval.high) == pytest.approx((scores.mean() - half, scores.mean() + half), abs=1e-4)


@given(SCORES)
def test_sums_give_the_interval_that_the_scores_give(scores):
    if scores:
        array = np.sort(np.array(scores))
        sums = {"n": len(array), "mean": array.mean(), "mean_square": (array**2).mean()}
        assert mean_interval_of(**sums) == mean_interval(scores)


@pytest.mark.parametrize("family", [name for name in COVERAGE.GRADED if name != "quarters"])
@pytest.mark.parametrize("n", [10, 12, 20, 50, 200, 500])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_graded_scores_are_covered_within_two_points_from_ten_examples_on(family, n, confidence):
    assert within_two_points(COVERAGE.SCORES[family], mean_interval, n, confidence)


@pytest.mark.parametrize("family", ["shaped", "narrow", "mixed"])
@pytest.mark.parametrize("n", [5, 7])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_scores_that_do_not_hide_a_rare_kind_are_covered_within_two_points_from_five_on(family, n, confidence):
    assert within_two_points(COVERAGE.SCORES[family], mean_interval, n, confidence)


@pytest.mark.parametrize("n", [5, 7, 10])
def test_few_grades_are_covered_at_least_as_often_as_stated(n):
    assert covered(COVERAGE.SCORES["quarters"], mean_interval, n, 0.95) >= 0.95


@pytest.mark.parametrize("family", COVERAGE.REPLICATED)
@pytest.mark.parametrize("n", [10, 24, 100])
def test_means_of_examples_that_were_run_several_times_are_covered_within_two_points(family, n):
    assert within_two_points(COVERAGE.REPLICATED[family], mean_interval, n, 0.95)


@pytest.mark.parametrize("n", [10, 24, 100])
def test_differences_of_means_of_several_runs_are_covered_within_two_points(n):
    assert within_two_points(COVERAGE.PAIRS["pairs_replicated"], difference_interval, n, 0.95)


def test_runs_that_count_as_examples_are_covered_too_seldom():
    assert covered(COVERAGE.runs_as_examples, mean_interval, 24, 0.95) < 0.9


def test_the_simulation_has_the_pilot_of_a_job():
    assert COVERAGE.PILOT == PILOT


def covered(family, interval, n, confidence):
    return COVERAGE.coverage(family, interval, n, confidence=confidence, repeats=2500)


def within_two_points(family, interval, n, confidence):
    noise = 2.5 * math.sqrt(confidence * (1 - confidence) / 2500)
    return abs(covered(family, interval, n, confidence) - confidence) <= 0.02 + noise


# ---------------------------------------------------------------------------------------------------- differences


@settings(max_examples=300, deadline=None)
@given(DIFFERENCES, st.sampled_from([0.5, 0.9, 0.95]))
def test_the_interval_of_a_difference_has_width_and_mirrors(differences, confidence):
    interval = difference_interval(differences, confidence=confidence)
    assert -1.0 <= interval.low < interval.high <= 1.0
    mirrored = difference_interval([-d for d in differences], confidence=confidence)
    assert (-mirrored.high, -mirrored.low) == pytest.approx((interval.low, interval.high), abs=1e-7)
    if len(differences) < 2:
        assert (interval.low, interval.high) == (-1.0, 1.0)


def test_agresti_and_min_s_example():
    differences = [1.0] * 40 + [-1.0] * 20 + [0.0] * 40
    n, b, c = 102, 40.5, 20.5
    half = NormalDist().inv_cdf(0.975) * math.sqrt((b + c) - (b - c) ** 2 / n) / n
    interval = difference_interval(differences)
    assert (interval.low, interval.high) == pytest.approx(((b - c) / n - half, (b - c) / n + half))


@pytest.mark.parametrize("family", [n for n in COVERAGE.PAIRS if n not in ("pairs_mixed", "pairs_replicated")])
@pytest.mark.parametrize("n", [5, 7, 10, 20, 50, 200, 500])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_differences_are_covered_within_two_points(family, n, confidence):
    assert within_two_points(COVERAGE.PAIRS[family], difference_interval, n, confidence)


@pytest.mark.parametrize("n", [10, 20, 50, 200, 500])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_differences_of_mixed_metrics_are_covered_within_two_points_from_ten_on(n, confidence):
    assert within_two_points(COVERAGE.PAIRS["pairs_mixed"], difference_interval, n, confidence)


def test_ties_hide_differences_that_were_not_seen():
    """Half a pair as large as those seen, in proportion to the ties."""
    differences = [0.5, -0.25] + [0.0] * 8
    unit = [(1 + d) / 2 for d in differences]
    square = np.mean(np.square(unit)) + 0.5 * 0.8 / 10 * np.mean([0.25**2, 0.125**2])
    expected = mean_interval_of(n=10, mean=np.mean(unit), mean_square=square)
    found = difference_interval(differences)
    assert (found.low, found.high) == pytest.approx((2 * expected.low - 1, 2 * expected.high - 1))
