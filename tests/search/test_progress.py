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
from offramp.store.budget import read_budget
from offramp.store.candidates import CandidateStore
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


@pytest.mark.parametrize(
    "caps", [{"calls": 60}, {"usd": 0.02}, {"minutes": 4.0}, {"trials": 5}], ids=lambda caps: next(iter(caps))
)
def test_the_pages_say_what_the_terminal_says_whatever_stated_the_cap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caps: dict[str, float]
) -> None:
    """The pages knew the caps of the space file alone, and counted a continued study from its first run on."""
    answered_by(monkeypatch, FunctionTransport(reply_to))
    space = write_space(tmp_path, search={"sampler": "random", "trials": 30})
    run_job(space, tmp_path, calls=30)  # a first run, which the next one continues
    told: list[tuple[Progress, StudyRow]] = []

    def look(progress: Progress) -> None:
        with open_store(lookup.default_storage(tmp_path), write_probe=False) as store:
            told.append((progress, StudyStore(store).get(progress.study)))

    result = run_job(space, tmp_path, observer=look, **{"calls": None, **caps})
    last, row = told[-1]
    with open_store(lookup.default_storage(tmp_path), write_probe=False) as store:
        ended, budget = CandidateStore(store).ended(row.name), read_budget(store, row.name)
        minute = dt.datetime.fromisoformat(row.details.run.at) + dt.timedelta(seconds=60)
        shown = pace_of(store, row, ended, now=minute)
        assert StudyStore(store).get(result.report.study).details.run is None
    now = replace(last, trials=ended, study_calls=budget.calls, stats=stats(9, budget.spent_usd), elapsed_s=60.0)
    assert now.study_calls > now.calls_before > 0 and now.pace == shown and shown.share is not None
