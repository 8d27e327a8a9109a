"""The same seed and wave give the same waves, whatever came back first and however long it took."""

import sqlite3
from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from offramp.job.clock import Timing
from search_jobs import Straggling, api, at_once, essence, write_space

CAP = 150


def decided(space, folder, transport, **limits):
    """The waves of one run, and what came of it."""
    found = api.optimize(space, results=folder, transport=transport, timing=Timing(sleep=at_once), calls=CAP, **limits)
    with closing(sqlite3.connect(folder / "offramp.db")) as db:
        waves = db.execute("SELECT number, content FROM offramp_waves ORDER BY number").fetchall()
    return waves, timeless(essence(found))


def timeless(found):
    """Without seconds, which are those of the replies."""
    if isinstance(found, dict):
        return {name: timeless(value) for name, value in found.items() if not name.startswith("latency")}
    return [timeless(value) for value in found] if isinstance(found, list) else found


@pytest.fixture(scope="module", params=["listed", "proposed"])
def job(request, tmp_path_factory):
    """A space file, the trials of its runs, and what one run decided: over a whole space, or as Optuna proposes."""
    folder = tmp_path_factory.mktemp("job")
    temperature = {"choices": [0.0, 0.5]} if request.param == "listed" else {"low": 0.0, "high": 1.0}
    space = write_space(
        folder, count=50, splits={"train": 6, "search": 24, "holdout": 6}, search={"wave": 12},
        params={"temperature": temperature, "max_tokens": 16},
    )  # fmt: skip
    trials = 40 if request.param == "listed" else 14
    return space, trials, decided(space, folder, Straggling(0, seconds=True), trials=trials, concurrency=2)


@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(order=st.integers(1, 10_000), concurrency=st.sampled_from([1, 5, 64]))
def test_the_waves_do_not_depend_on_the_order_of_replies_on_their_latency_or_on_concurrency(
    job, tmp_path_factory, order, concurrency
):
    space, trials, (waves, found) = job
    assert len(waves) > 4
    transport, folder = Straggling(order, seconds=True), tmp_path_factory.mktemp("again")
    again, same = decided(space, folder, transport, trials=trials, concurrency=concurrency)
    assert again == waves
    assert same == found
