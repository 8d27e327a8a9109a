"""Verification of a study: who is scored, from which budget, and that a probe times what it says."""

import json
from collections import Counter
from statistics import fmean

import pytest
from click.testing import CliRunner
from judged import bill, graded_reply, judged_space
from scipy.stats import binom

from offramp.cli.main import offramp
from offramp.errors import UsageError
from offramp.records import CallReply, Purpose, Split, Usage
from offramp.search import api
from offramp.search.holdout.probe import WARM_UP
from offramp.store.budget import Budget
from offramp.store.engine import open_store
from offramp.store.results import ProbeStore, ResultStore
from offramp.testing.fakes import FunctionTransport
from search_jobs import answered_by, finished_job, reply_to, run_job, wire, write_space

GRID = {"sampler": "grid", "trials": 99, "concurrency": 2}
SPLITS = {"train": 4, "search": 12, "holdout": 8}


@pytest.fixture
def transport(monkeypatch):
    transport = FunctionTransport(reply_to)
    answered_by(monkeypatch, transport)
    return transport


@pytest.fixture
def job(tmp_path, transport):
    """A study of which only the incumbent and the recommended candidate were scored on the holdout."""
    return tmp_path, finished_job(tmp_path, search=GRID, splits=SPLITS, verify={"front": False}).report


def verified(study, **asked):
    return api.verify(study, **wire(), **asked)


def storage(folder):
    return open_store(f"sqlite:///{folder / 'offramp.db'}")


def held(folder, study):
    with storage(folder) as store:
        return {c: len(found) for c, found in ResultStore(store).all(study, Split.HOLDOUT).items()}


def test_the_whole_front_is_scored_and_what_is_there_is_not_run_again(job, transport):
    folder, report = job
    before = held(folder, report.study)
    done = verified(report.study, results=folder, probe=0)
    standing = {m.candidate for m in report.front} | {report.incumbent.candidate}
    assert held(folder, report.study) == dict.fromkeys(standing, 8)
    assert done.calls + done.cached_calls == 8 * (len(standing) - len(before))
    assert all(m.holdout is not None and m.on_holdout_front is not None for m in done.report.front)
    assert done.stopped is None
    again = verified(report.study, results=folder, probe=0)
    assert (again.calls, again.cached_calls, again.plan.runs) == (0, 0, 0)


def test_what_the_search_found_and_spent_does_not_change(job):
    folder, report = job
    with storage(folder) as store:
        before = Budget(store, report.study, None, None).state().spent_usd
    done = verified(report.study, results=folder, probe=3)
    assert [m.candidate for m in done.report.front] == [m.candidate for m in report.front]
    assert [m.quality for m in done.report.members] == [m.quality for m in report.members]
    assert done.report.recommended.candidate == report.recommended.candidate
    with storage(folder) as store:
        assert Budget(store, report.study, None, None).state().spent_usd == before
        assert Budget(store, f"{report.study}:verify", None, None).state().spent_usd == pytest.approx(done.spent_usd)
    assert done.spent_usd > 0


def test_a_probe_asks_anew_in_turns_after_a_warm_up(job, transport):
    folder, report = job
    verified(report.study, results=folder, probe=0)
    transport.requests.clear()
    done = verified(report.study, results=folder, probe=5)
    probes = [r for r in transport.requests if r.purpose is Purpose.PROBE]
    arms = len(done.plan.members)
    assert len(transport.requests) == len(probes) == arms * (5 + WARM_UP)
    order = [(r.model.name, r.messages[0]["content"]) for r in probes]
    turns = [order[i : i + arms] for i in range(0, len(order), arms)]
    assert all(turn == turns[0] for turn in turns)
    with storage(folder) as store:
        found = ProbeStore(store).all(report.study)
    assert {c: len(p.latencies_s) for c, p in found.items()} == {m.candidate: 5 for m in done.plan.members}


def test_a_probe_s_numbers_are_those_of_its_runs_with_intervals(job, monkeypatch):
    """Every candidate takes 0.01 to 0.8 s, each time once: the rank of a run is then its time in hundredths."""
    folder, report = job
    runs = Counter()

    def answer(request):
        name = (request.model.name, request.messages[0]["content"], str(request.params))
        runs[name] += request.purpose is Purpose.PROBE
        return reply(request, 0.01 * max(1, runs[name] - WARM_UP))

    answered_by(monkeypatch, FunctionTransport(answer))
    done = verified(report.study, results=folder, probe=80)
    for member in done.report.front:
        probe = member.probe
        assert (probe.n, probe.p50_s, probe.p95_s) == (80, pytest.approx(0.405), pytest.approx(0.7605))
        for q, low, high in ((0.5, probe.p50_low_s, probe.p50_high_s), (0.95, probe.p95_low_s, probe.p95_high_s)):
            ranks = round(100 * low), round(100 * high)
            assert binom.cdf(ranks[0] - 2, 80, q) <= 0.025 <= binom.cdf(ranks[0] + 1, 80, q)
            assert binom.sf(ranks[1], 80, q) <= 0.025 <= binom.sf(ranks[1] - 3, 80, q)
    values = json.loads(command(folder, "pareto", report.study, "--json"))
    assert values["front"][0]["probe"]["p50_s"] == done.report.front[0].probe.p50_s


def reply(request, latency_s):
    return CallReply(
        text=reply_to(request).text, finish_reason="stop", usage=Usage(input_tokens=9), latency_s=latency_s
    )


def test_few_timed_runs_have_no_upper_end_of_p95(job):
    done = verified(job[1].study, results=job[0], probe=10)
    assert all(m.probe.p95_high_s is None and m.probe.p50_high_s is not None for m in done.report.front)


def test_a_cap_ends_it_keeps_what_was_paid_for_and_more_continues(job):
    folder, report = job
    done = verified(report.study, results=folder, probe=0, calls=5)
    assert done.stopped == "budget_calls"
    assert done.calls <= 5
    assert sum(m.holdout is not None for m in done.report.front) < len(report.front)
    assert {m.holdout.n for m in done.report.front if m.holdout is not None} <= {8}
    rest = verified(report.study, results=folder, probe=0, calls=500)
    assert rest.stopped is None
    assert all(m.holdout is not None for m in rest.report.front)


def test_the_purse_is_stated_before_a_call(job, transport):
    plans = []
    done = verified(job[1].study, results=job[0], probe=2, started=lambda p: plans.append((p, len(transport.requests))))
    (plan, sent), *_ = plans
    assert sent == 0
    assert plan.cap_usd >= plan.expected_usd > 0
    assert done.spent_usd <= plan.cap_usd


def test_the_purse_has_room_for_the_longest_answer_of_the_last_request(tmp_path, transport):
    """Without `max_tokens` a request is reserved with 4096 tokens, many times what the whole verification costs."""
    space = write_space(tmp_path, search=GRID, splits=SPLITS, verify={"front": False}, params={"temperature": 0.0})
    study = run_job(space, tmp_path).report.study
    done = verified(study, results=tmp_path, probe=2)
    assert done.stopped is None
    assert done.spent_usd <= done.plan.expected_usd * 1.2 < done.plan.cap_usd


def test_a_judge_is_in_what_a_verification_is_expected_to_cost(tmp_path, monkeypatch):
    transport = FunctionTransport(graded_reply)
    answered_by(monkeypatch, transport)
    study = run_job(judged_space(tmp_path), tmp_path).report.study
    graded = [bill(r) for r in transport.requests if r.purpose is Purpose.JUDGE]
    transport.requests.clear()
    done = verified(study, results=tmp_path, probe=0)
    runs = len(done.plan.members) - 2  # the incumbent and the recommended candidate have their verdict
    assert runs > 0 and done.stopped is None
    costs = [m.cost_usd for m in done.plan.members[2:]]
    assert done.plan.expected_usd == pytest.approx(6 * (sum(costs) + runs * fmean(graded)))
    assert done.spent_usd == pytest.approx(sum(map(bill, transport.requests)), abs=1e-9)
    assert done.spent_usd <= done.plan.cap_usd < 2 * done.plan.expected_usd


def test_a_job_scores_the_rest_of_its_front_and_probes_where_its_space_file_says_so(tmp_path, transport):
    space = write_space(tmp_path, search=GRID, splits=SPLITS, verify={"front": True, "probe": 3})
    result = run_job(space, tmp_path)
    assert all(m.holdout.n == 8 and m.probe.n == 3 for m in result.report.front)
    sent = len(transport.requests)
    assert Counter(r.purpose for r in transport.requests)[Purpose.PROBE] > 0
    again = run_job(space, tmp_path)
    assert (len(transport.requests), again.calls) == (sent, 0)


def test_what_is_measured_after_the_search_is_no_part_of_a_study_s_identity(tmp_path, transport):
    one = run_job(write_space(tmp_path, verify={"front": False}), tmp_path).report
    other = run_job(write_space(tmp_path, verify={"front": True, "probe": 1}), tmp_path).report
    assert one.study == other.study


def test_a_cap_takes_the_rest_of_the_front_and_not_the_verdict(tmp_path, transport):
    space = write_space(tmp_path, search=GRID, splits=SPLITS, budget={"calls": 12 * 3 + 16})
    result = run_job(space, tmp_path)
    assert result.report.incumbent.holdout.n == 8
    assert result.report.recommended.holdout.n == 8
    assert result.error is None


def test_data_that_has_changed_is_refused_before_a_call(job, transport):
    folder, report = job
    (folder / "rows.jsonl").write_text((folder / "rows.jsonl").read_text().replace("case 003", "another"))
    with pytest.raises(UsageError, match="have changed"):
        verified(report.study, results=folder)
    assert transport.requests == []


@pytest.mark.parametrize("asked", [{"usd": -1.0}, {"calls": 0}, {"minutes": float("nan")}])
def test_a_purse_that_cannot_be_is_refused(job, asked):
    with pytest.raises(UsageError, match="above 0"):
        verified(job[1].study, results=job[0], **asked)


# ---------------------------------------------------------------------------------------------------- the command


def command(folder, *args):
    result = CliRunner().invoke(offramp, [*args, "--results", str(folder)], obj=wire())
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_command_says_what_it_did_as_text_and_json(job):
    folder, report = job
    plan = json.loads(command(folder, "verify", report.study, "--dry-run", "--json"))
    assert plan["candidates"][0] == report.incumbent.candidate
    values = json.loads(command(folder, "verify", report.study, "--probe", "2", "--json"))
    assert values["verification"]["stopped"] is None
    assert values["verification"]["calls"] > 0
    assert all(m["holdout"]["n"] == 8 and m["probe"]["n"] == 2 for m in values["front"])
    assert "Verification: complete." in command(folder, "verify", report.study, "--probe", "0")


def test_a_verification_that_its_budget_ended_says_so_first(job):
    """The first line said "finished" of a verification that had made no call."""
    folder, report = job
    out = command(folder, "verify", report.study, "--probe", "0", "--budget-usd", "0.000001")
    assert out.startswith("Verification: not complete: the cap on money is reached") and "0 calls" in out.split("\n")[0]
    assert out.count("Verification:") == 1
