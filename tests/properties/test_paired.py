"""Paired tests: against every assignment of signs written out, and by how often they are wrong when nothing differs."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.stats import difference_interval, holm, non_inferiority, sign_flip_test, sign_test

SOME = st.lists(st.sampled_from([-1.0, -0.5, -0.2, 0.0, 0.2, 0.8, 1.0]), max_size=9)


def brute_p(differences):
    nonzero = [d for d in differences if d]
    means = [
        abs(sum(s * d for s, d in zip(signs, nonzero, strict=True))) for signs in product((-1, 1), repeat=len(nonzero))
    ]
    return sum(m >= abs(sum(nonzero)) - 1e-9 for m in means) / len(means)


@settings(max_examples=200, deadline=None)
@given(SOME)
def test_the_sign_flip_test_is_every_assignment_of_signs_counted(differences):
    assert sign_flip_test(differences, np.random.default_rng(0)) == pytest.approx(brute_p(differences))


@given(st.integers(0, 12), st.integers(0, 12))
def test_mcnemar_s_exact_test_is_the_binomial_written_out(wins, losses):
    n, fewer = wins + losses, min(wins, losses)
    expected = min(1.0, 2 * sum(math.comb(n, r) for r in range(fewer + 1)) / 2**n)
    assert sign_test(wins, losses) == pytest.approx(expected)
    if n <= 9:
        assert sign_test(wins, losses) == pytest.approx(brute_p([1.0] * wins + [-1.0] * losses))


def test_many_wins_do_not_overflow():
    assert 0.0 <= sign_test(5000, 4000) < 1e-20
    assert sign_test(50_000, 50_000) == pytest.approx(1.0)


def test_with_many_differences_random_signs_come_close_to_all_of_them():
    differences = np.random.default_rng(1).choice([-0.5, -0.2, 0.2, 0.5, 0.8], 15)
    drawn = sign_flip_test(differences, np.random.default_rng(0))
    assert drawn == pytest.approx(brute_p(differences), abs=0.015)
    assert sign_flip_test(differences[::-1], np.random.default_rng(0)) == drawn


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_is_its_definition(p_values):
    corrected = holm(p_values)
    m = len(p_values)
    for level in (0.01, 0.05, 0.5):
        rejected = set()
        for step, i in enumerate(sorted(range(m), key=lambda i: p_values[i])):
            if p_values[i] * (m - step) > level:
                break
            rejected.add(i)
        assert {i for i in range(m) if corrected[i] <= level} == rejected
    assert all(c >= p for c, p in zip(corrected, p_values, strict=True))


def test_an_unknown_p_value_is_not_counted_as_looked_at():
    found = holm([0.01, math.nan, 0.04])
    assert found[0] == pytest.approx(0.02)
    assert math.isnan(found[1])
    assert found[2] == pytest.approx(0.04)


@settings(max_examples=100, deadline=None)
@given(SOME, st.sampled_from([0.01, 0.1, 0.5]))
def test_not_inferior_is_a_lower_bound_above_minus_the_margin(differences, margin):
    found = non_inferiority(differences, margin)
    assert found.lower == difference_interval(differences, confidence=0.9).low
    assert found.holds == (found.lower > -margin)
    if len(differences) < 2:
        assert not found.holds


@pytest.mark.parametrize(("margin", "confidence"), [(0.0, 0.95), (-1, 0.95), (0.1, 0.5), (math.nan, 0.9)])
def test_a_margin_is_above_zero(margin, confidence):
    with pytest.raises(ValueError, match="margin"):
        non_inferiority([0.1, 0.2], margin, confidence=confidence)
