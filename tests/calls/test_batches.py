"""Requests in batches: what providers receive, what is booked, and what a killed job finds again."""

import asyncio
import json
import threading

import pytest
import sqlalchemy as sa
from support_batches import KEY, answer, ask_for, model_of
from support_calls import PRICE

from offramp.calls.batches import collector
from offramp.calls.batches.interfaces import OpenAIBatches
from offramp.calls.estimate import worst_usd
from offramp.calls.failures import BrokenReply, CallError, InvalidRequest, Refused
from offramp.calls.transports.litellm import LiteLLMTransport
from offramp.job.clock import Interrupted
from offramp.records import CallRequest, Price, Purpose
from offramp.store import tables
from offramp.store.batches import BatchLines
from offramp.store.budget import Budget, BudgetExceeded
from offramp.store.ledger import Ledger
from offramp.testing.batches import ScriptedBatches
from offramp.testing.server import ScriptedServer, ServerReply

HALF = {"input": 0.5, "output": 5.0}

pytestmark = pytest.mark.usefixtures("batch_key")


def send_all(caller, requests):
    """Replies or errors, in order."""

    async def go():
        try:
            return await asyncio.gather(*(caller.send(one) for one in requests), return_exceptions=True)
        finally:
            await caller.aclose()

    return asyncio.run(go())


def state(store):
    return Budget(store, "p").state()


def out(store):
    with store.reading() as conn:
        return conn.scalar(sa.select(sa.func.count()).select_from(tables.batch_lines))


@pytest.mark.parametrize("dialect", ["openai", "anthropic", "azure"])
def test_many_requests_are_one_batch_and_each_gets_its_own_answer_at_half_the_price(
    store, server, batches, opened, dialect
):
    batches.looks = 3
    texts = [f"question {i}" for i in range(30)]
    replies = send_all(opened(), ask_for(model_of(server, dialect), *texts))
    assert [reply.text for reply in replies] == [f"echo {text}" for text in texts]
    assert len(batches.batches) == 1 and len(batches.batches[0].lines) == 30
    assert not server.requests, "nothing went to the interface for single requests"
    each = (10 * HALF["input"] + 5 * HALF["output"]) / 1e6
    found = state(store)
    assert found.spent_usd == pytest.approx(30 * each, abs=1e-12) and found.calls == 30
    assert (found.reserved_usd, found.reserved_calls, found.assumed_usd, out(store)) == (0, 0, 0, 0)
    ledger = Ledger(store, "s")
    assert ledger.priced_calls({"m": PRICE}).usd == pytest.approx(30 * each, abs=1e-12)
    assert all(reply.batched for reply in replies)


@pytest.mark.parametrize(
    ("dialect", "paths", "key"),
    [
        ("openai", {"/v1/files", "/v1/batches"}, ("authorization", f"Bearer {KEY}")),
        ("anthropic", {"/v1/messages/batches"}, ("x-api-key", KEY)),
        ("azure", {"/openai/files", "/openai/batches"}, ("api-key", KEY)),
    ],
)
def test_lines_are_the_bodies_of_single_requests_and_go_with_their_key(server, batches, opened, dialect, paths, key):
    [request] = ask_for(model_of(server, dialect), "hello")
    send_all(opened(), [request])
    posted = {path.split("?")[0] for method, path, _ in batches.seen if method == "POST"}
    assert posted == paths
    assert {headers[key[0]] for _, _, headers in batches.seen} == {key[1]}
    if dialect == "azure":
        assert all("api-version=" in path for _, path, _ in batches.seen)
    in_batch = dict(batches.batches[0].lines[0][1])
    send_all(opened(batch=None), ask_for(model_of(server, dialect), "hello", replicate=1))
    assert in_batch == server.requests[0].body


def test_the_price_table_goes_before_the_half():
    listed = Price(
        input_usd=2.0, cached_input_usd=1.0, output_usd=8.0, steps=((100, Price(input_usd=4.0, output_usd=16.0)),),
        tiers=(("batch", Price(input_usd=0.7, output_usd=3.0)),),
    )  # fmt: skip
    assert listed.batched.at(1) == Price(input_usd=0.7, cached_input_usd=0.5, output_usd=3.0)
    assert listed.batched.at(101) == Price(input_usd=2.0, output_usd=8.0)
    stated = Price(input_usd=2.0, output_usd=8.0, any_tier=True)
    assert stated.batched == Price(input_usd=1.0, output_usd=4.0)
    assert Price().batched == Price()


def test_judges_go_along_and_what_is_asked_otherwise_goes_directly(server, batches, opened):
    model = model_of(server)
    requests = [ask_for(model, purpose.value, purpose=purpose)[0] for purpose in Purpose]
    replies = send_all(opened(), requests)
    assert all(not isinstance(reply, Exception) for reply in replies)
    assert len(batches.batches) == 1
    assert {line["messages"][0]["content"] for _, line in batches.batches[0].lines} == {"program", "judge"}
    assert {r.body["messages"][0]["content"] for r in server.requests} == {"bootstrap", "proposer", "probe"}


def test_each_model_has_a_batch_of_its_own_and_equal_requests_are_one_line(server, batches, opened):
    one, other = model_of(server), model_of(server, name="n", route="openai/scripted-2")
    replies = send_all(opened(), [*ask_for(one, "a", "b", "a", "a"), *ask_for(other, "a")])
    assert [reply.text for reply in replies] == ["echo a", "echo b", "echo a", "echo a", "echo a"]
    assert sorted(len(batch.lines) for batch in batches.batches) == [1, 2]


def test_what_the_ledger_has_is_in_no_batch(server, batches, opened):
    model = model_of(server)
    send_all(opened(), ask_for(model, "a", "b"))
    replies = send_all(opened(), ask_for(model, "a", "b", "c"))
    assert [reply.cached for reply in replies] == [True, True, False]
    assert [len(batch.lines) for batch in batches.batches] == [2, 1]


def test_an_answer_of_a_batch_has_no_latency_and_is_not_reused_where_latency_is_needed(store, server, batches, opened):
    model = model_of(server)
    send_all(opened(), ask_for(model, "a"))
    with store.reading() as conn:
        assert conn.execute(sa.select(tables.calls.c.latency_s, tables.calls.c.service_tier)).all() == [(None, "batch")]
    [again] = send_all(opened(batch=None, timed=True), ask_for(model, "a"))
    assert not again.cached and len(server.requests) == 1
    [plain] = send_all(opened(batch=None), ask_for(model, "a"))
    assert plain.cached


# ----------------------------------------------------------------------------------------------- lines that fail


@pytest.mark.parametrize("dialect", ["openai", "anthropic", "azure"])
def test_one_line_that_fails_takes_no_other_with_it(store, server, batches, opened, dialect):
    replies = send_all(opened(), ask_for(model_of(server, dialect), "a", "bad", "b", "nonsense"))
    assert [getattr(reply, "text", None) for reply in replies] == ["echo a", None, "echo b", None]
    assert type(replies[1]).__name__ == "RequestRejected"
    assert isinstance(replies[3], BrokenReply)
    assert state(store).reserved_usd == 0 and out(store) == 0


def test_what_no_batch_answers_is_sent_directly_at_the_full_price(store, server, batches, opened):
    batches.expire = lambda number, position: True
    replies = send_all(opened(), ask_for(model_of(server), "a", "b"))
    assert [reply.text for reply in replies] == ["echo a", "echo b"]
    assert len(batches.batches) == collector.ATTEMPTS and len(server.requests) == 2
    assert state(store).spent_usd == pytest.approx(2 * (10 * 1.0 + 5 * 10.0) / 1e6, abs=1e-12)
    assert not any(reply.batched for reply in replies)


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_a_batch_that_expires_in_part_is_asked_again_in_part(store, server, batches, opened, dialect):
    batches.expire = lambda number, position: number == 0 and position % 3 == 0
    texts = [f"q{i}" for i in range(10)]
    replies = send_all(opened(), ask_for(model_of(server, dialect), *texts))
    assert [reply.text for reply in replies] == [f"echo {text}" for text in texts]
    assert [len(batch.lines) for batch in batches.batches] == [10, 4]
    each = (10 * HALF["input"] + 5 * HALF["output"]) / 1e6
    assert state(store).spent_usd == pytest.approx(10 * each, abs=1e-12)
    assert state(store).assumed_usd == 0


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_a_line_without_a_result_is_booked_as_a_bound_and_asked_again(store, server, batches, opened, dialect):
    batches.drop = lambda number, position: number == 0 and position == 1
    replies = send_all(opened(), ask_for(model_of(server, dialect), "a", "b"))
    assert [reply.text for reply in replies] == ["echo a", "echo b"]
    assert [len(batch.lines) for batch in batches.batches] == [2, 1]
    assert state(store).assumed_usd > 0


# -------------------------------------------------------------------------------------------- a server's nonsense


def _instead(method, ending, status, body):
    def garble(asked, path, was, content):
        return (status, body) if asked == method and path.endswith(ending) else (was, content)

    return garble


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"id": 3}', b"null", b'{"object": "batch"}', b"\xff"])
@pytest.mark.parametrize("ending", ["/files", "/batches"])
def test_nonsense_in_place_of_a_batch_ends_in_direct_requests_and_no_line_stays_out(
    store, server, batches, opened, ending, body
):
    batches.garble = _instead("POST", ending, 200, body)
    replies = send_all(opened(), ask_for(model_of(server), "a", "b"))
    assert all(not isinstance(reply, Exception) or isinstance(reply, CallError) for reply in replies)
    assert all(getattr(reply, "text", "").startswith("echo") for reply in replies)
    assert state(store).reserved_usd == 0 and out(store) == 0


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"status": "odd"}', b'{"processing_status": 1}'])
@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_nonsense_about_a_batch_leaves_it_out_and_a_later_run_gets_its_answers(
    store, server, batches, opened, dialect, body
):
    batches.garble = lambda method, path, status, content: (
        (200, body) if method == "GET" and "/batches/" in path else (status, content)
    )
    requests = ask_for(model_of(server, dialect), "a", "b")
    replies = send_all(opened(), requests)
    assert all(isinstance(reply, BrokenReply) for reply in replies)
    assert out(store) == 2 and len(batches.batches) == 1 and not server.requests
    assert state(store).calls == 0 and state(store).reserved_calls == 2
    batches.garble = lambda method, path, status, content: (status, content)
    again = send_all(opened(), requests)
    assert [reply.text for reply in again] == ["echo a", "echo b"]
    assert len(batches.batches) == 1 and state(store).calls == 2


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nothing\nof\nit",
        b'{"custom_id": 3}\n',
        b"[1, 2]",
        b'{"custom_id": "x", "response": {"status_code": "a"}}',
    ],
)
def test_nonsense_in_place_of_results_is_no_answer_and_is_booked_as_a_bound(store, server, batches, opened, content):
    def garble(method, path, status, body):
        return (status, content) if method == "GET" and path.endswith("/content") else (status, body)

    batches.garble = garble
    replies = send_all(opened(), ask_for(model_of(server), "a"))
    assert replies[0].text == "echo a" and len(server.requests) == 1  # directly, in the end
    assert state(store).assumed_usd > 0 and out(store) == 0


def test_a_server_without_batches_stops_the_job_with_what_to_do(store, opened):
    with ScriptedServer(answer) as server:
        server.batches = ScriptedBatches(refuse=lambda _: (404, b"{}"))
        replies = send_all(opened(), ask_for(model_of(server), "a", "b"))
    assert all("there is no batch interface" in str(one) and "calls.batch" in str(one) for one in replies)
    assert out(store) == 0 and state(store).calls == 0 and state(store).reserved_usd == 0


def test_a_refused_batch_costs_nothing_and_says_why(store, server, batches, opened):
    body = json.dumps({"error": {"message": "billing hard limit", "code": "billing_hard_limit_reached"}}).encode()
    batches.refuse = lambda number: (400, body)
    replies = send_all(opened(), ask_for(model_of(server), "a", "b"))
    assert all("billing" in str(one) for one in replies)
    assert out(store) == 0 and (state(store).calls, state(store).reserved_usd) == (0, 0)


def test_a_key_follows_no_redirect(store, server, batches, opened):
    batches.garble = lambda method, path, status, body: (302, b"") if method == "GET" else (status, body)
    replies = send_all(opened(), ask_for(model_of(server), "a"))
    assert isinstance(replies[0], BrokenReply) and out(store) == 1


# --------------------------------------------------------------------------------------------------------- money


def test_a_cap_that_has_no_room_for_all_makes_one_batch_after_the_other(store, server, batches, opened):
    worst = (5 + 8 + 20 * 5.0) / 1e6
    replies = send_all(opened(cap_usd=2.5 * worst), ask_for(model_of(server), *(f"q{i}" for i in range(6))))
    assert all(not isinstance(reply, Exception) for reply in replies)
    assert len(batches.batches) > 1 and sum(len(batch.lines) for batch in batches.batches) == 6
    assert state(store).reserved_usd == 0 and state(store).spent_usd <= 2.5 * worst


def test_a_cap_in_calls_is_never_passed(store, server, batches, opened):
    replies = send_all(opened(cap_calls=4), ask_for(model_of(server), *(f"q{i}" for i in range(6))))
    assert sum(isinstance(reply, BudgetExceeded) for reply in replies) == 2
    assert state(store).calls == 4 and sum(len(batch.lines) for batch in batches.batches) == 4


# ---------------------------------------------------------------------------------------------- stopped and killed


def _abandoned(caller, requests, until):
    """Sends requests and goes away once `until()` holds, as a process that is killed does: nothing is tidied up."""

    async def go():
        tasks = [asyncio.ensure_future(caller.send(one)) for one in requests]
        while not until():
            await asyncio.sleep(0.001)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(go())


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_a_later_run_waits_for_the_batch_that_is_out_and_pays_once(store, server, batches, opened, dialect):
    batches.looks = 10**9
    requests = ask_for(model_of(server, dialect), "a", "b", "c")
    with_remote = sa.select(sa.func.count()).where(tables.batch_lines.c.remote.is_not(None))

    def written():
        with store.reading() as conn:
            return conn.scalar(with_remote) == 3

    _abandoned(opened(), requests, written)
    assert state(store).reserved_calls == 3 and state(store).spent_usd == 0
    batches.batches[0].looks, batches.looks = 2, 1
    replies = send_all(opened(), [*requests, *ask_for(model_of(server, dialect), "d")])
    assert [reply.text for reply in replies] == ["echo a", "echo b", "echo c", "echo d"]
    assert [len(batch.lines) for batch in batches.batches] == [3, 1]
    each = (10 * HALF["input"] + 5 * HALF["output"]) / 1e6
    found = state(store)
    assert found.spent_usd == pytest.approx(4 * each, abs=1e-12)
    assert (found.calls, found.reserved_usd, found.assumed_usd, out(store)) == (4, 0, 0, 0)


def test_a_run_without_batches_waits_for_those_that_are_out_too(store, server, batches, opened):
    batches.looks = 10**9
    requests = ask_for(model_of(server), "a", "b")
    _abandoned(opened(), requests, lambda: bool(batches.batches) and batches.batches[0].looks < 10**9)
    batches.batches[0].looks = 1
    replies = send_all(opened(batch=False), [*requests, *ask_for(model_of(server), "c")])
    assert [reply.text for reply in replies] == ["echo a", "echo b", "echo c"]
    assert len(batches.batches) == 1 and len(server.requests) == 1


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_a_batch_whose_name_was_never_heard_is_found_again(store, server, batches, opened, dialect):
    requests = ask_for(model_of(server, dialect), "a", "b")
    batches.looks = 10**9
    _abandoned(opened(), requests, lambda: bool(batches.batches) and batches.batches[0].looks < 10**9)
    with store.transaction() as conn:  # killed between the answer and the note of it
        conn.execute(tables.batch_lines.update().values(remote=None))
    batches.batches[0].looks = 1
    replies = send_all(opened(), requests)
    assert [reply.text for reply in replies] == ["echo a", "echo b"] and len(batches.batches) == 1


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_a_batch_that_never_left_is_sent_and_its_first_reservation_released(store, server, batches, opened, dialect):
    requests = ask_for(model_of(server, dialect), "a", "b")
    batches.looks = 10**9
    _abandoned(opened(), requests, lambda: bool(batches.batches) and batches.batches[0].looks < 10**9)
    with store.transaction() as conn:
        conn.execute(tables.batch_lines.update().values(remote=None))
    batches.batches.clear()
    batches.looks = 1
    replies = send_all(opened(), requests)
    assert [reply.text for reply in replies] == ["echo a", "echo b"]
    assert (state(store).calls, state(store).reserved_calls, out(store)) == (2, 0, 0)


def test_a_batch_that_the_provider_lost_is_booked_as_a_bound_and_asked_again(store, server, batches, opened):
    requests = ask_for(model_of(server), "a", "b")
    batches.looks = 10**9
    _abandoned(opened(), requests, lambda: bool(batches.batches) and batches.batches[0].looks < 10**9)
    batches.batches[0].id = "another"
    batches.looks = 1
    replies = send_all(opened(), requests)
    assert [reply.text for reply in replies] == ["echo a", "echo b"]
    assert state(store).assumed_usd > 0 and state(store).reserved_usd == 0


def test_who_stops_the_job_waits_no_longer_and_the_batch_stays_out(store, server, batches, opened, caplog):
    batches.looks = 10**9
    requests = ask_for(model_of(server), "a", "b")

    def check():
        if batches.batches and batches.batches[0].looks < 10**9 - 3:
            raise Interrupted("stop")

    replies = send_all(opened(check=check), requests)
    assert all(isinstance(reply, Interrupted) for reply in replies)
    assert out(store) == 2 and "2 requests are out in batches" in caplog.text
    batches.batches[0].looks = 1
    again = send_all(opened(), requests)
    assert [reply.text for reply in again] == ["echo a", "echo b"] and len(batches.batches) == 1


def test_who_stops_the_job_before_a_batch_has_left_pays_nothing(store, server, batches, opened):
    def check():
        raise Interrupted("stop")

    replies = send_all(opened(check=check), ask_for(model_of(server), "a", "b"))
    assert all(isinstance(reply, Interrupted) for reply in replies)
    assert not batches.batches and (state(store).calls, state(store).reserved_usd) == (0, 0)


def test_looks_become_rarer(store, server, batches, opened, time_):
    batches.looks = 12
    send_all(opened(), ask_for(model_of(server), "a"))
    waited = sum(time_.slept)
    assert 11 * collector.FIRST_S < waited < 12 * collector.LONGEST_S
    assert max(time_.slept) <= 1.0, "it notices within a second that it has to stop"


def test_a_refusal_in_a_batch_is_a_refusal(store, batches, opened):
    def refused(body):
        return ServerReply(message={"role": "assistant", "content": None, "refusal": "I will not"})

    with ScriptedServer(refused, batches) as server:
        replies = send_all(opened(), ask_for(model_of(server), "a"))
    assert isinstance(replies[0], Refused) and state(store).spent_usd > 0


def test_what_cannot_be_written_is_refused_before_anything_leaves(store, server, batches, opened):
    request = CallRequest(
        model=model_of(server), messages=({"role": "user", "content": "a"},), params={"stream": True}
    )  # fmt: skip
    replies = send_all(opened(), [request])
    assert isinstance(replies[0], InvalidRequest) and not batches.seen


# ------------------------------------------------------------------------------- who asks while something is awaited


def _counted(monkeypatch):
    """The list of requests that have been asked of a collector so far."""
    asked, render = [], LiteLLMTransport.render

    async def rendered(self, request):
        found = await render(self, request)
        asked.append(request.hash)  # the rest of `ask` runs before anything else does
        return found

    monkeypatch.setattr(LiteLLMTransport, "render", rendered)
    return asked


async def _until(holds):
    while not holds():
        await asyncio.sleep(0.001)


def _left_by_a_killed_job(store, requests):
    """Lines that were written down and never submitted."""
    bounds = [(one.hash, worst_usd(one, 30.0)) for one in requests]
    BatchLines(store, "s").write("c" * 24, bounds, Budget(store, "p"))


def _slow(monkeypatch, method):
    """Makes a method of the storage of lines wait for the second event, after it has set the first."""
    began, go, real = threading.Event(), threading.Event(), getattr(BatchLines, method)

    def slow(self, *arguments):
        began.set()
        assert go.wait(60)
        return real(self, *arguments)

    monkeypatch.setattr(BatchLines, method, slow)
    return began, go


def test_requests_that_come_while_a_lost_batch_is_withdrawn_are_answered(store, server, opened, monkeypatch):
    requests = ask_for(model_of(server), *(f"q{i}" for i in range(6)))
    _left_by_a_killed_job(store, requests)
    asked, (began, go), caller = _counted(monkeypatch), _slow(monkeypatch, "withdraw"), opened()

    async def run():
        first = [asyncio.ensure_future(caller.send(one)) for one in requests[:3]]
        await _until(began.is_set)
        late = [asyncio.ensure_future(caller.send(one)) for one in requests[3:]]
        await _until(lambda: len(asked) == 6)
        go.set()
        try:
            return await asyncio.wait_for(asyncio.gather(*first, *late), 60)
        finally:
            await caller.aclose()

    assert [reply.text for reply in asyncio.run(run())] == [f"echo q{i}" for i in range(6)]
    assert (state(store).calls, state(store).reserved_calls, out(store)) == (6, 0, 0)


def test_who_asks_again_for_a_request_whose_batch_is_being_refused_is_answered(
    store, server, batches, opened, monkeypatch
):
    """Its first asker went away meanwhile, as a program with a time limit of its own does."""
    full = json.dumps({"error": {"message": "no", "code": "rate_limit_exceeded"}}).encode()
    batches.refuse = lambda number: (429, full) if number == 0 else None
    asked, (began, go), caller = _counted(monkeypatch), _slow(monkeypatch, "withdraw"), opened()
    [request] = ask_for(model_of(server), "a")

    async def run():
        first = asyncio.ensure_future(caller.send(request))
        await _until(began.is_set)
        first.cancel()
        again = asyncio.ensure_future(caller.send(request))
        await _until(lambda: len(asked) == 2)
        go.set()
        try:
            return await asyncio.wait_for(again, 60)
        finally:
            await caller.aclose()

    assert asyncio.run(run()).text == "echo a"
    assert (state(store).calls, state(store).reserved_calls, out(store)) == (1, 0, 0)


def _slow_submit(monkeypatch):
    """As `_slow`, for what submits a batch."""
    began, go, submit = threading.Event(), threading.Event(), OpenAIBatches.submit

    async def slow(self, batch, lines):
        began.set()
        await _until(go.is_set)
        return await submit(self, batch, lines)

    monkeypatch.setattr(OpenAIBatches, "submit", slow)
    return began, go


@pytest.mark.parametrize("step", ["write", "submit"])
def test_a_request_is_sent_once_whoever_asks_for_it_while_its_batch_goes_off(
    store, server, batches, opened, monkeypatch, step
):
    began, go = _slow(monkeypatch, step) if step == "write" else _slow_submit(monkeypatch)
    asked, caller = _counted(monkeypatch), opened()
    one, other = ask_for(model_of(server), "a", "b")

    async def run():
        first, beside = asyncio.ensure_future(caller.send(one)), asyncio.ensure_future(caller.send(other))
        await _until(began.is_set)
        first.cancel()
        again = asyncio.ensure_future(caller.send(one))
        await _until(lambda: len(asked) == 3)
        for _ in range(100):  # whatever would follow a batch that is not out yet has its turn
            await asyncio.sleep(0.001)
        go.set()
        try:
            return await asyncio.wait_for(asyncio.gather(again, beside), 60)
        finally:
            await caller.aclose()

    assert [reply.text for reply in asyncio.run(run())] == ["echo a", "echo b"]
    assert [len(batch.lines) for batch in batches.batches] == [2]
    assert (state(store).calls, state(store).reserved_calls, out(store)) == (2, 0, 0)


def test_an_answer_that_was_handed_to_who_just_went_away_is_handed_out_again(store, server, batches, opened):
    caller = opened()
    [request] = ask_for(model_of(server), "a")
    collector_ = caller._batches
    handed = collector_._deliver

    async def run():
        first = asyncio.ensure_future(caller.send(request))

        async def deliver(out, name):
            await handed(out, name)
            first.cancel()  # its answer is there, and it has not seen it

        collector_._deliver = deliver
        with pytest.raises(asyncio.CancelledError):
            await first
        collector_._deliver = handed
        try:
            return await asyncio.wait_for(caller.send(request), 60)
        finally:
            await caller.aclose()

    assert asyncio.run(run()).text == "echo a" and len(batches.batches) == 1
    assert (state(store).calls, state(store).reserved_calls, out(store)) == (1, 0, 0)


def test_an_error_of_reading_one_line_reaches_whoever_waits(store, server, opened, monkeypatch):
    async def broken(self, request, status, content):
        raise KeyError("a defect")

    monkeypatch.setattr(LiteLLMTransport, "read", broken)
    caller = opened()

    async def run():
        sent = [asyncio.ensure_future(caller.send(one)) for one in ask_for(model_of(server), "a", "b")]
        done, waiting = await asyncio.wait(sent, timeout=60)
        await caller.aclose()
        return [type(task.exception()) for task in done], waiting

    assert asyncio.run(run()) == ([KeyError, KeyError], set())


@pytest.mark.parametrize("moment", ["gathered", "waiting"])
def test_nobody_waits_for_a_caller_that_was_closed_and_another_loop_goes_on(
    store, server, batches, opened, monkeypatch, moment
):
    batches.looks = 10**9
    asked, caller, requests = _counted(monkeypatch), opened(), ask_for(model_of(server), "a", "b")

    async def closed():
        tasks = [asyncio.ensure_future(caller.send(one)) for one in requests]
        if moment == "waiting":
            await _until(lambda: bool(batches.batches) and batches.batches[0].looks < 10**9)
        else:
            await _until(lambda: len(asked) == 2)
        await caller.aclose()
        done, waiting = await asyncio.wait(tasks, timeout=60)
        return waiting or all(task.cancelled() for task in done)

    assert asyncio.run(closed()) is True
    batches.looks = 1
    for batch in batches.batches:
        batch.looks = 1
    assert [reply.text for reply in send_all(caller, requests)] == ["echo a", "echo b"]
    assert len(batches.batches) == 1 and state(store).calls == 2
