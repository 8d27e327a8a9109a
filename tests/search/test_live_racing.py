"""A candidate is stopped where it is behind the front, and members of the front are stopped as seldom as stated."""

import numpy as np
import pytest
from scipy.stats import t as student

from offramp.search.live.behind import FEWEST, ahead, full_mean
from offramp.search.racing import COST, LATENCY, QUALITY
from offramp.stats import non_dominated

OBJECTIVES = (QUALITY, COST, LATENCY)


def landscape(rng, n=20, j=60):
    """Scores 0 or 1 by skill and difficulty; money and seconds by candidate, with noise."""
    skill = rng.normal(0, 1.0, n)
    right = rng.random((n, j)) < 1 / (1 + np.exp(-skill[:, None] - rng.normal(0, 1.2, j)[None, :]))
    cost = np.exp(rng.normal(0, 0.7, n))[:, None] * rng.lognormal(0, 0.1, (n, j))
    seconds = np.exp(0.5 * rng.normal(0, 1, n))[:, None] * rng.lognormal(0, 0.4, (n, j))
    return np.stack([right.astype(float), cost, seconds], axis=-1)


def front(cells):
    return np.flatnonzero(non_dominated(cells.mean(axis=1), maximise=[True, False, False])).tolist()


def search(cells, rng, confidence=0.95):
    """Candidates one after another, looked at after every ten examples; those that were stopped, and cells run."""
    n, j, _ = cells.shape
    known, complete, stopped = np.full_like(cells, np.nan), [], []
    for i in range(n):
        for end in (*range(10, j, 10), j):
            known[i, :end] = cells[i, :end]
            rivals = [complete[k] for k in front(cells[complete])] if complete else []
            rows = [*rivals, *(c for c in complete if c not in rivals), i]
            rival = ahead(
                known[rows], OBJECTIVES, rivals=len(rivals), confidence=confidence, looks=5, margin=0.01, generator=rng
            )
            if end < j and rival is not None:
                stopped.append(i)
                break
        else:
            complete.append(i)
    return stopped, float((~np.isnan(known[..., 0])).mean())


def test_members_of_the_front_are_stopped_as_seldom_as_stated_and_calls_are_saved():
    rng = np.random.default_rng(0)
    members = lost = 0
    shares = []
    for _ in range(60):
        cells = landscape(rng)
        stopped, share = search(cells, rng)
        true = front(cells)
        members, lost = members + len(true), lost + len(set(true) & set(stopped))
        shares.append(share)
    assert members >= 300 and lost <= 0.05 * members
    assert np.mean(shares) < 0.85


def two(own, other, read=20, j=40, noise=0.0):
    """A complete rival and a candidate, with these mean scores, both at the price and speed of 1."""
    rng = np.random.default_rng(1)
    cells = np.ones((2, j, 3))
    cells[0, :, 0], cells[1, :, 0] = rng.random(j) < other, rng.random(j) < own
    cells[:, :, 1:] *= np.exp(noise * rng.normal(size=(2, j, 2)))
    cells[1, read:] = np.nan
    return cells


def stopped_by(cells, **more):
    given = {"rivals": 1, "confidence": 0.95, "looks": 3, "margin": 0.01, "generator": np.random.default_rng(0), **more}
    return ahead(cells, OBJECTIVES, **given)


def test_one_that_is_far_behind_at_the_same_price_is_behind_and_names_its_rival():
    assert stopped_by(two(0.1, 0.95)) == 0
    assert stopped_by(two(0.95, 0.1)) is None


@pytest.mark.parametrize("objective", [1, 2])
def test_one_that_is_cheaper_or_faster_is_not_behind(objective):
    cells = two(0.1, 0.95)
    cells[1, :, objective] *= 0.9
    assert stopped_by(cells) is None
    cells[1, :, objective] /= 0.9 * 0.999  # by a thousandth: less than the margin
    assert stopped_by(cells) == 0


def test_nothing_is_said_of_few_values_and_failed_runs_are_no_values():
    assert stopped_by(two(0.0, 1.0, read=FEWEST - 1)) is None
    cells = two(0.0, 1.0, read=30)
    cells[1, FEWEST - 1 : 30, 0] = np.nan
    assert stopped_by(cells) is None


def test_an_objective_that_nobody_knows_stops_nobody():
    cells = two(0.1, 0.95)
    cells[1, :, 1] = np.nan
    assert stopped_by(cells) is None


def test_without_rivals_nobody_is_behind():
    assert stopped_by(two(0.1, 0.95), rivals=0) is None


@pytest.mark.parametrize("scale", [1.0, 50.0])
def test_intervals_of_the_full_mean_hold_what_they_say(scale):
    rng = np.random.default_rng(2)
    inside = []
    for _ in range(800):
        usual = rng.normal(1.0, 0.5, 80)
        own = scale * (0.5 + 0.6 * usual + rng.normal(0, 0.4, 80))
        read = np.where(np.arange(80) < 15, own, np.nan)
        mean, sd, freedom = full_mean(read / scale, usual, 0.4)
        inside.append(abs(mean - own.mean() / scale) <= sd * student.ppf(0.95, freedom))
    assert 0.88 <= np.mean(inside) <= 0.96


def test_easy_examples_first_make_nobody_good():
    usual = np.linspace(1.0, 0.0, 80)
    own = np.where(np.arange(80) < 20, usual - 0.1, np.nan)
    mean, sd, _ = full_mean(own, usual, 0.1)
    assert mean == pytest.approx(0.4) and sd < 0.2


def test_the_same_cells_and_seed_say_the_same():
    cells = two(0.4, 0.6, noise=0.3)
    assert stopped_by(cells) == stopped_by(cells)
