"""Draws of losses: on their own span, so that what is shrunk together does not look far apart."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.search.racing.draws import draw
from offramp.search.racing.kernel import Kernel
from offramp.search.racing.model import Posterior

KERNEL = Kernel(shared=1.0, own=1.0, mixed=0.0, blind=np.zeros(0))


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
