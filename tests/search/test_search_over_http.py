"""Whole jobs against a server on loopback that misbehaves: the real client, ledger, budget and retries in between.

The landscape is known, so that a clean run says what every other run has to find. A reply's bill is what its usage says;
the server keeps what it sent, and the budget has to come to the same sum.
"""

import threading
from collections import Counter

import pytest

from offramp.calls.failures import Unauthorized
from offramp.evaluate.evaluator import TooManyFailures
from offramp.job.resolve import resolve_job
from offramp.records import ResultState
from offramp.space.load import load_space
from offramp.store.engine import open_store
from offramp.store.results import ResultStore
from offramp.testing.server import ScriptedServer, ServerReply
from search_jobs import Naps, answered_by, essence, run_job, server_reply, usd_of, write_space


class Provider:
    """The landscape over HTTP, with trouble on request.

    Attributes:
        trouble: from (body, how many times this very request came before) to a reply, or None for a good one.
        sent: model and reply of each request, in order.
    """

    def __init__(self):
        self.trouble = lambda body, seen: None
        self.sent = []
        self._seen, self._lock = Counter(), threading.Lock()

    def __call__(self, body):
        with self._lock:
            key = (body["model"], str(body["messages"]), body.get("temperature"))
            reply = self.trouble(body, self._seen[key]) or server_reply(body)
            self._seen[key] += 1
            self.sent.append((body["model"], reply))
        return reply

    def sums(self):
        """What the provider bills for everything it sent."""
        return usd_of(self.sent)


def number_of(body):
    return int(body["messages"][-1]["content"].split()[1])


def number(example):
    return int(example.id[1:])


@pytest.fixture
def provider():
    return Provider()


@pytest.fixture
def server(provider):
    with ScriptedServer(provider) as server:
        yield server


@pytest.fixture
def naps(monkeypatch):
    """Seconds that the job wanted to wait, in order; it waits for none of them."""
    naps = Naps()
    answered_by(monkeypatch, None, sleep=naps.sleep, now=naps.clock)
    return naps.wanted


@pytest.fixture
def space(tmp_path, server):
    return space_for(tmp_path, server)


def space_for(folder, server, **changes):
    small = {"splits": {"train": 2, "search": 6, "holdout": 4}, "calls": {"timeout_s": 30, "attempts": 4}}
    search = {"sampler": "random", "trials": 4, "concurrency": 2}
    return write_space(folder, base=server.url, **{**small, "search": search, **changes})


def results_of(folder, study, split="search"):
    with open_store(f"sqlite:///{folder / 'offramp.db'}") as store:
        return [r for found in ResultStore(store).all(study, split).values() for r in found.values()]


def counts(result):
    return [(m.search.n, m.search.n_fault, m.search.n_failed) for m in result.report.members]


# --------------------------------------------------------------------------------------------------------- money


def test_usage_and_prices_add_up_to_the_cent(tmp_path, provider, space, naps):
    result = run_job(space, tmp_path)
    assert result.calls == len(provider.sent) and result.failed_calls == 0
    assert result.spent_usd == pytest.approx(provider.sums(), abs=1e-9)
    assert sum(result.spent_by_purpose_usd.values()) == pytest.approx(provider.sums(), abs=1e-9)
    assert result.report.money.assumed_usd == 0
    priced = sum(
        r.cost_usd for split in ("search", "holdout") for r in results_of(tmp_path, result.report.study, split)
    )
    assert priced == pytest.approx(provider.sums(), abs=1e-9)


def test_a_cap_in_dollars_is_never_passed(tmp_path, provider, space, naps):
    whole = run_job(space, tmp_path / "whole").spent_usd
    provider.sent.clear()
    result = run_job(space, tmp_path / "capped", usd=whole / 2)
    assert result.report.stop_reason == "budget_usd" and result.error is None
    assert provider.sums() == pytest.approx(result.spent_usd, abs=1e-9)
    assert 0 < provider.sums() <= whole / 2


def test_a_cap_in_calls_is_never_passed_and_counts_retries(tmp_path, provider, space, naps):
    provider.trouble = lambda body, seen: ServerReply(status=500) if seen == 0 and number_of(body) % 3 == 0 else None
    result = run_job(space, tmp_path, calls=25)
    assert result.report.stop_reason == "budget_calls"
    assert len(provider.sent) == result.calls <= 25


# ------------------------------------------------------------------------------------------------------- trouble

PASSING = {
    "429 with Retry-After": ServerReply(status=429, text="slow down", headers={"Retry-After": "7"}),
    "429 without": ServerReply(status=429, text="slow down"),
    "500": ServerReply(status=500, text="oops"),
    "503 with Retry-After": ServerReply(status=503, text="busy", headers={"Retry-After": "3"}),
    "529 overloaded": ServerReply(status=529, text="overloaded"),
    "broken JSON": ServerReply(body=b'{"choices": [{"mess', usage=None),
    "an empty body": ServerReply(body=b"", usage=None),
    "a page of HTML": ServerReply(body=b"<html>gateway</html>", usage=None),
    "no choices": ServerReply(choices=[], usage=None),
    "no message": ServerReply(choices=[{"index": 0, "finish_reason": "stop"}], usage=None),
    "a reset connection": ServerReply(reset=True, usage=None),
}
UNBILLED = {"429 with Retry-After", "429 without", "500", "503 with Retry-After", "529 overloaded"}


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """What the landscape gives when nothing goes wrong."""
    with ScriptedServer(Provider()) as server, pytest.MonkeyPatch.context() as patch:
        answered_by(patch, None)
        folder = tmp_path_factory.mktemp("clean")
        return run_job(space_for(folder, server), folder)


def same_find(result, clean):
    """The same candidates with the same values; only what a clock or an address says may differ."""
    one, other = (timeless(essence(r)) for r in (result, clean))
    assert one == other


def timeless(value):
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if k != "study" and not k.startswith("latency_")}
    return [timeless(v) for v in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("name", PASSING)
def test_trouble_that_passes_loses_nothing_and_scores_nothing_as_zero(tmp_path, provider, space, naps, clean, name):
    provider.trouble = lambda body, seen: PASSING[name] if seen == 0 and number_of(body) % 4 == 0 else None
    result = run_job(space, tmp_path)
    assert result.failed_calls > 0 and result.error is None
    same_find(result, clean)
    assert {r.state for r in results_of(tmp_path, result.report.study)} == {ResultState.SCORED}
    money = result.report.money
    assert money.spent_usd - money.assumed_usd == pytest.approx(provider.sums(), abs=1e-9)
    assert (money.assumed_usd == 0) == (name in UNBILLED)


def test_a_provider_that_says_when_to_come_back_is_taken_at_its_word(tmp_path, provider, space, naps):
    slow = number(resolve_job(load_space(space)).task.splits.search[0])
    reply = PASSING["429 with Retry-After"]
    provider.trouble = lambda body, seen: reply if seen == 0 and number_of(body) == slow else None
    run_job(space, tmp_path)
    assert naps and all(7 <= seconds < 8 for seconds in naps)


def test_a_hang_is_cut_off_and_tried_again(tmp_path, provider, server, naps, clean):
    hanging = iter([ServerReply(hang=True, usage=None)] * 2)
    provider.trouble = lambda body, seen: next(hanging, None) if seen == 0 else None
    result = run_job(space_for(tmp_path, server, calls={"timeout_s": 2, "attempts": 3}), tmp_path)
    assert result.failed_calls == 2
    same_find(result, clean)
    money = result.report.money
    assert money.assumed_usd > 0
    assert money.spent_usd - money.assumed_usd == pytest.approx(provider.sums(), abs=1e-9)


def test_an_example_that_always_fails_has_no_score_and_is_tried_again_by_the_next_run(
    tmp_path, provider, space, naps, clean
):
    sick = number(resolve_job(load_space(space)).task.splits.search[0])
    provider.trouble = lambda body, seen: ServerReply(status=500) if number_of(body) == sick else None
    first = run_job(space, tmp_path)
    assert first.error is None
    assert set(counts(first)) == {(5, 0, 1)}
    failed = [r for r in results_of(tmp_path, first.report.study) if r.state is ResultState.INFRASTRUCTURE_ERROR]
    assert {r.example for r in failed} == {f"e{sick:03}"}
    assert {(r.score, r.cost_usd, r.latency_s) for r in failed} == {(None, None, None)}

    provider.trouble = lambda body, seen: None
    again = run_job(space, tmp_path)
    assert set(counts(again)) == {(6, 0, 0)}
    mended = {(m.candidate, m.quality, m.cost_usd) for m in again.report.members}
    assert mended == {(m.candidate, m.quality, m.cost_usd) for m in clean.report.members}


def test_when_failures_pile_up_the_job_stops_and_the_next_run_finds_what_it_would_have_found(
    tmp_path, provider, space, naps, clean
):
    provider.trouble = lambda body, seen: ServerReply(status=500, text="down") if len(provider.sent) > 9 else None
    stopped = run_job(space, tmp_path)
    assert isinstance(stopped.error, TooManyFailures) and stopped.report.stop_reason == "failures"
    assert "Nothing was scored as zero" in str(stopped.error) and "down" in str(stopped.error)
    assert len(provider.sent) < 100

    provider.trouble = lambda body, seen: None
    same_find(run_job(space, tmp_path), clean)


def test_a_wrong_key_stops_the_job_at_once(tmp_path, provider, space, naps):
    provider.trouble = lambda body, seen: ServerReply(status=401, text="no such key")
    result = run_job(space, tmp_path)
    assert isinstance(result.error, Unauthorized) and result.report.stop_reason == "refused"
    assert len(provider.sent) <= 2
    assert (result.spent_usd, result.report.trials) == (0, 0)


# ----------------------------------------------------------------------------------- what the program did cause


def test_refusals_and_answers_that_cannot_be_read_are_real_zeros_and_are_billed(tmp_path, provider, space, naps):
    bad = {
        0: ServerReply(text="", finish_reason="content_filter"),
        1: ServerReply(text="I would rather not say."),
        2: ServerReply(text=""),
    }
    provider.trouble = lambda body, seen: bad.get(number_of(body) % 6)
    result = run_job(space, tmp_path)
    assert result.error is None
    found = results_of(tmp_path, result.report.study)
    zeros = [r for r in found if int(r.example[1:]) % 6 in bad]
    assert zeros and {(r.state, r.score) for r in zeros} == {(ResultState.PROGRAM_ERROR, 0.0)}
    assert {r.state for r in found if r not in zeros} == {ResultState.SCORED}
    assert result.spent_usd == pytest.approx(provider.sums(), abs=1e-9)
