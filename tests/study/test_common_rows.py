"""Candidates that lack scores are ranked, limited and compared by numbers that their missing rows cannot improve."""

import random
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from offramp.calls.failures import RequestRejected
from offramp.cli.main import offramp
from offramp.records import Objective, Result, ResultState, Usage
from offramp.space.model import ConstraintsPart
from offramp.store.aggregates import RowNumbers, aggregate_of
from offramp.study import lookup
from offramp.study.domain.common_rows import CommonRows
from offramp.study.domain.members import (
    ScoringContext,
    beside,
    front_of,
    member_of,
    on_common_rows,
    recommend,
    with_holdout,
)
from offramp.study.proof import prove
from offramp.testing.fakes import FunctionTransport
from search_jobs import answered_by, reply_to, run_job, write_space

OBJECTIVES = (
    Objective(name="quality", weight=0.5, scale=(0.0, 1.0)),
    Objective(name="cost", weight=0.3, scale=(0.05, 0.0)),
    Objective(name="latency", weight=0.2, statistic="p95", scale=(50.0, 0.0)),
)
SCORING = ScoringContext(objectives=OBJECTIVES, constraints=ConstraintsPart(), prices={}, incumbent="today")
LATENCIES = {"mean": np.mean, **{f"p{q}": lambda v, q=q: np.percentile(v, q) for q in (50, 90, 95)}}


def aggregate(rows, size):
    """What these rows (example to numbers) of `size` examples come to."""
    found = [
        Result(candidate="c", example=e, state=ResultState.SCORED, score=r.score, cost_usd=r.cost_usd, latency_s=r.latency_s)
        for e, r in rows.items()
    ]  # fmt: skip
    failed = ResultState.INFRASTRUCTURE_ERROR
    found += [
        Result(candidate="c", example=f"lost{i}", state=failed, score=None, cost_usd=None, latency_s=None)
        for i in range(size - len(rows))
    ]  # fmt: skip
    return aggregate_of(found)


def study(numbers, size, scoring=SCORING):
    """The members with the numbers that they are compared by."""
    rows = CommonRows(numbers, size)
    members = [member_of(name, {"model": name}, aggregate(own, size), scoring) for name, own in numbers.items()]
    found = beside(on_common_rows(members, rows, scoring), rows, scoring.incumbent)
    return {member.candidate: member for member in found}


def random_rows(rng, size):
    """One candidate on all examples; few of them are long, and cost and take many times as much."""
    base, speed, good = rng.uniform(0.001, 0.01), rng.uniform(0.1, 2.0), rng.random()
    found = {}
    for i in range(size):
        long = rng.choice([1, 1, 1, rng.uniform(5, 60)])
        score = float(rng.random() < good) if rng.random() < 0.7 else rng.random()
        found[f"e{i}"] = RowNumbers(score=score, cost_usd=base * long, latency_s=speed * long * rng.uniform(0.8, 1.2))
    return found


def dropped(rng, rows):
    """The rows without the expensive ones, or without the bad ones, or without any."""
    key = rng.choice([lambda r: -r.cost_usd, lambda r: r.score, lambda r: -r.latency_s, lambda r: rng.random()])
    order = sorted(rows, key=lambda e: key(rows[e]))
    return {e: rows[e] for e in order[rng.randint(1, len(rows) // 2) :]}


@pytest.mark.parametrize("seed", range(150))
def test_nobody_gains_by_lacking_rows(seed):
    """Equal on the rows that both have, and only one has all: that one is as good in every number, and is ahead."""
    rng = random.Random(seed)
    size = rng.randint(4, 40)
    whole = {"today": random_rows(rng, size), **{f"w{i}": random_rows(rng, size) for i in range(rng.randint(0, 4))}}
    twin = rng.choice(list(whole))
    numbers = {**whole, "lacking": dropped(rng, whole[twin])}
    found = study(numbers, size)
    lacking, model = found["lacking"], found[twin]
    own = lacking.search
    assert model.common is None
    assert lacking.quality <= model.quality + 1e-9 and lacking.quality <= own.quality
    assert lacking.cost_usd >= model.cost_usd * (1 - 1e-9) and lacking.cost_usd >= own.cost_usd
    for name in LATENCIES:
        ours, theirs = lacking.ranked.latency_s(name), model.ranked.latency_s(name)
        assert ours >= theirs * (1 - 1e-9) and ours >= own.latency_s(name)
    assert lacking.utility <= model.utility + 1e-9
    assert recommend(front_of(list(found.values()), OBJECTIVES)).candidate != "lacking"
    assert not any(key in str(prove(lacking, found["today"], [], size).gains) for key in ("cheaper", "faster")) or (
        twin != "today"
    )


@pytest.mark.parametrize("seed", range(60))
def test_the_numbers_are_those_of_a_plain_computation(seed):
    """By hand: own value, times the largest ratio of a complete candidate's value on all rows to that on these."""
    rng = random.Random(seed)
    size = rng.randint(4, 30)
    whole = {f"w{i}": random_rows(rng, size) for i in range(rng.randint(1, 4))}
    own = dropped(rng, random_rows(rng, size))
    found = study({**whole, "lacking": own}, size)["lacking"].ranked
    easier, ratios = 0.0, dict.fromkeys(("cost", *LATENCIES), 1.0)
    for rows in whole.values():
        part = {e: r for e, r in rows.items() if e in own}
        easier = max(easier, np.mean([r.score for r in part.values()]) - np.mean([r.score for r in rows.values()]))
        for name in ratios:
            of, get = LATENCIES.get(name, np.mean), "cost_usd" if name == "cost" else "latency_s"
            values = [of([getattr(r, get) for r in some.values()]) for some in (rows, part)]
            ratios[name] = max(ratios[name], values[0] / values[1])
    mean = np.mean([r.score for r in own.values()])
    assert found.quality == pytest.approx(max(0.0, mean - easier), abs=1e-9)
    assert found.cost_usd == pytest.approx(np.mean([r.cost_usd for r in own.values()]) * ratios["cost"])
    for name, of in LATENCIES.items():
        assert found.latency_s(name) == pytest.approx(of([r.latency_s for r in own.values()]) * ratios[name])


def test_where_nobody_answered_all_two_that_are_equal_on_common_rows_come_to_the_same_cost():
    """One lacks the long row A and one the long row B: who lacks the longer one was cheaper by that."""
    rows = {f"e{i}": RowNumbers(score=1.0, cost_usd=0.001, latency_s=1.0) for i in range(8)}
    rows |= {
        "A": RowNumbers(score=1.0, cost_usd=0.5, latency_s=9.0),
        "B": RowNumbers(score=1.0, cost_usd=0.1, latency_s=3.0),
    }
    numbers = {"today": {e: r for e, r in rows.items() if e != "A"}, "x": {e: r for e, r in rows.items() if e != "B"}}
    found = study(numbers, 10)
    assert found["today"].search.cost_usd < found["x"].search.cost_usd
    assert found["today"].cost_usd == pytest.approx(found["x"].cost_usd)
    assert found["today"].quality == found["x"].quality == pytest.approx(0.9)  # what is missing counts as lost


def test_a_row_that_nobody_answered_counts_as_lost_and_costs_nobody_more():
    numbers = {
        name: {f"e{i}": RowNumbers(score=1.0, cost_usd=0.01, latency_s=1.0) for i in range(9)}
        for name in ("today", "x")
    }
    found = study(numbers, 10)["x"]
    assert (found.quality, found.cost_usd, found.latency_s) == (pytest.approx(0.9), 0.01, 1.0)


def test_what_is_free_on_its_own_rows_costs_what_the_others_pay_on_the_rest():
    whole = {f"e{i}": RowNumbers(score=1.0, cost_usd=0.0 if i else 1.0, latency_s=0.0 if i else 2.0) for i in range(4)}
    found = study({"today": whole, "x": {e: r for e, r in whole.items() if e != "e0"}}, 4)
    assert found["x"].cost_usd == pytest.approx(0.25) == found["today"].cost_usd
    assert found["x"].ranked.latency_mean_s == pytest.approx(0.5)


def test_unknown_costs_stay_unknown():
    whole = {f"e{i}": RowNumbers(score=1.0, cost_usd=None, latency_s=None) for i in range(4)}
    found = study({"today": whole, "x": {e: r for e, r in whole.items() if e != "e0"}}, 4)["x"]
    assert found.cost_usd is None and found.latency_s is None and found.utility is None


LONG = {"long": RowNumbers(score=1.0, cost_usd=0.05, latency_s=5.0)}
SHORT = {f"e{i}": RowNumbers(score=float(i > 1), cost_usd=0.001, latency_s=1.0) for i in range(9)}


@pytest.mark.parametrize(("limit", "most"), [("cost_usd_max", 0.002), ("latency_p95_s_max", 2.0)])
def test_a_limit_is_not_kept_by_lacking_the_rows_that_break_it(limit, most):
    scoring = replace(SCORING, constraints=ConstraintsPart(**{limit: most}))
    found = study({"today": SHORT | LONG, "x": SHORT}, 10, scoring)
    assert not found["today"].feasible and not found["x"].feasible
    assert [broken.limit for broken in found["x"].breaks] == [limit]


def test_a_least_quality_is_not_kept_by_lacking_the_rows_that_are_wrong():
    scoring = replace(SCORING, constraints=ConstraintsPart(quality_min=0.85))
    good = {e: r for e, r in SHORT.items() if r.score}
    found = study({"today": SHORT | LONG, "x": good | LONG}, 10, scoring)
    assert not found["x"].feasible and found["x"].search.quality == 1.0


def test_gains_are_of_the_rows_that_both_have():
    """It was called 5.5 times cheaper, for lack of the one long row."""
    found = study({"today": SHORT | LONG, "x": SHORT}, 10)
    assert found["x"].search.cost_usd < found["today"].cost_usd / 5
    assert prove(found["x"], found["today"], [], 10).gains == ()
    half = {e: replace(r, cost_usd=r.cost_usd / 2) for e, r in SHORT.items()}
    halved = study({"today": SHORT | LONG, "x": half}, 10)
    assert prove(halved["x"], halved["today"], [], 10).gains == ("2.0× cheaper",)


def test_nobody_is_off_the_front_of_the_holdout_for_having_answered_the_long_rows():
    numbers = {"today": SHORT | LONG, "x": SHORT}
    members = [
        member_of(name, {"model": name}, aggregate(SHORT | LONG, 10), SCORING, holdout=aggregate(own, 10))
        for name, own in numbers.items()
    ]
    scores = {name: {e: r.score for e, r in own.items()} for name, own in numbers.items()}
    found = with_holdout(members, SCORING, scores, CommonRows(numbers, 10))
    assert found["today"].on_holdout_front and found["x"].held.cost_usd == pytest.approx(found["today"].held.cost_usd)
    assert found["x"].holdout.cost_usd < 0.002  # as measured


# --------------------------------------------------------------------------------------------- a study from end to end


@pytest.fixture
def job(tmp_path, monkeypatch):
    """`large` answers as `small` does, and its provider rejects the long rows, which `small` answers."""

    def reply(request):
        user = str(request.messages[-1]["content"])
        long = sum(map(ord, user)) % 12 == 0
        if long and request.model.name == "large":
            raise RequestRejected("invalid image in this row")
        found = reply_to(replace(request, model=replace(request.model, name="small")))
        return replace(found, usage=Usage(input_tokens=5000 if long else 100, output_tokens=1))

    answered_by(monkeypatch, FunctionTransport(reply))
    price = {"input_usd": 1.0, "output_usd": 1.0}
    models = [
        {"name": name, "route": f"openai/{name}", "api_base": "http://127.0.0.1:1/v1", "price": price}
        for name in ("small", "large")
    ]
    space = write_space(
        tmp_path, models=models, incumbent={"model": "small"}, instructions={"i": "Answer."}, count=160,
        splits={"train": 4, "search": 50, "holdout": 100}, objectives={"latency": None},
        constraints={}, search={"trials": 2, "race": None},
    )  # fmt: skip
    return run_job(space, tmp_path)


def test_a_model_is_not_recommended_for_failing_on_the_long_rows(tmp_path, job):
    """It was called 3.4 times cheaper, and promoted, although it costs and answers the same on every row of both."""
    report = lookup.pareto(job.report.study, results=tmp_path)
    members = {m.params["model"]: m for m in report.members}
    large, small = members["large"], members["small"]
    assert large.search.n_failed and large.search.cost_usd < 0.8 * small.cost_usd
    assert large.cost_usd == pytest.approx(small.cost_usd) and large.utility <= small.utility
    assert report.recommended.candidate == small.candidate and report.headline() == "Keep what runs today."
    proof = report.proof(large)
    assert proof.gains == ()
    shown = CliRunner().invoke(offramp, ["pareto", job.report.study, "--all", "--results", str(tmp_path)])
    n, size = large.search.n, large.search.n + large.search.n_failed
    assert f"{size - n} of {size} search examples have no score: its numbers are as on all" in " ".join(
        shown.output.split()
    )
