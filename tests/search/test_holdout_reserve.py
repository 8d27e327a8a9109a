"""What a search reserves of its caps for the holdout: judge, retries, waiting and the last reservation included.

Bills are functions of the request, so that what a job may spend can be added up by hand.
"""

import asyncio
import json
import multiprocessing
import os
import re
import threading
from dataclasses import replace
from statistics import fmean

import pytest
from judged import GRID, JUDGED, bill, graded_reply, is_right, judged_space

from offramp.calls.estimate import worst_usd
from offramp.calls.failures import RateLimited, Unauthorized
from offramp.errors import ModelError
from offramp.evaluate.evaluator import TooManyFailures
from offramp.job.clock import Clock, Timing
from offramp.records import CallRequest, Model, Purpose
from offramp.search import api
from offramp.search.holdout.reserve import Pace
from offramp.store.budget import Budget, read_budget
from offramp.store.engine import open_store
from offramp.testing.fakes import FunctionTransport
from offramp.testing.server import ScriptedServer, ServerReply
from search_jobs import Naps, answered_by, run_job

FORK = multiprocessing.get_context("fork")


class Caps:
    """The caps of the budget as the job goes on: one for each example, by phase."""

    def __init__(self, folder):
        self.folder, self.usd, self.calls = folder, {}, {}

    def __call__(self, progress):
        with open_store(f"sqlite:///{self.folder / 'offramp.db'}", write_probe=False) as store:
            state = read_budget(store, progress.study)
        self.usd.setdefault((progress.phase, progress.trials), []).append(state.cap_usd)
        self.calls.setdefault((progress.phase, progress.trials), []).append(state.cap_calls)


@pytest.fixture
def transport(monkeypatch):
    transport = FunctionTransport(graded_reply)
    answered_by(monkeypatch, transport)
    return transport


def is_whole(result, examples=6):
    """Whether the verdict was given on all of the holdout, for the incumbent and for the recommended one."""
    report = result.report
    chosen = {m.candidate: m.holdout for m in (report.incumbent, report.recommended)}
    return all(held is not None and held.n == examples for held in chosen.values())


def of(requests, purpose):
    return [bill(request) for request in requests if request.purpose is purpose]


def of_program(requests):
    return [request for request in requests if request.purpose is Purpose.PROGRAM]


def by_large(request):
    """What a request is expected to cost of the most expensive model, before that was asked."""
    return bill(replace(request, model=replace(request.model, name="large")))


# ----------------------------------------------------------------------------------------------------------- money


@pytest.mark.parametrize("usd", [0.147, 0.159])
def test_a_judge_does_not_spend_what_the_verdict_needs(tmp_path, transport, usd):
    result = run_job(judged_space(tmp_path), tmp_path, usd=usd)
    assert result.report.stop_reason == "budget_usd" and result.error is None
    assert is_whole(result)
    assert sum(map(bill, transport.requests)) == pytest.approx(result.spent_usd, abs=1e-9)
    assert result.spent_usd <= usd


def test_what_is_reserved_is_the_holdout_evaluation_with_its_judge_a_fifth_more_and_one_reservation(
    tmp_path, transport
):
    caps = Caps(tmp_path)
    run_job(judged_space(tmp_path), tmp_path, usd=1.0, observer=caps)
    first = transport.requests[:20]  # the incumbent on ten examples, each graded once
    a_run, grading = (fmean(of(first, purpose)) for purpose in (Purpose.PROGRAM, Purpose.JUDGE))
    graded = [r for r in first if r.purpose is Purpose.JUDGE and is_right(r.messages[-1]["content"])]
    reservation = max(worst_usd(request, 60.0) for request in graded)
    kept = 1.2 * 6 * (a_run + fmean(map(by_large, of_program(first))) + 2 * grading) + reservation
    assert caps.usd["search", 0] == [1.0] * 10
    assert caps.usd["search", 1][1] == pytest.approx(1.0 - kept, abs=1e-8)
    assert set(caps.usd["holdout", 13]) == {1.0}


def test_a_judge_that_was_never_asked_is_reserved_by_its_bound(tmp_path, transport):
    run_job(judged_space(tmp_path), tmp_path)
    caps = Caps(tmp_path)
    run_job(judged_space(tmp_path), tmp_path, usd=1.0, seed=5, observer=caps)  # every answer is in the ledger
    judged = [r for r in transport.requests if r.purpose is Purpose.JUDGE and is_right(r.messages[-1]["content"])]
    programs = of_program(transport.requests[:20])
    both = fmean(map(bill, programs)) + fmean(map(by_large, programs))
    bound = max(worst_usd(request, 60.0) for request in judged)
    assert caps.usd["search", 1][1] == pytest.approx(1.0 - 1.2 * 6 * (both + 2 * bound) - bound, abs=1e-4)


def test_two_judges_on_one_model_are_two_requests(tmp_path, transport):
    mix = {"kind": "mix", "parts": [{**JUDGED, "name": n, "rubric": f"The label fits, {n}."} for n in ("one", "two")]}
    caps = Caps(tmp_path)
    result = run_job(judged_space(tmp_path, metric=mix), tmp_path, calls=200, observer=caps)
    assert caps.calls["search", 1][1] == 200 - 2 * 6 * 3
    assert result.report.stop_reason == "budget_calls" and is_whole(result)


def test_a_candidate_whose_verdict_cannot_be_paid_is_not_brought_to_its_end(tmp_path, transport):
    """It would be recommended, and nothing would be left to score it on the holdout."""
    space = judged_space(tmp_path, metric={"kind": "exact", "field": "label"}, params={"max_tokens": 16},
                         instructions={"clear": "Clear."}, incumbent={"model": "small"}, search={**GRID, "trials": 2})  # fmt: skip
    run_job(space, tmp_path / "free")
    cheap, dear = (fmean(bill(r) for r in transport.requests if r.model.name == name) for name in ("small", "large"))
    for shortage in (0.0, 0.5, 0.8):
        usd = 16 * cheap + (16 - 6 * shortage) * dear
        result = run_job(space, tmp_path / str(shortage), usd=usd)
        assert all(m.holdout.n == 6 for m in (result.report.incumbent, result.report.recommended)), shortage
        assert result.spent_usd <= usd


@pytest.mark.parametrize("usd", [0.003, 0.02])
def test_a_cap_smaller_than_the_verdict_is_not_passed_and_is_no_failure(tmp_path, transport, usd):
    result = run_job(judged_space(tmp_path), tmp_path, usd=usd)
    assert result.error is None and result.report.stop_reason == "budget_usd"
    assert sum(map(bill, transport.requests)) == pytest.approx(result.spent_usd, abs=1e-9)
    assert result.spent_usd <= usd


def test_a_job_that_stopped_continues_with_what_was_reserved(tmp_path, monkeypatch):
    gone = [30]

    def reply(request):
        gone[0] -= 1
        return Unauthorized("revoked") if gone[0] == 0 else graded_reply(request)

    transport = FunctionTransport(reply)
    answered_by(monkeypatch, transport)
    space = judged_space(tmp_path)
    stopped = run_job(space, tmp_path, usd=0.15)
    assert isinstance(stopped.error, Unauthorized)
    dies = FORK.Process(target=reserve_and_die, args=(tmp_path, stopped.report.study, 0.004))
    dies.start()
    dies.join()
    caps = Caps(tmp_path)
    result = run_job(space, tmp_path, usd=0.15, observer=caps)
    assert result.report.stop_reason == "budget_usd" and is_whole(result)
    money = result.report.money
    assert money.assumed_usd == pytest.approx(0.004) and money.spent_usd <= 0.15
    answered = [*transport.requests[:29], *transport.requests[30:]]
    assert money.spent_usd - money.assumed_usd == pytest.approx(sum(map(bill, answered)), abs=1e-9)
    assert max(cap for (phase, _), found in caps.usd.items() for cap in found if phase == "search") < 0.1


def test_what_the_incumbent_has_of_its_holdout_evaluation_is_not_reserved_again(tmp_path, transport):
    space, caps, again = judged_space(tmp_path), Caps(tmp_path), Caps(tmp_path)
    first = run_job(space, tmp_path, calls=140, observer=caps)
    assert is_whole(first)
    more = run_job(space, tmp_path, calls=160, observer=again)
    searched = {cap for (phase, _), found in again.calls.items() for cap in found if phase == "search"}
    assert caps.calls["search", 1][1] == 140 - 2 * 12 and 160 - 12 in searched
    assert more.report.trials > first.report.trials and is_whole(more)


def reserve_and_die(folder, study, usd):
    """What kill -9 leaves of a request that is out."""
    with open_store(f"sqlite:///{folder / 'offramp.db'}") as store:
        Budget(store, study, 0.15, None).reserve(usd)
        os._exit(0)


# ----------------------------------------------------------------------------------------------------------- calls


@pytest.mark.parametrize("calls", [140, 190])
def test_a_judge_that_is_asked_twice_takes_no_call_of_the_verdict(tmp_path, monkeypatch, calls):
    """Its first reply cannot be read, so that a run takes three calls and not two."""

    def reply(request):
        if request.purpose is Purpose.JUDGE and request.replicate == 0:
            return replace(graded_reply(request), text="Well.")
        return graded_reply(request)

    transport = FunctionTransport(reply)
    answered_by(monkeypatch, transport)
    result = run_job(judged_space(tmp_path), tmp_path, calls=calls)
    assert result.report.stop_reason == "budget_calls" and is_whole(result)
    assert len(transport.requests) == result.calls <= calls


@pytest.mark.parametrize("calls", [140, 180])
def test_attempts_in_vain_take_no_call_of_the_verdict(tmp_path, monkeypatch, calls):
    seen = set()

    def reply(request):
        if request.hash not in seen and int(request.hash, 16) % 2:
            seen.add(request.hash)
            return RateLimited("slow down", retry_after_s=7.0)
        return graded_reply(request)

    transport, naps = FunctionTransport(reply), Naps()
    answered_by(monkeypatch, transport, sleep=naps.sleep, now=naps.clock)
    result = run_job(judged_space(tmp_path), tmp_path, calls=calls)
    assert seen and result.report.stop_reason == "budget_calls" and is_whole(result)
    assert len(transport.requests) == result.calls <= calls


def test_over_http_with_a_provider_that_says_when_to_come_back_the_cap_and_the_verdict_hold(tmp_path, monkeypatch):
    seen, billed, lock = set(), [], threading.Lock()

    def script(body):
        model = Model(name=body["model"], route="")
        request = CallRequest(model=model, messages=tuple(body["messages"]), params={}, purpose=purpose_of(body))
        key = json.dumps(body, sort_keys=True)
        with lock:
            if key not in seen and len(seen) % 5 == 0:
                seen.add(key)
                return ServerReply(status=429, text="slow down", headers={"Retry-After": "7"})
            seen.add(key)
            billed.append(bill(request))
        reply = graded_reply(request)
        tokens = {"prompt_tokens": reply.usage.input_tokens, "completion_tokens": reply.usage.output_tokens}
        return ServerReply(text=reply.text, usage=tokens)

    naps = Naps()
    answered_by(monkeypatch, None, sleep=naps.sleep, now=naps.clock)
    with ScriptedServer(script) as server:
        result = run_job(judged_space(tmp_path, base=server.url), tmp_path, usd=0.155)
    assert result.report.stop_reason == "budget_usd" and is_whole(result)
    assert max(naps.wanted) >= 7
    assert sum(billed) == pytest.approx(result.spent_usd, abs=1e-9)
    assert result.spent_usd <= 0.155


def purpose_of(body):
    return Purpose.JUDGE if body["model"] == "judge" else Purpose.PROGRAM


# ------------------------------------------------------------------------------------------------------------ time


class Now:
    """A clock that moves when a request is answered or somebody sleeps."""

    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds

    async def sleep(self, seconds):
        self.seconds += seconds
        await asyncio.sleep(0)


@pytest.mark.parametrize("minutes", [1.0, 1.4])
def test_time_that_a_provider_makes_everybody_wait_is_reserved_too(tmp_path, monkeypatch, minutes):
    """Replies take 0.2 s, but the provider lets through two a second: by their own seconds the verdict is short."""
    now = Now()

    def reply(request):
        now.seconds += 0.5
        return graded_reply(request)

    answered_by(monkeypatch, FunctionTransport(reply), sleep=now.sleep, now=now)
    result = run_job(judged_space(tmp_path), tmp_path, minutes=minutes)
    assert result.report.stop_reason == "minutes" and is_whole(result)
    assert now.seconds <= 60 * minutes


def test_spells_without_an_attempt_say_nothing_of_the_pace():
    """A job whose answers are all in the ledger is not kept waiting for its first attempt's sake."""
    now = Now()
    pace = Pace(Clock(minutes=1, timing=Timing(now=now)), 10)
    for seconds, sent, attempt_s in ((5, 10, 0), (3, 13, 1), (100, 13, 1), (5, 14, 2)):
        now.seconds += seconds
        pace.mark(sent)
        assert pace.attempt_s == attempt_s


def timed(tmp_path, monkeypatch, seconds_of):
    """A clock that only requests move, by what their model takes, and a job of two candidates on it."""
    now = Now()

    def reply(request):
        seconds = seconds_of(request.model.name)
        now.seconds += seconds
        return replace(graded_reply(request), latency_s=seconds)

    answered_by(monkeypatch, FunctionTransport(reply), sleep=now.sleep, now=now)
    return now, judged_space(tmp_path, metric={"kind": "exact", "field": "label"}, params={"max_tokens": 16},
                             instructions={"clear": "Clear."}, incumbent={"model": "small"},
                             search={**GRID, "trials": 2, "concurrency": 1})  # fmt: skip


def test_a_candidate_whose_verdict_would_come_too_late_is_not_brought_to_its_end(tmp_path, monkeypatch):
    """Ten runs of the slow one take ten seconds, and its verdict six more."""
    now, space = timed(tmp_path, monkeypatch, lambda model: 1.0 if model == "large" else 0.1)
    for seconds in (13.0, 16.0, 18.0, 20.5):
        now.seconds = 0.0
        result = run_job(space, tmp_path / str(seconds), minutes=seconds / 60)
        for member in (result.report.incumbent, result.report.recommended):
            assert member.holdout is not None and member.holdout.n == 6, seconds
        assert now.seconds <= seconds + 1.0, "a run that has begun comes back"
    assert is_whole(result)


def test_a_first_run_that_reads_a_cold_prompt_does_not_end_the_search(tmp_path, monkeypatch):
    first = iter([6.0])
    _, space = timed(tmp_path, monkeypatch, lambda model: next(first, 0.1) if model == "large" else 0.1)
    result = run_job(space, tmp_path, minutes=11 / 60)
    assert result.report.trials == 2 and result.report.stop_reason != "minutes" and is_whole(result)


# --------------------------------------------------------------------------------------------------------- trouble


def test_a_judge_that_gives_no_grade_ends_the_job_within_its_cap(tmp_path, monkeypatch):
    def reply(request):
        return replace(graded_reply(request), text="Well." if request.purpose is Purpose.JUDGE else "billing")

    transport = FunctionTransport(reply)
    answered_by(monkeypatch, transport)
    result = run_job(judged_space(tmp_path), tmp_path, usd=0.05)
    assert isinstance(result.error, TooManyFailures) and "could not be read" in str(result.error)
    assert sum(map(bill, transport.requests)) == pytest.approx(result.spent_usd, abs=1e-9)
    assert result.spent_usd <= 0.05


def test_a_cap_in_dollars_with_a_model_of_unknown_price_is_refused_before_anything_is_written(tmp_path, transport):
    space = unpriced(judged_space(tmp_path / "space", objectives={"cost": None, "latency": None}))
    with pytest.raises(ModelError, match=r"the price of 'judge' is not known.* or drop the cap in USD.$"):
        run_job(space, tmp_path / "results", usd=1.0)
    assert not (tmp_path / "results" / "offramp.db").exists() and transport.requests == []


def test_where_no_dollar_is_capped_an_unknown_price_keeps_calls_back_and_leaves_verifying_to_them(tmp_path, transport):
    space = unpriced(judged_space(tmp_path, objectives={"cost": None, "latency": None}))
    result = run_job(space, tmp_path, calls=100)
    assert result.report.stop_reason == "budget_calls" and is_whole(result)
    plan = api.plan_verify(result.report.study, results=tmp_path, probe=4)
    timed = sum(
        m.candidate in (result.report.incumbent.candidate, result.report.recommended.candidate) for m in plan.members
    )
    assert plan.expected_usd is None and plan.cap_usd is None
    assert plan.cap_calls == 1.5 * (6 * len(plan.members) + 12 * (len(plan.members) - timed))
    with pytest.raises(ModelError, match="the cap in USD"):
        api.plan_verify(result.report.study, results=tmp_path, usd=1.0)


def unpriced(space):
    """The same space with a judge of unknown price."""
    text = space.read_text()
    start = text.index("- name: judge")
    space.write_text(text[:start] + re.sub(r"  price:\n(    .*\n)+", "", text[start:], count=1))
    return space
