"""What a running job says of how far it is."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path

import pytest

from offramp.calls.attempts import CallStats
from offramp.cli.live import status_line
from offramp.review.index_page import pace_of
from offramp.search.progress import Progress
from offramp.store.engine import open_store
from offramp.store.studies import StudyRow, StudyStore
from offramp.study import lookup
from offramp.testing.fakes import FunctionTransport
from search_jobs import answered_by, reply_to, run_job, write_space


def stats(calls: int, usd: float) -> CallStats:
    return CallStats(
        calls=calls, cached_calls=0, failed_calls=0, retried_calls=0, spent_usd=usd, reserved_usd=0.0, by_purpose_usd={}
    )


@pytest.mark.parametrize(
    ("caps", "share"),
    [
        ({"trials_wanted": 10}, 0.3),
        ({"trials_wanted": None, "calls": 400}, 0.5),
        ({"trials_wanted": 10, "usd": 2.0}, 0.6),
        ({"trials_wanted": 10, "minutes": 2.5}, 0.4),
        ({"trials_wanted": None}, 0.0),
    ],
)
def test_the_nearest_cap_says_how_much_is_done_and_when_the_rest_will_be(caps: dict[str, float], share: float) -> None:
    limits = {"minutes": None, **caps}
    found = Progress(study="s", trials=3, study_calls=200, elapsed_s=60.0, stats=stats(200, 1.2), **limits)  # type: ignore[arg-type]
    assert (found.pace.share or 0.0) == pytest.approx(share)
    timed = "minutes" in caps
    assert found.pace.remaining_s == (
        None if share == 0 else pytest.approx(60 * (7 / 3 if timed else (1 - share) / share))
    )
    assert found.pace.remaining == {0.0: "", 0.3: "about 2:20 remaining", 0.4: "at most 1:30 remaining"}.get(
        share, found.pace.remaining
    )


def test_a_job_that_continues_counts_its_pace_from_where_it_began() -> None:
    found = Progress(
        study="s", trials_wanted=10, minutes=None, trials=6, elapsed_s=20.0, trials_before=4, stats=stats(9, 0.0)
    )
    assert found.pace.remaining_s == pytest.approx(20 * 0.4 / 0.2)


def test_the_line_has_no_number_of_trials_where_calls_or_money_decide() -> None:
    found = Progress(
        study="s", trials_wanted=None, minutes=None, calls=400, usd=1.0, study_calls=100, elapsed_s=30.0,
        stats=stats(40, 0.02), trials=5,
    )  # fmt: skip
    assert status_line(found).startswith("trials 5 · front 0 · calls 100 of 400 ·")
    assert " · spent $0.0200 of $1.00 · " in status_line(found) and "about 1:30 remaining" in status_line(found)


def test_a_small_space_ends_before_its_caps_and_the_holdout_follows() -> None:
    """A job of three candidates said "about 81:50 remaining", by its cap of calls alone."""
    found = Progress(
        study="s", trials_wanted=20, minutes=None, calls=4_000, study_calls=60, runs=60, elapsed_s=60.0,
        stats=stats(60, 0.0), search_left=90, holdout_left=200,
    )  # fmt: skip
    assert found.pace.remaining_s == pytest.approx(90 + 200)
    assert found.pace.share == pytest.approx(60 / 350)


def test_on_the_holdout_the_candidate_that_is_running_says_how_long_the_rest_takes() -> None:
    """It said "about 0:15 remaining" for more than a minute: the cap on trials knows nothing of the holdout."""
    found = Progress(
        study="s", trials_wanted=20, trials=20, minutes=None, runs=510, elapsed_s=180.0, stats=stats(510, 0.0),
        phase="holdout", done=10, of=100, begun_s=160.0, search_left=0, holdout_left=90,
    )  # fmt: skip
    assert found.pace.remaining_s == pytest.approx(90 * 20 / 10)
    assert found.pace.share == pytest.approx(180 / 360)
    assert replace(found, calls=600, study_calls=590).pace.remaining_s == pytest.approx(180 * 10 / 590)


def test_a_running_job_counts_what_is_left_down_to_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answered_by(monkeypatch, FunctionTransport(reply_to))
    told: list[Progress] = []
    space = write_space(tmp_path, search={"sampler": "random", "trials": 30})
    run_job(space, tmp_path, observer=told.append)
    searching = [one.search_left for one in told if one.phase == "search" and one.search_left is not None]
    assert searching and searching == sorted(searching, reverse=True)
    held = [one.holdout_left for one in told if one.phase == "holdout"]
    assert held == sorted(held, reverse=True) and held[0] > 0 and held[-1] == 0


@pytest.mark.parametrize(
    "caps", [{"calls": 60}, {"usd": 0.02}, {"minutes": 4.0}, {"trials": 5}], ids=lambda caps: next(iter(caps))
)
def test_the_pages_say_what_the_terminal_says_whatever_stated_the_cap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caps: dict[str, float]
) -> None:
    """The pages knew the caps of the space file alone, and counted a continued study from its first run on."""
    answered_by(monkeypatch, FunctionTransport(reply_to))
    monkeypatch.setattr("offramp.search.progress.RECORDED_EVERY_S", 0.0)
    space = write_space(tmp_path, search={"sampler": "random", "trials": 30})
    run_job(space, tmp_path, calls=30)  # a first run, which the next one continues
    told: list[tuple[Progress, StudyRow]] = []

    def look(progress: Progress) -> None:
        with open_store(lookup.default_storage(tmp_path), write_probe=False) as store:
            told.append((progress, StudyStore(store).get(progress.study)))

    result = run_job(space, tmp_path, observer=look, **{"calls": None, **caps})
    for progress, row in told:
        assert row.details.run is not None
        assert pace_of(row, now=dt.datetime.fromisoformat(row.details.run.at)) == progress.pace
    with open_store(lookup.default_storage(tmp_path), write_probe=False) as store:
        assert StudyStore(store).get(result.report.study).details.run is None
