"""Candidates that lack scores are ranked, limited and compared by numbers that their missing rows cannot improve."""

import json
import random
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from offramp.calls.failures import RequestRejected
from offramp.cli.main import offramp
from offramp.records import Objective, Result, ResultState, Usage
from offramp.review.study_source import StudySource
from offramp.space.model import ConstraintsPart
from offramp.store.aggregates import RowNumbers, aggregate_of
from offramp.store.engine import open_store
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
from offramp.study.study_report import member_json
from offramp.study.wording import number, points
from offramp.testing.fakes import FunctionTransport
from search_jobs import LABELS, answered_by, reply_to, run_job, write_space

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
    rows = CommonRows(numbers)
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
    whole = random_rows(rng, size)
    found = study({"today": whole, "lacking": dropped(rng, whole)}, size)
    lacking, model = found["lacking"], found["today"]
    own = lacking.search
    assert model.common is None
    assert lacking.quality <= model.quality + 1e-9 and lacking.quality <= own.quality
    assert lacking.cost_usd >= model.cost_usd * (1 - 1e-9) and lacking.cost_usd >= own.cost_usd
    for name in LATENCIES:
        ours, theirs = lacking.ranked.latency_s(name), model.ranked.latency_s(name)
        assert ours >= theirs * (1 - 1e-9) and ours >= own.latency_s(name)
    assert lacking.utility <= model.utility + 1e-9
    assert recommend(front_of(list(found.values()), OBJECTIVES)).candidate != "lacking"
    assert not any(key in str(prove(lacking, model, [], size).gains) for key in ("cheaper", "faster"))


@pytest.mark.parametrize("seed", range(60))
def test_the_numbers_are_those_of_a_plain_computation(seed):
    """By hand: own value, times the mean ratio of a complete candidate's value on all rows to that on these."""
    rng = random.Random(seed)
    size = rng.randint(4, 30)
    whole = {f"w{i}": random_rows(rng, size) for i in range(rng.randint(1, 4))}
    own = dropped(rng, random_rows(rng, size))
    found = study({**whole, "lacking": own}, size)["lacking"].ranked
    easier, ratios = [], {name: [] for name in ("cost", *LATENCIES)}
    for rows in whole.values():
        part = {e: r for e, r in rows.items() if e in own}
        easier.append(np.mean([r.score for r in part.values()]) - np.mean([r.score for r in rows.values()]))
        for name in ratios:
            of, get = LATENCIES.get(name, np.mean), "cost_usd" if name == "cost" else "latency_s"
            values = [of([getattr(r, get) for r in some.values()]) for some in (rows, part)]
            ratios[name].append(values[0] / values[1])
    easier, ratios = max(0.0, np.mean(easier)), {name: max(1.0, np.mean(found)) for name, found in ratios.items()}
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


def test_a_row_that_nobody_answered_says_nothing_of_anybody():
    numbers = {
        name: {f"e{i}": RowNumbers(score=1.0, cost_usd=0.01, latency_s=1.0) for i in range(9)}
        for name in ("today", "x")
    }
    found = study(numbers, 10)["x"]
    assert (found.quality, found.cost_usd, found.latency_s) == (1.0, 0.01, 1.0)


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
    found = with_holdout(members, SCORING, scores, CommonRows(numbers))
    assert found["today"].on_holdout_front and found["x"].held.cost_usd == pytest.approx(found["today"].held.cost_usd)
    assert found["x"].holdout.cost_usd < 0.002  # as measured


# --------------------------------------------------------------------------------------------- a study from end to end


@pytest.fixture
def ran(tmp_path, monkeypatch):
    """Runs a job in which `large`, whose provider rejects the long rows, costs what `small` does on all others."""

    def run(skill="small", *, named=True, **constraints):
        def reply(request):
            number = int(str(request.messages[-1]["content"]).split()[1])
            if number % 20 == 0 and request.model.name == "large":
                raise RequestRejected("invalid image in this row")
            model = "small" if request.model.name == "small" else skill
            found = reply_to(replace(request, model=replace(request.model, name=model)))
            return replace(found, usage=Usage(input_tokens=100 if number % 20 else 5000, output_tokens=1))

        answered_by(monkeypatch, FunctionTransport(reply))
        price = {"input_usd": 1.0, "output_usd": 1.0}
        address = "http://127.0.0.1:9/v1"
        models = [
            {"name": n, "route": f"openai/{n}", "api_base": address, "price": price} for n in ("small", "large")
        ]  # fmt: skip
        rows = [
            {
                "id": f"e{i:03}",
                "message": f"case {i:03}",
                "label": LABELS[i % 3],
                "part": "search" if i < 40 else "hold",
            }
            for i in range(140)
        ]
        space = write_space(
            tmp_path, models=models, incumbent={"model": "small", "instruction": "clear"}, params={"max_tokens": 16},
            instructions={"clear": "Clear."}, constraints=constraints, search={"trials": 2, "race": None},
            splits={"column": "part", "train": [], "search": ["search"], "holdout": ["hold"]},
        )  # fmt: skip
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return run_job(space, tmp_path).report.study if named else run_job(space, tmp_path).report

    return run


def test_a_model_is_not_recommended_for_failing_on_the_long_rows(tmp_path, ran):
    """It was called 3.4 times cheaper, and promoted, although it costs and answers the same on every row of both."""
    study = ran()
    report = lookup.pareto(study, results=tmp_path)
    members = {m.params["model"]: m for m in report.members}
    large, small = members["large"], members["small"]
    assert large.search.n_failed and large.search.cost_usd < 0.8 * small.cost_usd
    assert large.cost_usd == pytest.approx(small.cost_usd) and large.utility <= small.utility
    assert report.recommended.candidate == small.candidate and report.headline() == "Keep what runs today."
    proof = report.proof(large)
    assert proof.gains == ()
    shown = CliRunner().invoke(offramp, ["pareto", study, "--all", "--results", str(tmp_path)])
    n, size = large.search.n, large.search.n + large.search.n_failed
    assert f"{size - n} of {size} search examples have no score: its numbers are as on all" in " ".join(
        shown.output.split()
    )


def printed(*arguments):
    return " ".join(CliRunner().invoke(offramp, list(arguments)).output.split())


def test_both_qualities_of_a_sentence_are_of_the_rows_that_both_have(tmp_path, ran):
    """It said `quality 0.863 on 95 examples; the incumbent has 0.870 (+0.0 points)`: neither gives the difference."""
    report = lookup.pareto(ran("large"), results=tmp_path)
    best, today = report.recommended, report.incumbent
    assert best.params["model"] == "large" and (best.holdout.n, today.holdout.n) == (95, 100)
    one = best.against_incumbent
    said = printed("pareto", report.study, "--results", str(tmp_path))
    assert (
        f"Holdout: quality {number(one.quality_a)} on 95 examples the search never saw and both have a score for; the "
        f"incumbent has {number(one.quality_b)} ({points(one.difference)} points"
    ) in said
    assert one.quality_b != today.holdout.quality
    with open_store(f"sqlite:///{tmp_path / 'offramp.db'}") as store:
        tile, cost, _ = StudySource(store, report.study).decision(best.candidate).tiles
    assert (tile.now, tile.before) == (
        number(one.quality_a),
        number(one.quality_b),
    ) and "95 examples of both" in tile.name
    assert cost.now == cost.before and cost.change is None and "38 examples of both" in cost.name


def test_json_and_csv_have_the_numbers_that_decide_and_beside_them_those_of_its_own_rows(tmp_path, ran):
    study = ran()
    (large,) = [m for m in lookup.pareto(study, results=tmp_path).members if m.params["model"] == "large"]
    found = member_json(large)
    assert found["cost_usd"] == large.cost_usd > 3 * found["own_rows"]["cost_usd"]
    assert (found["n"], found["n_failed"]) == (38, 2)
    today = member_json(lookup.pareto(study, results=tmp_path).incumbent)
    assert "own_rows" not in today and today["cost_usd"] == pytest.approx(found["cost_usd"])
    assert (
        printed("pareto", study, "--results", str(tmp_path), "--pick", "under:usd=0.0002").count("nothing. None of")
        == 1
    )


def test_the_gate_does_not_let_it_through_for_lacking_the_rows_that_break_a_limit(tmp_path, ran, monkeypatch):
    """The limit on costs was held against 95 of 100 rows, without the five that cost fifty times as much."""
    monkeypatch.chdir(tmp_path)
    study = ran("large", cost_usd_max=0.0002)
    place = ["--results", str(tmp_path), "--dry-run"]
    refused = CliRunner().invoke(offramp, ["promote", study, *place]).exception
    assert refused.reasons == ("cost_usd is 0.000346, above the limit of 0.0002",)
    forced = json.loads(
        CliRunner().invoke(offramp, ["promote", study, *place, "--force", "--why", "a test", "--json"]).output
    )
    holdout = forced["promotion"]["evidence"]["holdout"]
    assert (holdout["n"], holdout["n_failed"]) == (95, 5) and holdout["cost_usd"] == pytest.approx(0.000346)


def test_a_running_job_says_the_same_as_its_study_afterwards(tmp_path, ran):
    """The job recommended what the stored study did not: it had no numbers example by example."""
    report = ran(named=False)
    assert report.headline() == "Keep what runs today."
    assert report.to_json() == replace(lookup.pareto(report.study, results=tmp_path), money=report.money).to_json()
