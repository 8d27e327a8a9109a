"""A candidate is stopped where it is behind the front, and members of the front are stopped as seldom as stated."""

import numpy as np
import pytest

from offramp.search.racing import COST, LATENCY, QUALITY
from offramp.search.racing.behind import FEWEST, ahead
from offramp.stats import non_dominated

OBJECTIVES = (QUALITY, COST, LATENCY)


def landscape(rng, n=20, j=60):
    """Scores 0 or 1 by skill and difficulty; money and seconds by candidate, with noise; params that tell a little."""
    codes = rng.integers(0, 3, size=(n, 2))
    skill = rng.normal(0, 0.5, 3)[codes[:, 0]] + rng.normal(0, 0.8, n)
    right = rng.random((n, j)) < 1 / (1 + np.exp(-skill[:, None] - rng.normal(0, 1.2, j)[None, :]))
    cost = np.exp(rng.normal(0, 0.7, 3)[codes[:, 1]] + rng.normal(0, 0.2, n))[:, None] * rng.lognormal(0, 0.1, (n, j))
    seconds = np.exp(0.5 * rng.normal(0, 1, n))[:, None] * rng.lognormal(0, 0.4, (n, j))
    pool = [{"model": f"m{a}", "text": f"t{b}"} for a, b in codes]
    return np.stack([right.astype(float), cost, seconds], axis=-1), pool


def front(cells):
    return np.flatnonzero(non_dominated(cells.mean(axis=1), maximise=[True, False, False])).tolist()


def search(cells, pool, rng, confidence=0.95):
    """Candidates one after another, looked at after every ten examples; those that were stopped, and cells run."""
    n, j, _ = cells.shape
    known, complete, stopped = np.full_like(cells, np.nan), [], []
    for i in range(n):
        for end in (*range(10, j, 10), j):
            known[i, :end] = cells[i, :end]
            rivals = [complete[k] for k in front(cells[complete])] if complete else []
            rows = [*rivals, *(r for r in range(i) if r not in rivals), i]
            told = ahead(known[rows], [pool[r] for r in rows], OBJECTIVES, rivals=len(rivals), confidence=confidence,
                         margin=0.01, generator=rng)  # fmt: skip
            if end < j and told is not None:
                stopped.append(i)
                break
        else:
            complete.append(i)
    return stopped, float((~np.isnan(known[..., 0])).mean())


def test_members_of_the_front_are_stopped_as_seldom_as_stated_and_calls_are_saved():
    rng = np.random.default_rng(0)
    members = lost = 0
    shares = []
    for _ in range(8):
        cells, pool = landscape(rng)
        stopped, share = search(cells, pool, rng)
        true = front(cells)
        members, lost = members + len(true), lost + len(set(true) & set(stopped))
        shares.append(share)
    assert members >= 40 and lost <= 0.05 * members
    assert np.mean(shares) < 0.85


def two(mine, other, read=20, j=40, noise=0.0):
    """A complete rival and a candidate, with these mean scores, both at the price and speed of 1."""
    rng = np.random.default_rng(1)
    cells = np.ones((2, j, 3))
    cells[0, :, 0], cells[1, :, 0] = rng.random(j) < other, rng.random(j) < mine
    cells[:, :, 1:] *= np.exp(noise * rng.normal(size=(2, j, 2)))
    cells[1, read:] = np.nan
    return cells


def told(cells, **more):
    given = {"rivals": 1, "confidence": 0.95, "margin": 0.01, "generator": np.random.default_rng(0), **more}
    return ahead(cells, [{"a": "x"}, {"a": "y"}], OBJECTIVES, **given)


def test_one_that_is_far_behind_at_the_same_price_is_behind_and_names_its_rival():
    assert told(two(0.1, 0.95)) == 0
    assert told(two(0.95, 0.1)) is None


@pytest.mark.parametrize("objective", [1, 2])
def test_one_that_is_cheaper_or_faster_is_not_behind(objective):
    cells = two(0.1, 0.95)
    cells[1, :, objective] *= 0.9
    assert told(cells) is None
    cells[1, :, objective] /= 0.9 * 0.999  # by a thousandth: less than the margin
    assert told(cells) == 0


def test_nothing_is_said_of_few_values_and_failed_runs_are_no_values():
    assert told(two(0.0, 1.0, read=FEWEST - 1)) is None
    cells = two(0.0, 1.0, read=30)
    cells[1, FEWEST - 1 : 30, 0] = np.nan
    assert told(cells) is None


def test_an_objective_that_nobody_knows_stops_nobody():
    cells = two(0.1, 0.95)
    cells[1, :, 1] = np.nan
    assert told(cells) is None


def test_without_rivals_nobody_is_behind():
    assert told(two(0.1, 0.95), rivals=0) is None


def test_the_same_cells_and_seed_say_the_same():
    cells = two(0.4, 0.6, noise=0.3)
    assert told(cells) == told(cells)
