"""The front: draws on their own span, so that values shrunk together do not look far apart, and what a declared front
promises: precision, and no member that is plainly beaten."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.search.racing.front import SPARE, Draws, declare_front, draw, near_front
from offramp.search.racing.kernel import Kernel
from offramp.search.racing.model import Posterior

PRECISION = 0.9
KERNEL = Kernel(shared=1.0, own=1.0, mixed=0.0, irrelevance=np.zeros(0))


def posterior(mean: list[float], sd: float, *, positive: bool) -> Posterior:
    covariance = sd**2 * np.eye(len(mean))
    return Posterior(mean=np.array(mean), covariance=covariance, positive=positive, kernel=KERNEL)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(-3, 3), min_size=2, max_size=8), st.floats(0.01, 2.0), st.floats(0.01, 2.0), st.integers(0, 9)
)
def test_every_draw_reaches_from_0_to_1_in_every_objective(
    mean: list[float], sd: float, other: float, seed: int
) -> None:
    parts = [posterior(mean, sd, positive=False), posterior(mean, other, positive=True)]
    draws = draw(parts, [True, False], 5, np.random.default_rng(seed))
    assert (draws.losses.min(axis=1) == 0).all()
    assert (draws.losses.max(axis=1) == 1).all()


def test_an_objective_that_is_the_same_for_all_is_no_loss_to_anybody() -> None:
    draws = draw([posterior([0.5] * 4, 0.0, positive=True)], [False], 3, np.random.default_rng(0))
    assert (draws.losses == 0).all() and (draws.expected == 0).all()


def draws_of(seed: int, n: int, doubt: float) -> Draws:
    """Twelve draws about random expected losses, on the span of each."""
    generator = np.random.default_rng(seed)
    expected = generator.random((n, 2))
    losses = expected + doubt * generator.normal(size=(12, n, 2))
    losses = (losses - losses.min(axis=1, keepdims=True)) / np.ptp(losses, axis=1, keepdims=True)
    return Draws(losses=losses, expected=expected, values=losses)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 12), st.floats(0.0, 0.5))
def test_no_more_members_are_doubtful_than_the_precision_allows(seed: int, n: int, doubt: float) -> None:
    draws = draws_of(seed, n, doubt)
    trust = near_front(draws)
    members = declare_front(
        draws, np.ones(n, dtype=bool), near_front(draws), precision=PRECISION, least_gain=1e-4, grid_points=64
    )
    assert len(members) == len(set(members.tolist())) > 0
    if trust.max() >= PRECISION:
        assert trust[members].sum() + SPARE >= PRECISION * len(members) - 1e-9


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 12))
def test_without_doubt_nobody_off_the_front_is_a_member(seed: int, n: int) -> None:
    draws = draws_of(seed, n, 0.0)
    members = declare_front(
        draws, np.ones(n, dtype=bool), near_front(draws), precision=PRECISION, least_gain=0.0, grid_points=4096
    )
    losses = draws.losses[0]
    on_front = {i for i in range(n) if not ((losses <= losses[i]).all(axis=1) & (losses < losses[i]).any(axis=1)).any()}
    assert set(members.tolist()) <= on_front


def test_who_may_not_be_a_member_is_none() -> None:
    draws = draws_of(0, 6, 0.1)
    allowed = np.array([True, False] * 3)
    members = declare_front(draws, allowed, near_front(draws), precision=PRECISION, least_gain=1e-4, grid_points=64)
    assert allowed[members].all()
