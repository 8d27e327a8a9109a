"""What a declared front promises: precision, and nobody who is plainly beaten."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.search.racing.declare import SPARE, declared, near_front
from offramp.search.racing.draws import Draws

PRECISION = 0.9


def draws_of(seed: int, n: int, doubt: float) -> Draws:
    """Twelve draws about random expected losses, on the span of each."""
    generator = np.random.default_rng(seed)
    expected = generator.random((n, 2))
    losses = expected + doubt * generator.normal(size=(12, n, 2))
    losses = (losses - losses.min(axis=1, keepdims=True)) / np.ptp(losses, axis=1, keepdims=True)
    return Draws(losses=losses, expected=expected)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 12), st.floats(0.0, 0.5))
def test_no_more_members_are_doubtful_than_the_precision_allows(seed: int, n: int, doubt: float) -> None:
    draws = draws_of(seed, n, doubt)
    trust = near_front(draws)
    members = declared(draws, np.ones(n, dtype=bool), precision=PRECISION, least_gain=1e-4, size=64)
    assert len(members) == len(set(members.tolist())) > 0
    if trust.max() >= PRECISION:
        assert trust[members].sum() + SPARE >= PRECISION * len(members) - 1e-9


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 12))
def test_without_doubt_nobody_off_the_front_is_a_member(seed: int, n: int) -> None:
    draws = draws_of(seed, n, 0.0)
    members = declared(draws, np.ones(n, dtype=bool), precision=PRECISION, least_gain=0.0, size=4096)
    losses = draws.losses[0]
    on_front = {i for i in range(n) if not ((losses <= losses[i]).all(axis=1) & (losses < losses[i]).any(axis=1)).any()}
    assert set(members.tolist()) <= on_front


def test_who_may_not_be_a_member_is_none() -> None:
    draws = draws_of(0, 6, 0.1)
    allowed = np.array([True, False] * 3)
    members = declared(draws, allowed, precision=PRECISION, least_gain=1e-4, size=64)
    assert allowed[members].all()
