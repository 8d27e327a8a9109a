"""What a running job says of how far it is."""

from __future__ import annotations

import pytest

from offramp.calls.attempts import CallStats
from offramp.cli.live import status_line
from offramp.search.progress import Progress


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
    assert found.share_done == pytest.approx(share)
    expected = None if share == 0 else pytest.approx(60 * (1 - share) / share)
    assert found.remaining_s == expected


def test_a_job_that_continues_counts_its_pace_from_where_it_began() -> None:
    found = Progress(
        study="s", trials_wanted=10, minutes=None, trials=6, elapsed_s=20.0, done_before=0.4, stats=stats(9, 0.0)
    )
    assert found.remaining_s == pytest.approx(20 * 0.4 / 0.2)


def test_the_line_has_no_number_of_trials_where_calls_or_money_decide() -> None:
    found = Progress(
        study="s", trials_wanted=None, minutes=None, calls=400, usd=1.0, study_calls=100, elapsed_s=30.0,
        stats=stats(40, 0.02), trials=5,
    )  # fmt: skip
    assert status_line(found).startswith("trials 5 · front 0 · calls 100 of 400 ·")
    assert " · spent $0.0200 of $1.00 · " in status_line(found) and "about 1:30 remaining" in status_line(found)
