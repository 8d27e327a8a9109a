import asyncio
import random
import sqlite3

import pytest
from support_calls import make_model, make_request

from offramp.calls.estimate import input_usd, worst_usd
from offramp.calls.failures import (
    BrokenReply,
    DeadlineExceeded,
    InvalidRequest,
    RateLimited,
    Refused,
    ServerFailed,
    TimedOut,
    Unauthorized,
    Unreachable,
)
from offramp.calls.limiter import begun
from offramp.errors import ModelError
from offramp.job.clock import Interrupted
from offramp.records import CallReply, Price, Purpose, Usage
from offramp.store.budget import Budget, BudgetExceeded
from offramp.store.ledger import CallStatus, Ledger
from offramp.testing.fakes import FunctionTransport, ScriptedTransport

USAGE = Usage(input_tokens=100, output_tokens=10)
USD = (100 * 1.0 + 10 * 10.0) / 1e6


def run(coroutine):
    return asyncio.run(coroutine)


def statuses(store):
    from sqlalchemy import select

    from offramp.store.tables import calls

    with store.reading() as conn:
        return list(conn.scalars(select(calls.c.status).order_by(calls.c.id)))


def test_the_same_request_is_paid_for_once_and_then_kept(build):
    transport = ScriptedTransport(["yes"], usage=USAGE, latency_s=0.25)
    caller = build(transport)
    first, second = run(caller.send(make_request())), run(caller.send(make_request()))
    assert (first.cached, second.cached, second.text, second.latency_s) == (False, True, "yes", 0.25)
    assert second.usage == USAGE
    stats = caller.stats()
    assert (stats.calls, stats.cached_calls, stats.failed_calls) == (1, 1, 0)
    assert stats.spent_usd == pytest.approx(USD, abs=1e-9) and stats.reserved_usd == 0.0


def test_a_resumed_job_pays_for_no_answer_that_it_has(build, store):
    run(build(ScriptedTransport(["yes"])).send(make_request()))
    resumed = build(ScriptedTransport([]), store_text=True, study="another")
    assert run(resumed.send(make_request())).cached


def test_where_texts_are_not_kept_an_answer_is_asked_for_again(build):
    transport = ScriptedTransport(["a", "b"])
    caller = build(transport, store_text=False)
    assert [run(caller.send(make_request())).text for _ in range(2)] == ["a", "b"]


def test_a_replicate_is_a_fresh_answer(build):
    caller = build(ScriptedTransport(["a", "b"]))
    assert [run(caller.send(make_request(replicate=n))).text for n in (0, 1, 0)] == ["a", "b", "a"]


def test_equal_requests_at_the_same_time_share_one_physical_request(build):
    transport = FunctionTransport(lambda _: "yes")
    caller = build(transport)

    async def together():
        return await asyncio.gather(*(caller.send(make_request()) for _ in range(8)))

    replies = run(together())
    assert len(transport.requests) == 1
    assert sorted(reply.cached for reply in replies) == [False] + [True] * 7
    assert caller.stats().cached_calls == 7


def test_a_failure_is_shared_by_equal_requests_too(build):
    transport = ScriptedTransport([InvalidRequest("no")])
    caller = build(transport)

    async def together():
        return await asyncio.gather(*(caller.send(make_request()) for _ in range(3)), return_exceptions=True)

    assert [type(reply) for reply in run(together())] == [InvalidRequest] * 3


class Gate:
    """A transport that waits until it is released."""

    def __init__(self):
        self.sent, self.open = 0, asyncio.Event()

    async def send(self, request, attempt=1):
        self.sent += 1
        await self.open.wait()
        return CallReply(text="late", finish_reason="stop", usage=USAGE, latency_s=1.0)


async def until(condition):
    while not condition():
        await asyncio.sleep(0.001)


def test_when_the_first_of_equal_requests_goes_away_another_takes_over(build, store):
    async def scene():
        gate = Gate()
        caller = build(gate)
        first = asyncio.create_task(caller.send(make_request()))
        await until(lambda: gate.sent == 1)
        second = asyncio.create_task(caller.send(make_request()))
        await asyncio.sleep(0)
        first.cancel()
        await until(lambda: gate.sent == 2)
        gate.open.set()
        return await second

    assert run(scene()).text == "late"
    assert statuses(store) == [CallStatus.CANCELLED, CallStatus.OK]


def test_a_cancelled_request_is_booked_as_assumed_and_leaves_no_reservation(build, store):
    async def scene():
        gate = Gate()
        caller = build(gate, cap_usd=1.0)
        task = asyncio.create_task(caller.send(make_request()))
        await until(lambda: gate.sent == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(scene())
    state = Budget(store, "p", cap_usd=1.0).state()
    assert state.reserved_usd == 0.0
    assert state.spent_usd == state.assumed_usd == pytest.approx(input_usd(make_request()), abs=1e-9)


@pytest.mark.parametrize(
    ("error", "booked"),
    [
        (RateLimited("429"), "nothing"),
        (ServerFailed("500"), "nothing"),
        (Unreachable("refused"), "not even a call"),
        (Unreachable("reset", sent=True), "the prompt"),
        (TimedOut("slow"), "the prompt"),
        (BrokenReply("{"), "the prompt"),
        (InvalidRequest("400"), "nothing"),
        (Refused("filtered", usage=USAGE), "the bill"),
    ],
)
def test_what_a_failure_costs(build, store, error, booked):
    caller = build(ScriptedTransport([error]), attempts=1)
    with pytest.raises(type(error)):
        run(caller.send(make_request()))
    state = Budget(store, "p").state()
    prompt = input_usd(make_request())
    expected = {
        "nothing": (0.0, 0.0),
        "not even a call": (0.0, 0.0),
        "the prompt": (prompt, prompt),
        "the bill": (USD, 0),
    }
    assert (state.spent_usd, state.assumed_usd) == pytest.approx(expected[booked], abs=1e-9)
    assert state.calls == caller.stats().calls == (0 if booked == "not even a call" else 1)
    assert statuses(store) == [error.status]


def test_a_refusal_that_was_billed_is_not_paid_for_again(build):
    caller = build(ScriptedTransport([Refused("policy", usage=USAGE, latency_s=0.5)]))
    errors = []
    for _ in range(2):
        with pytest.raises(Refused, match="policy") as caught:
            run(caller.send(make_request()))
        errors.append(caught.value)
    assert [error.cached for error in errors] == [False, True]
    assert errors[1].usage == USAGE and errors[1].latency_s == 0.5 and "Refused: " not in str(errors[1])


def test_infrastructure_errors_are_retried_and_every_attempt_is_recorded(build, store, time_):
    caller = build(ScriptedTransport([ServerFailed("x"), TimedOut("x"), "yes"]))
    assert run(caller.send(make_request())).attempt == 3
    assert statuses(store) == [CallStatus.SERVER_FAILED, CallStatus.TIMED_OUT, CallStatus.OK]
    stats = caller.stats()
    assert (stats.calls, stats.failed_calls, stats.retried_calls) == (3, 2, 2)
    endings = Ledger(store, "s").endings()
    found = {status: n for (_, status), n in endings.items()}
    assert found == {CallStatus.SERVER_FAILED: 1, CallStatus.TIMED_OUT: 1, CallStatus.OK: 1}


@pytest.mark.parametrize("error", [Refused("x"), InvalidRequest("x")])
def test_what_would_fail_again_is_not_retried(build, error):
    transport = ScriptedTransport([error, "never"])
    with pytest.raises(type(error)):
        run(build(transport).send(make_request()))
    assert transport.left == 1


def test_the_last_failure_is_raised_when_attempts_run_out(build):
    with pytest.raises(ServerFailed, match="third"):
        run(
            build(ScriptedTransport([ServerFailed("first"), ServerFailed("second"), ServerFailed("third")])).send(
                make_request()
            )
        )


def test_a_retry_after_is_waited_for(build, time_):
    caller = build(ScriptedTransport([RateLimited("x", retry_after_s=40.0), "yes"]))
    run(caller.send(make_request()))
    assert 40.0 <= time_.now - 1000.0 < 41.0


def test_a_retry_after_beyond_the_deadline_fails_at_once_and_says_why(build, time_):
    caller = build(ScriptedTransport([RateLimited("come back tomorrow", retry_after_s=86400.0), "never"]))
    with pytest.raises(DeadlineExceeded, match="come back tomorrow"):
        run(caller.send(make_request()))
    assert time_.slept == []


def test_a_closed_provider_fails_the_next_request_too_instead_of_hanging(build):
    caller = build(ScriptedTransport([RateLimited("x", retry_after_s=86400.0)]))
    for text in ("one", "two"):
        with pytest.raises(DeadlineExceeded):
            run(caller.send(make_request(text)))


def test_back_offs_that_add_up_to_the_deadline_end_the_request(build, time_):
    failing = FunctionTransport(lambda _: ServerFailed("x", retry_after_s=30.0))
    with pytest.raises(DeadlineExceeded):
        run(build(failing, attempts=20, calls={"deadline_s": 100.0}).send(make_request()))
    assert len(failing.requests) == 4 and time_.now <= 1100.0


def test_an_attempt_that_hangs_is_cut_off(build, store):
    async def scene():
        await build(Gate(), attempts=1, calls={"timeout_s": 0.02}).send(make_request())

    with pytest.raises(TimedOut, match=r"0\.02 s"):
        run(scene())
    assert statuses(store) == [CallStatus.TIMED_OUT]


def test_a_cap_in_usd_refuses_the_request_that_could_pass_it(build):
    transport = FunctionTransport(lambda _: "yes", usage=USAGE)
    cap = USD * 3 + worst_usd(make_request("x"), 30) / 2
    caller = build(transport, cap_usd=cap)
    with pytest.raises(BudgetExceeded):
        for n in range(10):
            run(caller.send(make_request("x", replicate=n)))
    assert caller.stats().spent_usd <= cap and caller.stats().reserved_usd == 0.0


def test_a_request_waits_for_money_that_others_in_flight_may_leave(build):
    worst = worst_usd(make_request("0"), 30)
    transport = FunctionTransport(lambda _: "y", usage=Usage(input_tokens=1, output_tokens=1))
    caller = build(transport, cap_usd=worst * 1.5)

    async def together():
        return await asyncio.gather(*(caller.send(make_request(str(n))) for n in range(6)))

    assert len(run(together())) == 6


def test_a_cap_of_calls_counts_retries(build):
    caller = build(FunctionTransport(lambda _: ServerFailed("x")), cap_calls=2, attempts=5)
    with pytest.raises(BudgetExceeded, match="cap of 2 calls"):
        run(caller.send(make_request()))
    assert caller.stats().calls == 2


def test_a_cached_answer_costs_nothing(build):
    run(build(ScriptedTransport(["yes"]), budget_id="rich").send(make_request()))
    assert run(build(ScriptedTransport([]), cap_calls=1, cap_usd=1e-9).send(make_request())).cached


def test_a_model_without_a_price_is_refused_under_a_cap_in_usd_and_free_to_run_without(build):
    blind = make_request(model=make_model(price=None))
    with pytest.raises(ModelError, match="price unknown"):
        run(build(ScriptedTransport([]), cap_usd=1.0).send(blind))
    assert run(build(ScriptedTransport(["yes"]), cap_calls=5, budget_id="q").send(blind)).text == "yes"


def test_a_bill_above_the_reservation_is_booked_as_it_is(build):
    caller = build(ScriptedTransport(["yes"], usage=Usage(input_tokens=10**6, output_tokens=10**5)))
    run(caller.send(make_request()))
    assert caller.stats().spent_usd == pytest.approx(2.0)


def test_missing_usage_is_estimated_upwards_and_marked(build, store):
    run(build(ScriptedTransport(["four words of answer"], usage=Usage())).send(make_request()))
    state = Budget(store, "p").state()
    assert state.spent_usd == state.assumed_usd > 0
    usage = Ledger(store, "s").totals().usage[("m", Purpose.PROGRAM)]
    assert usage.input_tokens >= 3 and usage.output_tokens == 10


def test_spend_is_counted_by_purpose(build):
    caller = build(FunctionTransport(lambda _: "yes", usage=USAGE))
    for purpose in (Purpose.PROGRAM, Purpose.JUDGE):
        run(caller.send(make_request(purpose.value, purpose=purpose)))
    assert caller.stats().by_purpose_usd == pytest.approx({"program": USD, "judge": USD})


def test_local_models_cost_their_seconds(build):
    model = make_model(route="local/x", price=Price(compute_usd_per_hour=3.6))
    reply = CallReply(text="y", finish_reason="stop", usage=Usage(input_tokens=5, output_tokens=1), latency_s=2.0)
    caller = build(ScriptedTransport([reply]))
    assert run(caller.send(make_request(model=model))).usage.compute_s == 2.0
    assert caller.stats().spent_usd == pytest.approx(0.002)


def test_a_defect_of_a_transport_is_recorded_and_raised(build, store):
    with pytest.raises(ZeroDivisionError):
        run(build(ScriptedTransport([ZeroDivisionError("oops")])).send(make_request()))
    assert statuses(store) == [CallStatus.CRASHED]


def test_no_secret_reaches_the_storage(build, store, tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "a-very-secret-value")
    caller = build(ScriptedTransport([InvalidRequest("key a-very-secret-value and sk-abcdefgh12345678")]))
    with pytest.raises(InvalidRequest) as caught:
        run(caller.send(make_request()))
    store.close()
    dump = "\n".join(sqlite3.connect(tmp_path / "offramp.db").iterdump())
    for text in (dump, str(caught.value)):
        assert "very-secret" not in text and "abcdefgh" not in text and "***" in text


def test_jitter_comes_from_the_given_generator(build, time_):
    def pauses(seed):
        time_.slept.clear()
        failing = FunctionTransport(lambda _: ServerFailed("x"))
        with pytest.raises(ServerFailed):
            run(build(failing, attempts=5, rng=random.Random(seed)).send(make_request()))
        return list(time_.slept)

    assert pauses(0) == pauses(0) != pauses(1)
    assert all(0 <= pause <= 0.5 * 2**n for n, pause in enumerate(pauses(2)))


def test_what_a_dead_process_had_reserved_is_settled_when_the_caller_opens(build, store):
    from offramp.store import tables

    budget = Budget(store, "p")
    budget.reserve(0.5)
    with store.transaction() as conn:
        conn.execute(tables.reservations.update().values(token=tables.reservations.c.token + "0"))
    assert build(ScriptedTransport([])).stats().spent_usd == 0.5


class Held:
    """A transport whose replies wait; `sent` is what has arrived."""

    def __init__(self, outcome):
        self.sent, self.outcome, self.let_go = [], outcome, asyncio.Event()

    async def send(self, request, attempt=1):
        self.sent.append(request.messages[0]["content"])
        await self.let_go.wait()
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return CallReply(text="yes", finish_reason="stop", usage=USAGE, latency_s=0.1)


@pytest.mark.parametrize("has_begun", [False, True])
def test_a_run_that_waits_for_its_first_place_ends_when_the_job_has_to_stop(build, has_begun):
    stopped = []

    def check():
        if stopped:
            raise Interrupted("stop")

    async def go():
        held = Held(None)
        caller = build(held, concurrency=1, check=check)
        begun.set(False)
        first = asyncio.create_task(caller.send(make_request("one")))
        while not held.sent:
            await asyncio.sleep(0)
        begun.set(has_begun)
        second = asyncio.create_task(caller.send(make_request("two")))
        while not caller._limiter._buckets[next(iter(caller._limiter._buckets))].queue:
            await asyncio.sleep(0)
        stopped.append(True)
        held.let_go.set()
        return await asyncio.gather(first, second, return_exceptions=True), held.sent

    (one, two), sent = run(go())
    assert one.text == "yes"
    assert sent == (["one", "two"] if has_begun else ["one"])
    assert two.text == "yes" if has_begun else isinstance(two, Interrupted)


def test_those_that_wait_beside_a_refused_key_are_not_sent_and_later_ones_are(build):
    async def go():
        held = Held(Unauthorized("401"))
        caller = build(held, concurrency=1)
        tasks = [asyncio.create_task(caller.send(make_request(f"text {n}"))) for n in range(4)]
        while not held.sent:
            await asyncio.sleep(0)
        held.let_go.set()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        before, held.outcome = len(held.sent), None
        return ended, before, await caller.send(make_request("text 0"))

    ended, sent, later = run(go())
    assert [type(one) for one in ended] == [Unauthorized] * 4
    assert sent == 1
    assert later.text == "yes"
