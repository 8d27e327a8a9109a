"""Candidates are stopped for good reasons only: the stated confidence holds in simulation, for every look together."""

import numpy as np
import pytest

from offramp.search.stopping import no_better_score, no_lower, wealth

LOOKS = range(8, 80, 5)


def ever(test, candidate, rival, **more):
    """Whether the test ever says yes on the way to the last example."""
    n = len(candidate)
    return any(test(candidate[:k], rival[:k], examples=n, **more) for k in LOOKS if k < n)


def with_mean_gap(rng, gap, graded):
    """Scores of two candidates on 80 examples whose means differ by exactly `gap`, correlated by difficulty."""
    hard = rng.random(80)
    rival = (hard + rng.normal(0, 0.3, 80) < 0.6).astype(float)
    better = rival.copy()
    flips = round(abs(gap) * 80)
    places = rng.permutation(np.flatnonzero(rival == (0.0 if gap > 0 else 1.0)))[:flips]
    better[places] = 1.0 if gap > 0 else 0.0
    swap = min(6, int(rival.sum()), int((1 - rival).sum()))  # as many won as lost besides
    ones, zeros = np.flatnonzero((rival == 1) & (better == 1)), np.flatnonzero((rival == 0) & (better == 0))
    better[rng.permutation(ones)[:swap]] = 0.0
    better[rng.permutation(zeros)[:swap]] = 1.0
    order = rng.permutation(80)
    if graded:
        return 0.25 + better[order] / 2, 0.25 + rival[order] / 2
    return better[order], rival[order]


@pytest.mark.parametrize("graded", [False, True])
@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_a_candidate_that_is_ahead_by_more_than_the_margin_is_stopped_no_oftener_than_stated(alpha, graded):
    rng = np.random.default_rng(0)
    gap = 0.025  # the smallest above the margin of 0.01 in steps of an eightieth, halved when graded
    wrong = [ever(no_better_score, *with_mean_gap(rng, gap, graded), alpha=alpha) for _ in range(600)]
    assert np.mean(wrong) <= alpha


def test_a_candidate_that_is_far_behind_is_stopped_soon():
    rng = np.random.default_rng(0)
    pairs = [with_mean_gap(rng, -0.4, False) for _ in range(100)]
    assert np.mean([ever(no_better_score, *pair, alpha=0.05) for pair in pairs]) > 0.95
    half = [no_better_score(c[:40], r[:40], examples=80, alpha=0.05) for c, r in pairs]
    assert np.mean(half) > 0.7


def test_ten_ties_are_no_proof_of_a_tie():
    same = np.ones(10)
    assert not no_better_score(same, same, examples=100, alpha=0.05)


def test_what_is_certain_is_said_when_the_rest_cannot_change_it():
    assert no_better_score([0.0] * 60, [1.0] * 60, examples=80, alpha=1e-6)
    assert wealth(np.ones(60), mean=0.5, total=80, alpha=1e-9) == np.inf


@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_a_cheaper_candidate_is_stopped_no_oftener_than_stated(alpha):
    rng = np.random.default_rng(1)

    def pair():
        rival = rng.lognormal(0.0, 0.6, 80)
        ours = rng.lognormal(0.0, 0.6, 80)
        return ours * (0.97 * rival.mean() / ours.mean()), rival

    assert np.mean([ever(no_lower, *pair(), alpha=alpha) for _ in range(600)]) <= alpha


def test_costs_are_compared_after_the_floor_and_equal_costs_are_no_lower():
    assert not no_lower([2.0] * 7, [1.0] * 7, examples=80, alpha=0.05)
    assert no_lower([2.0] * 8, [1.0] * 8, examples=80, alpha=0.05)
    assert no_lower([1.0] * 8, [1.0] * 8, examples=80, alpha=0.05)
    assert not no_lower([0.9] * 20, [1.0] * 20, examples=80, alpha=0.05)
    assert no_lower([0.0] * 8, [0.0] * 8, examples=80, alpha=0.05)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_tiny_sets_do_not_crash(n):
    assert no_better_score([0.5] * n, [0.5] * n, examples=n, alpha=0.05) in (True, False)
    assert no_lower([0.5] * n, [0.5] * n, examples=n, alpha=0.05) in (True, False)
