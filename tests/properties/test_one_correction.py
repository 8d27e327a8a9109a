"""Verdict and interval are one procedure: the corrected interval is without 0 exactly where the verdict is significant."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.stats import difference_interval, holm, holm_tests
from offramp.study.domain.paired_comparison import compare_paired, holm_corrected
from offramp.study.wording import interval_words

SCORES = {
    "0/1": lambda rng, n, skill: (rng.random(n) < skill).astype(float),
    "quarters": lambda rng, n, skill: np.round(np.clip(rng.normal(skill, 0.3, n), 0, 1) * 4) / 4,
    "any": lambda rng, n, skill: np.clip(rng.normal(skill, 0.2, n), 0, 1),
    "rare losses": lambda rng, n, skill: np.where(rng.random(n) < 0.1, 0.0, skill),
}
SKILLS = np.linspace(0.3, 0.95, 12)


def pairs(kind, seed, n, candidates, grouped):
    """An incumbent and candidates of many skills, compared with it."""
    rng = np.random.default_rng(seed)
    groups = [str(i // 3) for i in range(n)] if grouped else None
    today = SCORES[kind](rng, n, 0.6)
    return [
        compare_paired(SCORES[kind](rng, n, rng.choice(SKILLS)), today, groups=groups) for _ in range(candidates)
    ]  # fmt: skip


def check_one(one):
    level = 1 - one.interval.confidence
    excludes = one.corrected.low > 0 or one.corrected.high < 0
    assert excludes == (one.better or one.worse) and not (one.better and one.worse)
    if excludes:
        assert one.p_corrected <= level and (one.interval.low > 0 or one.interval.high < 0)
    if one.p_corrected > level:
        assert one.corrected.low <= 0 <= one.corrected.high
    assert one.corrected.low <= one.interval.low + 1e-12 and one.corrected.high >= one.interval.high - 1e-12
    if one.n:
        assert one.corrected.low <= one.difference <= one.corrected.high
    low, high = (float(end) for end in interval_words(one.corrected).split(" to "))
    assert (low > 0 or high < 0) == excludes, "also as it is printed"


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("kind", SCORES)
def test_the_interval_is_without_0_exactly_where_the_verdict_is_significant(kind, grouped):
    significant = 0
    for seed in range(60):
        for one in holm_corrected(pairs(kind, seed, [2, 6, 21, 60][seed % 4], [1, 2, 5, 12][seed // 4 % 4], grouped)):
            check_one(one)
            significant += one.better or one.worse
    assert significant


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=40),
    st.integers(1, 500),
)
def test_so_is_a_single_comparison_after_any_number_of_looks(scores, looks):
    one = compare_paired([a for a, _ in scores], [b for _, b in scores], looks=looks)
    check_one(one)
    assert one.tests == one.looked_at == looks


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.sampled_from([0.01, 0.05, 0.2]))
def test_holm_rejects_exactly_what_is_below_the_level_that_it_leaves(p_values, level):
    tests, corrected = holm_tests(p_values, level), holm(p_values)
    for p, n, after in zip(p_values, tests, corrected, strict=True):
        assert (min(1.0, p * n) <= level) == (after <= level)
    assert max(tests) == len(p_values) and min(tests) >= 1


def test_a_gain_that_one_comparison_shows_and_twelve_do_not_has_an_interval_that_says_so():
    """ "+16.2 points, +3.7 to +28.0: no difference shown" corrected one and not the other."""
    a, b = [1.0] * 14 + [0.0] * 2 + [1.0] * 60, [0.0] * 14 + [1.0] * 2 + [1.0] * 60
    alone, among = compare_paired(a, b), compare_paired(a, b, looks=40)
    assert alone.better and not among.better
    assert among.interval == alone.interval and among.interval.low > 0
    assert among.corrected.low <= 0 < among.corrected.high


def test_the_first_of_holm_has_bonferronis_interval_and_what_follows_the_last_rejection_has_no_narrower_one():
    clear, open_one, other = ([1.0] * wins + [0.0] * (40 - wins) for wins in (30, 4, 2))
    none = [0.0] * 40
    found = holm_corrected([compare_paired(side, none) for side in (clear, open_one, other)])
    assert [one.tests for one in found] == [3, 2, 2]
    bonferroni = difference_interval(clear, confidence=1 - 0.05 / 3)
    assert (found[0].corrected.low, found[0].corrected.high) == pytest.approx((bonferroni.low, bonferroni.high))
