"""What goes with what, and how a study went: against values that are known beforehand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from offramp.records import Aggregate, Candidate, DemoKind, Objective, Price, Usage
from offramp.stats import explained_share
from offramp.store.candidates import CandidateRow, CandidateState
from offramp.store.results import CallCounts
from offramp.study.domain.importance import importances, tried
from offramp.study.domain.members import Member
from offramp.study.domain.trajectory import thinned, trajectory

OBJECTIVES = [Objective(name="quality", weight=1.0)]


def member(quality: float, **params: object) -> Member:
    return Member(
        candidate=str(sorted(params.items())), params=params, utility=None, feasible=True,
        search=Aggregate(n=10, n_fault=0, n_failed=0, quality=quality, cost_usd=0.1),
    )  # fmt: skip


def test_a_grouping_that_decides_explains_all_and_one_that_does_not_explains_about_nothing() -> None:
    rng = np.random.default_rng(0)
    groups = ["a", "b", "c"] * 100
    assert explained_share(groups, [ord(g) for g in groups]) == pytest.approx(1.0)
    shares = [explained_share(groups, rng.normal(size=300)) for _ in range(200)]
    assert float(np.mean(shares)) < 0.01
    half = [float(g == "a") + rng.normal(scale=np.sqrt(2 / 9)) for g in groups]
    assert explained_share(groups, half) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    ("groups", "values"), [([], []), (["a"], [1.0]), (["a", "b"], [1.0, 2.0]), (["a", "a", "b"], [1, 1, 1])]
)
def test_where_nothing_can_be_said_nothing_is(groups: list[str], values: list[float]) -> None:
    assert explained_share(groups, values) is None


def test_params_that_matter_come_first_and_constant_ones_not_at_all() -> None:
    members = [
        member(0.9 if model == "big" else 0.3, model=model, t=t, fixed=1)
        for model in ("big", "small")
        for t in (0.0, 0.5, 1.0)
    ]
    found = importances(tried(members, [], OBJECTIVES), OBJECTIVES)
    assert [item.param for item in found] == ["model", "t"]
    assert found[0].shares["quality"] == pytest.approx(1.0) and found[1].shares["quality"] == 0.0
    assert [(level.value, level.n) for level in found[0].levels] == [("big", 3), ("small", 3)]


def test_numbers_of_many_values_are_put_into_ranges() -> None:
    members = [member(t, t=t) for t in np.linspace(0, 1, 50).tolist()]
    (found,) = importances(tried(members, [], OBJECTIVES), OBJECTIVES)
    assert found.shares["quality"] > 0.9 and len(found.levels) == 5 and sum(level.n for level in found.levels) == 50


def stored(number: int, state: CandidateState = CandidateState.COMPLETE) -> CandidateRow:
    content = Candidate(
        params={}, model="m", module="predict", adapter="plain", constrained=False, instructions={"main": str(number)},
        demo_kind=DemoKind.NONE, demo_count=0, demo_seed=0, request_params={},
    )  # fmt: skip
    return CandidateRow(candidate=content, number=number, state=state)


def test_candidates_that_were_not_run_in_full_count_with_what_is_expected_of_them() -> None:
    """Otherwise a job with a cap says of every param that there were too few."""
    complete = [member(0.3, model="small", t=0.0)]
    origin = [{"expected": {"quality": q}} for q in (0.8, 0.9, 0.4)]
    params = [{"model": "big", "t": 0.0}, {"model": "big", "t": 1.0}, {"model": "small", "t": 1.0}]
    rows = [
        replace(row, origin=found, candidate=replace(row.candidate, params=chosen))
        for row, found, chosen in zip([stored(i) for i in range(3)], origin, params, strict=True)
    ]
    found = tried(complete, [*rows, stored(9)], OBJECTIVES)
    assert [one.expected for one in found] == [False, True, True, True]
    first, second = importances(found, OBJECTIVES)
    assert (first.param, [level.quality for level in first.levels]) == ("model", pytest.approx([0.85, 0.35]))
    assert first.shares["quality"] is not None and first.shares["quality"] > 0.9 and second.shares["quality"] == 0.0


def test_hypervolume_grows_with_the_front_alone_and_spend_with_every_physical_call() -> None:
    rows = [stored(0), stored(1), stored(2, CandidateState.STOPPED), stored(3)]
    qualities = {rows[0].id: 0.5, rows[1].id: 0.4, rows[2].id: 1.0, rows[3].id: 0.75}
    usage = Usage(input_tokens=10_000)
    price = Price(input_usd=1.0, output_usd=1.0)
    seen = {
        key: Aggregate(n=10, n_fault=0, n_failed=0, quality=q, usage=usage).priced(price)
        for key, q in qualities.items()
    }
    counts = {row.id: CallCounts(calls=10, cached_calls=0) for row in rows} | {
        rows[3].id: CallCounts(calls=5, cached_calls=5)
    }
    objectives = (Objective(name="quality", weight=1.0, scale=(0.0, 1.0)),)
    steps = trajectory(rows, seen, counts, objectives)
    assert [step.hypervolume for step in steps] == [0.5, 0.5, 0.5, 0.75]
    assert [step.calls for step in steps] == [10, 20, 30, 35]
    assert [step.spent_usd for step in steps] == pytest.approx([0.01, 0.02, 0.03, 0.035])
    assert thinned(steps * 1000)[-1] == steps[-1] and len(thinned(steps * 1000)) <= 401
