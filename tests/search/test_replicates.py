"""Examples that are run several times: what is asked again, what it comes to, and what it takes."""

import json
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import replace
from statistics import fmean

import pytest
from test_search_killed import Jobs, books_balance, same_study

from offramp.calls.failures import ServerFailed
from offramp.job.clock import Timing
from offramp.records import Split
from offramp.store.engine import open_store
from offramp.store.results import ResultStore
from offramp.study.lookup import pareto
from offramp.testing.fakes import FunctionTransport
from search_jobs import PRICES, Straggling, api, at_once, essence, main, sampled_reply, write_space

SPLITS = {"train": 6, "search": 24, "holdout": 16}
JOB = {"count": 60, "splits": SPLITS, "replicates": 3}


def run(folder, *, answer=sampled_reply, transport=None, trials=5, limits=None, **changes):
    """One run of the landscape with sampled answers, and what was sent."""
    space, sent = write_space(folder, **{**JOB, **changes}), transport or FunctionTransport(answer)
    timing = Timing(sleep=at_once)
    return api.optimize(space, results=folder, transport=sent, timing=timing, trials=trials, **(limits or {})), sent


def results_of(folder, study, split=Split.SEARCH):
    with open_store(f"sqlite:///{folder}/offramp.db") as store:
        return ResultStore(store).all(study, split)


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    folder = tmp_path_factory.mktemp("job")
    result, sent = run(folder)
    return folder, result.report, sent


def numbers_of(sent):
    """By model, instruction, example and temperature: how often it was asked."""
    found = Counter()
    for request in sent.requests:
        text = request.messages[-1]["content"].split()[1]
        found[request.model.name, request.messages[0]["content"], text, request.params.get("temperature")] += 1
    return found


def test_sampled_answers_are_asked_for_as_often_as_the_file_says_and_others_once(job):
    folder, report, sent = job
    assert set(Counter(request.hash for request in sent.requests).values()) == {1}
    for (*_, temperature), count in numbers_of(sent).items():
        assert count == 1 if temperature == 0 else count in (1, 3)
    found, runs = results_of(folder, report.study), Counter()
    for member in report.members:
        cold = member.params.get("temperature") == 0
        for result in found[member.candidate].values():
            assert (result.replicates is None) == cold
            runs[cold, len(result.runs)] += 1
        several = {len(result.runs) for result in found[member.candidate].values()}
        assert several == {1} if cold else 3 in several
    assert runs[False, 3] > 30


def test_the_score_cost_and_time_of_an_example_are_means_of_its_runs_and_calls_are_all_of_them(job):
    folder, report, _ = job
    found = results_of(folder, report.study)
    seen = 0
    for member in report.members:
        price = PRICES[member.params["model"]]
        for result in found[member.candidate].values():
            if result.replicates is None or len(result.replicates) == 1:
                continue
            seen += 1
            assert result.score == fmean(run.score for run in result.replicates)
            assert result.latency_s == pytest.approx(fmean(run.latency_s for run in result.replicates))
            assert [run.calls + run.cached_calls for run in result.replicates] == [1, 1, 1]
            assert result.calls + result.cached_calls == 3
            usd = fmean(
                (run.usage.input_tokens * price["input_usd"] + run.usage.output_tokens * price["output_usd"]) / 1e6
                for run in result.replicates
            )
            assert result.cost_usd == pytest.approx(usd, rel=1e-12)
        costs = [result.cost_usd for result in found[member.candidate].values()]
        assert member.cost_usd == pytest.approx(fmean(costs), rel=1e-9)  # priced by tokens when it is read
        assert member.quality == pytest.approx(fmean(r.score for r in found[member.candidate].values()))
    assert seen > 30


def test_the_holdout_of_the_incumbent_and_of_the_recommended_candidate_is_run_as_often(job):
    folder, report, _ = job
    held = results_of(folder, report.study, Split.HOLDOUT)
    for member in (report.incumbent, report.recommended):
        runs = Counter(len(result.runs) for result in held[member.candidate].values())
        always_right = member.search.within_variance == 0
        assert runs == ({3: 10, 1: 6} if always_right else {3: 16})


def test_verify_runs_the_rest_of_the_front_as_often(tmp_path):
    result, _ = run(tmp_path, trials=3, verify={"front": False}, params={"temperature": 0.5, "max_tokens": 16})
    held = {m.candidate for m in result.report.members if m.holdout is not None}
    transport = FunctionTransport(sampled_reply)
    verified = api.verify(
        result.report.study, results=tmp_path, transport=transport, timing=Timing(sleep=at_once), probe=0
    )
    new = [m for m in verified.report.front if m.candidate not in held]
    for member in verified.report.front:
        assert member.holdout.n == 16 and member.holdout.n_runs in (36, 48)
    assert len(transport.requests) == sum(member.holdout.n_runs for member in new)
    assert new or {m.candidate for m in verified.report.front} <= held


def test_what_was_paid_is_every_run(job):
    folder, _, sent = job
    with closing(sqlite3.connect(folder / "offramp.db")) as db:
        [(calls, spent)] = db.execute("SELECT calls, spent_nano FROM offramp_purses").fetchall()
        rows = db.execute("SELECT model, input_tokens, output_tokens FROM offramp_calls").fetchall()
    assert calls == len(sent.requests) == len(rows)
    usd = sum(i * PRICES[m]["input_usd"] + o * PRICES[m]["output_usd"] for m, i, o in rows) / 1e6
    assert spent / 1e9 == pytest.approx(usd, abs=1e-8 * len(rows))


def test_the_report_and_json_say_how_often_examples_were_run_and_how_much_the_runs_differ(job, tmp_path, capsys):
    folder, report, _ = job
    found = report.to_json()
    assert found["replicates"] == 3
    sampled = [member for member in found["front"] if "n_runs" in member]
    assert all(24 < member["n_runs"] <= 72 and 0 <= member["within_sd"] <= 0.71 for member in sampled)
    assert found["incumbent"]["n_runs"] == 72 and found["incumbent"]["within_sd"] > 0.2
    assert any("24 examples run 72 times in all" in note for note in found["incumbent"]["notes"])
    assert found["incumbent"]["holdout"]["n_runs"] == 48
    stored = pareto(report.study, storage=f"sqlite:///{folder}/offramp.db").to_json()
    assert stored["incumbent"] == found["incumbent"]
    assert main(["pareto", report.study, "--storage", f"sqlite:///{folder}/offramp.db"]) == 0
    assert "examples run" in capsys.readouterr().out


def test_without_replicates_nothing_is_asked_or_said_otherwise(tmp_path):
    one, sent = run(tmp_path / "one", replicates=None, trials=3)
    same, _ = run(tmp_path / "same", replicates=1, trials=3)
    assert essence(one) == essence(same)
    assert {request.replicate for request in sent.requests} == {0}
    text = json.dumps(api.result_json(one))
    assert "n_runs" not in text and "replicates" not in text
    assert all(
        r.replicates is None for rs in results_of(tmp_path / "one", one.report.study).values() for r in rs.values()
    )


def test_another_number_of_replicates_is_another_study_that_reuses_the_first_answers(tmp_path):
    first, sent = run(tmp_path, replicates=None, trials=2)
    third, more = run(tmp_path, trials=2)
    assert third.report.study != first.report.study
    assert not {request.hash for request in sent.requests} & {request.hash for request in more.requests}


def test_where_the_runs_of_the_pilot_agree_the_rest_is_run_once(tmp_path):
    result, _ = run(
        tmp_path, answer=lambda request: replace(sampled_reply(replace(request, replicate=0)), latency_s=0.1),
        params={"temperature": 0.5, "max_tokens": 16},
    )  # fmt: skip
    for member in result.report.members:
        counts = Counter(len(r.runs) for r in results_of(tmp_path, result.report.study)[member.candidate].values())
        assert counts == {3: 10, 1: 14}
        assert member.search.within_variance == 0
    assert result.report.incumbent.holdout.n_runs == 30 + 6


def test_a_stated_seed_is_another_one_for_each_run_of_an_example(tmp_path):
    _, sent = run(tmp_path, params={"temperature": 0.5, "seed": 5, "max_tokens": 16}, trials=3)
    seeds = {(request.replicate, request.params["seed"]) for request in sent.requests}
    assert seeds == {(0, 5), (1, 6), (2, 7)}


@pytest.mark.parametrize("cap", [260, 500])
def test_a_cap_on_calls_holds_and_leaves_room_for_every_run_of_the_holdout(tmp_path, cap):
    result, sent = run(tmp_path, limits={"calls": cap}, params={"temperature": 0.5, "max_tokens": 16})
    assert len(sent.requests) <= cap
    report = result.report
    assert report.incumbent.holdout.n_runs == 48
    assert report.recommended.holdout is not None and report.recommended.holdout.n_runs in (36, 48)
    for member in report.members:  # a member is run as often as the file says
        assert member.search.n == 24 and member.search.n_runs >= 44
    if cap == 500:
        assert len(report.members) > 1


def test_a_cap_on_money_holds_and_leaves_room_for_every_run_of_the_holdout(tmp_path):
    whole, _ = run(tmp_path / "whole")
    cap = whole.spent_usd / 2
    result, _ = run(tmp_path / "half", limits={"usd": cap})
    assert result.spent_usd <= cap
    assert result.report.recommended.holdout.n == 16


def test_a_run_that_the_infrastructure_failed_is_made_again_and_the_others_are_kept(tmp_path):
    failing = {"left": 3}

    def answer(request):
        if request.replicate == 2 and failing["left"] > 0:
            failing["left"] -= 1
            return ServerFailed("503")
        return sampled_reply(request)

    result, _ = run(
        tmp_path, answer=answer, calls={"attempts": 1}, trials=3, params={"temperature": 0.5, "max_tokens": 16}
    )
    assert failing["left"] == 0
    assert result.report.incumbent.search.n_runs == 72
    clean, _ = run(tmp_path / "clean", calls={"attempts": 1}, trials=3, params={"temperature": 0.5, "max_tokens": 16})
    assert essence(result) == essence(clean)


def test_a_run_that_never_succeeds_leaves_the_mean_of_the_others_and_is_asked_for_by_the_next_job(tmp_path):
    broken = {"on": True}

    def answer(request):
        if request.replicate == 1 and "case 01" in request.messages[-1]["content"] and broken["on"]:
            return ServerFailed("503")
        return sampled_reply(request)

    changes = {"answer": answer, "trials": 1, "calls": {"attempts": 1, "max_failed_share": 1.0}}
    first, _ = run(tmp_path, **changes)
    found = results_of(tmp_path, first.report.study)[first.report.incumbent.candidate]
    lacking = {name for name, result in found.items() if len(result.runs) == 2}
    assert lacking and all(result.score == fmean(r.score for r in result.runs) for result in found.values())
    broken["on"] = False
    again, sent = run(tmp_path, **changes)
    assert {request.replicate for request in sent.requests} == {1}
    assert again.report.incumbent.search.n_runs == 72


# ------------------------------------------------------------------------------- the same, whatever happens


KILLED = {
    "count": 50, "splits": {"train": 4, "search": 13, "holdout": 4}, "replicates": 3,
    "search": {"sampler": "random", "trials": 5, "concurrency": 2, "wave": 8},
    "params": {"temperature": {"choices": [0.0, 0.5]}, "max_tokens": 16},
}  # fmt: skip


@pytest.fixture(scope="module")
def killed_space(tmp_path_factory):
    return write_space(tmp_path_factory.mktemp("killed"), **KILLED)


@pytest.fixture(scope="module")
def whole(killed_space, tmp_path_factory):
    jobs = Jobs(tmp_path_factory.mktemp("whole"), killed_space, reply=sampled_reply)
    assert jobs.run()
    return jobs


@pytest.mark.parametrize("share", [0.3, 0.55, 0.8])
def test_a_job_with_replicates_that_was_killed_ends_with_the_same_study_and_pays_for_no_answer_twice(
    tmp_path, killed_space, whole, share
):
    jobs = Jobs(tmp_path, killed_space, reply=sampled_reply)
    assert not jobs.run(commits=1 + int(share * (whole.result["commits"] - 1)))
    before, had = len(jobs.sent()), jobs.answered()
    assert jobs.run()
    assert not had & set(jobs.sent()[before:])
    same_study(jobs, whole)
    books_balance(jobs, kills=1, in_flight=4)
    waves = "SELECT number, content FROM offramp_waves ORDER BY number"
    assert jobs.read(waves) == whole.read(waves)
    assert any('"purpose":"again"' in content for _, content in whole.read(waves))


def test_the_order_of_replies_changes_nothing(tmp_path, killed_space, whole):
    jobs = Jobs(tmp_path, killed_space, reply=sampled_reply)
    transport = Straggling(1, reply=sampled_reply)
    result = api.optimize(killed_space, results=tmp_path, transport=transport, timing=Timing(sleep=at_once))
    assert essence(api.result_json(result)) == essence(whole.result)
    waves = "SELECT number, content FROM offramp_waves ORDER BY number"
    assert jobs.read(waves) == whole.read(waves)
