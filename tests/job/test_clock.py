"""Time and shares of caps, with a clock that a test turns."""

import asyncio

import pytest

from offramp.job.clock import Clock, Interrupted, TimeIsUp, Timing
from offramp.search.holdout.reserve import search_share
from offramp.testing.fakes import FunctionTransport
from search_jobs import answered_by, essence, let_time_pass, reply_to, run_job, write_space


class Now:
    """Seconds that pass when told to."""

    def __init__(self):
        self.seconds = 1000.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def now():
    return Now()


def test_time_counts_from_the_start_of_the_run(now):
    clock = Clock(minutes=2, timing=Timing(now=now))
    now.seconds += 90
    assert clock.elapsed_s == 90
    assert clock.remaining_s == 30


def test_without_a_cap_time_is_never_up(now):
    clock = Clock(minutes=None, timing=Timing(now=now))
    now.seconds += 1e9
    clock.reserve(1e9)
    clock.check()
    assert clock.remaining_s is None


def test_the_time_is_up_at_the_cap_and_not_before(now):
    clock = Clock(minutes=1, timing=Timing(now=now))
    now.seconds += 59.9
    clock.check()
    now.seconds += 0.1
    with pytest.raises(TimeIsUp, match="1 minutes"):
        clock.check()


def test_time_reserved_for_the_holdout_is_taken_from_the_search(now):
    clock = Clock(minutes=1, timing=Timing(now=now))
    clock.reserve(20)
    now.seconds += 39
    clock.check()
    now.seconds += 1
    with pytest.raises(TimeIsUp):
        clock.check()
    clock.reserve(0)
    clock.check()


def test_at_most_80_percent_of_the_time_is_reserved(now):
    clock = Clock(minutes=10, timing=Timing(now=now))
    clock.reserve(1e6)
    now.seconds += 0.2 * 600 - 1
    clock.check()
    now.seconds += 1
    with pytest.raises(TimeIsUp):
        clock.check()


def test_an_interruption_goes_before_the_time(now):
    clock = Clock(minutes=1, timing=Timing(now=now))
    clock.interrupted = True
    now.seconds += 1e6
    with pytest.raises(Interrupted):
        clock.check()


def test_an_interruption_ends_the_command_with_130():
    assert Interrupted("x").exit_code == 130


@pytest.mark.parametrize(
    ("cap", "holdout", "share"), [(None, 50, None), (100, 0, 100), (100, 30, 70), (100, 90, 20), (10, 4, 6)]
)
def test_the_search_gets_what_the_holdout_leaves_and_never_less_than_20_percent(cap, holdout, share):
    assert search_share(cap, holdout) == share


# ------------------------------------------------------------------------------------------------- a job that hangs


class Hanging(FunctionTransport):
    """Answers the first requests; every later one hangs, while eight minutes pass."""

    def __init__(self, function, now):
        super().__init__(function)
        self._now = now

    async def send(self, request, attempt=1):
        if len(self.requests) >= 20:
            self.requests.append(request)
            self._now.seconds += 8 * 60
            let_time_pass(8 * 60)
            await asyncio.Event().wait()
        return await super().send(request, attempt)


def test_a_job_of_seven_minutes_whose_model_hangs_does_not_take_fifteen(tmp_path, monkeypatch, now):
    """It ends although no answer ever comes; the cap and the grace together are less than eight minutes."""
    answered_by(monkeypatch, Hanging(reply_to, now), now=now)
    result = run_job(write_space(tmp_path), tmp_path, minutes=7)
    assert result.error is None and result.report.stop_reason == "minutes"
    assert result.report.trials >= 1

    answered_by(monkeypatch, FunctionTransport(reply_to))
    whole = run_job(write_space(tmp_path / "whole"), tmp_path / "whole")
    assert essence(run_job(write_space(tmp_path), tmp_path)) == essence(whole)


def test_what_comes_back_within_the_grace_is_kept(monkeypatch):
    async def run():
        async with Clock(minutes=1e-9).within():
            await asyncio.sleep(0.01)
            return "kept"

    assert asyncio.run(run()) == "kept"


def test_a_time_out_inside_is_not_taken_for_the_jobs_own():
    async def run():
        async with Clock(minutes=5).within():
            raise TimeoutError("inner")

    with pytest.raises(TimeoutError, match="inner"):
        asyncio.run(run())
