"""What the list of studies says of each, and the order of examples in a comparison."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path

import pytest

from offramp.review.assets import render
from offramp.review.comparison_view import Filter
from offramp.review.index_page import HEIGHT, WIDTH, pace_of, sparkline, study_card
from offramp.review.study_source import StudySource
from offramp.store.engine import open_store
from offramp.store.studies import RunUnderWay, StudyStatus, StudyStore
from offramp.study import lookup
from offramp.study.domain.pace import Pace
from offramp.study.wording import number
from offramp.testing.fakes import FunctionTransport
from search_jobs import answered_by, reply_to, run_job, write_space

Study = tuple[Path, str]


def test_a_study_in_the_list_says_what_its_report_says(study: Study) -> None:
    folder, name = study
    told = lookup.pareto(name, results=folder)
    with open_store(lookup.default_storage(folder), write_probe=False) as store:
        card = study_card(store, StudyStore(store).get(name), ())
    assert (
        card.headline.split(" (")[0] == told.headline().split(" (")[0]
        and card.tried == told.trials
        and card.pace is None
    )
    assert card.quality == number(told.recommended.holdout.quality) and card.split == "holdout"
    assert card.spark.startswith("M2 ")


def test_candidates_that_a_cap_left_unfinished_are_counted_as_in_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list said "1 candidates" of a study whose report has 13."""
    answered_by(monkeypatch, FunctionTransport(reply_to))
    report = run_job(write_space(tmp_path), tmp_path, calls=40).report
    assert len(report.members) < report.trials
    with open_store(lookup.default_storage(tmp_path), write_probe=False) as store:
        card = study_card(store, StudyStore(store).get(report.study), ())
    page = render("index.html.j2", inline=False, cards=(card,), size=(WIDTH, HEIGHT))
    assert card.tried == report.trials and f", {report.trials} candidates" in page


@pytest.mark.parametrize("qualities", [[], [0.5], [0.0]])
def test_no_line_is_drawn_through_fewer_than_two_candidates(qualities: list[float]) -> None:
    assert sparkline(qualities) == ""


@pytest.mark.parametrize("qualities", [[0.5, 0.5], [0.0, 1.0], [1.0, 0.0, 0.5]])
def test_the_line_never_falls(qualities: list[float]) -> None:
    heights = [float(part.split("H")[0]) for part in sparkline(qualities).replace(" ", "V").split("V")[1:]]
    assert heights == sorted(heights, reverse=True) and heights


@pytest.mark.parametrize(
    ("share", "remaining", "words"),
    [
        (None, None, ""),
        (0.02, None, "2% done"),
        (0.5, 30.0, "50% done, about 0:30 remaining"),
        (0.5, 300.0, "about 5:00 rem"),
    ],
)
def test_how_far_a_study_is_in_words(share: float | None, remaining: float | None, words: str) -> None:
    assert words in Pace(share=share, remaining_s=remaining).words


def test_how_far_a_study_is_goes_on_from_what_its_run_last_told(hostile: Study) -> None:
    folder, name = hostile
    with open_store(lookup.default_storage(folder), write_probe=False) as store:
        row = StudyStore(store).get(name)
        assert pace_of(row) is None  # it has ended
        told = RunUnderWay(at="2026-11-28T10:00:00+00:00", share=0.5, remaining_s=30.0, most_s=None)
        running = replace(row, status=StudyStatus.RUNNING, details=replace(row.details, run=told))
        for seconds, left in ((0, 30.0), (20, 10.0), (60, 0.0)):
            now = dt.datetime(2026, 11, 28, 10, 0, tzinfo=dt.UTC) + dt.timedelta(seconds=seconds)
            assert pace_of(running, now=now) == Pace(share=0.5, remaining_s=left)


def test_what_changes_comes_before_what_stays_the_same(study: Study) -> None:
    """The worst came first: ten ties stood before the only win."""
    folder, name = study
    told = lookup.pareto(name, results=folder)
    with open_store(lookup.default_storage(folder), write_probe=False) as store:
        source = StudySource(store, name)
        for member in told.front[:3]:
            for one in (Filter(), Filter(most=4)):
                view = source.comparison(member.candidate, told.incumbent.candidate, one)
                outcomes = [example.outcome for example in view.examples]
                assert outcomes == [o for o in outcomes if o != "tie"] + ["tie"] * outcomes.count("tie")
                if {"win", "loss"} <= {pair.outcome for pair in view.found.pairs}:
                    assert set(outcomes[:2]) == {"win", "loss"}
