"""The member that is recommended from part of the search examples, where a search ended before the rest were run."""

from dataclasses import replace

import pytest

from offramp.records import Aggregate, Objective
from offramp.space.model import ConstraintsPart
from offramp.study.domain.likely import estimate_json, likely_members
from offramp.study.domain.members import ScoringContext, expected, front_of, member_of, recommend, with_finalist

OBJECTIVES = (Objective(name="quality", weight=1.0, scale=(0.0, 1.0)),)
SCORING = ScoringContext(objectives=OBJECTIVES, constraints=ConstraintsPart(), prices={}, incumbent="today")


class Row:
    """As much of a candidate's row as an estimate needs."""

    def __init__(self, name, mean, *, n=24, sd=0.05):
        self.id, self.params, self.sent = name, {"model": name}, {}
        kept = estimate_json(n=n, of=60, trust=0.9, mean={"quality": mean}, sd={"quality": sd})
        self.origin = {"estimate": kept}


def complete(name, quality, *, n_fault=0, scoring=SCORING):
    search = Aggregate(n=60, n_fault=n_fault, n_failed=0, quality=quality, quality_low=0.1, quality_high=0.9)
    return member_of(name, {"model": name}, search, scoring)


def unfinished(name, mean, *, own=0.5, n_fault=0, scoring=SCORING):
    (likely,) = likely_members([Row(name, mean)], scoring.objectives)
    search = Aggregate(n=24, n_fault=n_fault, n_failed=0, quality=own, quality_low=0.1, quality_high=0.9)
    return expected(member_of(name, {"model": name}, search, scoring), likely, scoring)


def test_the_one_expected_ahead_of_all_complete_members_is_recommended():
    found = with_finalist(
        [complete("today", 0.3), complete("b", 0.4)], [unfinished("x", 0.45), unfinished("y", 0.5)], OBJECTIVES
    )
    assert [m.candidate for m in found] == ["today", "b", "y"]
    best = recommend(front_of(found, OBJECTIVES))
    assert best.candidate == "y" and best.estimate.n == 24
    assert best.quality == best.value("quality") == best.utility == 0.5  # expected, not the mean of its own 24 runs
    assert (best.ranked.quality_low, best.ranked.quality_high) == pytest.approx((0.5 - 1.96 * 0.05, 0.5 + 1.96 * 0.05))


@pytest.mark.parametrize("mean", [0.2, 0.4])
def test_a_complete_member_that_is_as_good_is_recommended(mean):
    found = with_finalist([complete("today", 0.3), complete("b", 0.4)], [unfinished("x", mean)], OBJECTIVES)
    assert all(m.estimate is None for m in found)


def test_an_infeasible_complete_member_keeps_nobody_out():
    scoring = replace(SCORING, constraints=ConstraintsPart(quality_min=0.35))
    found = with_finalist(
        [complete("b", 0.3, scoring=scoring)], [unfinished("x", 0.4, own=0.2, scoring=scoring)], OBJECTIVES
    )
    assert [m.candidate for m in found] == ["b", "x"]


@pytest.mark.parametrize("broken", ["limit", "unreadable"])
def test_one_that_breaks_a_limit_or_cannot_be_read_is_not_recommended(broken):
    scoring = replace(SCORING, constraints=ConstraintsPart(quality_min=0.45 if broken == "limit" else None))
    one = unfinished("x", 0.4, own=0.9, n_fault=24 if broken == "unreadable" else 0, scoring=scoring)
    assert [m.candidate for m in with_finalist([complete("today", 0.3)], [one], OBJECTIVES)] == ["today"]


def test_without_a_complete_member_the_best_estimate_is_recommended():
    assert [m.candidate for m in with_finalist([], [unfinished("x", 0.2), unfinished("y", 0.3)], OBJECTIVES)] == ["y"]
